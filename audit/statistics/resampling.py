"""How sure: bootstrap intervals, permutation p-values, Holm's correction.

A bootstrap sample is a row of multiplicities w (how often each model was drawn). Kendall's P − Q
on the sample is then ½ wᵀ(S∘T)w with S, T the sign matrices of the measure and the target, so
that all samples of a measure are one matrix product; every entry is an integer below 2²⁴, hence
exact in float32.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from jaxtyping import Float
from scipy import stats

from audit.statistics.result import Codes, Values, why_undefined

#: Sums of float32 integers stay exact below this.
_EXACT_FLOAT32: Final = 2**24
#: Above this many models the normal approximation of Kendall's null replaces permutations.
MAX_PERMUTED_MODELS: Final = 100
#: Fewer families than this cannot be resampled: models are resampled instead.
MIN_FAMILIES: Final = 5
#: An interval needs this share of samples on which the statistic is defined.
_MIN_DEFINED: Final = 0.8
_BLOCK: Final = 1024

Weights = Float[np.ndarray, "draws n"]
Draws = Float[np.ndarray, " draws"]


def bootstrap_weights(
    n_models: int, n_bootstrap: int, seed: int, clusters: Codes | None = None
) -> Weights:
    """How often each model is drawn in each bootstrap sample.

    Args:
        n_models: Models in the table.
        n_bootstrap: Samples.
        seed: Of the generator; the same seed gives the same samples for every measure.
        clusters: A code per model (its family); whole clusters are then drawn together.

    Returns:
        Multiplicities, shape (draws, n), as float64 integers.
    """
    rng = np.random.default_rng(seed)
    codes = np.arange(n_models) if clusters is None else np.unique(clusters, return_inverse=True)[1]
    n_codes = int(codes.max(initial=-1)) + 1
    counts = rng.multinomial(n_codes, np.full(n_codes, 1 / max(n_codes, 1)), size=n_bootstrap)
    return counts[:, codes].astype(np.float64)


def kendall_draws(x: Values, y: Values, weights: Weights) -> Draws:
    """τ-b of every bootstrap sample, exactly as scipy would give on the repeated rows.

    Args:
        x: A measure, shape (n,), without NaN.
        y: The target, shape (n,), without NaN.
        weights: Multiplicities, shape (draws, n).

    Returns:
        τ-b per sample; NaN where the sample is constant in x or y.
    """
    rank_x = stats.rankdata(x, method="dense").astype(np.float32)
    rank_y = stats.rankdata(y, method="dense").astype(np.float32)
    exact = weights.sum(axis=1).max(initial=0) < _EXACT_FLOAT32
    w = weights.astype(np.float32 if exact else np.float64)
    score = np.zeros(len(w))
    for start in range(0, len(x), _BLOCK):
        block = slice(start, start + _BLOCK)
        signs = np.sign(rank_x[block, None] - rank_x)
        signs *= np.sign(rank_y[block, None] - rank_y)
        product = (w @ signs.T.astype(w.dtype)).astype(np.float64)
        score += (product * weights[:, block]).sum(axis=1)
    total = weights.sum(axis=1)
    untied_x = total**2 - _tied(rank_x, weights)
    untied_y = total**2 - _tied(rank_y, weights)
    with np.errstate(invalid="ignore"):
        return np.asarray(score / np.sqrt(untied_x * untied_y))


def _tied(dense_rank: np.ndarray, weights: Weights) -> Draws:
    """Ordered pairs, self-pairs included, that share a value: Σ over values of (Σ w)²."""
    order = np.argsort(dense_rank, kind="stable")
    starts = np.flatnonzero(np.diff(dense_rank[order], prepend=-1))
    return np.asarray((np.add.reduceat(weights[:, order], starts, axis=1) ** 2).sum(axis=1))


def spearman_draws(x: Values, y: Values, weights: Weights) -> Draws:
    """Spearman's ρ of every bootstrap sample, mid-ranks taken anew within the sample."""
    return _weighted_correlation(_weighted_ranks(x, weights), _weighted_ranks(y, weights), weights)


def pearson_draws(x: Values, y: Values, weights: Weights) -> Draws:
    """Pearson's r of every bootstrap sample; x and y finite."""
    standard = [(v - v.mean()) / (np.abs(v - v.mean()).max() or 1.0) for v in (x, y)]
    return _weighted_correlation(standard[0][None], standard[1][None], weights)


def _weighted_ranks(values: Values, weights: Weights) -> Weights:
    """Mid-rank of each model's value within each sample."""
    dense = stats.rankdata(values, method="dense")
    order = np.argsort(dense, kind="stable")
    starts = np.flatnonzero(np.diff(dense[order], prepend=-1))
    per_value = np.add.reduceat(weights[:, order], starts, axis=1)
    upto = np.cumsum(per_value, axis=1)
    return (upto - (per_value - 1) / 2)[:, dense - 1]


def _weighted_correlation(x: Weights, y: Weights, weights: Weights) -> Draws:
    """Pearson's r with multiplicities, row by row."""
    total = weights.sum(axis=1, keepdims=True)
    x = x - (weights * x).sum(axis=1, keepdims=True) / total
    y = y - (weights * y).sum(axis=1, keepdims=True) / total
    xy, xx, yy = ((weights * product).sum(axis=1) for product in (x * y, x * x, y * y))
    degenerate = (xx <= 1e-12 * total[:, 0]) | (yy <= 1e-12 * total[:, 0])
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(degenerate, np.nan, np.clip(xy / np.sqrt(xx * yy), -1, 1))


def interval(draws: Draws, confidence: float = 0.95) -> tuple[float, float]:
    """Percentile interval of bootstrap draws; NaN where too few samples are defined."""
    defined = draws[~np.isnan(draws)]
    if len(defined) < max(2, _MIN_DEFINED * len(draws)):
        return float("nan"), float("nan")
    tail = (1 - confidence) / 2
    lower, upper = np.quantile(defined, [tail, 1 - tail])
    return float(lower), float(upper)


def kendall_p_value(x: Values, y: Values, n_permutations: int = 9999, seed: int = 0) -> float:
    """Two-sided p-value of Kendall's τ-b against no association.

    Up to 100 models by permutation, p = (1 + #{|τ*| ≥ |τ|}) / (1 + permutations); above, by the
    normal approximation with its correction for ties, which is then accurate to three digits.

    Returns:
        p in (0, 1]; NaN where τ-b is undefined.
    """
    if why_undefined(x, y):
        return float("nan")
    if len(x) > MAX_PERMUTED_MODELS:
        return float(stats.kendalltau(x, y, method="asymptotic").pvalue)
    rng = np.random.default_rng(seed)
    signs_x, signs_y = (_sign_matrix(v) for v in (x, y))
    observed = abs(float((signs_x * signs_y).sum()))
    exceeding = 0
    for start in range(0, n_permutations, 500):
        size = min(500, n_permutations - start)
        orders = rng.permuted(np.tile(np.arange(len(x)), (size, 1)), axis=1)
        permuted = signs_y[orders[:, :, None], orders[:, None, :]]
        scores = permuted.reshape(size, -1) @ signs_x.ravel()
        exceeding += int((np.abs(scores) >= observed).sum())
    return (1 + exceeding) / (1 + n_permutations)


def _sign_matrix(values: Values) -> np.ndarray:
    ranks = stats.rankdata(values, method="dense").astype(np.float32)
    return np.asarray(np.sign(ranks[:, None] - ranks))


def holm(p_values: Values) -> Values:
    """Holm's step-down adjustment; NaN stays NaN and does not count as a test.

    Args:
        p_values: Raw p-values, shape (n,).

    Returns:
        Adjusted p-values: rejecting those below α keeps the chance of any false rejection ≤ α.

    Source: Holm (1979).

    Example:
        >>> holm(np.array([0.01, 0.04, np.nan, 0.03])).round(3).tolist()
        [0.03, 0.06, nan, 0.06]
    """
    p_values = np.asarray(p_values, dtype=np.float64)
    adjusted = np.full_like(p_values, np.nan)
    known = np.flatnonzero(~np.isnan(p_values))
    order = known[np.argsort(p_values[known], kind="stable")]
    steps = p_values[order] * np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return adjusted
