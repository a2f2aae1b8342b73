"""`genaudit layers`: where the feature maps of an architecture are taken."""

from __future__ import annotations

import click

from audit.cli.options import as_json, network_chosen, network_options


@click.command("layers")
@click.argument("model")
@click.argument("wanted", nargs=-1)
@network_options
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

    table, about = layer_table(model, wanted or "stages", **network_chosen(size, model_args))
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
