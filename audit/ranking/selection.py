"""Picking checkpoints: the first k, a gate against a reference, and a scorer."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from audit.errors import unknown_name
from audit.plugin.names import split_names
from audit.statistics.result import why_undefined


def select(ranking: pd.DataFrame, k: int = 1, *, with_ties: bool = False) -> list[str]:
    """The checkpoints to keep: the k best by score, or everything that may be among them.

    Args:
        ranking: Columns predicted_rank, checkpoint, score, lower, upper, tied_with.
        k: How many.
        with_ties: Keep every checkpoint that fewer than k are certainly better than: the k best
            are then among those kept, as far as the intervals hold.

    Returns:
        Names, best first.
    """
    if with_ties:
        kept = ranking[ranking["predicted_rank"] <= k]
        return [str(name) for name in kept.sort_values("score", ascending=False)["checkpoint"]]
    best = ranking.sort_values("score", ascending=False, kind="stable")
    return [str(name) for name in best["checkpoint"].head(k)]


def better_than(ranking: pd.DataFrame, reference: str) -> list[str]:
    """The checkpoints that are certainly better than a reference: the gate of a pipeline.

    Args:
        ranking: As `select` takes it.
        reference: The checkpoint to beat.

    Returns:
        Names with a higher score that are not tied with the reference, best first; empty means
        the gate is shut.

    Raises:
        ConfigError: The reference is not in the ranking.
    """
    known = ranking["checkpoint"].astype(str)
    if reference not in set(known):
        raise unknown_name("checkpoint", reference, known)
    row = ranking[known == reference].iloc[0]
    tied = split_names(row["tied_with"])
    above = ranking[(ranking["score"] > row["score"]) & ~known.isin(tied)]
    return [str(name) for name in above.sort_values("score", ascending=False)["checkpoint"]]


def kendall_scorer(estimator: Any, X: Any, y: Any) -> float:
    """Kendall's τ-b between predictions and accuracies, as a scikit-learn scorer.

    Use it as `cross_val_score(ranker, X, y, scoring=kendall_scorer)`.

    Returns:
        τ-b; NaN where predictions or accuracies do not vary, or for fewer than 3 checkpoints.
    """
    predicted = np.asarray(estimator.predict(X), dtype=np.float64)
    known = np.asarray(y, dtype=np.float64)
    if why_undefined(predicted, known):
        return float("nan")
    return float(stats.kendalltau(predicted, known).statistic)
