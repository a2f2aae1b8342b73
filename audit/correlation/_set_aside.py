"""Columns of numbers that are no measures: numbers of rows, labels, and the answer itself."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
import pandas as pd

from audit.correlation._roles import folded, is_held_out_result
from audit.statistics.result import GAP, HELD_OUT, Values, numeric_column, target_values

ROW_NUMBERS: Final = "numbers of rows"
#: Names of columns that count or label rows.
_LABELS: Final = re.compile(
    r"unnamed:?_?\d*|column_\d+_\(without_a_name\)|#|index|idx|i|row|rows|row_?(number|num|no|id)|"
    r"no|nr|num|number|id|.*_id|uid|uuid|serial|level_0|seed|(random|init)_seed|run|trial|replicate|"
    r"date|time|timestamp|created(_at)?|epoch_time|unix_time"
)
#: On fewer rows any order is one that measures have too; none can then be significant.
_MIN_ROWS: Final = 5
#: Equally spaced numbers that are not consecutive say less: they need more rows.
_MIN_SPACED: Final = 8
#: Share of a column's variance that a straight line on the answer may leave.
_LEFT: Final = 1e-6


def row_numbers(values: Values) -> bool:
    """Whether numbers only count rows: equal steps from row to row, or each of a..a+n−1 once.

    Equal steps in another order count from 8 rows on.

    Args:
        values: A column, NaN where empty.

    Example:
        >>> row_numbers(np.array([3.0, 1.0, 2.0, 5.0, 4.0]))
        True
    """
    rows = np.flatnonzero(np.isfinite(values))
    known = values[rows]
    if len(rows) < _MIN_ROWS or len(np.unique(known)) < len(known):
        return False
    step = (known[-1] - known[0]) / (rows[-1] - rows[0])
    scale = np.abs(known).max()
    if np.allclose(known, known[0] + step * (rows - rows[0]), rtol=0, atol=1e-12 * scale):
        return True
    gaps = np.diff(np.sort(known))
    if not np.allclose(gaps, gaps[0], rtol=1e-9, atol=1e-12 * scale):
        return False
    return bool(np.all(known == np.round(known)) and gaps[0] == 1) or len(rows) >= _MIN_SPACED


def answers(table: pd.DataFrame, target: str) -> dict[str, Values]:
    """What measures should predict: the target, the held-out accuracy and the gap, by name."""
    found = {}
    for name in dict.fromkeys((target, HELD_OUT, GAP)):
        if name in table.columns or (name == GAP and HELD_OUT in table.columns):
            values, reason = target_values(table, name)
            if not reason:
                found[name] = values
    return found


def copied_answer(values: Values, known: Mapping[str, Values]) -> str:
    """The answer that a column is a straight line of, or "".

    Args:
        values: A column.
        known: Of `answers`.
    """
    for name, answer in known.items():
        rows = np.isfinite(values) & np.isfinite(answer)
        x, y = values[rows], answer[rows]
        if len(np.unique(x)) < 3 or len(x) < _MIN_ROWS or len(np.unique(y)) < 3:
            continue
        x, y = (x - x.mean()) / (np.ptp(x) or 1.0), (y - y.mean()) / (np.ptp(y) or 1.0)
        slope = (x @ y) / (y @ y)
        if ((x - slope * y) ** 2).sum() <= _LEFT * (x @ x):
            return name
    return ""


def not_measures(
    table: pd.DataFrame, columns: Sequence[str], target: str, trained: Sequence[str] = ()
) -> dict[str, str]:
    """Of columns of numbers that nobody named, those that are no measures → why.

    Args:
        table: One row per checkpoint, with the target.
        columns: The columns to look at.
        target: What measures should predict.
        trained: Columns with a role that are measures whatever they look like.
    """
    known = answers(table, target)
    found: dict[str, str] = {}
    for column in columns:
        values = numeric_column(table, column)
        copied = copied_answer(values, known)
        if copied:
            found[column] = f"a copy of {copied}"
        elif column in trained:
            continue
        elif np.isnan(values).all():
            found[column] = "empty"
        elif is_held_out_result(column):
            found[column] = "a result on held-out images"
        elif row_numbers(values) or _labels_rows(column, values):
            found[column] = ROW_NUMBERS
        elif _are_dates(values):
            found[column] = "dates"
    return found


def said_of(found: Mapping[str, str], how: str = "") -> list[str]:
    """One sentence per reason.

    Args:
        found: Of `not_measures`.
        how: What to do where a column is a measure after all.
    """
    by_reason: dict[str, list[str]] = {}
    for column, reason in found.items():
        by_reason.setdefault(reason, []).append(column)
    notes = []
    for reason, columns in by_reason.items():
        hint = f" ({how})" if how and reason == ROW_NUMBERS else ""
        notes.append(f"{', '.join(columns)}: {reason}, not judged{hint}")
    return notes


def _labels_rows(column: str, values: Values) -> bool:
    """Whether a column of whole numbers has the name of one that labels rows."""
    known = values[np.isfinite(values)]
    return _LABELS.fullmatch(folded(column)) is not None and bool(np.all(known == np.round(known)))


def _are_dates(values: Values) -> bool:
    """Whether numbers are dates such as 20240131."""
    known = values[np.isfinite(values)]
    if not len(known) or not ((known > 19_000_000) & (known < 21_000_000)).all():
        return False
    texts = [f"{value:.0f}" for value in known]
    if not np.all(known == np.round(known)):
        return False
    return bool(pd.to_datetime(pd.Series(texts), format="%Y%m%d", errors="coerce").notna().all())
