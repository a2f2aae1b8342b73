"""Which rows of a table are checkpoints: each once, and no totals below them."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import pandas as pd

from audit.correlation._sheet import Sheet
from audit.errors import DataError, quoted

#: What spreadsheets call the rows below the data, and what such a row holds.
_SUMMARIES: Final = {
    "mean": ("mean", "average", "avg", "mean:", "average:", "ø", "mittelwert", "moyenne"),
    "sum": ("sum", "total", "totals", "grand total", "sum:", "total:", "summe", "gesamt"),
    "median": ("median", "median:"),
    "min": ("min", "minimum"),
    "max": ("max", "maximum"),
    "std": ("std", "stdev", "sd", "standard deviation"),
    "count": ("count", "anzahl"),
}
#: Fewer rows than this above it have no summary that could be told from a checkpoint.
_MIN_SUMMED: Final = 3
_CALLED: Final = {name: kind for kind, names in _SUMMARIES.items() for name in names}


def check_rows(sheet: Sheet, checkpoint: str | None) -> None:
    """Leave out totals and repeated rows; refuse rows without a name, and names given twice.

    Args:
        sheet: Changed in place.
        checkpoint: The column of names, whose empty cells are empty text; None if there is none.

    Raises:
        DataError: No row is left, a row has no name, or one name has rows that differ.
    """
    _drop_summaries(sheet, checkpoint)
    if sheet.table.empty:
        raise DataError(f"{sheet.where} has no rows; it needs one per checkpoint")
    if checkpoint is None:
        return
    names = sheet.table[checkpoint]
    nameless = np.flatnonzero((names.isna() | (names.astype(str).str.strip() == "")).to_numpy())
    if len(nameless):
        raise DataError(
            f"{sheet.where} has {len(nameless)} rows without a checkpoint name "
            f"({sheet.of(nameless)}); name them, or remove them"
        )
    sheet.table[checkpoint] = names.astype(str).str.strip().astype(object)
    _drop_repeats(sheet, checkpoint)


def _drop_summaries(sheet: Sheet, checkpoint: str | None) -> None:
    """Leave out the rows at the end that sum up those above them."""
    n = len(sheet.table)
    names = [""] * n if checkpoint is None else sheet.table[checkpoint].astype(str).tolist()
    names = [name.strip().lower() for name in names]
    start = n
    while start > 0 and (names[start - 1] in _CALLED or (not names[start - 1] and start == n)):
        start -= 1
    if start < _MIN_SUMMED:
        return
    dropped = []
    for row in range(start, n):
        if names[row]:
            is_summary = _sums_up(sheet, row, start, _CALLED[names[row]], least=1)
        else:  # it must show by its numbers
            is_summary = any(_sums_up(sheet, row, start, kind, least=2) for kind in ("mean", "sum"))
        if is_summary:
            dropped.append(row)
        elif names[row]:
            sheet.notes.append(
                f"{sheet.places[row]} is named {names[row]!r}, but is not that of the rows above: "
                "taken for a checkpoint"
            )
    if dropped:
        sheet.notes.append(f"{sheet.of(dropped)}: a summary of the rows above, left out")
        sheet.keep([row for row in range(n) if row not in set(dropped)])


def _sums_up(sheet: Sheet, row: int, start: int, kind: str, least: int) -> bool:
    """Whether a row's numbers, at least so many, are this summary of those above `start`."""
    numbers = sheet.table.select_dtypes(include="number").astype(float)
    given = numbers.iloc[row].dropna()
    right = [
        np.isclose(given[c], _summary(numbers[c].iloc[:start].dropna(), kind), rtol=1e-3)
        for c in given.index
    ]
    return len(right) >= least and bool(np.all(right))


def _summary(values: pd.Series[Any], kind: str) -> float:
    """One number for a column."""
    if values.empty:
        return float("nan")
    return float(getattr(values, kind)())


def _drop_repeats(sheet: Sheet, checkpoint: str) -> None:
    """Keep one of the rows that say the same of one checkpoint; refuse those that differ."""
    names = sheet.table[checkpoint]
    first = {name: i for i, name in reversed(list(enumerate(names)))}
    repeats = [(i, first[name]) for i, name in enumerate(names) if first[name] != i]
    if not repeats:
        return
    for row, other in repeats:
        a, b = sheet.table.iloc[other], sheet.table.iloc[row]
        differing = [c for c in sheet.table.columns if not _same(a[c], b[c])]
        if differing:
            column = differing[0]
            twice = names[names.duplicated()].unique()
            raise DataError(
                f"{sheet.where} names {quoted(twice)} more than once, with different values: "
                f"{column} of {names[row]!r} is {a[column]} in {sheet.places[other]} and "
                f"{b[column]} in {sheet.places[row]}; keep one row each"
            )
    equal = list(dict.fromkeys(names[row] for row, _ in repeats))
    sheet.notes.append(
        f"{quoted(equal)} stand{'s' if len(equal) == 1 else ''} more than once with equal values "
        f"({sheet.of(row for row, _ in repeats)}): counted once"
    )
    left_out = {row for row, _ in repeats}
    sheet.keep([i for i in range(len(names)) if i not in left_out])


def _same(a: Any, b: Any) -> bool:
    """Whether two cells are equal, or both empty."""
    return bool((pd.isna(a) and pd.isna(b)) or a == b)
