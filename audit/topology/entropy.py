"""From birth levels to feature entropy: how alike are the patterns by which a unit responds?

For one unit and n images of one class: the effective rate ε is the share of images with a birth,
p the distribution of the birth level over those images, H = −Σ p log p the birth entropy in nats,
and H / ε the feature entropy. Low means that the unit meets the class with the same spatial
pattern every time.

Source: Zhao & Zhang 2022 (arXiv 2103.09716). Deviation: a unit that is never born has no feature
entropy (NaN); the authors' program gives it 0, the best score there is.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np

from audit.errors import DataError, unknown_name
from audit.topology._estimators import ESTIMATORS, runs_of_births
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
              2003, eq. 8).
            - "grassberger": log N − Σ (n_k / N) G(n_k), G(n) = ψ(n) + ½ (−1)ⁿ (ψ((n + 1) / 2) −
              ψ(n / 2)) (Grassberger 2003). Not 0 where all births are equal: 1.27 nats for
              a single birth, 0.37 for three, −0.002 for ten.
            - "chao-wang-jost": Σ (n_k / N) (ψ(N) − ψ(n_k)) + (f₁ / N) (1 − A)^(1 − N) (−log A −
              Σ_{r < N} (1 − A)^r / r), f₁ and f₂ the levels seen once and twice and A the estimated
              mean share of an unseen level (Chao, Wang & Jost 2013). It needs no number
              of possible levels, gives exactly 0 where all births are equal, and is the least
              biased of the five from 20 births on: see
              `python -m benchmarks.estimators`.

    Returns:
        `FeatureEntropy` of arrays with the axis removed. All NaN but `n_images` where n = 0.

    Raises:
        ConfigError: An unknown estimator.
        DataError: Levels that are not integers, or no axis to reduce.

    Source:
        Zhao & Zhang 2022; Miller, Note on the bias of information estimates, 1955; Chao & Shen,
        Nonparametric estimation of Shannon's index of diversity when there are unseen species in
        sample, Environmental and Ecological Statistics 10, 2003; Grassberger, Entropy estimates
        from insufficient samplings, arXiv physics/0307138, 2003; Chao, Wang & Jost, Entropy and the
        species accumulation curve, Methods in Ecology and Evolution 4, 2013. Not taken: the
        estimator of Nemenman, Shafee & Bialek (2002), which needs the number of possible levels
        (50 in place of 150 moves it by up to half a nat for 20 births) and is 0.27 nats for five
        equal births.

    Example:
        >>> births = np.array([[3, 5], [3, -1], [4, -1], [4, 5]])
        >>> feature_entropy(births).feature_entropy.round(4)
        array([0.6931, 0.    ])
        >>> feature_entropy(births).effective_rate
        array([1. , 0.5])
    """
    if estimator not in ESTIMATORS:
        raise unknown_name(
            "entropy estimator", estimator, ESTIMATORS, hint="known: " + ", ".join(ESTIMATORS)
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
        runs = runs_of_births(flat[start : start + size])
        born[start : start + size] = runs.born
        entropy[start : start + size] = np.where(runs.born, ESTIMATORS[estimator](runs), np.nan)
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
