"""Association over all pairs of models: Kendall, weighted Kendall, Spearman, Pearson."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy import stats

from audit.statistics.result import (
    HELD_OUT,
    Statistic,
    expected_sign,
    n_pairs,
    orientation,
    paired,
    undefined,
)


def kendall(table: pd.DataFrame, measure: str, target: str = HELD_OUT) -> Statistic:
    """Kendall's τ-b between a measure and the target.

    τ-b = (P − Q) / √((n₀ − n₁)(n₀ − n₂)), with P concordant and Q discordant pairs among the n₀
    pairs, n₁ tied in the measure and n₂ tied in the target. Infinite values are extremes.

    Args:
        table: One row per checkpoint.
        measure: The column of the measure.
        target: The column to predict; `generalization_gap` is derived where absent.

    Returns:
        τ-b in [−1, 1]; NaN for fewer than 3 models, a constant measure or a constant target.

    Source: Kendall (1945), as `scipy.stats.kendalltau`.

    Example:
        >>> table = pd.DataFrame({"m": [1, 2, 3, 4], "held_out_accuracy": [0.1, 0.2, 0.4, 0.3]})
        >>> round(kendall(table, "m").value, 4)
        0.6667
    """
    x, y, _, reason = paired(table, measure, target)
    if reason:
        return undefined(reason, len(x), n_pairs(len(x)))
    return Statistic(float(stats.kendalltau(x, y).statistic), "", len(x), n_pairs(len(x)))


def weighted_kendall(
    table: pd.DataFrame, measure: str, target: str = HELD_OUT, direction: str = "none"
) -> Statistic:
    """Weighted τ: exchanges among the best models weigh more (hyperbolic weights, additive).

    `scipy.stats.weightedtau` weighs the largest values. A measure that predicts better models
    when lower, and a target that is better when lower, are therefore turned round first and the
    sign of the result is turned back: the sign always means the association as it stands.

    Args:
        table: One row per checkpoint.
        measure: The column of the measure.
        target: The column to predict.
        direction: The declared direction of the measure; "none" weighs its largest values.

    Returns:
        Weighted τ in [−1, 1]; NaN as for `kendall`.

    Source: Vigna (2015), as `scipy.stats.weightedtau` with its defaults.
    """
    x, y, _, reason = paired(table, measure, target)
    if reason:
        return undefined(reason, len(x), n_pairs(len(x)))
    sign_y = orientation(target)
    sign_x = expected_sign(direction, HELD_OUT) or 1
    ranks = stats.rankdata(x)  # infinite values are extremes, not an error
    value = sign_x * sign_y * float(stats.weightedtau(sign_x * ranks, sign_y * y).statistic)
    return Statistic(value, "", len(x), n_pairs(len(x)))


def spearman(table: pd.DataFrame, measure: str, target: str = HELD_OUT) -> Statistic:
    """Spearman's ρ: the Pearson correlation of mid-ranks. Infinite values are extremes.

    Args:
        table: One row per checkpoint.
        measure: The column of the measure.
        target: The column to predict.

    Returns:
        ρ in [−1, 1]; NaN as for `kendall`.

    Source: Spearman (1904), as `scipy.stats.spearmanr`.
    """
    x, y, _, reason = paired(table, measure, target)
    if reason:
        return undefined(reason, len(x), n_pairs(len(x)))
    value = _correlation(stats.rankdata(x), stats.rankdata(y))
    return Statistic(value, "", len(x), n_pairs(len(x)))


def pearson(table: pd.DataFrame, measure: str, target: str = HELD_OUT) -> Statistic:
    """Pearson's r; its square is the R² of a straight line.

    Args:
        table: One row per checkpoint.
        measure: The column of the measure.
        target: The column to predict.

    Returns:
        r in [−1, 1]; NaN as for `kendall`, and where a value of the measure is infinite.
    """
    x, y, _, reason = paired(table, measure, target, finite=True)
    if reason:
        return undefined(reason, len(x))
    value = _correlation(x, y)
    if np.isnan(value):
        return undefined("the measure varies by less than its precision", len(x))
    return Statistic(value, "", len(x))


def _correlation(x: np.ndarray, y: np.ndarray) -> float:
    """Pearson's r of two columns, safe for very large and very small values."""
    x, y = (x / np.abs(x).max() if np.abs(x).max() > 0 else x), y / np.abs(y).max()
    x, y = x - x.mean(), y - y.mean()
    scale = np.linalg.norm(x) * np.linalg.norm(y)
    if np.linalg.norm(x) <= 1e-14 * np.sqrt(len(x)) or scale == 0:
        return float("nan")
    return float(np.clip(x @ y / scale, -1, 1))
