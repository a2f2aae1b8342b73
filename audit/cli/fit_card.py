"""`genaudit fit-card`: a calibrator card from audits of known accuracy."""

from __future__ import annotations

from pathlib import Path

import click


@click.command("fit-card")
@click.argument(
    "folders",
    nargs=-1,
    required=True,
    type=click.Path(path_type=Path, exists=True, file_okay=False),
)
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path, dir_okay=False))
@click.option("--name", required=True, help="Of the card.")
@click.option("--measures", default="", help="Names joined by commas. [all usable in every zoo]")
@click.option("--description", default="", help="For readers.")
def command(
    folders: tuple[Path, ...], output: Path, name: str, measures: str, description: str
) -> None:
    """Fit a card on the audits in FOLDERS, which know their accuracies; write it as JSON.

    Such a card ranks other checkpoints without any accuracy: `genaudit rank DIR --card FILE`.
    """
    from audit import ranking
    from audit.ranking.stage import fit_card

    chosen = [word.strip() for word in measures.split(",") if word.strip()]
    card = fit_card(folders, name, chosen, description)
    ranking.save_card(card, output)
    click.echo(f"Card of {len(card.measures)} measures, fitted on {len(folders)} audits: {output}")
