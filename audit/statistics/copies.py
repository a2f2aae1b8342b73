"""One network under several names is one observation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import pandas as pd

from audit.errors import quoted
from audit.statistics.result import GAP, HELD_OUT, TRAIN, Codes, numeric_column

#: The column that names networks by a digest of their weights and architecture.
NETWORK: Final = "network_digest"
#: So many measures are not equal by accident in networks that differ.
_MIN_ALIKE: Final = 3
_OUTCOMES: Final = (HELD_OUT, TRAIN, GAP)


def network_codes(
    table: pd.DataFrame, measures: Sequence[str], digests: str | None = NETWORK
) -> Codes:
    """A code per distinct network, in the order of first appearance.

    Two rows are one network where their digests are equal; and where all their measures are, for
    the same weights may be saved twice in different files. Measures that are equal mean nothing
    where somewhere in the table rows with equal measures have different accuracies, and against
    different digests only where there are three measures or more.

    Args:
        table: One row per checkpoint.
        measures: Columns that depend on the network; columns constant throughout say nothing.
        digests: A column of digests; empty cells are unknown. It need not be there.

    Returns:
        Shape (n,), from 0.

    Example:
        >>> table = pd.DataFrame({"m": [0.5, 0.25, 0.5], "held_out_accuracy": [0.9, 0.8, 0.9]})
        >>> network_codes(table, ["m"]).tolist()
        [0, 1, 0]
    """
    n = len(table)
    own = np.arange(n)
    by_digest = own
    if digests is not None and digests in table.columns:
        known = table[digests].notna() & (table[digests].astype(str).str.strip() != "")
        cells = table[digests].astype(str).str.strip().str.lower()
        by_digest = _first_with(
            [c if k else i for i, (c, k) in enumerate(zip(cells, known, strict=True))]
        )
        sure = known.to_numpy()
    else:
        sure = np.zeros(n, dtype=bool)
    by_measures = _by_measures(table, measures, by_digest, sure)
    joined = _first_with(by_measures[by_digest].tolist())
    return np.unique(joined, return_inverse=True)[1].astype(np.int64)


def _by_measures(
    table: pd.DataFrame, measures: Sequence[str], by_digest: np.ndarray, sure: np.ndarray
) -> np.ndarray:
    """The first row with the same measures, for each; the row itself where that means nothing."""
    own = np.arange(len(table))
    columns = [numeric_column(table, measure) for measure in measures]
    columns = [c for c in columns if len(c) and len(np.unique(c[~np.isnan(c)])) > 1]
    if not columns:
        return own
    X = np.column_stack(columns)
    blank = np.isnan(X).all(axis=1)
    first = _first_with([i if blank[i] else X[i].tobytes() for i in own])
    for row in np.flatnonzero(first != own).tolist():
        other = first[row]
        if by_digest[row] == by_digest[other]:
            continue
        told_apart = sure[row] and sure[other] and len(columns) < _MIN_ALIKE
        if told_apart or _outcomes_differ(table, row, other):
            return own
    return first


def _outcomes_differ(table: pd.DataFrame, row: int, other: int) -> bool:
    """Whether two rows have different accuracies; unknown ones do not differ."""
    for name in _OUTCOMES:
        if name in table.columns:
            a, b = numeric_column(table, name)[[row, other]]
            if a != b and not np.isnan(a) and not np.isnan(b):
                return True
    return False


def _first_with(keys: Sequence[object]) -> np.ndarray:
    """For each key the index of its first occurrence."""
    first: dict[object, int] = {}
    return np.array([first.setdefault(key, i) for i, key in enumerate(keys)], dtype=np.int64)


def copies(names: Sequence[str], codes: Codes) -> list[list[str]]:
    """The names of every network that has several."""
    found: dict[int, list[str]] = {}
    for name, code in zip(names, codes.tolist(), strict=True):
        found.setdefault(code, []).append(name)
    return [group for group in found.values() if len(group) > 1]


def say_copies(names: Sequence[str], codes: Codes) -> list[str]:
    """One sentence per network that has several names.

    Example:
        >>> say_copies(["a", "b", "c"], np.array([0, 1, 0]))
        ["'a', 'c' are one network: one observation, not 2"]
    """
    return [
        f"{quoted(group)} are one network: one observation, not {len(group)}"
        for group in copies(names, codes)
    ]


def one_row_each(table: pd.DataFrame, codes: Codes) -> pd.DataFrame:
    """The first row of every network, with the mean of its known accuracies."""
    if len(np.unique(codes)) == len(codes):
        return table
    first = np.unique(codes, return_index=True)[1]
    found = table.iloc[first].reset_index(drop=True)
    for name in _OUTCOMES:
        if name in table.columns:
            means = pd.Series(numeric_column(table, name)).groupby(codes).mean()
            found[name] = means.to_numpy()
    return found
