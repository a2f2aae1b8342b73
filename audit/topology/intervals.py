"""Confidence intervals of feature entropy over the choice of images."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from audit.errors import ConfigError
from audit.topology.entropy import feature_entropy


class Interval(NamedTuple):
    """Ends of a confidence interval; NaN where it is undefined."""

    lower: np.ndarray
    upper: np.ndarray


def bootstrap_interval(
    birth_levels: np.ndarray,
    axis: int = 0,
    estimator: str = "plug-in",
    confidence: float = 0.95,
    n_resamples: int = 200,
    seed: int = 0,
) -> Interval:
    """Confidence interval of the feature entropy over the choice of images.

    Images are drawn with replacement, the same ones for every unit, and the basic (reverse
    percentile) interval is formed: [2θ − q_high, 2θ − q_low], cut at 0. Resampling repeats the
    estimator's bias, so percentiles taken as they are would sit twice too low; the basic interval
    subtracts that bias once.

    Args:
        birth_levels: (…, n, …) integers, from 1, or `NO_BIRTH`.
        axis: The axis of the n images.
        estimator: See `feature_entropy`.
        confidence: Coverage aimed at, in (0, 1).
        n_resamples: Number of resamples.
        seed: Of the resampling; equal seeds give equal bits.

    Returns:
        `Interval` in nats with the axis removed; NaN where the feature entropy is NaN. Resamples
        without any birth are left out.

    Raises:
        ConfigError: An unknown estimator, a confidence outside (0, 1), or no resamples.
        DataError: As `feature_entropy`.

    Source:
        Davison & Hinkley, Bootstrap Methods and their Application, 1997, section 5.2.
    """
    if not 0 < confidence < 1:
        raise ConfigError(f"confidence must lie between 0 and 1; found {confidence}")
    if n_resamples < 1:
        raise ConfigError(f"n_resamples must be at least 1; found {n_resamples}")
    estimate = feature_entropy(birth_levels, axis, estimator).feature_entropy
    births = np.moveaxis(np.asarray(birth_levels), axis, 0)
    n = len(births)
    if n == 0:
        return Interval(estimate, estimate.copy())
    generator = np.random.default_rng(seed)
    resampled = np.empty((n_resamples, *estimate.shape))
    for k in range(n_resamples):
        drawn = births[generator.integers(0, n, n)]
        resampled[k] = feature_entropy(drawn, 0, estimator).feature_entropy
    resampled.sort(axis=0)  # NaN last
    defined = (~np.isnan(resampled)).sum(axis=0)
    tail = (1 - confidence) / 2
    low, high = (_quantile_of_sorted(resampled, defined, q) for q in (tail, 1 - tail))
    return Interval(np.maximum(2 * estimate - high, 0.0), np.maximum(2 * estimate - low, 0.0))


def _quantile_of_sorted(values: np.ndarray, defined: np.ndarray, q: float) -> np.ndarray:
    """Linear quantile of the first `defined` values along axis 0; NaN where there are none."""
    position = np.maximum(defined - 1, 0) * q
    below = np.floor(position).astype(np.int64)
    above = np.minimum(below + 1, np.maximum(defined - 1, 0))
    low, high = (np.take_along_axis(values, k[None], axis=0)[0] for k in (below, above))
    return np.asarray(low + (high - low) * (position - below))
