"""Whether the units of two layers have the same feature entropies, as distributions.

Units of two networks have no correspondence, so their distributions are compared, class by class,
by the Wasserstein distance. A permutation that exchanges units between the networks takes all
classes of a unit along: what its classes have in common is the same in every draw.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from scipy.stats import norm

#: Units with a number that a class needs in both networks.
LEAST_UNITS: Final = 5
#: Probability with which a shift of `detectable` would be found.
POWER: Final = 0.8


class Distances(NamedTuple):
    """How far the units of two layers lie from each other.

    Arrays have one entry per class, and are NaN for a class in which either network has fewer than
    five units with a number.

    Attributes:
        distance: Wasserstein distance in nats: how far the mean unit must be moved.
        spread: Standard deviation of all units of both, in nats.
        detectable: The shift of every unit, in nats, that would be found with probability 0.8.
        p_value: Share of permutations whose distance is as large.
        overall: Mean over classes of distance / spread.
        overall_p_value: The same of this one number.
    """

    distance: np.ndarray
    spread: np.ndarray
    detectable: np.ndarray
    p_value: np.ndarray
    overall: float
    overall_p_value: float


def unit_distances(
    first: np.ndarray,
    second: np.ndarray,
    n_permutations: int = 999,
    seed: int = 0,
    level: float = 0.05,
) -> Distances:
    """Wasserstein distances of units' feature entropies, and their permutation tests.

    The hypothesis that is tested: the units of both networks are draws from one distribution (over
    units, with all their classes). p = (1 + #{W* ≥ W}) / (1 + permutations) is then exact. Units of
    a network that depend on each other, as redundant ones do, are counted as if they did not.
    `detectable` is the (1 − level) quantile of W* plus 0.84 standard errors of a difference of
    means.

    Args:
        first: (c, u) feature entropies; NaN is left out.
        second: (c, v) likewise.
        n_permutations: Of the tests.
        seed: Of the permutations.
        level: Of `detectable`, in (0, 1).

    Returns:
        `Distances`; `overall` is NaN where no class can be compared.

    Source:
        Two-sample permutation tests as Good, Permutation, Parametric and Bootstrap Tests of
        Hypotheses, 2005, section 3; the distance of one-dimensional distributions is the area
        between their distribution functions (Vallender 1974).

    Example:
        >>> found = unit_distances(np.arange(20.0)[None], np.arange(20.0)[None] + 30)
        >>> float(found.distance[0]), float(found.p_value[0])
        (30.0, 0.001)
    """
    n_classes = len(first)
    units = np.concatenate([first, second], axis=1)
    own = np.arange(units.shape[1]) < first.shape[1]
    generator = np.random.default_rng(seed)
    member = generator.permuted(np.tile(own, (n_permutations + 1, 1)), axis=1)
    member[0] = own
    distance, spread, detectable, p_value = np.full((4, n_classes), np.nan)
    total, n_told = np.zeros(len(member)), 0
    for c, numbers in enumerate(units):
        known = np.isfinite(numbers)
        counts = (known & own).sum(), (known & ~own).sum()
        if min(counts) < LEAST_UNITS:
            continue
        draws = _distances(numbers[known], member[:, known])
        distance[c], spread[c] = draws[0], numbers[known].std(ddof=1)
        p_value[c] = _p_value(draws)
        error = spread[c] * np.sqrt(1 / counts[0] + 1 / counts[1])
        detectable[c] = np.nanquantile(draws[1:], 1 - level) + norm.ppf(POWER) * error
        if spread[c] > 0:
            total += draws / spread[c]
            n_told += 1
    if not n_told:
        return Distances(distance, spread, detectable, p_value, np.nan, np.nan)
    overall = total / n_told
    return Distances(distance, spread, detectable, p_value, float(overall[0]), _p_value(overall))


def _distances(numbers: np.ndarray, member: np.ndarray) -> np.ndarray:
    """Wasserstein distance of members and others, for each row (r, n) of membership.

    Infinite for a row that leaves no member, or no other.
    """
    order = np.argsort(numbers)
    steps = np.diff(numbers[order])
    inside = np.cumsum(member[:, order], axis=1, dtype=np.float64)
    n_inside = inside[:, -1:]
    n_outside = len(numbers) - n_inside
    outside = np.arange(1, len(numbers) + 1) - inside
    possible = (n_inside > 0) & (n_outside > 0)
    gap = inside / np.maximum(n_inside, 1) - outside / np.maximum(n_outside, 1)
    area = np.abs(gap[:, :-1]) @ steps
    return np.asarray(np.where(possible[:, 0], area, np.inf))


def _p_value(draws: np.ndarray) -> float:
    """Share of draws that are as large as the first, itself included."""
    return float((draws >= draws[0] * (1 - 1e-12)).mean())
