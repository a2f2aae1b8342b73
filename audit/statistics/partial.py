"""What a measure says beyond what is known anyway: partial and within-family association."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import pandas as pd
from jaxtyping import Float
from scipy import stats

from audit.statistics.resampling import Draws, Weights
from audit.statistics.result import (
    HELD_OUT,
    MIN_MODELS,
    Codes,
    Statistic,
    Values,
    codes_of,
    n_pairs,
    numeric_column,
    paired,
    undefined,
)

#: A measure with less than this share of its variance left is determined by the controls.
MIN_REMAINDER: Final = 1e-8
Columns = Float[np.ndarray, "n c"]


def partial_kendall(
    table: pd.DataFrame, measure: str, target: str = HELD_OUT, controls: Sequence[str] = ()
) -> Statistic:
    """Partial Kendall τ-b given controls.

    From the matrix of τ-b of all columns: the correlation of what is left of the pairs' signs of
    measure and target after the least-squares fit on the controls' signs. Monotone transforms of
    a control (parameters or log parameters) change nothing.

    Args:
        table: One row per checkpoint.
        measure: The column of the measure.
        target: The column to predict.
        controls: Columns to hold constant; the measure itself and absent columns are skipped.

    Returns:
        Partial τ in [−1, 1]; NaN where the controls determine the measure or the target, where
        too few models have all columns, and as for `kendall`.

    Source: Kendall (1942), extended to several controls through the inverse of the matrix.
    """
    return _partial(table, measure, target, controls, "kendall")


def partial_spearman(
    table: pd.DataFrame, measure: str, target: str = HELD_OUT, controls: Sequence[str] = ()
) -> Statistic:
    """Partial Spearman ρ given controls: the correlation of ranks after fits on control ranks.

    Args:
        table: One row per checkpoint.
        measure: The column of the measure.
        target: The column to predict.
        controls: Columns to hold constant; the measure itself and absent columns are skipped.

    Returns:
        Partial ρ in [−1, 1]; NaN as for `partial_kendall`.
    """
    return _partial(table, measure, target, controls, "spearman")


def _partial(
    table: pd.DataFrame, measure: str, target: str, controls: Sequence[str], kind: str
) -> Statistic:
    names = [c for c in controls if c not in (measure, target) and c in table.columns]
    x, y, rows, reason = paired(table, measure, target)
    if reason:
        return undefined(reason, len(x), n_pairs(len(x)))
    Z = np.column_stack([numeric_column(table, c)[rows] for c in names] or [np.empty((len(x), 0))])
    complete = ~np.isnan(Z).any(axis=1)
    x, y, Z = x[complete], y[complete], Z[complete]
    varying = (Z[:1] != Z).any(axis=0)
    Z = Z[:, varying]
    n, pairs = len(x), n_pairs(len(x))
    if not Z.shape[1]:
        return undefined("no control varies", n, pairs)
    if n < MIN_MODELS + Z.shape[1]:
        return undefined(f"fewer than {MIN_MODELS + Z.shape[1]} models have all controls", n, pairs)
    if np.all(x == x[0]) or np.all(y == y[0]):
        return undefined("constant among the models that have all controls", n, pairs)
    matrix = association_matrix(np.column_stack([x, y, Z]), kind)
    value, reason = partial_from_matrix(matrix)
    return undefined(reason, n, pairs) if reason else Statistic(value, "", n, pairs)


def association_matrix(columns: Columns, kind: str) -> np.ndarray:
    """τ-b or ρ between all columns (none constant), shape (c, c)."""
    if kind == "spearman":
        ranks = np.column_stack([stats.rankdata(column) for column in columns.T])
        return np.asarray(np.corrcoef(ranks, rowvar=False))
    matrix = np.eye(columns.shape[1])
    for i, j in zip(*np.triu_indices(len(matrix), 1), strict=True):
        tau = stats.kendalltau(columns[:, i], columns[:, j]).statistic
        matrix[i, j] = matrix[j, i] = tau
    return matrix


def partial_from_matrix(matrix: np.ndarray) -> tuple[float, str]:
    """Partial correlation of the first two columns given all others, or why there is none."""
    among = matrix[2:, 2:]
    weights = np.linalg.pinv(among, rcond=1e-9, hermitian=True) @ matrix[2:, :2]
    left = matrix[:2, :2] - matrix[:2, 2:] @ weights
    for i, name in enumerate(("measure", "target")):
        if left[i, i] <= MIN_REMAINDER:
            return float("nan"), f"the controls determine the {name}"
    return float(np.clip(left[0, 1] / np.sqrt(left[0, 0] * left[1, 1]), -1, 1)), ""


def within_family_kendall(
    table: pd.DataFrame, measure: str, target: str = HELD_OUT, family: str = "family"
) -> Statistic:
    """Kendall τ-b over the pairs of models of the same family only, pooled over families.

    τ = Σ_f (P_f − Q_f) / √(Σ_f untied pairs in the measure · Σ_f untied pairs in the target).

    Args:
        table: One row per checkpoint.
        measure: The column of the measure.
        target: The column to predict.
        family: The column that names families.

    Returns:
        τ in [−1, 1]; NaN without the column, where no family has two models that differ, and as
        for `kendall`.
    """
    x, y, rows, reason = paired(table, measure, target)
    if not reason and family not in table.columns:
        reason = f"no column {family!r}"
    if reason:
        return undefined(reason, len(x))
    codes = codes_of(table.loc[rows], [family])
    value = float(within_draws(x, y, codes, np.ones((len(x), 1)))[0])
    pairs = int(sum(n_pairs(int(size)) for size in np.bincount(codes)))
    if np.isnan(value):
        return undefined("no family has two models that differ", len(x), pairs)
    return Statistic(value, "", len(x), pairs)


def within_draws(x: Values, y: Values, codes: Codes, weights: Weights) -> Draws:
    """Pooled within-group τ-b for every row of multiplicities; NaN where nothing differs."""
    score, untied_x, untied_y = (np.zeros(weights.shape[1]) for _ in range(3))
    for code in np.unique(codes):
        members = np.flatnonzero(codes == code)
        s, t = (
            np.sign(np.subtract.outer(r, r)) for r in map(stats.rankdata, (x[members], y[members]))
        )
        w = weights[members]
        for total, product in ((score, s * t), (untied_x, s * s), (untied_y, t * t)):
            total += ((product @ w) * w).sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(
            np.where(untied_x * untied_y > 0, score / np.sqrt(untied_x * untied_y), np.nan)
        )
