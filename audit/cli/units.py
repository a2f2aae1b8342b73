"""`genaudit units`: the unit table of an audit."""

from __future__ import annotations

from pathlib import Path

import click

from audit.cli.options import as_json, folder_argument


@click.command("units")
@folder_argument
@click.option("--checkpoint", help="Only this checkpoint.")
@click.option("--layer", help="Only this layer.")
@click.option("--class", "class_name", help="Only this class.")
@click.option("--filtration", type=click.Choice(["clique", "cubical"]), help="Only this one.")
@click.option(
    "--min-rate",
    type=click.FloatRange(0, 1),
    default=0.1,
    show_default=True,
    help="Leave out units born on a smaller share of the images: their entropy says little.",
)
@click.option("--rows", type=click.IntRange(1), default=20, show_default=True, help="At most.")
@as_json
def command(folder: Path, rows: int, min_rate: float, as_json: bool, **wanted: str | None) -> None:
    """Show units of the audit in FOLDER, lowest feature entropy first."""
    import pandas as pd

    from audit.cli.show import print_json, print_table, rows_of
    from audit.errors import DataError, unknown_name

    path = folder / "units.parquet"
    if not path.exists():
        raise DataError(f"{path} does not exist: no unit was measured; `genaudit measure` does it")
    frame = pd.read_parquet(path)
    for column, value in wanted.items():
        if value is not None:
            if value not in set(frame[column]):
                raise unknown_name(column, value, map(str, frame[column].unique()))
            frame = frame[frame[column] == value]
    frame = frame[frame["effective_rate"] >= min_rate]
    frame = frame.sort_values("feature_entropy", kind="stable")
    if as_json:
        print_json(rows_of(frame.head(rows)))
    elif frame.empty:
        click.echo(f"no unit is born on at least {min_rate:g} of the images")
    else:
        print_table(frame, rows)
