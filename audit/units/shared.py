"""Whether matched units of two networks share their feature entropy.

Whether the status of a unit, its feature entropy, is something that another network finds again is
a rank correlation over matched pairs, set against random pairs, and against what a network's own
units reach on other images.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from scipy.stats import norm, rankdata

from audit.topology.entropy import feature_entropy_by_class
from audit.units.distributions import POWER

#: Pairs of units with a number that a class needs.
LEAST_PAIRS: Final = 10


class Halves(NamedTuple):
    """Numbers of units on two disjoint halves of the images of every class.

    Attributes:
        entropy: Shape (2, c, u), feature entropy; NaN where a unit is born too seldom.
        rate: Shape (2, c, u), effective rate in [0, 1].
    """

    entropy: np.ndarray
    rate: np.ndarray

    def of(self, units: np.ndarray) -> Halves:
        """The numbers of some units, in this order."""
        return Halves(self.entropy[..., units], self.rate[..., units])


class Shared(NamedTuple):
    """Whether matched units share their order by feature entropy.

    Attributes:
        spearman: Mean over classes and halves of the rank correlation over matched pairs, each
            network on the other half of the images; NaN where no class has ten pairs.
        lower: Of its interval over pairs.
        upper: Likewise.
        p_value: Share of random matchings whose correlation is as large.
        ceiling: The correlation of a network's units with themselves on other images, the
            geometric mean of both networks: what could be reached. NaN where either is not
            above 0.
        beyond_rate: `spearman` of what effective rate leaves of the ranks.
        beyond_rate_p_value: Likewise.
        detectable: The correlation that would be found with probability 0.8.
        n_pairs: Pairs in which both units have a number in some class.
        n_classes: Classes with ten pairs at least.
    """

    spearman: float
    lower: float
    upper: float
    p_value: float
    ceiling: float
    beyond_rate: float
    beyond_rate_p_value: float
    detectable: float
    n_pairs: int
    n_classes: int


def halves_of(
    birth_levels: np.ndarray, labels: np.ndarray, n_classes: int, least_rate: float
) -> Halves:
    """Feature entropy of units on every other image of each class, and on the others.

    Args:
        birth_levels: (n, u) integers, from 1, or `NO_BIRTH`.
        labels: (n,) integers in [0, n_classes).
        n_classes: Number of classes.
        least_rate: Effective rate, in [0, 1], from which on a unit has a number.
    """
    turn = np.zeros(len(labels), np.int64)
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        turn[rows] = np.arange(len(rows)) % 2
    entropies, rates = [], []
    for half in (0, 1):
        used = turn == half
        found = feature_entropy_by_class(birth_levels[used], labels[used], n_classes)
        entropies.append(
            np.where(found.effective_rate >= least_rate, found.feature_entropy, np.nan)
        )
        rates.append(found.effective_rate)
    return Halves(np.stack(entropies), np.stack(rates))


def shared_entropy(
    first: Halves,
    second: Halves,
    n_permutations: int = 999,
    seed: int = 0,
    confidence: float = 0.95,
) -> Shared:
    """Rank correlation of feature entropy over matched pairs, against random matchings.

    The hypothesis that is tested: given which units were matched, the feature entropy of one says
    nothing of that of the other, so that any pairing of them is as likely. p, one-sided, is the
    share of random pairings whose correlation is as large. The two networks are looked at on
    different halves of the images: noise of the images themselves is not shared.

    Args:
        first: Of the k matched units of one network.
        second: Of those of the other, in the order of the pairs.
        n_permutations: Random pairings, and resamples of pairs for the interval.
        seed: Of both.
        confidence: Of the interval, in (0, 1).

    Returns:
        `Shared`.
    """
    a, b = _ranks(first.entropy), _ranks(second.entropy)
    known = np.isfinite(a[0]) & np.isfinite(b[1]) | np.isfinite(a[1]) & np.isfinite(b[0])
    k = a.shape[2]
    generator = np.random.default_rng(seed)
    orders = np.vstack([np.arange(k), *(generator.permutation(k) for _ in range(n_permutations))])
    draws, n_classes = _crossed(a, b, orders)
    rest_a, rest_b = _beside(a, _ranks(first.rate)), _beside(b, _ranks(second.rate))
    beyond, _ = _crossed(rest_a, rest_b, orders)
    chosen = generator.integers(0, k, (n_permutations, k)) if k else orders[1:]
    resampled, _ = _crossed(a, b, chosen, chosen)
    tails = (1 - confidence) / 2, (1 + confidence) / 2
    defined = n_classes > 0
    lower, upper = np.nanquantile(resampled, tails) if defined else (np.nan, np.nan)
    null = draws[1:]
    itself = [_correlation(of[:1], of[1:], orders[:1])[0][0] for of in (a, b)]
    reachable = min(itself) > 0
    return Shared(
        spearman=float(draws[0]),
        lower=float(lower),
        upper=float(upper),
        p_value=_share(draws),
        ceiling=float(np.sqrt(itself[0] * itself[1])) if reachable else np.nan,
        beyond_rate=float(beyond[0]),
        beyond_rate_p_value=_share(beyond),
        detectable=float(np.quantile(null, 0.95) + norm.ppf(POWER) * null.std())
        if defined
        else np.nan,
        n_pairs=int(known.any(axis=0).sum()),
        n_classes=n_classes,
    )


def _ranks(numbers: np.ndarray) -> np.ndarray:
    """Ranks over the last axis, in [0, 1], among those that are known."""
    known = np.isfinite(numbers)
    ranks = rankdata(np.where(known, numbers, np.inf), axis=-1)
    return np.where(known, ranks / np.maximum(known.sum(-1, keepdims=True), 1), np.nan)


def _beside(ranks: np.ndarray, controls: np.ndarray) -> np.ndarray:
    """What a straight line through the ranks of a control leaves of ranks, along the last axis."""
    known = np.isfinite(ranks) & np.isfinite(controls)
    n = np.maximum(known.sum(-1, keepdims=True), 1)
    x, y = (np.where(known, each, 0) for each in (controls, ranks))
    x, y = (np.where(known, each - each.sum(-1, keepdims=True) / n, 0) for each in (x, y))
    square = (x**2).sum(-1, keepdims=True)
    slope = np.divide(
        (x * y).sum(-1, keepdims=True), square, out=np.zeros(square.shape), where=square > 1e-12
    )
    return np.where(known, y - slope * x, np.nan)


def _crossed(
    a: np.ndarray, b: np.ndarray, orders: np.ndarray, own_orders: np.ndarray | None = None
) -> tuple[np.ndarray, int]:
    """Mean correlation (r,) of a on one half with b on the other, and how many classes have one."""
    one, n_one = _correlation(a[:1], b[1:], orders, own_orders)
    other, n_other = _correlation(a[1:], b[:1], orders, own_orders)
    return (one + other) / 2, min(n_one, n_other)


def _correlation(
    a: np.ndarray, b: np.ndarray, orders: np.ndarray, own_orders: np.ndarray | None = None
) -> tuple[np.ndarray, int]:
    """Mean over classes of the correlation of a (1, c, k) with b (1, c, k) in each order (r, k)."""
    found = []
    for x, y in zip(a[0], b[0], strict=True):
        if (np.isfinite(x) & np.isfinite(y)).sum() < LEAST_PAIRS:
            continue
        known_x, known_y = np.isfinite(x), np.isfinite(y)
        x, y = np.where(known_x, x, 0), np.where(known_y, y, 0)
        pair = (known_x if own_orders is None else known_x[own_orders]) & known_y[orders]
        left = (x if own_orders is None else x[own_orders]) * pair
        right = y[orders] * pair
        found.append(_pearson(left, right, pair.sum(axis=1)))
    if not found:
        return np.full(len(orders), np.nan), 0
    return np.asarray(np.mean(found, axis=0)), len(found)


def _pearson(x: np.ndarray, y: np.ndarray, n: np.ndarray) -> np.ndarray:
    """Correlation of each row of n pairs; what is no pair is 0 in both. 0 where one is constant."""
    n = np.maximum(n, 1)
    products = (x * y).sum(1) - x.sum(1) * y.sum(1) / n
    squares = ((x**2).sum(1) - x.sum(1) ** 2 / n) * ((y**2).sum(1) - y.sum(1) ** 2 / n)
    varies = squares > 1e-12
    return np.asarray(np.where(varies, products / np.sqrt(np.where(varies, squares, 1)), 0.0))


def _share(draws: np.ndarray) -> float:
    """Share of draws that are as large as the first, itself included; NaN where it is undefined."""
    return float((draws >= draws[0] - 1e-12).mean()) if np.isfinite(draws[0]) else np.nan
