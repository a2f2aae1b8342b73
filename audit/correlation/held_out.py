"""Reading and checking a table of held-out accuracies."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from audit.correlation._accuracies import shares
from audit.correlation._roles import CHECKPOINT
from audit.correlation._rows import check_rows
from audit.correlation._sheet import read_sheet, type_columns
from audit.errors import DataError, column_names, quoted
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
            has rows that differ or was never measured; an accuracy is not a number in [0, 1];
            a number can be read in two ways.
    """
    sheet = read_sheet(source, "held-out")
    columns = list(map(str, sheet.table.columns))
    missing = [column for column in (CHECKPOINT, HELD_OUT) if column not in columns]
    if missing:
        raise DataError(
            f"{sheet.where} needs columns '{CHECKPOINT}' and '{HELD_OUT}'; "
            f"missing {quoted(missing)}, found {column_names(columns)}"
        )
    type_columns(sheet, text=(CHECKPOINT,), levels=("family",))
    check_rows(sheet, CHECKPOINT)
    for column in (HELD_OUT, TRAIN):
        if column in columns:
            sheet.table[column] = shares(
                sheet, column, sheet.table[CHECKPOINT], percent=column in sheet.percents
            )
    table, where = sheet.table, sheet.where
    notes = sheet.notes
    if checkpoints is not None:
        known = list(dict.fromkeys(map(str, checkpoints)))
        table, said = _match(table, known, where)
        notes += said
    empty = table.loc[table[HELD_OUT].isna(), "checkpoint"]
    if len(empty):
        notes.append(f"no {HELD_OUT} given for {quoted(empty)}: ranked, not used in correlation")
    return HeldOut(table.reset_index(drop=True), notes)


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
