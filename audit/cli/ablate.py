"""`genaudit ablate`: a network without more and more units of a layer."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from audit.cli.options import as_json, network_chosen, network_options
from audit.notations import json_of

if TYPE_CHECKING:
    from audit.units.cumulative import CumulativeAblation


@click.command("ablate")
@click.argument("checkpoint")
@click.argument("layer")
@click.option(
    "--config",
    type=click.Path(path_type=Path),
    help="An audit.toml: its training set is taken, and CHECKPOINT is one of its checkpoints.",
)
@click.option("--weights", type=click.Path(path_type=Path), help="The weights file of a MODEL.")
@click.option("--pretrained", is_flag=True, help="Take the published weights of a MODEL.")
@click.option("--dataset", help="The training set: the name of a dataset plugin.")
@click.option("--dataset-args", default="{}", help="Its options, as JSON.")
@network_options
@click.option(
    "--order",
    "orders",
    multiple=True,
    help="A criterion, for both its ends, or such as 'apoz:highest'; may be repeated. [all]",
)
@click.option("--steps", type=click.IntRange(1), default=20, show_default=True, help="Of a curve.")
@click.option(
    "--filtration",
    type=click.Choice(["clique", "cubical"]),
    default="clique",
    show_default=True,
    help="Whose births feature entropy is taken of.",
)
@click.option(
    "--images-per-class", type=click.IntRange(0), help="Training images; 0 means all. [100]"
)
@click.option(
    "--draws", type=click.IntRange(1), default=5, show_default=True, help="Of the random order."
)
@click.option("--device", default="auto", help="auto, cpu or cuda.", show_default=True)
@click.option("--seed", type=click.IntRange(0), help="Of all that is drawn. [0]")
@click.option(
    "--plot", type=click.Path(path_type=Path, dir_okay=False), help="Draw the curves to this file."
)
@as_json
def command(
    checkpoint: str,
    layer: str,
    config: Path | None,
    weights: Path | None,
    pretrained: bool,
    dataset: str | None,
    dataset_args: str,
    size: str | None,
    model_args: str,
    orders: tuple[str, ...],
    images_per_class: int | None,
    seed: int | None,
    plot: Path | None,
    as_json: bool,
    **more: Any,
) -> None:
    """Set more and more units of LAYER to zero, and show what is left of CHECKPOINT.

    CHECKPOINT is a weights file with its recipe beside it, as `genaudit demo` writes; a model's
    name with --weights or --pretrained; or, with --config, the name of one of its checkpoints.
    LAYER is a name as `genaudit layers` gives it. Units go in the order of their feature entropy
    and of rival criteria, from either end; accuracy and loss are those on the training sample.
    """
    from audit.cli.show import print_json
    from audit.runs.ablation_table import cumulative_ablation
    from audit.units.ablation_figure import check_drawable, draw_ablation

    if plot is not None:
        check_drawable(plot)
    about = network_chosen(size, model_args)
    if config is not None:
        given = _configured(config, checkpoint, about, (weights, dataset, pretrained))
    else:
        named = _network(checkpoint, weights, pretrained, about["model_args"])
        given = {
            "checkpoint_or_module": named,
            "dataset": _dataset(dataset, dataset_args),
            "transform": about["transform"],
        }
    chosen = {"images_per_class": images_per_class, "seed": seed}
    given |= {name: value for name, value in chosen.items() if value is not None}
    found = cumulative_ablation(layer=layer, orders=orders or None, **given, **more)
    if plot is not None:
        draw_ablation(found, plot)
    if as_json:
        print_json(found.as_plain())
    else:
        _show(found)
        if plot is not None:
            click.echo(f"Figure: {plot}")


def _configured(
    config: Path, checkpoint: str, about: dict[str, Any], others: tuple[object, ...]
) -> dict[str, Any]:
    """Arguments from a configuration, its transform overridden.

    Raises:
        click.UsageError: What the configuration says is said again.
    """
    from audit.runs.ablation_table import of_configuration

    if any(others) or about["model_args"]:
        raise click.UsageError(
            "--config says what the checkpoint and its training set are; leave out --weights, "
            "--pretrained, --dataset and --args"
        )
    given = of_configuration(config, checkpoint)
    return given | {"transform": {**given["transform"], **about["transform"]}}


def _network(
    checkpoint: str, weights: Path | None, pretrained: bool, model_args: dict[str, Any]
) -> str | dict[str, Any]:
    """A weights file, or a section of `[[checkpoints]]`.

    Raises:
        click.UsageError: A model without weights.
    """
    if weights is None and not pretrained:
        if Path(checkpoint).suffix and Path(checkpoint).exists():
            return checkpoint
        raise click.UsageError(
            f"CHECKPOINT {checkpoint!r} is no file; a model's name needs --weights FILE or "
            "--pretrained, and the name of a configuration's checkpoint --config audit.toml"
        )
    file = {"weights": str(weights)} if weights else {"pretrained": True}
    return {"model": checkpoint, "model_args": model_args, **file}


def _dataset(name: str | None, dataset_args: str) -> dict[str, Any]:
    """The name and options of a training set.

    Raises:
        click.UsageError: None is named.
        click.BadParameter: The options are no JSON object.
    """
    if name is None:
        raise click.UsageError("say which training set: --dataset NAME or --config audit.toml")
    try:
        options = json_of(dataset_args)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error
    if not isinstance(options, dict):
        raise click.BadParameter("--dataset-args must be a JSON object")
    return {**options, "name": name}


def _show(found: CumulativeAblation) -> None:
    """Print areas with their intervals, and the verdict."""
    from audit.cli.show import WIDTH, print_columns

    areas = found.areas[found.areas["reason"] == ""].sort_values("accuracy", ascending=False)
    click.echo(
        f"{found.layer}: {found.n_units} units, {found.n_images} training images; "
        f"{found.n_passes:.1f} forward passes, {found.n_tails:.0f} through what follows the layer"
    )
    click.echo("areas under the curves, by accuracy, with 95% intervals over images\n")
    start = found.curves.groupby("order").first()
    texts = {
        "order": [str(name) for name in areas["order"]],
        "accuracy": [f"{value:.3f}" for value in areas["accuracy"]],
        "interval": _intervals(areas, "accuracy"),
        "loss": [f"{value:.3g}" for value in areas["loss"]],
        "interval ": _intervals(areas, "loss"),
        "without value": [str(number) for number in areas["n_undefined"]],
    }
    print_columns(texts, len(areas), left=("order",))
    for reason, rows in found.areas[found.areas["reason"] != ""].groupby("reason", sort=False):
        click.echo(f"– {', '.join(rows['order'])}: {reason}")
    whole, gone = start["accuracy"].iloc[0], found.curves.groupby("order")["accuracy"].last()
    click.echo(f"\naccuracy {whole:.3f} with all units, {gone.iloc[0]:.3f} with none")
    claim = "highest feature entropy first hurts least, lowest first most"
    text = f'"{claim}" {_VERDICTS[found.verdict]}: {found.explanation}'
    click.echo(textwrap.fill(text, WIDTH, break_on_hyphens=False))
    for note in found.notes:
        click.echo(f"note: {note}")


_VERDICTS = {"undefined": "cannot be judged"} | {
    word: word for word in ("holds", "holds weakly", "does not hold here")
}


def _intervals(areas: Any, name: str) -> list[str]:
    """The intervals of a quantity, in words."""
    ends = zip(areas[f"{name}_lower"], areas[f"{name}_upper"], strict=True)
    return [f"[{low:.3g}, {high:.3g}]" for low, high in ends]
