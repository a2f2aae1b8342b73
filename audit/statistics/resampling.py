"""How sure: bootstrap intervals, permutation p-values, Holm's correction.

A bootstrap sample is a column of multiplicities w (how often each model was drawn). Kendall's
P − Q on the sample is then ½ wᵀ(S∘T)w with S, T the sign matrices of the measure and the target,
so that all samples of a measure are one matrix product; every entry is an integer below 2²⁴,
hence exact in float32. Samples are columns so that taking models in another order moves rows.
"""

from __future__ import annotations

from typing import Any, Final

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
_BLOCK: Final = 512

#: Multiplicity of each model in each bootstrap sample.
Weights = Float[np.ndarray, "n draws"]
Draws = Float[np.ndarray, " draws"]
Columns = Float[np.ndarray, "n c"]


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
        Multiplicities, shape (n, draws), as float64 integers.
    """
    rng = np.random.default_rng(seed)
    codes = np.arange(n_models) if clusters is None else np.unique(clusters, return_inverse=True)[1]
    n_codes = int(codes.max(initial=-1)) + 1
    counts = rng.multinomial(n_codes, np.full(n_codes, 1 / max(n_codes, 1)), size=n_bootstrap)
    return counts.T[codes].astype(np.float64)


def kendall_draws(x: Values, y: Values, weights: Weights) -> Draws:
    """τ-b of every bootstrap sample, exactly as scipy would give on the repeated rows.

    Args:
        x: A measure, shape (n,), without NaN.
        y: The target, shape (n,), without NaN.
        weights: Multiplicities, shape (n, draws).

    Returns:
        τ-b per sample; NaN where the sample is constant in x or y.
    """
    dense_x, dense_y = (stats.rankdata(v, method="dense") for v in (x, y))
    total = weights.sum(axis=0)
    dtype = np.float32 if total.max(initial=0) < _EXACT_FLOAT32 else np.float64
    order = np.argsort(dense_x, kind="stable")
    ordered = weights[order]
    score = _concordance(dense_x[order], dense_y[order], ordered, dtype)
    untied_x = total**2 - _tied(dense_x, weights)
    untied_y = total**2 - _tied(dense_y, weights)
    with np.errstate(invalid="ignore"):
        return np.asarray(2 * score / np.sqrt(untied_x * untied_y))


def _concordance(
    rank_x: np.ndarray, rank_y: np.ndarray, weights: Weights, dtype: type[np.floating[Any]]
) -> Draws:
    """Σ over i < j of w_i w_j sign(Δx) sign(Δy), rows ordered by x, in blocks of rows."""
    w, y = weights.astype(dtype), rank_y.astype(dtype)
    has_ties = rank_x[-1] < len(rank_x)
    score = np.zeros(weights.shape[1])
    for start in range(0, len(w), _BLOCK):
        stop = min(start + _BLOCK, len(w))
        signs = np.sign(y[start:] - y[start:stop, None])
        size = stop - start
        signs[:, :size] = np.triu(signs[:, :size])
        if has_ties:
            signs *= rank_x[start:] != rank_x[start:stop, None]
        product = (signs @ w[start:]).astype(np.float64)
        score += np.einsum("ij,ij->j", product, weights[start:stop])
    return score


def _tied(dense_rank: np.ndarray, weights: Weights) -> Draws:
    """Ordered pairs, self-pairs included, that share a value: Σ over values of (Σ w)²."""
    per_value = weights if dense_rank.max() == len(dense_rank) else _per_value(dense_rank, weights)
    return np.asarray(np.einsum("ij,ij->j", per_value, per_value))


def spearman_draws(x: Values, y: Values, weights: Weights) -> Draws:
    """Spearman's ρ of every bootstrap sample, mid-ranks taken anew within the sample."""
    return rank_draws(x, weighted_ranks(y, weights), weights)


def rank_draws(x: Values, ranks_y: Weights, weights: Weights) -> Draws:
    """As `spearman_draws`, with the target's ranks in each sample given."""
    total = weights.sum(axis=0)
    middle = (total + 1) / 2
    ranks_x = weighted_ranks(x, weights) - middle
    weighted_y = weights * (ranks_y - middle)
    covariance = np.einsum("ij,ij->j", weighted_y, ranks_x)
    variance_y = np.einsum("ij,ij->j", weighted_y, ranks_y - middle)
    variance_x = np.einsum("ij,ij,ij->j", weights, ranks_x, ranks_x)
    degenerate = (variance_x < 0.25) | (variance_y < 0.25)  # the least possible is ½
    with np.errstate(invalid="ignore", divide="ignore"):
        rho = np.clip(covariance / np.sqrt(variance_x * variance_y), -1, 1)
    return np.where(degenerate, np.nan, rho)


def weighted_ranks(values: Values, weights: Weights) -> Weights:
    """Mid-rank of each model's value within each sample."""
    dense = stats.rankdata(values, method="dense")
    per_value = _per_value(dense, weights)
    upto = np.cumsum(per_value, axis=0)
    per_value -= 1
    per_value /= 2
    upto -= per_value
    return np.asarray(upto[dense - 1])


def _per_value(dense_rank: np.ndarray, weights: Weights) -> Weights:
    """Weight of each distinct value, ascending, shape (values, draws)."""
    order = np.argsort(dense_rank, kind="stable")
    ordered = weights[order]
    if dense_rank[order[-1]] == len(dense_rank):  # no ties
        return ordered
    starts = np.flatnonzero(np.diff(dense_rank[order], prepend=-1))
    return np.asarray(np.add.reduceat(ordered, starts, axis=0))


def pearson_draws(x: Values, y: Values, weights: Weights) -> Draws:
    """Pearson's r of every bootstrap sample; x and y finite."""
    x, y = ((v - v.mean()) / (np.abs(v - v.mean()).max() or 1.0) for v in (x, y))
    total = np.maximum(weights.sum(axis=0), 1)  # an empty sample has sums 0 and no r
    sum_x, sum_y, sum_xy, sum_xx, sum_yy = np.stack([x, y, x * y, x * x, y * y]) @ weights
    covariance = sum_xy - sum_x * sum_y / total
    variance_x, variance_y = sum_xx - sum_x**2 / total, sum_yy - sum_y**2 / total
    # A sample of one distinct value leaves rounding errors only.
    degenerate = (variance_x <= 1e-13 * sum_xx) | (variance_y <= 1e-13 * sum_yy)
    with np.errstate(invalid="ignore", divide="ignore"):
        r = np.clip(covariance / np.sqrt(variance_x * variance_y), -1, 1)
    return np.where(degenerate, np.nan, r)


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
    return float(kendall_p_values(x[:, None], y, n_permutations, seed)[0])


def kendall_p_values(
    X: Columns, y: Values, n_permutations: int = 9999, seed: int = 0
) -> Float[np.ndarray, " c"]:
    """`kendall_p_value` of several measures by the same permutations.

    Args:
        X: Measures, shape (n, c), without NaN.
        y: The target, shape (n,), without NaN.
        n_permutations: Permutations.
        seed: Of the permutations.
    """
    p_values = np.full(X.shape[1], np.nan)
    defined = [i for i, x in enumerate(X.T) if not why_undefined(x, y)]
    if len(y) > MAX_PERMUTED_MODELS:
        for i in defined:
            p_values[i] = stats.kendalltau(X[:, i], y, method="asymptotic").pvalue
    elif defined:
        signs_x = np.stack([_sign_matrix(X[:, i]).ravel() for i in defined], axis=1)
        p_values[defined] = _permutation_p_values(signs_x, _sign_matrix(y), n_permutations, seed)
    return p_values


def _permutation_p_values(
    signs_x: np.ndarray, signs_y: np.ndarray, n_permutations: int, seed: int
) -> Values:
    """Share of permutations of y whose |P − Q| reaches the one observed, the latter included."""
    rng = np.random.default_rng(seed)
    observed = np.abs(signs_y.ravel() @ signs_x)
    exceeding = np.ones(signs_x.shape[1])
    for start in range(0, n_permutations, 500):
        size = min(500, n_permutations - start)
        orders = rng.permuted(np.tile(np.arange(len(signs_y)), (size, 1)), axis=1)
        permuted = signs_y[orders[:, :, None], orders[:, None, :]].reshape(size, -1)
        exceeding += (np.abs(permuted @ signs_x) >= observed).sum(axis=0)
    return np.asarray(exceeding / (1 + n_permutations))


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
