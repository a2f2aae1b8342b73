"""Reading and checking a table of held-out accuracies."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from audit.errors import DataError, quoted
from audit.folder.csv_files import read_csv
from audit.statistics.result import HELD_OUT, TRAIN


class HeldOut(NamedTuple):
    """A held-out table that was read and checked.

    Attributes:
        table: One row per measured checkpoint found in it, with column `checkpoint`.
        notes: What was left out and why, one sentence each.
    """

    table: pd.DataFrame
    notes: list[str]


def read_held_out(
    source: str | Path | pd.DataFrame, checkpoints: Iterable[str] | None = None
) -> HeldOut:
    """Read and check a table of held-out accuracies.

    Required columns: `checkpoint`, `held_out_accuracy` in [0, 1]. Optional: `train_accuracy`,
    `family`, `n_held_out` (images the accuracy was taken on), hyperparameters `hp.*`. Measured
    checkpoints without a row are named in the notes: they are ranked, but nothing is correlated
    on them.

    Args:
        source: A CSV file, or a table already read.
        checkpoints: The checkpoints that were measured; None accepts any name.

    Returns:
        The table, in the order of `checkpoints` where given, and the notes.

    Raises:
        DataError: The file cannot be read as CSV; a required column is missing; a checkpoint is
            named twice or was never measured; an accuracy is not a number in [0, 1].
    """
    if isinstance(source, pd.DataFrame):
        where, table = "the held-out table", source.copy()
    else:
        where = f"held-out table {source}"
        table = read_csv(Path(source), "held-out", text=("checkpoint",))
    missing = [column for column in ("checkpoint", HELD_OUT) if column not in table.columns]
    if missing:
        raise DataError(
            f"{where} needs columns 'checkpoint' and '{HELD_OUT}'; "
            f"missing {quoted(missing)}, found {quoted(map(str, table.columns))}"
        )
    nameless = int((table["checkpoint"].isna() | (table["checkpoint"] == "")).sum())
    if nameless:
        raise DataError(f"{where} has {nameless} rows without a checkpoint name")
    table["checkpoint"] = table["checkpoint"].astype(str)
    _refuse_duplicates(table, where)
    for column in (HELD_OUT, TRAIN):
        if column in table.columns:
            table[column] = _accuracies(table, column, where)
    notes: list[str] = []
    if checkpoints is not None:
        known = list(dict.fromkeys(map(str, checkpoints)))
        table, notes = _match(table, known, where)
    empty = table.loc[table[HELD_OUT].isna(), "checkpoint"]
    if len(empty):
        notes.append(f"no {HELD_OUT} given for {quoted(empty)}: ranked, not used in correlation")
    return HeldOut(table.reset_index(drop=True), notes)


def _refuse_duplicates(table: pd.DataFrame, where: str) -> None:
    twice = table.loc[table["checkpoint"].duplicated(), "checkpoint"].unique()
    if len(twice):
        raise DataError(f"{where} names {quoted(twice)} more than once; keep one row each")


def _accuracies(table: pd.DataFrame, column: str, where: str) -> pd.Series[float]:
    """An accuracy column as floats in [0, 1], empty cells as NaN."""
    values = pd.to_numeric(table[column], errors="coerce")
    bad = (values.isna() & table[column].notna()) | (values < 0) | (values > 1)
    if not bad.any():
        return values.astype(float)
    first = int(np.flatnonzero(bad)[0])
    found = f"{table[column].iloc[first]!s} for {table['checkpoint'].iloc[first]!r}"
    percent = values.max() <= 100 and values.min() >= 0 and not values[bad].isna().any()
    hint = "; these look like percent: divide them by 100" if percent else ""
    raise DataError(f"{where} needs {column} in [0, 1]; found {found}{hint}")


def _match(table: pd.DataFrame, known: list[str], where: str) -> tuple[pd.DataFrame, list[str]]:
    """Keep the measured checkpoints in their order; refuse rows for unknown ones."""
    unknown = [name for name in table["checkpoint"] if name not in set(known)]
    missing = [name for name in known if name not in set(table["checkpoint"])]
    if unknown:
        near = difflib.get_close_matches(unknown[0], known, n=3)
        hint = f"; nearest to {unknown[0]!r}: {quoted(near)}" if near else ""
        raise DataError(
            f"{where} has rows for checkpoints that were not measured: {quoted(unknown)}"
            + (f"; measured, but without a row: {quoted(missing)}" if missing else "")
            + f"; known checkpoints: {quoted(known)}{hint}"
        )
    notes = []
    if missing:
        notes.append(f"no row for {quoted(missing)}: ranked, not used in correlation")
    kept = [name for name in known if name in set(table["checkpoint"])]
    return table.set_index("checkpoint").loc[kept].reset_index(), notes
