"""`genaudit correlate`: measures against held-out accuracies."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from audit.cli.options import as_json


@click.command("correlate")
@click.argument("source", type=click.Path(path_type=Path), default="genaudit-output")
@click.option(
    "--held-out",
    type=click.Path(path_type=Path, dir_okay=False),
    help="CSV with columns checkpoint, held_out_accuracy. [the configuration's]",
)
@click.option(
    "--target",
    type=click.Choice(["held_out_accuracy", "generalization_gap"]),
    default="held_out_accuracy",
    show_default=True,
    help="What the measures should predict.",
)
@click.option("--target-column", "target_column", help="Of a CSV: the held-out accuracy.")
@click.option("--checkpoint-column", "checkpoint", help="Of a CSV: the names.")
@click.option("--train-accuracy-column", "train_accuracy", help="Of a CSV.")
@click.option("--family-column", "family", help="Of a CSV.")
@click.option("--hyperparameters", default="", help="Of a CSV: columns joined by commas.")
@click.option("--measures", default="", help="Of a CSV: columns joined by commas.")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path, dir_okay=False), help="Of a CSV: write here."
)
@as_json
def command(
    source: Path,
    held_out: Path | None,
    target: str,
    as_json: bool,
    output: Path | None,
    **columns: Any,
) -> None:
    """Correlate measures with held-out accuracies.

    SOURCE is a folder that `genaudit measure` wrote (then correlations.csv is written there), or
    any CSV with measures and accuracies: one row per checkpoint, or one per checkpoint and
    measure. The columns of a CSV are named by options, or guessed and printed.
    """
    from audit.cli.show import print_correlations, print_json, rows_of, tell_partial
    from audit.correlation.stage import correlate_folder
    from audit.folder.record import CORRELATIONS

    if source.is_file():
        _correlate_foreign_table(source, target, output, as_json, columns)
        return
    frame = correlate_folder(source, held_out, target)
    tell_partial(source)
    if as_json:
        print_json(rows_of(frame))
    else:
        print_correlations(frame, rows=len(frame))
        click.echo(f"Correlations: {source / CORRELATIONS}")


def _correlate_foreign_table(
    path: Path, target: str, output: Path | None, as_json: bool, columns: dict[str, Any]
) -> None:
    """Judge the measures of any CSV."""
    from audit import correlation
    from audit.cli.show import print_correlations, print_json, rows_of
    from audit.folder.csv_files import write_csv
    from audit.plugin.registry import installed

    foreign = correlation.read_foreign_table(
        path,
        target=columns["target_column"],
        checkpoint=columns["checkpoint"],
        train_accuracy=columns["train_accuracy"],
        family=columns["family"],
        hyperparameters=_words(columns["hyperparameters"]),
        measures=_words(columns["measures"]),
    )
    for role, played_by in foreign.roles.items():
        by = ", ".join(played_by) if isinstance(played_by, list) else played_by
        click.echo(f"{role}: {by or 'none'}", err=True)
    for note in foreign.notes:
        click.echo(f"note: {note}", err=True)
    judged = foreign.roles["measures"]
    directions = {name: installed().direction(name) for name in judged}
    frame = correlation.correlate(foreign.table, target, measures=judged, directions=directions)
    notes = [*foreign.notes, *frame.attrs["notes"]]
    for note in frame.attrs["notes"]:
        click.echo(f"note: {note}", err=True)
    if output is not None:
        write_csv(frame, output)
    if as_json:
        print_json({"roles": foreign.roles, "notes": notes, "correlations": rows_of(frame)})
    else:
        print_correlations(frame, rows=len(frame))
        for row in rows_of(frame):
            if row["undefined"]:
                click.echo(f"{row['measure']}: {row['undefined']}")


def _words(text: str) -> list[str]:
    """Words joined by commas."""
    return [word.strip() for word in text.split(",") if word.strip()]
