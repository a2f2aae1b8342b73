"""How much of a number's spread over images lies within their classes."""

from __future__ import annotations

import numpy as np
from scipy.stats import rankdata


def within_class_share(numbers: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Variance of a unit's ranks within classes over their variance altogether, unbiased.

    [Σ_i (r_i − mean of i's class)² / (n − c)] / [Σ_i (r_i − mean)² / (n − 1)] with r the ranks of
    the n images that have a number, c their classes; ties share the mean of their ranks. Its
    expectation under permuted labels is exactly 1; 0 where the class tells the number.

    Args:
        numbers: (n, u), NaN where an image has none.
        labels: (n,) integers.

    Returns:
        (u,); NaN where all numbers are equal, or no class has two of them.

    Source:
        1 − ε² of Kelley, An unbiased correlation ratio measure, 1935, on ranks.

    Example:
        >>> numbers = np.array([[1.0, 1.0], [2.0, 3.0], [3.0, 2.0], [4.0, 4.0]])
        >>> within_class_share(numbers, np.array([0, 0, 1, 1])).round(2)
        array([0.3, 1.2])
    """
    classes, position = np.unique(labels, return_inverse=True)
    member = (np.arange(len(classes))[:, None] == position).astype(np.float64)
    has = np.isfinite(numbers)
    ranks = np.nan_to_num(rankdata(numbers, axis=0, nan_policy="omit"))
    n, by_class = has.sum(0), member @ has
    squares = (ranks**2).sum(0)
    sums = member @ ranks
    with np.errstate(invalid="ignore", divide="ignore"):
        within = squares - np.where(by_class > 0, sums**2 / by_class, 0).sum(0)
        total = squares - sums.sum(0) ** 2 / n
        freedom = n - (by_class > 0).sum(0)
        share = (within / freedom) / (total / (n - 1))
    defined = (freedom > 0) & (total > 1e-9 * squares)
    result: np.ndarray = np.where(defined, share, np.nan)
    return result
