"""Scores of measures within a zoo: what is left of a number when its scale is unknown.

A ranker that was fitted on other zoos cannot know on what scale a measure will lie in a new one,
so that it sees ranks alone: normal scores of the ranks within the whole zoo, and of those within
the checkpoint's own family, where no architecture can help or hurt.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int
from scipy import stats
from scipy.cluster import hierarchy

from audit.statistics.result import Values, numeric_column

#: Checkpoints × measures.
Scores = Float[np.ndarray, "n p"]
Families = Int[np.ndarray, " n"]
Pairs = Bool[np.ndarray, " pairs"]
#: Measures whose scores in a zoo correlate to this or more are copies of each other there.
COPY = 0.95


def normal_scores(values: Values) -> Values:
    """Van der Waerden scores Φ⁻¹((rank − ½) / n) of the values that are known; 0 elsewhere.

    Example:
        >>> normal_scores(np.array([10.0, 30.0, np.nan, 20.0])).round(2).tolist()
        [-0.97, 0.97, 0.0, 0.0]
    """
    known = ~np.isnan(values)
    scores = np.zeros(len(values))
    if known.any():
        ranks = stats.rankdata(values[known])
        scores[known] = stats.norm.ppf((ranks - 0.5) / known.sum())
    return scores


def family_scores(values: Values, families: Families) -> Values:
    """Normal scores within each family; 0 in a family with one known value.

    Example:
        >>> family_scores(np.array([1.0, 2.0, 9.0, 8.0, 5.0]), np.array([0, 0, 1, 1, 2])).round(2)
        array([-0.67,  0.67,  0.67, -0.67,  0.  ])
    """
    scores = np.zeros(len(values))
    for family in np.unique(families):
        rows = families == family
        scores[rows] = normal_scores(values[rows])
    return scores


class ZooScores(NamedTuple):
    """A zoo as a ranker sees it.

    Attributes:
        name: Of the zoo.
        source: Its data source; zoos of one source are left out together.
        pooled: Normal scores within the zoo, shape (checkpoints, measures); 0 where unknown.
        inside: Normal scores within the family.
        families: Family of each checkpoint, as integers.
    """

    name: str
    source: str
    pooled: Scores
    inside: Scores
    families: Families

    def mixed(self, within: float) -> Scores:
        """(1 − within) · scores within the zoo + within · scores within the family.

        In a zoo of one family both are the same; where every checkpoint is a family of its own,
        only the first are there to rank by, and keep their order.
        """
        return (1 - within) * self.pooled + within * self.inside

    def only(self, measures: np.ndarray) -> ZooScores:
        """The zoo with some of the measures, by index."""
        return self._replace(pooled=self.pooled[:, measures], inside=self.inside[:, measures])


class KnownZoo(NamedTuple):
    """A zoo and its accuracies: what a ranker is fitted on.

    Attributes:
        scores: The zoo without them.
        accuracy: What is to be ranked, shape (checkpoints,).
        target: Its normal scores within the zoo.
        inside_target: Its normal scores within the family.
        sign: Of the accuracies' differences for all pairs i < j, shape (pairs,).
        same: Which of these pairs are of one family.
        alone: What every measure is worth by itself (see `worth`), shape (measures,).
    """

    scores: ZooScores
    accuracy: Values
    target: Values
    inside_target: Values
    sign: Values
    same: Pairs
    alone: Values

    def only(self, measures: np.ndarray) -> KnownZoo:
        """The zoo with some of the measures, by index."""
        return self._replace(scores=self.scores.only(measures), alone=self.alone[measures])


def column_or_gaps(table: pd.DataFrame, measure: str) -> Values:
    """A measure with its infinite values as gaps; all gaps where a table does not have it."""
    if measure not in table.columns:
        return np.full(len(table), np.nan)
    values = numeric_column(table, measure)
    return np.where(np.isfinite(values), values, np.nan)


def families_of(table: pd.DataFrame) -> Families:
    """The family of each row as an integer; one for all where the table has no such column."""
    if "family" not in table.columns:
        return np.zeros(len(table), dtype=np.int64)
    codes = pd.factorize(table["family"], use_na_sentinel=False)[0]
    return np.asarray(codes, dtype=np.int64)


def zoo_scores(
    table: pd.DataFrame, measures: Sequence[str], name: str = "", source: str = ""
) -> ZooScores:
    """The scores of a table's measures; 0 for what is missing."""
    families = families_of(table)
    columns = [column_or_gaps(table, measure) for measure in measures]
    pooled = [normal_scores(column) for column in columns]
    inside = [family_scores(column, families) for column in columns]
    return ZooScores(name, source, np.column_stack(pooled), np.column_stack(inside), families)


def known_zoo(scores: ZooScores, accuracy: Values) -> KnownZoo:
    """A zoo with what is to be ranked, known for every checkpoint."""
    zoo = KnownZoo(
        scores=scores,
        accuracy=accuracy,
        target=normal_scores(accuracy),
        inside_target=family_scores(accuracy, scores.families),
        sign=pair_signs(accuracy),
        same=pair_signs(scores.families) == 0,
        alone=np.empty(0),
    )
    return zoo._replace(alone=worth(scores.pooled, zoo))


def pair_signs(values: np.ndarray) -> np.ndarray:
    """Signs of the differences of all pairs of rows i < j; shape (pairs, …)."""
    i, j = pairs_of(len(values))
    return np.asarray(np.sign(values[i] - values[j]))


@functools.cache
def pairs_of(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Indices of all pairs i < j of n."""
    i, j = np.triu_indices(n, 1)
    return i, j


def kendall_columns(scores: Scores, zoo: KnownZoo, pairs: Pairs | None = None) -> Values:
    """Kendall's τ-b of every column of scores with the accuracies; 0 for a constant column.

    Args:
        scores: Shape (checkpoints, columns).
        zoo: The zoo.
        pairs: The pairs to count; by default all.
    """
    signs, sign = pair_signs(scores), zoo.sign
    if pairs is not None:
        signs, sign = signs[pairs], sign[pairs]
    untied = np.sqrt((signs != 0).sum(axis=0) * (sign != 0).sum())
    return np.asarray(np.where(untied > 0, sign @ signs / np.maximum(untied, 1), 0.0))


def worth(scores: Scores, zoo: KnownZoo) -> Values:
    """What rankers are tuned for: the mean of τ and of τ over the pairs of one family."""
    whole = kendall_columns(scores, zoo)
    return (whole + kendall_columns(scores, zoo, zoo.same)) / 2 if zoo.same.any() else whole


def by_source(zoos: Sequence[KnownZoo]) -> list[tuple[list[KnownZoo], list[KnownZoo]]]:
    """Leave each data source out in turn: (zoos of the others, its own)."""
    sources = dict.fromkeys(zoo.scores.source for zoo in zoos)
    return [
        (
            [zoo for zoo in zoos if zoo.scores.source != source],
            [zoo for zoo in zoos if zoo.scores.source == source],
        )
        for source in sources
    ]


def correlations(scores: Scores) -> Float[np.ndarray, "p p"]:
    """Correlations of columns; 0 with a constant one."""
    centred = scores - scores.mean(axis=0)
    length = np.sqrt((centred**2).sum(axis=0))
    unit = centred / np.where(length > 0, length, 1)
    return np.asarray(unit.T @ unit)


def copy_groups(scores: Scores, least: float = COPY) -> Int[np.ndarray, " p"]:
    """Which columns are near copies of each other: the group of each, from 0.

    Groups are joined by average linkage of 1 − |correlation|, so that a chain of columns that
    resemble their neighbours alone is not one group.

    Example:
        >>> a = np.arange(5.0)
        >>> groups = copy_groups(np.column_stack([a, a**3, [0, 4, 1, 3, 2]]), 0.9)
        >>> bool(groups[0] == groups[1]), bool(groups[0] == groups[2])
        (True, False)
    """
    n_columns = scores.shape[1]
    if n_columns < 2:
        return np.zeros(n_columns, dtype=np.int64)
    apart = np.clip(1 - np.abs(correlations(scores)), 0, 1)
    linked = hierarchy.linkage(apart[np.triu_indices(n_columns, 1)], "average")
    groups = hierarchy.fcluster(linked, 1 - least, "distance")
    return np.asarray(groups, dtype=np.int64) - 1
