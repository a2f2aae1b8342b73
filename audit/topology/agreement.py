"""Whether two series of births agree image by image, beyond what their classes have in common."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.stats import rankdata

from audit.arrays import NO_BIRTH
from audit.errors import DataError
from audit.topology._levels import checked_levels


class Agreement(NamedTuple):
    """Correlations (u,) between two series; NaN where one of them has a single value.

    `same`: of an image's number in one series with its own in the other. `others`: with those of
    the other images of its class.
    """

    same: np.ndarray
    others: np.ndarray


def birth_ranks(birth_levels: np.ndarray) -> np.ndarray:
    """Rank of each birth among the images, from 1; equal births share the mean of their ranks.

    Never born is a state of its own, after every level.

    Args:
        birth_levels: (n, u) integers, from 1, or `NO_BIRTH`.

    Returns:
        (n, u) float64.

    Example:
        >>> birth_ranks(np.array([[9], [-1], [2], [9]])).ravel()
        array([2.5, 4. , 1. , 2.5])
    """
    births = checked_levels(birth_levels)
    last = np.iinfo(np.int64).max
    ranks: np.ndarray = rankdata(np.where(births == NO_BIRTH, last, births), axis=0)
    return ranks


def agreement(first: np.ndarray, second: np.ndarray, labels: np.ndarray) -> Agreement:
    """Correlation of two series over the same images, and over images of the same class.

    With x and y the series, each less its mean and divided by its standard deviation over the n
    images: same = Σ_i x_i y_i / n, and others = Σ_i mean of x_i y_j over j ≠ i of i's class / n,
    which is exactly what a permutation within classes that leaves no image in its place gives on
    average. (same − others) / (1 − others) is 0 where an image agrees with its counterpart no more
    than with any other of its class, and 1 where the two series are equal.

    Args:
        first: (n, u) numbers, such as ranks of births.
        second: (n, u) numbers.
        labels: (n,) integers; every class that occurs has at least two images.

    Returns:
        `Agreement` of arrays (u,).

    Raises:
        DataError: Shapes that do not fit, or a class with a single image.

    Example:
        >>> x = np.array([[1.0], [2.0], [3.0], [4.0]])
        >>> found = agreement(x, x, np.array([0, 0, 1, 1]))
        >>> found.same.round(6), found.others.round(6)
        (array([1.]), array([0.6]))
    """
    x, y = np.asarray(first, np.float64), np.asarray(second, np.float64)
    if x.ndim != 2 or x.shape != y.shape or np.shape(labels) != x.shape[:1]:
        raise DataError(
            "both series must have one shape (images, units) and labels (images,); "
            f"found {x.shape}, {y.shape} and {np.shape(labels)}"
        )
    classes, position, counts = np.unique(labels, return_inverse=True, return_counts=True)
    if len(counts) and counts.min() < 2:
        alone = classes[counts.argmin()]
        raise DataError(f"every class needs two images; class {alone} has one")
    x, y = _standardised(x), _standardised(y)
    member = (np.arange(len(classes))[:, None] == position).astype(np.float64)
    products = member @ (x * y)
    n = max(1, len(x))
    pairs = ((member @ x) * (member @ y) - products) / (counts[:, None] - 1)
    return Agreement(products.sum(0) / n, pairs.sum(0) / n)


def _standardised(series: np.ndarray) -> np.ndarray:
    """Each column less its mean, over its standard deviation; NaN for a single value."""
    if not len(series):
        return series
    varies = series.max(0) > series.min(0)
    scale = np.where(varies, series.std(0), np.nan)
    standard: np.ndarray = (series - series.mean(0)) / scale
    return standard
