"""`genaudit correlate`: measures against held-out accuracies."""

from __future__ import annotations

from pathlib import Path

import click

from audit.cli.options import as_json, folder_argument


@click.command("correlate")
@folder_argument
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
@as_json
def command(folder: Path, held_out: Path | None, target: str, as_json: bool) -> None:
    """Correlate the measures in FOLDER with held-out accuracies; write correlations.csv."""
    from audit import stages
    from audit.cli.show import print_correlations, print_json, records
    from audit.record import CORRELATIONS

    frame = stages.correlate_folder(folder, held_out, target)
    if as_json:
        print_json(records(frame))
    else:
        print_correlations(frame, rows=len(frame))
        click.echo(f"Correlations: {folder / CORRELATIONS}")
