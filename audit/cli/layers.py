"""`genaudit layers`: where the feature maps of an architecture are taken."""

from __future__ import annotations

import json

import click

from audit.cli.options import as_json


@click.command("layers")
@click.argument("model")
@click.argument("wanted", nargs=-1)
@click.option("--size", help="Channels, height and width of images, such as 3,224,224.")
@click.option("--args", "model_args", default="{}", help="model_args, as JSON.")
@as_json
def command(
    model: str, wanted: tuple[str, ...], size: str | None, model_args: str, as_json: bool
) -> None:
    """List the layers of MODEL whose feature maps are taken, with their shapes and costs.

    WANTED are presets (stages, last, all-conv, all-activations), paths of modules, patterns such as
    'layer*.act2', or regular expressions after 're:'; by default stages. The weights are random.
    """
    from audit.cli.show import print_json, print_table, rows_of
    from audit.runs.layer_table import layer_table

    try:
        args = json.loads(model_args)
        shape = [int(number) for number in size.split(",")] if size else None
    except ValueError as error:
        raise click.BadParameter(str(error)) from error
    if not isinstance(args, dict):
        raise click.BadParameter("--args must be a JSON object")
    transform = {"input_size": shape} if shape else {}
    table, about = layer_table(model, wanted or "stages", model_args=args, transform=transform)
    if as_json:
        print_json({"layers": rows_of(table), **about})
        return
    print_table(table, len(table))
    shown = " × ".join(map(str, about["input_size"]))
    click.echo(
        f"images of {shown}; one takes {about['forward_ms']:.1f} ms forward and "
        f"{table['births_ms'].sum():.1f} ms for births on one processor here"
    )
    for note in about["notes"]:
        click.echo(f"left out: {note}")
