"""From birth levels to feature entropy: how alike are the patterns by which a unit responds?

For one unit and n images of one class: the effective rate ε is the share of images with a birth,
p the distribution of the birth level over those images, H = −Σ p log p the birth entropy in nats,
and H / ε the feature entropy. Low means that the unit meets the class with the same spatial
pattern every time.

Source: Zhao & Zhang 2022 (arXiv 2103.09716). Deviation: a unit that is never born has no feature
entropy (NaN); the authors' program gives it 0, the best score there is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

import numpy as np

from audit.arrays import NO_BIRTH
from audit.errors import DataError, unknown_name
from audit.topology._levels import checked_levels, checked_pair

_ENTRIES_PER_CHUNK: Final = 1 << 22


class FeatureEntropy(NamedTuple):
    """Feature entropy and what it is made of; arrays of one shape.

    `feature_entropy` and `birth_entropy` are in nats, at least 0, and NaN where `effective_rate`
    is 0 or there are no images. `effective_rate` is in [0, 1], NaN where there are no images.
    """

    feature_entropy: np.ndarray
    birth_entropy: np.ndarray
    effective_rate: np.ndarray
    n_images: np.ndarray


class _Runs(NamedTuple):
    """Runs of equal levels, group after group: the nonzero counts of every distribution."""

    size: np.ndarray  # (r,) images in the run
    group: np.ndarray  # (r,) which group it belongs to
    born: np.ndarray  # (g,) images with a birth


def feature_entropy(
    birth_levels: np.ndarray, axis: int = 0, estimator: str = "plug-in"
) -> FeatureEntropy:
    """Feature entropy H / ε of birth levels along the axis of images.

    Args:
        birth_levels: (…, n, …) integers, from 1, or `NO_BIRTH`.
        axis: The axis of the n images.
        estimator: Of the entropy H, from the counts n_k of each level, N = Σ n_k images born and
            K levels seen:

            - "plug-in": −Σ (n_k / N) log (n_k / N); biased down by about (K − 1) / 2N.
            - "miller-madow": plug-in + (K − 1) / 2N (Miller 1955).
            - "chao-shen": −Σ c p log(c p) / (1 − (1 − c p)^N), p = n_k / N, with c the estimated
              share of the distribution already seen, 1 − (levels seen once) / N (Chao & Shen
              2003, eq. 8). Its bias is the smallest of the three where levels are many and images
              few, which is our case, and it still gives exactly 0 when all births are equal,
              which Grassberger's and the jackknife's corrections do not.

    Returns:
        `FeatureEntropy` of arrays with the axis removed. All NaN but `n_images` where n = 0.

    Raises:
        ConfigError: An unknown estimator.
        DataError: Levels that are not integers, or no axis to reduce.

    Source:
        Zhao & Zhang 2022; Miller, Note on the bias of information estimates, 1955; Chao & Shen,
        Nonparametric estimation of Shannon's index of diversity when there are unseen species in
        sample, Environmental and Ecological Statistics 10, 2003.

    Example:
        >>> births = np.array([[3, 5], [3, -1], [4, -1], [4, 5]])
        >>> feature_entropy(births).feature_entropy.round(4)
        array([0.6931, 0.    ])
        >>> feature_entropy(births).effective_rate
        array([1. , 0.5])
    """
    if estimator not in _ESTIMATORS:
        raise unknown_name(
            "entropy estimator", estimator, _ESTIMATORS, hint="known: " + ", ".join(_ESTIMATORS)
        )
    births = checked_levels(birth_levels)
    if births.ndim == 0:
        raise DataError("birth levels need an axis of images; found a single number")
    if not -births.ndim <= axis < births.ndim:
        raise DataError(f"axis {axis} is out of range for birth levels of shape {births.shape}")
    by_group = np.moveaxis(births, axis, -1)
    shape, n = by_group.shape[:-1], by_group.shape[-1]
    n_groups = int(np.prod(shape))
    entropy = np.full(n_groups, np.nan)
    born = np.zeros(n_groups, np.int64)
    flat = by_group.reshape(n_groups, n)
    size = max(1, _ENTRIES_PER_CHUNK // max(n, 1))
    for start in range(0, n_groups if n else 0, size):
        runs = _runs(flat[start : start + size])
        born[start : start + size] = runs.born
        entropy[start : start + size] = np.where(runs.born, _ESTIMATORS[estimator](runs), np.nan)
    rate = born / n if n else np.full(n_groups, np.nan)
    ratio = np.divide(entropy, rate, out=np.full(n_groups, np.nan), where=born > 0)
    return FeatureEntropy(
        ratio.reshape(shape),
        entropy.reshape(shape),
        rate.reshape(shape),
        np.full(shape, n, np.int64),
    )


def feature_entropy_by_class(
    birth_levels: np.ndarray, labels: np.ndarray, n_classes: int, estimator: str = "plug-in"
) -> FeatureEntropy:
    """Feature entropy of every unit on the images of every class.

    Args:
        birth_levels: (n, u) integers, from 1, or `NO_BIRTH`.
        labels: (n,) integers in [0, n_classes).
        n_classes: Number of classes.
        estimator: See `feature_entropy`.

    Returns:
        `FeatureEntropy` of arrays (n_classes, u); NaN where a class has no images.

    Raises:
        ConfigError: An unknown estimator.
        DataError: Shapes that do not fit, or a label outside the range.

    Example:
        >>> births = np.array([[3], [3], [2], [7]])
        >>> by_class = feature_entropy_by_class(births, np.array([0, 0, 1, 1]), n_classes=2)
        >>> by_class.feature_entropy.round(4)
        array([[0.    ],
               [0.6931]])
    """
    births, labels = checked_pair(birth_levels, labels, n_classes)
    each = [feature_entropy(births[labels == c], 0, estimator) for c in range(n_classes)]
    return FeatureEntropy(*(np.stack(field) for field in zip(*each, strict=True)))


def _runs(births: np.ndarray) -> _Runs:
    """Count equal levels in each row of (g, n)."""
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
    return _Runs(count, group, born)


def _plug_in(runs: _Runs) -> np.ndarray:
    """−Σ p log p; exactly 0 for a single level."""
    log = np.log(np.maximum(np.arange(runs.born.max(initial=1) + 1), 1))
    total = runs.born[runs.group]
    terms = runs.size * (log[total] - log[runs.size]) / total
    return np.asarray(np.bincount(runs.group, weights=terms, minlength=len(runs.born)))


def _miller_madow(runs: _Runs) -> np.ndarray:
    """Plug-in entropy + (K − 1) / 2N."""
    n_levels = np.bincount(runs.group, minlength=len(runs.born))
    return np.asarray(_plug_in(runs) + (n_levels - 1) / (2 * np.maximum(runs.born, 1)))


def _chao_shen(runs: _Runs) -> np.ndarray:
    """Horvitz-Thompson entropy of the coverage-adjusted distribution."""
    once = np.bincount(runs.group[runs.size == 1], minlength=len(runs.born))
    once = np.where(once == runs.born, once - 1, once)  # else the coverage would be 0
    total = runs.born[runs.group]
    probability = (1 - once / np.maximum(runs.born, 1))[runs.group] * runs.size / total
    missed = (1 - probability) ** total
    terms = -probability * np.log(probability) / (1 - missed)
    return np.bincount(runs.group, weights=terms, minlength=len(runs.born)) + 0.0


_ESTIMATORS: Final[dict[str, Callable[[_Runs], np.ndarray]]] = {
    "plug-in": _plug_in,
    "miller-madow": _miller_madow,
    "chao-shen": _chao_shen,
}
