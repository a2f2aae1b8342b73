"""The measures table: one tidy row per (checkpoint, measure), and its wide form."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import pandas as pd

from audit.errors import DataError
from audit.folder.table_forms import TableForm, read_table
from audit.shown import MOST_IN_CELL, bounded, shown

#: Columns of `measures.csv`.
COLUMNS: Final = ("checkpoint", "measure", "version", "value", "status", "reason", "seconds")
#: One more column of `measures.csv` and of `ranking.csv`, which older tables lack: the kinds of
#: doubt there are about the checkpoint (`audit.measuring.doubt`), joined by ";"; empty for none.
DOUBT: Final = "doubt"
#: The form of `measures.csv`.
_FORM: Final = TableForm(
    what="measures",
    columns=COLUMNS,
    key=("checkpoint", "measure"),
    numbers=("value", "seconds"),
)
#: Stands in `measure` for a checkpoint that could not be audited at all.
ALL_MEASURES: Final = "all"


def measures_frame(rows: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """The tidy table, sorted by checkpoint and measure.

    Raises:
        DataError: Two rows for one (checkpoint, measure).
    """
    given = [{DOUBT: "", **row} for row in rows]
    given = [{**row, "reason": _cell(row.get("reason", ""))} for row in given]
    frame = pd.DataFrame(given, columns=[*COLUMNS, DOUBT])
    frame = frame.astype({"value": "float64", "seconds": "float64"})
    frame = frame.sort_values(["checkpoint", "measure"], kind="stable", ignore_index=True)
    twice = frame.duplicated(["checkpoint", "measure"])
    if twice.any():
        row = frame[twice].iloc[0]
        raise DataError(f"two rows for checkpoint {row.checkpoint!r}, measure {row.measure!r}")
    return frame


def _cell(reason: object) -> str:
    """A reason as a table holds it: one line, bounded, of characters that a file can hold."""
    return bounded(shown(" ".join(str(reason).split())), MOST_IN_CELL)


def wide_frame(measures: pd.DataFrame, held_out: pd.DataFrame | None = None) -> pd.DataFrame:
    """One row per audited checkpoint, one column per measure.

    Args:
        measures: The tidy table.
        held_out: Columns checkpoint, held_out_accuracy, optional train_accuracy, family, hp.*;
            its train_accuracy, if any, goes before the measured one.

    Returns:
        Column checkpoint, measures in alphabetical order, then the columns of `held_out`. A
        number that does not exist is NaN. Checkpoints that failed as a whole are left out.
    """
    audited = measures[measures["measure"] != ALL_MEASURES]
    wide = audited.pivot(index="checkpoint", columns="measure", values="value").reset_index()
    wide.columns.name = None
    if held_out is None or held_out.empty:
        return wide
    wide = wide.drop(columns=[c for c in held_out.columns if c != "checkpoint" and c in wide])
    return wide.merge(held_out, on="checkpoint", how="left")


def read_measures(path: Path) -> pd.DataFrame:
    """Read a `measures.csv`.

    Raises:
        DataError: It cannot be read, lacks a column, holds other than finite numbers where
            numbers are needed, has two rows for a number, or names a measure as the column of
            checkpoints; the message says which.
    """
    frame = read_table(path, _FORM)
    if (frame["measure"] == "checkpoint").any():
        raise DataError(
            f"measures table {path} has a measure 'checkpoint', which names another column; "
            f"{_FORM.remedy}"
        )
    return frame if DOUBT in frame else frame.assign(**{DOUBT: ""})


def doubts_of(measures: pd.DataFrame) -> dict[str, str]:
    """Checkpoint → the kinds of doubt about it, joined by ";"; those without are left out."""
    rows = measures[(measures[DOUBT] != "") & measures[DOUBT].notna()]
    return dict(zip(rows["checkpoint"], rows[DOUBT], strict=True))
