"""The units of an audit that lies in an output folder: looked at closely, compared, drawn."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from audit.errors import ConfigError
from audit.folder.record import read_run
from audit.folder.unit_rows import CHOICES, chosen_units, folder_units
from audit.measuring.examples import Pick, unit_examples
from audit.measuring.view import Wanted
from audit.runs.config import RunOptions
from audit.runs.reopened import reopened, reopened_view
from audit.runs.unit_comparison import compare_views
from audit.units.across import compare_tables
from audit.units.comparison import UnitComparison
from audit.units.figure import unit_figure
from audit.units.standing import null_reducers, standing

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from audit.topology import Filtration


def folder_standing(
    folder: Path,
    nulls: bool,
    options: RunOptions | None = None,
    **chosen: str | int | None,
) -> pd.DataFrame:
    """Units with intervals, redundancy and, if asked for, z-scores against chance.

    The networks are opened again. Births that the store holds are not computed again; z-scores take
    a pass over the sample.

    Args:
        folder: The output folder.
        nulls: Whether units are set against chance.
        options: Where the store lies, and the device.
        **chosen: As `folder_units`.

    Returns:
        The columns of `folder_units` and those of `audit.units.standing.standing`; `attrs["notes"]`
        says what could not be told, and why.
    """
    table = folder_units(folder, **chosen)
    wanted = table[["checkpoint", "filtration"]].drop_duplicates().astype(str)
    study = reopened(folder, list(dict.fromkeys(wanted["checkpoint"])), options)
    found, notes = [], []
    for checkpoint, filtration in wanted.itertuples(index=False):
        reducers = null_reducers(filtration) if nulls else ()
        with reopened_view(study, checkpoint, Wanted((filtration,), reducers=reducers)) as view:
            stands = standing(view, filtration, nulls=nulls)
        notes += [f"{checkpoint}: {note}" for note in stands.attrs["notes"]]
        stands.insert(0, "filtration", filtration)
        stands.insert(0, "checkpoint", checkpoint)
        found.append(stands)
    every = pd.concat(found, ignore_index=True)
    every.attrs = {"notes": list(dict.fromkeys(notes))}
    return chosen_units(every, **chosen)


def folder_comparison(
    folder: Path,
    first: str,
    second: str,
    filtration: Filtration,
    match: bool = False,
    options: RunOptions | None = None,
    layer: str | None = None,
) -> UnitComparison:
    """Two checkpoints of an audit beside each other.

    Args:
        folder: The output folder.
        first: A checkpoint.
        second: Another.
        filtration: "clique" or "cubical".
        match: Whether the networks are opened again: maps are then brought to one size where they
            differ, and units are matched.
        options: Where the store lies, and the device.
        layer: Only this layer, which both have; not with `match`.

    Raises:
        ConfigError: A checkpoint, filtration or layer that is not there.
        DataError: No unit was measured.
    """
    tables = [
        folder_units(folder, checkpoint=name, filtration=filtration, layer=layer)
        for name in (first, second)
    ]
    if match:
        study = reopened(folder, list(dict.fromkeys((first, second))), options)
        wanted = Wanted((filtration,))
        with (
            reopened_view(study, first, wanted) as own,
            reopened_view(study, second, wanted) as other,
        ):
            return compare_views(own, other, filtration, (first, second))
    sizes = map_sizes(read_run(folder))
    return compare_tables(
        tables[0], tables[1], (first, second), sizes=(sizes.get(first), sizes.get(second))
    )


def map_sizes(record: Mapping[str, Any]) -> dict[str, dict[str, tuple[int, int]]]:
    """Checkpoint → layer → height and width of its maps, as a run record says."""
    return {
        str(entry["checkpoint"]): {
            str(layer["layer"]): (int(layer["height"]), int(layer["width"]))
            for layer in entry.get("layers") or ()
        }
        for entry in record.get("checkpoints") or ()
    }


def folder_figure(
    folder: Path,
    n_images: int = 5,
    options: RunOptions | None = None,
    **chosen: str | int | None,
) -> Figure:
    """One unit of an audit, looked at.

    Args:
        folder: The output folder.
        n_images: Images shown.
        options: Where the store lies, and the device.
        **chosen: As `folder_units`: together they must leave one row.

    Raises:
        ConfigError: Several units, classes, layers, filtrations or checkpoints are left.
    """
    table = folder_units(folder, **chosen)
    for column, word in CHOICES.items():
        known = [str(value) for value in table[column].unique()]
        if len(known) > 1:
            some = ", ".join(known[:8]) + (" …" if len(known) > 8 else "")
            raise ConfigError(f"one unit is drawn: choose its {word} (--{word}), one of {some}")
    row = table.iloc[0]
    checkpoint, filtration = str(row["checkpoint"]), row["filtration"]
    study = reopened(folder, [checkpoint], options)
    pick = Pick(str(row["layer"]), int(row["unit"]), str(row["class_name"]))
    with reopened_view(study, checkpoint, Wanted((filtration,))) as view:
        (examples,) = unit_examples(view, filtration, [pick], n_images)
    return unit_figure(examples)
