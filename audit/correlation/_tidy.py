"""A tidy table, one row per checkpoint and measure, made wide."""

from __future__ import annotations

import numpy as np
import pandas as pd

from audit.correlation._roles import has_role
from audit.correlation._rows import check_rows
from audit.correlation._sheet import Sheet
from audit.errors import DataError, quoted

MEASURE, VALUE = "measure", "value"
#: Columns about one number rather than about the checkpoint.
_ABOUT_ONE = frozenset({MEASURE, VALUE, "version", "status", "reason", "seconds"})
#: Stands in `measure` for a checkpoint that could not be audited at all.
_ALL = "all"


def is_tidy(columns: list[str], checkpoint: str | None) -> bool:
    """Whether a table with these columns has one row per checkpoint and measure."""
    return checkpoint is not None and {MEASURE, VALUE} <= set(columns)


def make_wide(sheet: Sheet, checkpoint: str) -> None:
    """Make a tidy table wide: one row per checkpoint, where its first one stands.

    Args:
        sheet: Changed in place. Besides names, measures and values it keeps what does not vary
            within a checkpoint.
        checkpoint: The column of names.

    Raises:
        DataError: A row lacks a name or a number; one checkpoint and measure has two values; a
            column such as an accuracy differs within a checkpoint; a measure is named like a
            column.
    """
    table = sheet.table
    if VALUE in sheet.strays or not pd.api.types.is_numeric_dtype(table[VALUE]):
        row, text = sheet.strays.get(VALUE, (0, str(table[VALUE].iloc[0])))
        raise DataError(
            f"{sheet.where}: column {VALUE} needs numbers; found {text!r} in {sheet.places[row]}"
        )
    named = (table[[checkpoint, MEASURE]].astype(str).apply(lambda c: c.str.strip())) != ""
    nameless = np.flatnonzero(~named.all(axis=1).to_numpy())
    if len(nameless):
        raise DataError(
            f"{sheet.where} has {len(nameless)} rows without a checkpoint name or a measure "
            f"({sheet.of(nameless)}); name them, or remove them"
        )
    _drop_repeats(sheet, checkpoint)
    table = sheet.table
    table = table[~((table[MEASURE] == _ALL) & table[VALUE].isna())]
    about = [c for c in table.columns if c not in _ABOUT_ONE | {checkpoint}]
    varying = {c: text for c in about if (text := _differs(sheet, checkpoint, c))}
    for column, text in varying.items():
        if has_role(column):
            raise DataError(
                f"{sheet.where}: {text}; a column beside {MEASURE} and {VALUE} needs one value "
                "per checkpoint"
            )
    if varying:
        sheet.notes.append(f"differ within a checkpoint, set aside: {', '.join(varying)}")
    about = [c for c in about if c not in varying]
    clash = sorted({checkpoint, *about} & set(table[MEASURE]))
    if clash:
        raise DataError(f"{sheet.where} has measures named like columns: {quoted(clash)}; rename")
    order: dict[str, str] = {}
    for place, name in zip(table.index, table[checkpoint], strict=True):
        order.setdefault(name, sheet.places[place])
    wide = table.pivot(index=checkpoint, columns=MEASURE, values=VALUE)
    wide = wide.join(table.groupby(checkpoint)[about].first()).reset_index()
    sheet.places = [order[name] for name in wide[checkpoint]]
    sheet.table, sheet.strays = wide.rename_axis(columns=None), {}
    sheet.notes.append("one row per checkpoint and measure: made wide")
    check_rows(sheet, checkpoint)


def _drop_repeats(sheet: Sheet, checkpoint: str) -> None:
    """Count once what is given twice, refuse what is given differently."""
    table = sheet.table
    keys = list(zip(table[checkpoint], table[MEASURE], strict=True))
    first = {key: row for row, key in reversed(list(enumerate(keys)))}
    repeats = [row for row, key in enumerate(keys) if first[key] != row]
    if not repeats:
        return
    values = table[VALUE].to_numpy(dtype=float)
    for row in repeats:
        other = first[keys[row]]
        if not np.array_equal(values[row], values[other], equal_nan=True):
            name, measure = keys[row]
            raise DataError(
                f"{sheet.where} gives {measure} of {name!r} more than once: {values[other]:.15g} "
                f"in {sheet.places[other]} and {values[row]:.15g} in {sheet.places[row]}; keep one"
            )
    sheet.notes.append(
        f"{sheet.of(repeats)}: checkpoint and measure given before with an equal value, counted "
        "once"
    )
    sheet.keep([row for row in range(len(keys)) if row not in set(repeats)])


def _differs(sheet: Sheet, checkpoint: str, column: str) -> str:
    """Where a column about checkpoints differs within one, in words; empty cells do not differ."""
    first: dict[str, int] = {}
    cells = sheet.table[column].tolist()
    for row, name in enumerate(sheet.table[checkpoint]):
        if pd.isna(cells[row]):
            continue
        other = first.setdefault(name, row)
        if cells[other] != cells[row]:
            return (
                f"{column} of {name!r} is {cells[other]} in {sheet.places[other]} and "
                f"{cells[row]} in {sheet.places[row]}"
            )
    return ""
