"""Ranking without any held-out accuracy: measures vote in their declared directions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
import pandas as pd
from scipy import stats

from audit.errors import DataError
from audit.ranking.order import ranking_frame
from audit.ranking.scores import copy_groups
from audit.statistics.result import expected_sign, numeric_column

#: With fewer independent votes than this their disagreement says nothing about their error.
MIN_VOTERS: Final = 3


def rank_by_directions(
    table: pd.DataFrame,
    directions: Mapping[str, str],
    *,
    owners: Mapping[str, str] | None = None,
    n_bootstrap: int = 1000,
    confidence: float = 0.9,
    seed: int = 0,
) -> pd.DataFrame:
    """Rank checkpoints by the declared directions of their measures.

    A column gives each checkpoint its normalised rank in [0, 1], 1 for the best in the declared
    direction, ties sharing the middle. A measure's vote is the mean over its columns (itself and
    its parts), and near copies have one vote together: measures whose votes on these checkpoints
    correlate to 0.95 or more (see `copy_groups`). The score is the mean of the votes; a
    checkpoint is scored by those it has. The interval is the percentile interval over resampled
    votes: it says how far they disagree, not how far all of them may be wrong together. With
    fewer than 3 votes it is [0, 1], so that every checkpoint is tied with every other.

    Args:
        table: One row per checkpoint, column `checkpoint` or the index names it.
        directions: "higher", "lower" or "none" per column; "none" does not vote.
        owners: The measure that each column belongs to; a column without one is a measure itself.
        n_bootstrap: Resamples of the votes.
        confidence: Of the intervals.
        seed: Of the resamples.

    Returns:
        The ranking (see `ranking_frame`); checkpoints without any voting measure are left out.

    Raises:
        DataError: No measure of the table has a direction and varies.
    """
    votes = _votes(table, directions, owners or {})
    if not votes.shape[1]:
        raise DataError(
            "ranking without held-out accuracies needs a measure with direction 'higher' or "
            "'lower' that differs between checkpoints; found none: measure more, or give "
            "held-out accuracies"
        )
    scored = ~np.isnan(votes).all(axis=1)
    votes = votes[scored]
    names = [name for name, keep in zip(checkpoint_names(table), scored, strict=True) if keep]
    score = np.nanmean(votes, axis=1)
    lower, upper = _bounds(votes, n_bootstrap, confidence, seed)
    return ranking_frame(names, score, np.minimum(lower, score), np.maximum(upper, score))


def checkpoint_names(table: pd.DataFrame) -> list[str]:
    """Names of the rows: column `checkpoint`, else the index."""
    named = table["checkpoint"] if "checkpoint" in table.columns else table.index
    return [str(name) for name in named]


def _votes(
    table: pd.DataFrame, directions: Mapping[str, str], owners: Mapping[str, str]
) -> np.ndarray:
    """Votes in [0, 1], shape (checkpoints, votes), NaN where there is none to give."""
    by_measure: dict[str, list[np.ndarray]] = {}
    for column, direction in directions.items():
        sign = expected_sign(direction, "")
        if column not in table.columns or sign == 0:
            continue
        values = sign * numeric_column(table, column)
        known = values[~np.isnan(values)]
        if len(known) < 2 or np.all(known == known[0]):
            continue
        ranks = stats.rankdata(values, nan_policy="omit")
        vote = (ranks - 1) / (len(known) - 1)
        by_measure.setdefault(owners.get(column, column), []).append(vote)
    if not by_measure:
        return np.empty((len(table), 0))
    alone = np.column_stack([_mean(votes) for votes in by_measure.values()])
    groups = copy_groups(np.where(np.isnan(alone), 0.5, alone))
    shared = [_mean(list(alone[:, groups == group].T)) for group in np.unique(groups)]
    return np.column_stack(shared)


def _mean(votes: list[np.ndarray]) -> np.ndarray:
    """Mean of the votes that exist, NaN where none does."""
    stacked = np.stack(votes)
    known = ~np.isnan(stacked)
    count = known.sum(axis=0)
    total = np.where(known, stacked, 0.0).sum(axis=0)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _bounds(
    votes: np.ndarray, n_bootstrap: int, confidence: float, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Percentile intervals of the scores over resampled votes."""
    n_models, n_voters = votes.shape
    if n_voters < MIN_VOTERS:
        return np.zeros(n_models), np.ones(n_models)
    rng = np.random.default_rng(seed)
    counts = rng.multinomial(n_voters, np.full(n_voters, 1 / n_voters), size=n_bootstrap)
    known = ~np.isnan(votes)
    total = counts @ np.where(known, votes, 0.0).T
    weight = counts @ known.T
    draws = np.where(weight > 0, total / np.maximum(weight, 1), np.nanmean(votes, axis=1))
    tail = (1 - confidence) / 2
    lower, upper = np.quantile(draws, [tail, 1 - tail], axis=0)
    alone = known.sum(axis=1) < MIN_VOTERS  # few votes: their spread is not an error
    return np.where(alone, 0.0, lower), np.where(alone, 1.0, upper)
