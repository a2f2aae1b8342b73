"""The design of a zoo: which models agree on which hyperparameters."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import combinations
from typing import Final, NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float

from audit.statistics.result import Codes, Mask, codes_of, hyperparameter_columns

#: Designs with more indicator columns than this are not fitted.
MAX_COLUMNS: Final = 400

Columns = Float[np.ndarray, "n c"]


class MatchedPairs(NamedTuple):
    """All pairs of models that agree on every axis but one.

    Attributes:
        axis: The axis they may differ on.
        first: Row numbers, shape (pairs,).
        second: Row numbers, shape (pairs,).
        group: The matched group of each pair, from 0.
        differs: Whether the pair differs on the axis; the others are repeats.
    """

    axis: str
    first: Codes
    second: Codes
    group: Codes
    differs: Mask


class Design:
    """The hyperparameters of some models, and what follows from them.

    Args:
        known: One row per model.
        axes: The hyperparameter columns that vary among all models.
        family: The column of families, where there is one.
    """

    def __init__(self, known: pd.DataFrame, axes: Sequence[str], family: str = "family") -> None:
        self.known = known
        self.axes = [axis for axis in axes if known[axis].nunique(dropna=False) > 1]
        self.family = family
        self._codes: dict[tuple[str, ...], Codes] = {}

    @cached_property
    def settings(self) -> Codes:
        """A code per distinct setting of all axes."""
        return codes_of(self.known, self.axes)

    @cached_property
    def matched(self) -> list[MatchedPairs]:
        """Per axis, the pairs of models that agree on all other axes, in groups that differ."""
        found = []
        for axis in self.axes:
            others = codes_of(self.known, [other for other in self.axes if other != axis])
            found.append(pairs_within(axis, others, codes_of(self.known, [axis])))
        return found

    def subsets(self, most: int) -> Iterator[tuple[int, Codes]]:
        """Size and codes of the settings of every subset of at most so many axes."""
        for size in range(most + 1):
            for subset in combinations(self.axes, size):
                if subset not in self._codes:
                    self._codes[subset] = codes_of(self.known, subset)
                yield size, self._codes[subset]

    @cached_property
    def factors(self) -> list[str]:
        """The axes, and the family where it varies."""
        return design_axes(self.known, self.axes, self.family)

    @cached_property
    def basis(self) -> Columns:
        """An orthonormal basis of the finest design that leaves half of the models free.

        One level per whole setting (so that repeats alone are compared), else main effects with
        two-way interactions, else main effects; family is one of the factors.
        """
        n = len(self.known)
        whole = _indicators(self.known, self.factors)
        if 2 * whole.shape[1] <= n:
            return np.asarray(whole / np.sqrt(whole.sum(axis=0)))
        main = np.hstack([_indicators(self.known, [factor]) for factor in self.factors])
        pairs = [_indicators(self.known, two) for two in combinations(self.factors, 2)]
        if sum(columns.shape[1] for columns in pairs) <= MAX_COLUMNS:
            basis = orthonormal(np.hstack([main, *pairs]))
            if 2 * basis.shape[1] <= n:
                return basis
        return orthonormal(main) if main.shape[1] <= MAX_COLUMNS else np.eye(n)


class Designs:
    """The designs of the subsets of a table's rows, each worked out once.

    Args:
        table: One row per checkpoint; it must not change while this is in use.
        axes: Hyperparameter columns; by default all `hp.*` columns.
        family: The column of families.
    """

    def __init__(
        self, table: pd.DataFrame, axes: Sequence[str] | None = None, family: str = "family"
    ) -> None:
        self.table = table
        self.axes = hyperparameter_columns(table, axes)
        self.family = family
        self._found: dict[bytes, Design] = {}

    def of(self, rows: Mask) -> Design:
        """The design of the rows selected."""
        key = rows.tobytes()
        if key not in self._found:
            self._found[key] = Design(self.table[rows], self.axes, self.family)
        return self._found[key]


def design_axes(
    table: pd.DataFrame, axes: Sequence[str] | None = None, family: str = "family"
) -> list[str]:
    """The hyperparameters that vary, and the family where it does."""
    found = hyperparameter_columns(table, axes)
    if family in table.columns and table[family].nunique(dropna=False) > 1:
        found.append(family)
    return found


def pairs_within(axis: str, group: Codes, level: Codes) -> MatchedPairs:
    """All pairs of models of the same group, for the groups in which the level varies."""
    order = np.lexsort((level, group))
    starts = np.flatnonzero(np.diff(group[order], prepend=-1))
    firsts, seconds, numbers = ([np.empty(0, dtype=np.int64)] for _ in range(3))
    for number, members in enumerate(np.split(order, starts[1:])):
        if len(members) and level[members[0]] != level[members[-1]]:
            i, j = np.triu_indices(len(members), 1)
            firsts.append(members[i])
            seconds.append(members[j])
            numbers.append(np.full(len(i), number))
    first, second, groups = (np.concatenate(parts) for parts in (firsts, seconds, numbers))
    numbered = np.unique(groups, return_inverse=True)[1]
    return MatchedPairs(axis, first, second, numbered, level[first] != level[second])


def _indicators(table: pd.DataFrame, axes: Sequence[str]) -> Columns:
    codes = codes_of(table, axes)
    return np.asarray(codes[:, None] == np.arange(codes.max(initial=0) + 1), dtype=np.float64)


def orthonormal(columns: Columns) -> Columns:
    """An orthonormal basis of the columns' span, by two rounds of their Gram matrix."""
    basis = columns / np.maximum(np.linalg.norm(columns, axis=0), 1e-300)
    for tolerance in (1e-9, 0.0):
        values, vectors = np.linalg.eigh(basis.T @ basis)
        kept = values > tolerance * values.max(initial=1e-300)
        basis = basis @ (vectors[:, kept] / np.sqrt(values[kept]))
    return np.asarray(basis)
