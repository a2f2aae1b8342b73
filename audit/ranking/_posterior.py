"""Accuracies given a card's scores, the measures and a few known accuracies, by Bayes' rule.

Everything is an average over what the few cannot decide: how much the card is worth here, whether
measures say more than it does, and how far accuracies spread. With three known accuracies that
average is the card's order; with many, what they say.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Final

import numpy as np
from scipy import linalg, special
from sklearn.metrics.pairwise import euclidean_distances

from audit.ranking._regressors import Matrix, Preparation, Vector

#: Correlations of the card's scores with accuracy that are weighed.
CORRELATIONS: Final = np.array([0.0, 0.2, 0.4, 0.6, 0.75, 0.87, 0.95])
#: Shares of what the card leaves open that the measures explain.
SHARES: Final = np.array([0.15, 0.35, 0.6, 0.85])
#: Standard deviations of all accuracies, beside that of the known ones.
SPREADS: Final = np.geomspace(0.5, 6.0, 10)
#: Spread of a card's correlation from zoo to zoo, as far as its record says.
_BANDWIDTH: Final = 0.15
#: Known accuracies from which on measures are as credible as the card alone.
_EVEN_ODDS: Final = 3
#: Halvings of the range in which a quantile is looked for.
_HALVINGS: Final = 40
#: Variances and squared distances below this are rounding.
_EQUAL: Final = 1e-9


class Similarity:
    """How alike checkpoints are by their measures: alike in direction, and near in distance.

    Both are scaled so that the checkpoints of the zoo vary by 1.

    Args:
        zoo: The measures of all checkpoints, known and unknown, shape (n, p).
    """

    def __init__(self, zoo: Matrix) -> None:
        self._prepare = Preparation(zoo)
        prepared = self._prepare(zoo)
        distances = euclidean_distances(prepared, squared=True)
        apart = distances[distances > _EQUAL]
        self._usual = float(np.median(apart)) if len(apart) else 1.0
        self._size = np.ones(2)
        self._size = np.array([_variance(kernel) or 1.0 for kernel in self(zoo, zoo)])

    def __call__(self, one: Matrix, other: Matrix) -> np.ndarray:
        """Similarities, shape (2, rows of one, rows of other)."""
        one, other = self._prepare(one), self._prepare(other)
        distances = euclidean_distances(one, other, squared=True)
        kernels = np.stack([one @ other.T, np.exp(-distances / self._usual)])
        return np.asarray(kernels / self._size[:, None, None])

    def own(self, rows: Matrix) -> np.ndarray:
        """Similarity of each row with itself, shape (2, rows)."""
        prepared = self._prepare(rows)
        own = np.stack([(prepared**2).sum(axis=1), np.ones(len(rows))])
        return np.asarray(own / self._size[:, None])


def _variance(kernel: np.ndarray) -> float:
    """Mean variance about the common mean that a kernel gives its rows; 0 where they are equal."""
    n = len(kernel)
    variance = float((np.trace(kernel) - kernel.sum() / n) / max(n - 1, 1))
    return variance if variance > _EQUAL else 0.0


def credibility(taus: Sequence[float]) -> Vector:
    """How credible each of `CORRELATIONS` is by a card's record, before any accuracy is known.

    Every zoo of the record counts one, and one more knows nothing.

    Args:
        taus: Kendall's τ of the card on zoos it was not fitted on. Of two normal variables with
            that τ the correlation is sin(πτ / 2).

    Returns:
        Weights that add up to 1.
    """
    weights = np.full(len(CORRELATIONS), 1 / len(CORRELATIONS))
    for tau in taus:
        found = max(float(np.sin(np.pi * tau / 2)), 0.0)
        near = np.exp(-0.5 * ((CORRELATIONS - found) / _BANDWIDTH) ** 2)
        weights += near / near.sum()
    return np.asarray(weights / weights.sum())


class Posterior:
    """What is believed of accuracies once some are known.

    An accuracy is m + σ (ρ s + √(1 − ρ²) (√g f + √(1 − g) e)): a common mean m; the card's score
    s, standardised within the zoo; a function f of the measures, which is a Gaussian process,
    linear or smooth; and e, independent. m has a flat prior. ρ (at least 0: a card is believed or
    not, but never turned round), g, σ and the kind of f are averaged over a grid, weighed by how
    well they predict the contrasts of the known accuracies. That measures say more than the card
    (g > 0) has prior odds of (k / 3)² where k are known: whoever corrects a good card by three
    accuracies makes it worse.

    Source: Rasmussen & Williams (2006), "Gaussian Processes for Machine Learning", 2.7 and 5.2.

    Args:
        similarity: Of the zoo.
        X: Measures of the known checkpoints, shape (k, p), k ≥ 2.
        score: Their scores by the card, standardised within the zoo, shape (k,).
        y: Their accuracies, shape (k,).
        record: Weights of `CORRELATIONS` before anything is known (see `credibility`).
        noise: Variance of an accuracy about what ever more held-out images would give.
    """

    def __init__(
        self,
        similarity: Similarity,
        X: Matrix,
        score: Vector,
        y: Vector,
        record: Vector,
        noise: float = 0.0,
    ) -> None:
        k = len(y)
        self._similarity, self._X, self._score, self._y = similarity, X, score, y
        self._kernels = _with_none(similarity(X, X))
        contrasts = linalg.helmert(k)
        eigenvalues, vectors = np.linalg.eigh(contrasts @ self._kernels @ contrasts.T)
        self._rotations = vectors.transpose(0, 2, 1) @ contrasts
        spread = float(y.std(ddof=1)) or 1.0
        kind, correlation, share, self._slope, left = _grid(spread)
        self._kind, self._correlation = kind, correlation
        self._by_measures = left * share
        self._by_luck = left * (1 - share) + noise
        variance = (
            self._by_measures[:, None] * np.maximum(eigenvalues, 0.0)[kind] + self._by_luck[:, None]
        )
        found = self._rotations @ np.column_stack([y, score])
        residual = found[kind, :, 0] - self._slope[:, None] * found[kind, :, 1]
        self._variance, self._pull = variance, residual / variance
        fit = -0.5 * (residual**2 / variance + np.log(variance)).sum(axis=1)
        prior = np.log(record)[np.searchsorted(CORRELATIONS, correlation)]
        odds = (k / _EVEN_ODDS) ** 2
        of_kind = np.array([1.0, *[odds / (2 * len(SHARES))] * 2])
        self._weights = special.softmax(fit + prior + np.log(of_kind)[kind])

    @property
    def correlation(self) -> float:
        """Expected correlation of the card's scores with accuracy."""
        return float(self._weights @ self._correlation)

    def _moments(self, X: Matrix, score: Vector) -> tuple[np.ndarray, np.ndarray]:
        """Mean and variance of accuracies under every hypothesis, each (hypotheses, n)."""
        k = len(self._y)
        cross = _with_none(self._similarity(self._X, X))
        away = self._rotations @ (cross - self._kernels.mean(axis=2, keepdims=True))
        own = np.vstack([np.zeros(len(X)), self._similarity.own(X)])
        own = own - 2 * cross.mean(axis=1) + self._kernels.mean(axis=(1, 2))[:, None]
        mean = self._y.mean() + self._slope[:, None] * (score - self._score.mean())
        variance = self._by_measures[:, None] * own[self._kind]
        variance += self._by_luck[:, None] * (1 + 1 / k)
        for kind in range(len(self._kernels)):
            rows = self._kind == kind
            scale = self._by_measures[rows, None]
            mean[rows] += scale * (self._pull[rows] @ away[kind])
            variance[rows] -= scale**2 * ((1 / self._variance[rows]) @ away[kind] ** 2)
        return mean, np.maximum(variance, np.finfo(np.float64).tiny)

    def mean(self, X: Matrix, score: Vector) -> Vector:
        """Expected accuracies, shape (n,)."""
        return np.asarray(self._weights @ self._moments(X, score)[0])

    def interval(self, X: Matrix, score: Vector, confidence: float) -> Matrix:
        """Ends of the central credible intervals of measured accuracies, shape (n, 2)."""
        mean, variance = self._moments(X, score)
        deviation = np.sqrt(variance)
        ends = []
        for probability in ((1 - confidence) / 2, (1 + confidence) / 2):
            low = (mean - 40 * deviation).min(axis=0)
            high = (mean + 40 * deviation).max(axis=0)
            for _ in range(_HALVINGS):
                middle = (low + high) / 2
                below = self._weights @ special.ndtr((middle - mean) / deviation) < probability
                low, high = np.where(below, middle, low), np.where(below, high, middle)
            ends.append((low + high) / 2)
        return np.column_stack(ends)


def _with_none(kernels: np.ndarray) -> np.ndarray:
    """Kernels with that of a function that is 0 before them."""
    return np.concatenate([np.zeros_like(kernels[:1]), kernels])


def _grid(spread: float) -> tuple[np.ndarray, ...]:
    """Every hypothesis: kind of function, ρ, g, slope on the score, variance the card leaves."""
    none = [(0, rho, 0.0, sigma) for rho in CORRELATIONS for sigma in SPREADS]
    some = itertools.product((1, 2), CORRELATIONS, SHARES, SPREADS)
    kind, correlation, share, sigma = (np.array(each) for each in zip(*none, *some, strict=True))
    sigma = sigma * spread
    return kind, correlation, share, sigma * correlation, sigma**2 * (1 - correlation**2)
