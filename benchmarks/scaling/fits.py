"""How fast a cost grows with a count: the exponent of a power law, with its interval."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Final

import numpy as np
from scipy import stats

#: An exponent up to here is called linear.
LINEAR: Final = 1.1
CONFIDENCE: Final = 0.95


@dataclasses.dataclass(frozen=True)
class Exponent:
    """The b of cost ∝ count^b.

    Attributes:
        value: b.
        low: Lower end of its 95% interval; NaN from two points.
        high: Upper end.
    """

    value: float
    low: float
    high: float

    @property
    def is_linear(self) -> bool:
        """Whether the cost grows no faster than about linearly."""
        return self.value <= LINEAR

    def __str__(self) -> str:
        ends = "" if math.isnan(self.low) else f" ({self.low:.2f} to {self.high:.2f})"
        return f"{self.value:.2f}{ends}"


def exponent(counts: Sequence[float], costs: Sequence[float]) -> Exponent:
    """The slope of log cost on log count by least squares, with Student's interval.

    A fixed cost beside one that grows makes the slope smaller, so `beyond_fixed` comes first where
    a fixed cost is known.

    Args:
        counts: Positive, of two different values at least.
        costs: Positive, one for each count.

    Raises:
        ValueError: A count or a cost is not positive.

    Example:
        >>> str(exponent([1, 2, 4, 8], [3, 12, 48, 192]))
        '2.00 (2.00 to 2.00)'
    """
    x, y = np.asarray(counts, float), np.asarray(costs, float)
    if (x <= 0).any() or (y <= 0).any():
        raise ValueError("a power law needs positive counts and costs")
    fit = stats.linregress(np.log(x), np.log(y))
    if len(x) < 3:
        return Exponent(float(fit.slope), math.nan, math.nan)
    reach = float(stats.t.ppf(0.5 + CONFIDENCE / 2, len(x) - 2) * fit.stderr)
    return Exponent(float(fit.slope), float(fit.slope) - reach, float(fit.slope) + reach)


def line(counts: Sequence[float], costs: Sequence[float]) -> tuple[float, float]:
    """(fixed cost, cost of each) by least squares on relative errors.

    Example:
        >>> [round(part, 6) for part in line([1, 2, 3], [5.0, 7.0, 9.0])]
        [3.0, 2.0]
    """
    x, y = np.asarray(counts, float), np.asarray(costs, float)
    weighted = np.stack([1 / y, x / y], axis=1)
    fixed, each = np.linalg.lstsq(weighted, np.ones_like(y), rcond=None)[0]
    return float(fixed), float(each)
