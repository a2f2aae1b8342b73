"""Could a test have found anything? Its power, before "nothing was found" means anything."""

from __future__ import annotations

from typing import Final

import numpy as np
from scipy import stats

#: The smallest association worth finding: a partial Kendall τ.
PARTIAL_TAU: Final = 0.3
#: A test that finds such an association less often than this cannot deny it.
MIN_POWER: Final = 0.8


def increment_power(
    freedom: float, alpha: float, reliability: float = 1.0, tau: float = PARTIAL_TAU
) -> float:
    """Power of the two-sided test of an increment (see `statistics.increment`).

    A partial τ corresponds to the partial correlation r = sin(π τ / 2) of normal variables. Where
    only a share ρ of what the controls leave of the target is not noise, such as that of counting
    correct answers on finitely many held-out images, r shrinks to r √ρ. By Fisher's transform
    z = atanh(r) is normal with variance 1 / (f − 1), f being the degrees of freedom of the t test.

    Args:
        freedom: Degrees of freedom of the t test, after the controls.
        alpha: Level of the test, corrected for the number of tests.
        reliability: ρ in [0, 1].
        tau: The association to be found.

    Returns:
        In [0, 1]; 0 where no degree of freedom is left.

    Source: Greiner (1909) for r = sin(π τ / 2); Fisher (1924) for partial correlations.

    Example:
        >>> round(increment_power(40, 0.05), 2), round(increment_power(40, 0.05 / 100), 2)
        (0.87, 0.34)
    """
    if freedom <= 1 or not 0 < alpha < 1:
        return 0.0
    r = np.sin(np.pi * tau / 2) * np.sqrt(np.clip(reliability, 0, 1))
    shift = np.arctanh(r) * np.sqrt(freedom - 1)
    z = stats.norm.isf(alpha / 2)
    return float(stats.norm.sf(z - shift) + stats.norm.cdf(-z - shift))
