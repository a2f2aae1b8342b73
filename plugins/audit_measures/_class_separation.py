"""How well the births of a layer alone tell the classes apart, on images left out."""

from __future__ import annotations

import functools
import hashlib
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from audit.arrays import NO_BIRTH
from audit.topology.agreement import birth_ranks

if TYPE_CHECKING:
    from sklearn.base import ClassifierMixin

N_FOLDS: Final = 5
#: The births of a layer are described by so many principal components at most.
MOST_COMPONENTS: Final = 64
#: Of the covariance in LDA. Fixed: an estimate of it would take an image that comes twice for two.
SHRINKAGE: Final = 0.1


class Separation(NamedTuple):
    """Balanced accuracy on images left out, adjusted for chance: 0 is chance, 1 is perfect.

    `linear`: linear discriminant analysis with a shrunken covariance. `neighbours`: the class of
    the nearest image. NaN where fewer than two classes have images enough, or no birth varies.
    """

    linear: float
    neighbours: float


def class_separation(birth_levels: np.ndarray, labels: np.ndarray) -> Separation:
    """Balanced accuracy above chance of two classifiers on the births of a layer, cross-validated.

    Each unit gives the rank of its birth among the images (never born ranks after every level),
    and, where only some images have a birth, whether one has. The nearest neighbour is
    sought by these columns (where several are equally near, their share of the class counts);
    scikit-learn's LDA (least squares, a tenth of the covariance replaced by its mean
    variance) of their principal components, `MOST_COMPONENTS` at most and fewer than images, so
    that its cost does not grow with the cube of the units. Neither ranks nor components know of
    classes. Both are fitted on four folds of five and judged on the other: with a the mean over
    classes of the share that is given its class, (a − 1/c) / (1 − 1/c) is returned.

    Args:
        birth_levels: (n, u) integers, from 1, or `NO_BIRTH`.
        labels: (n,) integers. Classes with a single image are left out.

    Returns:
        `Separation`. It does not depend on the order of images or units, nor on images that come
        twice where each class has six or more, not all with the same births; see `digest_folds`.
        With fewer images the folds, and whether a side has enough to learn from, change with them.

    Source:
        Balanced accuracy "adjusted" as scikit-learn's; shrunken covariance: Friedman, Regularized
        discriminant analysis, 1989.

    Example:
        >>> births = np.arange(2, 22)[:, None]
        >>> class_separation(births, np.repeat([0, 1], 10))
        Separation(linear=1.0, neighbours=1.0)
    """
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

    _, position, counts = np.unique(labels, return_inverse=True, return_counts=True)
    kept = np.flatnonzero(counts[position] > 1)
    births, labels = birth_levels[kept], np.asarray(labels)[kept]
    columns = _columns(births)
    if (counts > 1).sum() < 2 or not columns.shape[1]:
        return Separation(np.nan, np.nan)
    folds = digest_folds(births, labels)
    linear = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=SHRINKAGE)
    return Separation(
        _adjusted_accuracy(
            functools.partial(_classified, linear), _components(columns), labels, folds
        ),
        _adjusted_accuracy(_nearest, columns, labels, folds),
    )


def digest_folds(births: np.ndarray, labels: np.ndarray, n_folds: int = N_FOLDS) -> np.ndarray:
    """Fold of each image, evenly over each class, told by the image's own births alone.

    Images of a class are put in the order of a digest of their sorted births, and dealt out. So
    neither the order of the images nor that of the units counts, and images with equal births,
    such as an image that comes twice, share a fold; unless all of the class have the same births,
    which are then on both sides.

    Args:
        births: (n, u) integers.
        labels: (n,) integers.
        n_folds: Number of folds.

    Returns:
        (n,) integers in [0, n_folds).

    Example:
        >>> digest_folds(np.array([[4], [4], [7]]), np.array([0, 0, 0]), 2).tolist()
        [0, 0, 1]
    """
    content = np.ascontiguousarray(np.sort(births, axis=1).astype("<i8"))
    digests = np.array(
        [hashlib.blake2b(row.tobytes(), digest_size=8).hexdigest() for row in content]
    )
    folds = np.zeros(len(labels), np.int64)
    for label in np.unique(labels):
        of_class = labels == label
        distinct, place = np.unique(digests[of_class], return_inverse=True)
        folds[of_class] = (place if len(distinct) > 1 else np.arange(len(place))) % n_folds
    return folds


def _columns(births: np.ndarray) -> np.ndarray:
    """Twice the rank of each birth, and n where there is none and others have one; (n, d).

    Whole numbers, so that distances are exact and equal ones are equal, in whatever order the
    units come.
    """
    absent = (births == NO_BIRTH) * len(births)
    columns = np.concatenate([2 * birth_ranks(births), absent], axis=1)
    if not len(columns):
        return columns[:, :0]
    varies: np.ndarray = columns.max(0) > columns.min(0)
    return columns[:, varies]


def _components(columns: np.ndarray) -> np.ndarray:
    """Principal components of (n, d) columns, those of no variance left out."""
    centred = (columns - columns.mean(0)) / len(columns)
    if len(centred) < centred.shape[1]:
        values, vectors = np.linalg.eigh(centred @ centred.T)
        scores = vectors * np.sqrt(np.maximum(values, 0))
    else:
        values, vectors = np.linalg.eigh(centred.T @ centred)
        scores = centred @ vectors
    kept = values > 1e-10 * values[-1]
    components: np.ndarray = scores[:, kept][:, ::-1][:, :MOST_COMPONENTS]
    return components


def _classified(
    classifier: ClassifierMixin,
    known: np.ndarray,
    known_labels: np.ndarray,
    asked: np.ndarray,
    asked_labels: np.ndarray,
) -> np.ndarray:
    """Whether each image that is asked for is given its class, shape (m,)."""
    with warnings.catch_warnings():
        # of a class with one image LDA warns that it has no spread, which is so
        warnings.filterwarnings("ignore", "Only one sample available", UserWarning)
        classifier.fit(known, known_labels)
    right: np.ndarray = classifier.predict(asked) == asked_labels
    return right


def _nearest(
    known: np.ndarray, known_labels: np.ndarray, asked: np.ndarray, asked_labels: np.ndarray
) -> np.ndarray:
    """The share of the nearest images, all that are equally near, that has the class; (m,)."""
    a, b = asked.astype(np.float64), known.astype(np.float64)  # whole numbers: sums are exact
    distance = (a * a).sum(1)[:, None] - 2 * (a @ b.T) + (b * b).sum(1)
    nearest = distance == distance.min(1, keepdims=True)
    same = known_labels == asked_labels[:, None]
    share: np.ndarray = (nearest & same).sum(1) / nearest.sum(1)
    return share


def _adjusted_accuracy(
    judge: Callable[..., np.ndarray], columns: np.ndarray, labels: np.ndarray, folds: np.ndarray
) -> float:
    """(a − 1/c) / (1 − 1/c) for the balanced accuracy a over the folds left out; may be NaN."""
    right = np.zeros(len(labels))
    judged = np.zeros(len(labels), bool)
    for fold in np.unique(folds):
        left_out = folds == fold
        known = np.unique(labels[~left_out])
        if len(known) < 2 or (~left_out).sum() <= len(known):
            continue  # one image a class shows no spread within them
        right[left_out] = judge(
            columns[~left_out], labels[~left_out], columns[left_out], labels[left_out]
        )
        judged |= left_out & np.isin(labels, known)  # a class nobody has seen cannot be given
    shares = [right[judged & (labels == label)].mean() for label in np.unique(labels[judged])]
    if len(shares) < 2:
        return np.nan
    chance = 1 / len(shares)
    return float((np.mean(shares) - chance) / (1 - chance))
