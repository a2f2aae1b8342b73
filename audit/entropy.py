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
from scipy.special import gammaln

from audit.arrays import NO_BIRTH
from audit.errors import ConfigError, DataError, unknown_name

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


class Interval(NamedTuple):
    """Ends of a confidence interval; NaN where it is undefined."""

    lower: np.ndarray
    upper: np.ndarray


class BirthClassInformation(NamedTuple):
    """Mutual information between each unit's birth level and the class; arrays (u,).

    `information` = `mutual_information` − `expected_by_chance`, in nats; never NaN. It is exactly
    0 for a unit with `n_bins_used` 1, which tells nothing of the class: a dead unit has
    `effective_rate`, the share of images with a birth, 0, a constant one has it above 0.
    """

    information: np.ndarray
    mutual_information: np.ndarray
    expected_by_chance: np.ndarray
    effective_rate: np.ndarray
    n_bins_used: np.ndarray


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
    births = _checked_levels(birth_levels)
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
    births, labels = _checked_pair(birth_levels, labels, n_classes)
    each = [feature_entropy(births[labels == c], 0, estimator) for c in range(n_classes)]
    return FeatureEntropy(*(np.stack(field) for field in zip(*each, strict=True)))


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


def birth_class_information(
    birth_levels: np.ndarray, labels: np.ndarray, n_classes: int, n_bins: int = 6
) -> BirthClassInformation:
    """Mutual information between birth level and class, less what chance alone would show.

    The levels of a unit's born images are cut at their quantiles into at most `n_bins` bins (equal
    levels share a bin), and images without a birth form one bin more. From the mutual information
    of bin and class its expectation under permuted labels is subtracted, exactly: each cell of the
    table is then hypergeometric.

    Args:
        birth_levels: (n, u) integers, from 1, or `NO_BIRTH`.
        labels: (n,) integers in [0, n_classes).
        n_classes: Number of classes.
        n_bins: Most quantile bins for born images.

    Returns:
        `BirthClassInformation` of arrays (u,).

    Raises:
        ConfigError: n_bins below 1.
        DataError: Shapes that do not fit, no images, or a label outside the range.

    Source:
        Vinh, Epps & Bailey, Information theoretic measures for clusterings comparison, JMLR 11,
        2010, equation 24a (the expected mutual information).

    Example:
        >>> births = np.array([[2, 2], [2, 9], [9, 2], [9, 9]])
        >>> birth_class_information(births, np.array([0, 0, 1, 1]), 2).information.round(4)
        array([ 0.4621, -0.231 ])
    """
    if n_bins < 1:
        raise ConfigError(f"n_bins must be at least 1; found {n_bins}")
    births, labels = _checked_pair(birth_levels, labels, n_classes)
    n, n_units = births.shape
    if n == 0:
        raise DataError("birth-class information needs at least one image; found none")
    bins = _quantile_bins(births, n_bins)
    cell = (np.arange(n_units) * (n_bins + 1) + bins) * n_classes + labels[:, None]
    table = np.bincount(cell.ravel(), minlength=n_units * (n_bins + 1) * n_classes)
    table = table.reshape(n_units, n_bins + 1, n_classes)
    by_bin, by_class = table.sum(axis=2), np.bincount(labels, minlength=n_classes)
    n_bins_used = (by_bin > 0).sum(axis=1)
    informative = (n_bins_used > 1) & ((by_class > 0).sum() > 1)
    log = np.log(np.maximum(np.arange(n + 1), 1))
    terms = table * (log[table] + log[n] - log[by_bin][:, :, None] - log[by_class])
    mutual = np.where(informative, terms.sum(axis=(1, 2)) / n, 0.0)
    chance = np.where(informative, _expected_information(by_bin, by_class, n), 0.0)
    rate = (births != NO_BIRTH).mean(axis=0)
    return BirthClassInformation(mutual - chance, mutual, chance, rate, n_bins_used)


def _checked_levels(birth_levels: np.ndarray) -> np.ndarray:
    """Birth levels as an array of integers."""
    births = np.asarray(birth_levels)
    if births.dtype.kind not in "iu" and births.size:
        raise DataError(f"birth levels must be integers; found dtype {births.dtype}")
    return births


def _checked_pair(
    birth_levels: np.ndarray, labels: np.ndarray, n_classes: int
) -> tuple[np.ndarray, np.ndarray]:
    """Births (n, u) and labels (n,) that fit each other and the number of classes."""
    births, labels = _checked_levels(birth_levels), np.asarray(labels)
    if births.ndim != 2 or labels.shape != births.shape[:1]:
        raise DataError(
            "birth levels must have shape (images, units) and labels (images,); "
            f"found {births.shape} and {labels.shape}"
        )
    if labels.dtype.kind not in "iu" and labels.size:
        raise DataError(f"labels must be integers; found dtype {labels.dtype}")
    if labels.size and not 0 <= labels.min() <= labels.max() < n_classes:
        raise DataError(
            f"labels must lie in 0 … {n_classes - 1}; found {labels.min()} … {labels.max()}"
        )
    return births, labels.astype(np.int64)


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


def _quantile_of_sorted(values: np.ndarray, defined: np.ndarray, q: float) -> np.ndarray:
    """Linear quantile of the first `defined` values along axis 0; NaN where there are none."""
    position = np.maximum(defined - 1, 0) * q
    below = np.floor(position).astype(np.int64)
    above = np.minimum(below + 1, np.maximum(defined - 1, 0))
    low, high = (np.take_along_axis(values, k[None], axis=0)[0] for k in (below, above))
    return np.asarray(low + (high - low) * (position - below))


def _quantile_bins(births: np.ndarray, n_bins: int) -> np.ndarray:
    """Bin (n, u) of each birth: its quantile bin from 0, or `n_bins` where there is no birth."""
    absent = births == NO_BIRTH
    ordered = np.sort(np.where(absent, np.iinfo(np.int64).max, births), axis=0)
    born = (~absent).sum(axis=0)
    bins = np.zeros(births.shape, np.int64)
    for k in range(1, n_bins):
        last = np.maximum(-(-k * born // n_bins) - 1, 0)
        bins += births > np.take_along_axis(ordered, last[None], axis=0)
    bins[absent] = n_bins
    return bins


def _expected_information(by_bin: np.ndarray, by_class: np.ndarray, n: int) -> np.ndarray:
    """Expected mutual information (u,) of tables with margins (u, bins) and (classes,)."""
    bin_sizes, bin_at = np.unique(by_bin, return_inverse=True)
    class_sizes, class_repeats = np.unique(by_class, return_counts=True)
    log_factorial = gammaln(np.arange(n + 1) + 1.0)
    log = np.log(np.maximum(np.arange(n + 1), 1))
    per_bin = np.zeros(len(bin_sizes))
    for b, repeats in zip(class_sizes.tolist(), class_repeats.tolist(), strict=True):
        k = np.arange(1, b + 1)
        a = bin_sizes[:, None]
        possible = (k <= a) & (n - a - b + k >= 0)
        rest = np.where(possible, n - a - b + k, 0)
        short = np.where(possible, a - k, 0)
        log_probability = (
            log_factorial[a]
            + log_factorial[b]
            + log_factorial[n - a]
            + log_factorial[n - b]
            - log_factorial[n]
            - log_factorial[k]
            - log_factorial[short]
            - log_factorial[b - k]
            - log_factorial[rest]
        )
        probability = np.exp(np.where(possible, log_probability, -np.inf))
        terms = k / n * (log[n] + log[k] - log[a] - log[b]) * probability
        per_bin += repeats * terms.sum(axis=1)
    return np.asarray(per_bin[bin_at.reshape(by_bin.shape)].sum(axis=1))
