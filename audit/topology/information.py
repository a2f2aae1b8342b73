"""Mutual information between a unit's birth level and the class."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.special import gammaln

from audit.arrays import NO_BIRTH
from audit.errors import ConfigError, DataError
from audit.topology._levels import checked_pair


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
    births, labels = checked_pair(birth_levels, labels, n_classes)
    n, n_units = births.shape
    if n == 0:
        raise DataError("birth-class information needs at least one image; found none")
    bins = birth_bins(births, n_bins)
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


def birth_bins(births: np.ndarray, n_bins: int) -> np.ndarray:
    """Bin of each birth: its quantile bin from 0, or `n_bins` where there is no birth.

    Args:
        births: (n, u) integers, from 1, or `NO_BIRTH`.
        n_bins: Most quantile bins for born images; equal levels share a bin.

    Returns:
        (n, u) integers in [0, n_bins].

    Example:
        >>> birth_bins(np.array([[3], [-1], [8], [5]]), 2).ravel()
        array([0, 2, 1, 0])
    """
    births = births.astype(np.int64)  # or what stands for never born would not fit
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
