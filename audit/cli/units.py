"""`genaudit units`: the units of an audit, ranked, set against chance, compared, drawn."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from audit.cli.options import Number, as_json, cache_option, folder_argument

if TYPE_CHECKING:
    import pandas as pd

    from audit.runs.config import RunOptions
    from audit.topology import Filtration
    from audit.units.comparison import UnitComparison

#: Why a test cannot tell, so many times for each question.
_MOST_REASONS: Final = 3


@click.command("units")
@folder_argument
@click.option("--checkpoint", help="Only this checkpoint.")
@click.option("--layer", help="Only this layer.")
@click.option("--unit", type=click.IntRange(0), help="Only units of this number.")
@click.option("--class", "class_name", help="Only this class.")
@click.option("--filtration", type=click.Choice(["clique", "cubical"]), help="Only this one.")
@click.option(
    "--min-rate",
    type=Number(0, 1),
    default=0.1,
    show_default=True,
    help="Leave out units born on a smaller share of the images: their entropy says little.",
)
@click.option("--rows", type=click.IntRange(1), default=20, show_default=True, help="At most.")
@click.option("--last", is_flag=True, help="Highest feature entropy, or last rank, first.")
@click.option(
    "--rank",
    type=click.Choice(["class", "layer"]),
    help="Rank units within each class of a layer, or over the classes of each layer.",
)
@click.option("--intervals", is_flag=True, help="Tell intervals, and units that repeat others.")
@click.option(
    "--nulls",
    is_flag=True,
    help="Tell z-scores too: against shuffled maps, images of any class, and random weights.",
)
@click.option("--across", nargs=2, metavar="A B", help="Compare the units of two checkpoints.")
@click.option(
    "--match", is_flag=True, help="With --across: run both networks, and match their units."
)
@click.option(
    "--plot",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Draw the one unit that is chosen, or the comparison, to this file (svg, png, pdf).",
)
@click.option(
    "--images", type=click.IntRange(1), default=5, show_default=True, help="Drawn by --plot."
)
@click.option("--device", default="auto", show_default=True, help="auto, cpu or cuda.")
@cache_option
@as_json
def command(folder: Path, **given: Any) -> None:
    """Show units of the audit in FOLDER, lowest feature entropy first.

    Intervals, z-scores, matches and figures open the networks again; what the store holds of them
    is not computed again.
    """
    if given["match"] and not given["across"]:
        raise click.UsageError("--match goes with --across")
    if given["across"]:
        _across(folder, given)
    elif given["plot"]:
        _plot(folder, given)
    else:
        _table(folder, given)


def _chosen(given: dict[str, Any]) -> dict[str, Any]:
    """Which units the options choose."""
    from audit.folder.unit_rows import CHOICES

    return {column: given[column] for column in CHOICES}


def _run_options(given: dict[str, Any]) -> RunOptions:
    """Where the store lies, and the device."""
    from audit.runs.config import RunOptions

    options: dict[str, Any] = {"device": given["device"], "progress": False}
    if given["cache"] is not None:
        options["cache"] = given["cache"]
    return RunOptions(**options)


def _table(folder: Path, given: dict[str, Any]) -> None:
    """Print units, or their ranks."""
    from audit.cli.show import print_json, rows_of
    from audit.folder.unit_rows import folder_units

    chosen, rows = _chosen(given), given["rows"]
    if given["nulls"] or given["intervals"]:
        from audit.runs.folder_units import folder_standing

        table = folder_standing(folder, given["nulls"], _run_options(given), **chosen)
    else:
        table = folder_units(folder, **chosen)
    notes = table.attrs.get("notes", [])
    if given["rank"]:
        from audit.units.order import rank_units

        table = rank_units(table, given["rank"], given["min_rate"])
        table = table[table["rank"].notna()].drop(columns="unranked")
        groups = [
            name for name in ("checkpoint", "filtration", "layer", "class_name") if name in table
        ]
        table = _ends(table, "rank", groups, rows, given["last"])
    else:
        table = table[table["effective_rate"] >= given["min_rate"]]
        ascending = not given["last"]
        table = table.sort_values("feature_entropy", kind="stable", ascending=ascending)
    if given["as_json"]:
        print_json(rows_of(table if given["rank"] else table.head(rows)))
        return
    if table.empty:
        click.echo(f"no unit is born on at least {given['min_rate']:g} of the images")
        return
    _print(table, len(table) if given["rank"] else rows)
    for note in notes:
        click.echo(note)


def _ends(table: pd.DataFrame, by: str, groups: list[str], rows: int, last: bool) -> pd.DataFrame:
    """The first rows of each group, or the last ones, the last first."""
    ordered = table.iloc[::-1] if last else table
    return ordered.groupby(groups, sort=False, observed=True).head(rows)


def _print(table: pd.DataFrame, rows: int) -> None:
    """Print a table without the columns that say the same in every row, which go before it."""
    from audit.cli.show import print_table

    same = [
        name
        for name in ("checkpoint", "filtration", "layer", "class_name", "n_images")
        if name in table and table[name].nunique() == 1
    ]
    words = {"class_name": "class", "n_images": "images of each class"}
    if same:
        click.echo(", ".join(f"{words.get(name, name)} {table[name].iloc[0]}" for name in same))
    print_table(table.drop(columns=same), rows)


def _across(folder: Path, given: dict[str, Any]) -> None:
    """Compare two checkpoints, and draw it where a file is named."""
    from audit.cli.show import print_json
    from audit.runs.folder_units import folder_comparison
    from audit.units.canvas import save_figure

    first, second = given["across"]
    filtration: Filtration = given["filtration"] or "clique"
    if given["match"] and given["layer"]:
        raise click.UsageError("--layer goes with --across, but not with --match")
    found = folder_comparison(
        folder, first, second, filtration, given["match"], _run_options(given), given["layer"]
    )
    if given["as_json"]:
        print_json(found.to_dict())
    else:
        _print_comparison(found, filtration, given["rows"])
    if given["plot"]:
        save_figure(found.plot(), given["plot"])
        click.echo(f"Figure: {given['plot']}", err=given["as_json"])


def _print_comparison(found: UnitComparison, filtration: str, rows: int) -> None:
    """Print every question with its table and what its verdicts rest on."""
    import textwrap

    from audit.cli.show import WIDTH, print_table
    from audit.units.comparison import QUESTIONS

    click.echo(f"first: {found.names[0]}, second: {found.names[1]}, {filtration} filtration")
    for name, table in found.tables.items():
        click.echo(f"\n{QUESTIONS[name]}")
        same = (table["layer_first"].astype(str) == table["layer_second"].astype(str)).all()
        if same:
            table = table.drop(columns="layer_second").rename(columns={"layer_first": "layer"})
        table = table.sort_values("p_adjusted", kind="stable") if name == "classes" else table
        reasons = table.pop("reason")
        print_table(table, rows)
        every = list(dict.fromkeys(reasons[reasons != ""]))
        for reason in every[:_MOST_REASONS]:
            click.echo(f"cannot tell: {reason}")
        if len(every) > _MOST_REASONS:
            click.echo(f"… and {len(every) - _MOST_REASONS} more reasons, in --json")
        click.echo(
            textwrap.fill(
                found.hypothesis(name), WIDTH, initial_indent="  ", subsequent_indent="  "
            )
        )


def _plot(folder: Path, given: dict[str, Any]) -> None:
    """Draw one unit."""
    from audit.runs.folder_units import folder_figure
    from audit.units.canvas import save_figure

    figure = folder_figure(folder, given["images"], _run_options(given), **_chosen(given))
    save_figure(figure, given["plot"])
    click.echo(f"Figure: {given['plot']}")
