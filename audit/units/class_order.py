"""Whether two networks put the classes in one order by feature entropy."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from scipy.stats import kendalltau, norm

from audit.statistics import bootstrap_weights, interval, kendall_draws, kendall_p_value
from audit.units.distributions import POWER

#: Of fewer classes no order whatsoever reaches p ≤ 0.05.
LEAST_CLASSES: Final = 5
#: A τ of which a verdict says whether it would have been found.
CLEAR_TAU: Final = 0.5


class ClassAgreement(NamedTuple):
    """Kendall's τ over classes; NaN for fewer than five, or where all have one number.

    Attributes:
        kendall: τ-b in [−1, 1].
        lower: Of its bootstrap interval over classes.
        upper: Likewise.
        p_value: Two-sided, by permutation of the classes.
        n_classes: Classes with a number in both networks.
    """

    kendall: float
    lower: float
    upper: float
    p_value: float
    n_classes: int


def class_agreement(
    first: np.ndarray,
    second: np.ndarray,
    n_permutations: int = 9999,
    n_bootstrap: int = 1000,
    seed: int = 0,
    confidence: float = 0.95,
) -> ClassAgreement:
    """Kendall's τ between the classes' mean feature entropies in two networks.

    The hypothesis that is tested: the order of classes in one network says nothing of that in the
    other, so that any order is as likely. Both networks see the same images: classes whose images
    are more alike may come first in any network, trained or not.

    Args:
        first: Shape (c,), mean over units; NaN is left out.
        second: Shape (c,) likewise.
        n_permutations: Of the test.
        n_bootstrap: Resamples of classes for the interval.
        seed: Of both.
        confidence: Of the interval, in (0, 1).

    Source:
        Kendall 1945 (τ-b), as `scipy.stats.kendalltau`; permutation as `kendall_p_value`.

    Example:
        >>> found = class_agreement(np.arange(8.0), np.array([0, 1, 2, 3, 4, 5, 7, 6.0]))
        >>> round(found.kendall, 4), found.p_value < 0.01
        (0.9286, True)
    """
    known = np.isfinite(first) & np.isfinite(second)
    x, y = first[known].astype(np.float64), second[known].astype(np.float64)
    n = len(x)
    if n < LEAST_CLASSES or np.ptp(x) == 0 or np.ptp(y) == 0:
        return ClassAgreement(np.nan, np.nan, np.nan, np.nan, n)
    draws = kendall_draws(x, y, bootstrap_weights(n, n_bootstrap, seed))
    lower, upper = interval(draws, confidence)
    return ClassAgreement(
        kendall=float(kendalltau(x, y).statistic),
        lower=lower,
        upper=upper,
        p_value=kendall_p_value(x, y, n_permutations, seed),
        n_classes=n,
    )


def would_find(tau: float, n_classes: int, level: float) -> bool:
    """Whether a τ would be found among so many classes with probability 0.8.

    By the normal approximation of artanh τ, whose variance is about 0.437 / (n − 4).

    Args:
        tau: Above 0, below 1.
        n_classes: n.
        level: Of the two-sided test.

    Source:
        Fieller, Hartley & Pearson, Tests for rank correlation coefficients, 1957.

    Example:
        >>> would_find(0.5, 10, 0.05), would_find(0.5, 20, 0.05)
        (False, True)
    """
    if n_classes <= 4:
        return False
    needed = norm.isf(level / 2) + norm.ppf(POWER)
    return bool(np.arctanh(tau) / np.sqrt(0.437 / (n_classes - 4)) >= needed)
