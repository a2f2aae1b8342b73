"""`genaudit reproduce`: the claims of the method as experiments."""

from __future__ import annotations

import glob
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from audit.cli.options import (
    as_json,
    machine_options,
    make_options,
    network_chosen,
    network_options,
)
from audit.notations import json_of

if TYPE_CHECKING:
    from audit.reproduction.case import Case
    from audit.reproduction.claim import Outcome, Quantity, Verdict
    from audit.reproduction.estimates import Estimate
    from audit.runs.config import RunOptions


@click.command("reproduce")
@click.argument("claims", nargs=-1, required=True, metavar="CLAIM...")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    default="reproduction",
    show_default=True,
    help="Holds networks, records, figures, numbers.csv and results.json.",
)
@click.option(
    "--form",
    default="full",
    show_default=True,
    help="What is trained: quick, short, full, or a TOML file.",
)
@click.option("--seeds", type=click.IntRange(1), help="Networks of each kind. [the form's]")
@click.option("--architecture", "architectures", multiple=True, help="Only this one of the form.")
@click.option("--source", "sources", multiple=True, help="Only this one of the form.")
@click.option("--model", help="Look at a network of your own instead, such as vgg16.")
@click.option("--weights", multiple=True, help="Its weights: a file, or a pattern of epochs.")
@click.option("--dataset", help="Its training images: name of a dataset plugin.")
@click.option("--data-option", "data_options", multiple=True, help="KEY=VALUE of that plugin.")
@click.option(
    "--images-per-class",
    type=click.IntRange(0),
    default=100,
    show_default=True,
    help="Of your own images; 0: all.",
)
@click.option(
    "--max-classes",
    type=click.IntRange(0),
    default=10,
    show_default=True,
    help="Of your own images; 0: all.",
)
@network_options
@click.option(
    "--figures",
    "figure_format",
    type=click.Choice(["svg", "png", "none"]),
    default="svg",
    show_default=True,
    help="Format of figures.",
)
@machine_options
@as_json
def command(
    claims: tuple[str, ...],
    output: Path,
    figure_format: str,
    as_json: bool,
    quiet: bool,
    workers: int | None,
    device: str,
    **chosen: Any,
) -> None:
    """Put claims of the method to networks, and print numbers, verdicts and their reasons.

    CLAIM is random-units, rescaling, depth, training, generalization or ablation, or all. Networks
    are trained from seeds on images that come along; what is there is not computed again. With
    --model, --weights and --dataset your own network is looked at instead.
    """
    from audit.cli.show import print_json
    from audit.reproduction.reproduce import chosen_claims, reproduce
    from audit.reproduction.results import as_plain

    chosen_claims(claims)
    options = make_options(
        output=output, cache=output / "cache", quiet=quiet, workers=workers, device=device
    )
    cases = _cases(options, **chosen)
    wanted = None if figure_format == "none" else figure_format
    outcomes = reproduce(claims, cases, options, wanted)
    if as_json:
        print_json(as_plain(outcomes))
        return
    for number, outcome in enumerate(outcomes):
        click.echo("\n" * bool(number), nl=False)
        _print_outcome(outcome)
    click.echo(f"\nAll numbers: {output / 'numbers.csv'}")
    if wanted:
        click.echo(f"Figures: {output / 'figures'}")


def _cases(
    options: RunOptions,
    form: str,
    seeds: int | None,
    architectures: tuple[str, ...],
    sources: tuple[str, ...],
    model: str | None,
    **given: Any,
) -> list[Case]:
    """The networks that are asked: a form's, or a person's own."""
    from audit.reproduction.form import read_form
    from audit.reproduction.reproduce import cases_of

    if model is not None:
        return [_given(model, options, **given)]
    for name in ("weights", "dataset", "data_options", "size"):
        if given[name]:
            raise click.UsageError(f"--{name.replace('_', '-').rstrip('s')} goes with --model")
    read = read_form(form)
    read = read.model_copy(update={"seeds": seeds}) if seeds else read
    return cases_of(read, options, architectures, sources)


def _given(
    model: str,
    options: RunOptions,
    weights: tuple[str, ...],
    dataset: str | None,
    data_options: tuple[str, ...],
    images_per_class: int,
    max_classes: int,
    size: str | None,
    model_args: str,
) -> Case:
    """A person's own network and images."""
    from audit.reproduction.given import GivenCase
    from audit.zoo.networks import device_of

    if dataset is None:
        raise click.UsageError("--model needs --dataset, and --weights")
    files = [Path(path) for one in weights for path in sorted(glob.glob(one)) or [one]]
    return GivenCase(
        model,
        files,
        {"name": dataset, **dict(_option(text) for text in data_options)},
        images_per_class=images_per_class,
        max_classes=max_classes,
        device=device_of(options.device),
        **network_chosen(size, model_args),
    )


def _option(text: str) -> tuple[str, Any]:
    """KEY=VALUE, the value as JSON where it is."""
    key, equals, value = text.partition("=")
    if not equals:
        raise click.BadParameter(f"--data-option needs KEY=VALUE; found {text!r}")
    try:
        return key, json_of(value)
    except ValueError:
        return key, value


def _print_outcome(outcome: Outcome) -> None:
    """Print a claim: its verdict, the numbers it rests on in every cell, and what stands beside."""
    from audit.cli.show import print_columns

    claim = outcome.claim
    click.echo(f"{claim.name}: {claim.statement}: {outcome.overall.word.upper()}")
    rows = [verdict for verdict in outcome.cells if verdict.n_networks]
    if rows:
        rows.append(outcome.overall)
        texts = {"": [_where(verdict) for verdict in rows]}
        for quantity in claim.judged:
            cells = [_number(verdict.estimates[quantity.name], quantity) for verdict in rows]
            texts[quantity.heading] = cells
        texts["verdict"] = [v.word for v in rows]
        print_columns(texts, len(rows), left=("", "verdict"))
        for verdict in rows:
            click.echo(f"  {_where(verdict)}: {verdict.sentence}")
        beside = [q for q in claim.quantities if q.role == "beside"]
        estimates = outcome.overall.estimates
        for quantity in beside:
            value = _number(estimates[quantity.name], quantity)
            click.echo(f"  beside: {quantity.heading}, {quantity.meaning}: {value}")
    for note in outcome.notes:
        click.echo(f"  no numbers of {note}")


def _where(verdict: Verdict) -> str:
    if verdict.where is not None:
        return str(verdict.where)
    return f"all {verdict.n_networks} networks" if verdict.n_networks > 1 else "all"


def _number(estimate: Estimate, quantity: Quantity) -> str:
    """An estimate with its interval, or the largest number where that is what counts."""
    if quantity.limit is not None:
        return f"{estimate.value:.3g}"
    return f"{estimate.value:.2f} [{estimate.lower:.2f}, {estimate.upper:.2f}]"
