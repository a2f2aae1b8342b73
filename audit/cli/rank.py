"""`genaudit rank`: the ranking alone."""

from __future__ import annotations

from pathlib import Path

import click

from audit.cli.options import as_json, folder_argument


@click.command("rank")
@folder_argument
@as_json
def command(folder: Path, as_json: bool) -> None:
    """Rank the checkpoints measured in FOLDER; write ranking.csv.

    Where `correlate` has read held-out accuracies, a model of them ranks (each checkpoint by a
    model that never saw it); otherwise the measures' declared directions do.
    """
    from audit import pipeline
    from audit.cli.show import print_json, print_ranking, records
    from audit.record import RANKING

    frame = pipeline.rank_folder(folder)
    if as_json:
        print_json(records(frame))
    else:
        print_ranking(frame, rows=len(frame))
        click.echo(f"Ranking: {folder / RANKING}")
