"""Intervals and p-values of all measures of a table, drawn once for all of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import numpy as np
import pandas as pd

from audit import statistics
from audit.statistics.result import Mask, Values, paired

#: Resamples of fewer models hold too few distinct ones for their spread to mean anything.
MIN_FOR_INTERVALS: Final = 6


def p_values_of(
    table: pd.DataFrame, measures: Sequence[str], target: str, n_permutations: int, seed: int
) -> Values:
    """p-values of Kendall's τ; measures known on the same rows share their permutations."""
    p_values = np.full(len(measures), np.nan)
    pairs = [paired(table, measure, target) for measure in measures]
    by_rows: dict[bytes, list[int]] = {}
    for i, pair in enumerate(pairs):
        by_rows.setdefault(pair.rows.tobytes(), []).append(i)
    for indices in by_rows.values():
        X = np.column_stack([pairs[i].x for i in indices])
        y = pairs[indices[0]].y
        p_values[indices] = statistics.kendall_p_values(X, y, n_permutations, seed)
    return p_values


class Samples:
    """Bootstrap samples of the table's rows, the same for every measure."""

    def __init__(self, weights: statistics.Weights, confidence: float) -> None:
        self.weights = weights
        self.confidence = confidence
        self._of_rows: dict[bytes, tuple[statistics.Weights, statistics.Weights]] = {}

    def _of(self, rows: Mask, y: Values) -> tuple[statistics.Weights, statistics.Weights]:
        """The samples of these rows, and the target's ranks in them."""
        key = rows.tobytes()
        if key not in self._of_rows:
            weights = self.weights[rows]
            self._of_rows[key] = weights, statistics.weighted_ranks(y, weights)
        return self._of_rows[key]

    def intervals(self, table: pd.DataFrame, measure: str, target: str) -> dict[str, float]:
        """Intervals of τ, ρ and r; NaN where the statistic is, or rests on too few models."""
        x, y, rows, reason = paired(table, measure, target)
        draws: dict[str, statistics.Draws] = {}
        if not reason:
            weights, ranks_y = self._of(rows, y)
            draws["kendall"] = statistics.kendall_draws(x, y, weights)
            draws["spearman"] = statistics.rank_draws(x, ranks_y, weights)
            if np.isfinite(x).all():
                draws["pearson"] = statistics.pearson_draws(x, y, weights)
        if len(x) < MIN_FOR_INTERVALS:
            draws = {}
        bounds = {}
        for name in ("kendall", "spearman", "pearson"):
            ends = (math.nan, math.nan)
            if name in draws:
                ends = statistics.interval(draws[name], self.confidence)
            bounds[f"{name}_lower"], bounds[f"{name}_upper"] = ends
        return bounds
