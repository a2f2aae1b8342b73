"""`genaudit invariance`: which changes of a network move which measures."""

from __future__ import annotations

from pathlib import Path

import click

from audit.cli.options import as_json, network_chosen, network_options


@click.command("invariance")
@click.argument("model")
@click.option(
    "--measure",
    "measures",
    multiple=True,
    help="A measure, or a pattern such as 'feature_entropy.*'; may be repeated. [all]",
)
@click.option(
    "--change", "changes", multiple=True, help="One of the ten changes; may be repeated. [all]"
)
@click.option("--weights", type=click.Path(path_type=Path), help="A weights file. [random weights]")
@network_options
@click.option(
    "--seed", type=click.IntRange(0), default=0, show_default=True, help="Of all that is drawn."
)
@as_json
def command(
    model: str,
    measures: tuple[str, ...],
    changes: tuple[str, ...],
    weights: Path | None,
    size: str | None,
    model_args: str,
    seed: int,
    as_json: bool,
) -> None:
    """Change MODEL in ten ways that keep its predictions, and show which measures move.

    Its weights are rescaled, its channels permuted, its BatchNorm folded; its images are given in
    another order, in other batches, twice, with classes under other numbers, in float32 and on
    another device. Measured in float64 on 24 images of smoothed noise. Exit code 3 if a measure
    moves that declares to stay.
    """
    from audit.cli.show import print_json, print_table, rows_of
    from audit.runs.invariance_table import invariance_matrix, invariance_table

    table = invariance_table(
        model,
        measures or ("all",),
        changes,
        weights=weights,
        **network_chosen(size, model_args),
        seed=seed,
    )
    broken = table[(table["outcome"] == "moves") & (table["declared"] == "same")]
    if as_json:
        print_json({"observations": rows_of(table), "n_broken": len(broken)})
    else:
        print_table(invariance_matrix(table))
        click.echo("\n= same, ~ moves as declared, ! moves though declared the same,")
        click.echo(". same though it may move, – no number here, ? the change cannot be tried")
        without = table[table["outcome"] == "no value"].drop_duplicates("measure")
        for reason, rows in without.groupby("note", sort=False):
            click.echo(f"– {', '.join(rows['measure'])}: {reason}")
        untried = table[table["outcome"] == "not tried"].drop_duplicates("change")
        for row in untried.itertuples():
            click.echo(f"? {row.change}: {row.note}")
        for row in broken.itertuples():
            click.echo(f"! {row.part} under {row.change}: {row.before:.6g} → {row.after:.6g}")
    if len(broken):
        raise SystemExit(3)
