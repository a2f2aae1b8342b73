"""Statistics of the experiments: one number per network, and what all of them say."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

import numpy as np
from scipy import stats

#: Error probability of a test, and twice the chance that an interval lies to one side.
ALPHA: Final = 0.05
_FLIPS: Final = 9999
_RESAMPLES: Final = 500


class Estimate(NamedTuple):
    """A mean with its 95% interval.

    Attributes:
        value: The mean; NaN where there is no number.
        lower: End of the interval; NaN where it is undefined.
        upper: Likewise.
        n: Numbers that it is a mean of.
        p_value: One-sided, against no effect; NaN where it is not tested.
    """

    value: float
    lower: float
    upper: float
    n: int
    p_value: float = float("nan")


def mean_over_networks(values: Sequence[float], reference: float = 0.0) -> Estimate:
    """The mean over networks, with Student's interval and a test by flipping signs.

    Args:
        values: One number per network; NaN is left out.
        reference: What no effect would be: the test is against a mean that is no higher.

    Returns:
        No interval for fewer than two networks, and one of no width where all have one number.

    Example:
        >>> estimate = mean_over_networks([0.5, 0.7, 0.6])
        >>> [round(number, 3) for number in estimate]
        [0.6, 0.352, 0.848, 3, 0.125]
    """
    known = np.asarray(values, float)
    known = known[np.isfinite(known)]
    if not len(known):
        return Estimate(np.nan, np.nan, np.nan, 0)
    mean = float(known.mean())
    if len(known) == 1:
        return Estimate(mean, np.nan, np.nan, 1)
    half = float(stats.t.ppf(1 - ALPHA / 2, len(known) - 1) * stats.sem(known))
    p_value = sign_flip_p_value(known - reference)
    return Estimate(mean, mean - half, mean + half, len(known), p_value)


def sign_flip_p_value(differences: np.ndarray, seed: int = 0) -> float:
    """One-sided p-value of a mean above 0, were each difference as likely to have the other sign.

    Exact up to 13 differences, so that n of them give no less than 2⁻ⁿ; by 9,999 draws beyond.

    Source: Fisher, The design of experiments, 1935, section 21.
    """
    found = stats.permutation_test(
        (differences,),
        np.mean,
        permutation_type="samples",
        alternative="greater",
        n_resamples=_FLIPS,
        rng=np.random.default_rng(seed),
    )
    return float(found.pvalue)


def resampled(
    groups: Sequence[np.ndarray], statistic: Callable[..., float], seed: int = 0
) -> tuple[float, float]:
    """95% percentile interval of a statistic as members of each group are drawn anew.

    What it says of is the one network at hand: other trainings are not in it.

    Args:
        groups: Arrays whose first axis is drawn from, with replacement.
        statistic: Of as many arrays.
        seed: Of the draws.

    Returns:
        NaN where fewer than four fifths of the draws give a number.
    """
    rng = np.random.default_rng(seed)
    draws = np.array(
        [
            statistic(*(group[rng.integers(0, len(group), len(group))] for group in groups))
            for _ in range(_RESAMPLES)
        ]
    )
    known = draws[np.isfinite(draws)]
    if len(known) < 0.8 * _RESAMPLES:
        return float("nan"), float("nan")
    lower, upper = np.quantile(known, [ALPHA / 2, 1 - ALPHA / 2])
    return float(lower), float(upper)


def auc(low: np.ndarray, high: np.ndarray) -> float:
    """Chance that a member of `high` has the larger number, ties counting half; NaN is left out.

    Returns:
        In [0, 1]; NaN where one of the two has no number.

    Example:
        >>> auc(np.array([1.0, 2.0]), np.array([2.0, 3.0]))
        0.875
    """
    low, high = low[np.isfinite(low)], high[np.isfinite(high)]
    if not len(low) or not len(high):
        return float("nan")
    return float(stats.mannwhitneyu(high, low).statistic / (len(low) * len(high)))


def separation(one: np.ndarray, other: np.ndarray) -> float:
    """AUC in whichever direction tells two groups apart better, in [0.5, 1]."""
    found = auc(one, other)
    return max(found, 1 - found)


def kendall(x: Sequence[float] | np.ndarray, y: Sequence[float] | np.ndarray) -> float:
    """Kendall's τ-b of the pairs that are known; NaN for fewer than three, or a constant."""
    x, y = np.asarray(x, float), np.asarray(y, float)
    known = np.isfinite(x) & np.isfinite(y)
    x, y = x[known], y[known]
    if len(x) < 3 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return float("nan")
    return float(stats.kendalltau(x, y).statistic)
