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


def birth_ranks(birth_levels: np.ndarray, among: np.ndarray | None = None) -> np.ndarray:
    """Rank of each birth among a unit's births, from 1; equal births share the mean of their ranks.

    Never born is a state of its own, after every level.

    Args:
        birth_levels: (m, u) integers, from 1, or `NO_BIRTH`.
        among: (n, u), the births that rank; by default these. A level that is not among them has
            the rank of a place between two of theirs.

    Returns:
        (m, u) float64.

    Example:
        >>> birth_ranks(np.array([[9], [-1], [2], [9]])).ravel()
        array([2.5, 4. , 1. , 2.5])
        >>> birth_ranks(np.array([[3], [9]]), among=np.array([[9], [-1], [2], [9]])).ravel()
        array([1.5, 2.5])
    """
    births = _never_last(birth_levels)
    if among is None:
        ranks: np.ndarray = rankdata(births, axis=0)
        return ranks
    ranks = np.empty(births.shape)
    for unit, ordered in enumerate(np.sort(_never_last(among), axis=0).T):
        below = np.searchsorted(ordered, births[:, unit], "left")
        ranks[:, unit] = (below + np.searchsorted(ordered, births[:, unit], "right") + 1) / 2
    return ranks


def _never_last(birth_levels: np.ndarray) -> np.ndarray:
    """Births with the largest number there is for none."""
    births = checked_levels(birth_levels).astype(np.int64)  # the largest int64 fits no other
    return np.where(births == NO_BIRTH, np.iinfo(np.int64).max, births)


def agreement(
    first: np.ndarray, second: np.ndarray, rows: np.ndarray, labels: np.ndarray
) -> Agreement:
    """Correlation of two series over the same images, and over images of the same class.

    The second series is of m of the n images. With x and y the series, each less its mean and
    divided by its standard deviation over these m: same = Σ_i x_i y_i / m, and others = Σ_i mean of
    x_j y_i over all j ≠ i of i's class / m, which is exactly what taking another image of the
    class by chance gives on average. (same − others) / (1 − others) is 0 where an image agrees
    with its counterpart no more than with any other of its class, and 1 where the two series are
    equal.

    Args:
        first: (n, u) numbers, such as ranks of births.
        second: (m, u) numbers.
        rows: (m,) integers in [0, n): the images of the second series.
        labels: (n,) integers; the class of each of these m has at least two of the n images.

    Returns:
        `Agreement` of arrays (u,).

    Raises:
        DataError: Shapes that do not fit, or an image that is alone in its class.

    Example:
        >>> x = np.array([[1.0], [2.0], [3.0], [4.0]])
        >>> found = agreement(x, x, np.arange(4), np.array([0, 0, 1, 1]))
        >>> found.same.round(6), found.others.round(6)
        (array([1.]), array([0.6]))
    """
    x, y = np.asarray(first, np.float64), np.asarray(second, np.float64)
    shapes = (len(rows), *x.shape[1:]), (len(x),)
    if x.ndim != 2 or (y.shape, np.shape(labels)) != shapes:
        raise DataError(
            "series must have shapes (n, units) and (m, units), with labels (n,) and rows (m,); "
            f"found {x.shape}, {y.shape}, {np.shape(labels)} and {np.shape(rows)}"
        )
    classes, position, counts = np.unique(labels, return_inverse=True, return_counts=True)
    of_row = position[rows]
    alone = counts[of_row] < 2
    if alone.any():
        label = classes[of_row[alone][0]]
        raise DataError(f"every image needs another of its class; class {label} has one")
    if not len(rows):
        return Agreement(*np.full((2, x.shape[1]), np.nan))
    x, y = _standardised(x, x[rows]), _standardised(y, y)
    member = (np.arange(len(classes))[:, None] == position).astype(np.float64)
    beside = (member @ x)[of_row] - x[rows]
    others = (beside * y / (counts[of_row, None] - 1)).mean(0)
    return Agreement((x[rows] * y).mean(0), others)


def _standardised(series: np.ndarray, measured: np.ndarray) -> np.ndarray:
    """Series less mean, over standard deviation, both as measured; NaN for a single value."""
    varies = measured.max(0) > measured.min(0)
    scale = np.where(varies, measured.std(0), np.nan)
    standard: np.ndarray = (series - measured.mean(0)) / scale
    return standard
