"""`genaudit rank`: the ranking alone, and the gate."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from audit.cli import EXIT_SHUT
from audit.cli.options import as_json, folder_argument


@click.command("rank")
@folder_argument
@click.option(
    "--card",
    help="Rank by this calibrator card (a shipped name or a file), or by none: 'none'.",
)
@click.option(
    "--prior",
    default="default",
    show_default=True,
    help="The card to start from without --card, a shipped name or a file; 'none': from nothing.",
)
@click.option("--abstain", is_flag=True, help="Outside the card's domain, rank nothing.")
@click.option(
    "--leave-out",
    type=click.Choice(["auto", "families", "checkpoints"]),
    default="auto",
    show_default=True,
    help="What the ranker that predicts a checkpoint has not seen.",
)
@click.option(
    "--require-better-than",
    "reference",
    metavar="CHECKPOINT",
    help="Exit with 4 unless some checkpoint is certainly better than this one.",
)
@as_json
def command(folder: Path, reference: str | None, as_json: bool, prior: str, **chosen: Any) -> None:
    """Rank the checkpoints measured in FOLDER; write ranking.csv.

    With a card, the card ranks, without any held-out accuracy. Otherwise, where `correlate` has
    read three held-out accuracies or more, a model of them that starts from the prior ranks (each
    checkpoint by a model that never saw it); where it has not, the prior does, or, without most of
    its measures or with --card none, the measures' declared directions.

    JSON: {"schema": 1, "ranking": [{"predicted_rank", "checkpoint", "score", "lower", "upper",
    "tied_with": [names], "doubt": [kinds]}], "about": {"mode", "score_is", "confidence", "notes",
    …}, "better_than": null or {"reference", "checkpoints": [names certainly better, best first]}}.
    """
    from audit import ranking
    from audit.cli.show import print_json, print_ranking, ranking_rows, tell_partial
    from audit.folder.record import RANKING, read_run
    from audit.ranking.stage import rank_folder

    frame = rank_folder(folder, prior=None if prior == "none" else prior, **chosen)
    tell_partial(folder)
    above = ranking.better_than(frame, reference) if reference is not None else None
    if as_json:
        rows = ranking_rows(frame)
        gate = None if above is None else {"reference": reference, "checkpoints": above}
        about = read_run(folder)["ranking"]
        print_json({"schema": 1, "ranking": rows, "about": about, "better_than": gate})
    else:
        print_ranking(frame, rows=len(frame))
        for note in read_run(folder)["ranking"].get("notes", []):
            click.echo(f"note: {note}")
        if above is not None:
            names = ", ".join(above) if above else "none"
            click.echo(f"Certainly better than {reference}: {names}")
        click.echo(f"Ranking: {folder / RANKING}")
    if above == []:
        raise click.exceptions.Exit(EXIT_SHUT)
