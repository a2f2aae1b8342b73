"""Estimators of entropy from how often each birth level was seen, for many groups at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

import numpy as np

from audit.arrays import NO_BIRTH

#: Gauss's rule for the levels not yet seen, and the power of e that is nothing beside 1.
_POINTS, _WEIGHTS = np.polynomial.legendre.leggauss(40)
_NEGLIGIBLE: Final = 42.0


class Runs(NamedTuple):
    """The counts above 0 of every group, group after group.

    Attributes:
        size: Shape (r,), images that share a level.
        group: Shape (r,), the group they belong to.
        born: Shape (g,), images with a birth in each group.
    """

    size: np.ndarray
    group: np.ndarray
    born: np.ndarray


def runs_of_births(births: np.ndarray) -> Runs:
    """Counts of equal levels in each row of (g, n); `NO_BIRTH` is not counted."""
    n_groups, n = births.shape
    ordered = np.sort(births, axis=1)
    starts = np.empty((n_groups, n), bool)
    starts[:, 0] = True
    np.not_equal(ordered[:, 1:], ordered[:, :-1], out=starts[:, 1:])
    first = np.flatnonzero(starts)
    count = np.diff(first, append=n_groups * n)
    is_birth = ordered.ravel()[first] != NO_BIRTH
    group = (first // n)[is_birth]
    count = count[is_birth]
    born = np.bincount(group, weights=count, minlength=n_groups).astype(np.int64)
    return Runs(count, group, born)


def runs_of_counts(counts: np.ndarray) -> Runs:
    """The same from a table (g, levels) of how often each level was seen."""
    group, level = np.nonzero(counts)
    return Runs(counts[group, level], group, counts.sum(axis=1))


def plug_in(runs: Runs) -> np.ndarray:
    """−Σ p log p; exactly 0 for a single level."""
    log = np.log(np.maximum(np.arange(runs.born.max(initial=1) + 1), 1))
    total = runs.born[runs.group]
    return _sums(runs, runs.size * (log[total] - log[runs.size]) / total)


def miller_madow(runs: Runs) -> np.ndarray:
    """Plug-in entropy + (K − 1) / 2N."""
    n_levels = np.bincount(runs.group, minlength=len(runs.born))
    return np.asarray(plug_in(runs) + (n_levels - 1) / (2 * np.maximum(runs.born, 1)))


def chao_shen(runs: Runs) -> np.ndarray:
    """Horvitz-Thompson entropy of the coverage-adjusted distribution."""
    once = _seen(runs, 1)
    once = np.where(once == runs.born, once - 1, once)  # else the coverage would be 0
    total = runs.born[runs.group]
    probability = (1 - once / np.maximum(runs.born, 1))[runs.group] * runs.size / total
    missed = (1 - probability) ** total
    return _sums(runs, -probability * np.log(probability) / (1 - missed)) + 0.0


def grassberger(runs: Runs) -> np.ndarray:
    """Log N − Σ n G(n) / N, G by its recurrence: G(n + 2) = G(n) + 2 / (n + 1) for even n."""
    n_most = int(runs.born.max(initial=1)) + 2
    table = np.empty(n_most + 1)
    table[0], table[1] = 0.0, -np.euler_gamma - np.log(2)
    even = table[1] + np.cumsum(2.0 / np.arange(1, n_most, 2))
    table[2::2] = even[: len(table[2::2])]
    table[3::2] = table[2:-1:2]
    total = np.maximum(runs.born, 1)
    terms = runs.size * table[runs.size] / total[runs.group]
    return np.asarray(np.log(total) - _sums(runs, terms))


def chao_wang_jost(runs: Runs) -> np.ndarray:
    """Σ p (ψ(N) − ψ(n)), and what the levels not yet seen are likely to add."""
    harmonic = np.concatenate([[0.0], np.cumsum(1.0 / np.arange(1, runs.born.max(initial=1) + 1))])
    total = runs.born[runs.group]
    seen = _sums(runs, runs.size * (harmonic[total - 1] - harmonic[runs.size - 1]) / total)
    return np.asarray(seen + _unseen(runs.born, _seen(runs, 1), _seen(runs, 2)))


def _unseen(born: np.ndarray, once: np.ndarray, twice: np.ndarray) -> np.ndarray:
    """(f₁ / N) (1 − A)^(1 − N) (−log A − Σ_{r < N} (1 − A)^r / r); 0 where no level is seen once.

    The published difference loses its digits where A is not small, and the hypergeometric function
    that it equals overflows in scipy from N = 170 on. It is the tail of the logarithm's series,
    ∫ ((1 − y) / (1 − A))^(N − 1) d(log y) from A to 1: a smooth integral, which Gauss's rule gives
    to 12 digits.
    """
    base = int(born.max(initial=0)) + 1
    cases, case_of = np.unique((born * base + once) * base + twice, return_inverse=True)
    n, f_1, f_2 = cases // base**2, cases // base % base, cases % base
    added = np.zeros(len(cases))
    some = (f_1 > 0) & (n > 1)
    n, f_1, f_2 = n[some], f_1[some], f_2[some]
    several = np.where(f_2 > 0, f_2, 1)
    share = 2 * several / ((n - 1) * np.where(f_2 > 0, f_1, f_1 - 1) + 2 * several)
    rest = 1 - share
    low = np.log(share)
    high = np.log1p(-rest * np.exp(-_NEGLIGIBLE / (n - 1)))  # beyond it the integrand is nothing
    y = np.exp(low[:, None] + (high - low)[:, None] * (_POINTS + 1) / 2)
    with np.errstate(divide="ignore", invalid="ignore"):  # A = 1 leaves nothing unseen
        power = (n - 1)[:, None] * (np.log1p(-y) - np.log1p(-share)[:, None])
    integral = np.exp(np.where(rest[:, None] > 0, power, -np.inf)) @ _WEIGHTS * (high - low) / 2
    added[some] = f_1 / n * integral
    return np.asarray(added[case_of.ravel()])


def _seen(runs: Runs, times: int) -> np.ndarray:
    """Levels seen exactly so many times, shape (g,)."""
    return np.bincount(runs.group[runs.size == times], minlength=len(runs.born))


def _sums(runs: Runs, terms: np.ndarray) -> np.ndarray:
    """Sum of terms over each group."""
    return np.bincount(runs.group, weights=terms, minlength=len(runs.born))


ESTIMATORS: Final[dict[str, Callable[[Runs], np.ndarray]]] = {
    "plug-in": plug_in,
    "miller-madow": miller_madow,
    "chao-shen": chao_shen,
    "grassberger": grassberger,
    "chao-wang-jost": chao_wang_jost,
}
