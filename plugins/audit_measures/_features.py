"""Measures that are a formula on penultimate features and labels, and what such formulas share."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Final, TypeAlias

import numpy as np

from audit.arrays import Features, Labels
from audit.plugin import Measured, TrainView, Value

Formula: TypeAlias = Callable[[Features, Labels], Measured]

#: Features are kept in float32: what is smaller than this, times the largest singular value and
#: the longer side of the matrix, is rounding and no direction of theirs.
RESOLUTION: Final = float(np.finfo(np.float32).eps)

#: Images that a measure on pairs of images looks at, at most, evenly spaced over the sample.
MOST_PAIRED: Final = 2000


def of_features(formula: Formula) -> Callable[[TrainView], Measured]:
    """A measure from a formula on features (float64) and the classes 0 … c − 1 that are present.

    Undefined where a feature is not finite, where all images have the same features, and where the
    sample has a single class.
    """

    @functools.wraps(formula)
    def compute(view: TrainView) -> Measured:
        features = np.asarray(view.features(), np.float64)
        problem = problem_with(features, view.labels)
        if problem:
            return Value.undefined(problem)
        return formula(features, present_classes(view.labels))

    return compute


def problem_with(features: Features, labels: Labels, what: str = "features") -> str:
    """Why nothing can be said of features and classes, or ""."""
    if not len(features):
        return "the training sample holds no image"
    broken = np.flatnonzero(~np.isfinite(features).all(axis=1))
    if broken.size:
        return (
            f"the {what} are not finite for {broken.size} of {len(features)} training images, "
            f"first for image {broken[0]}"
        )
    n_classes = len(np.unique(labels))
    if n_classes < 2:
        return f"two classes are needed; the training sample has {n_classes}"
    if (features == features[0]).all():
        return f"the {what} are the same for all {len(features)} training images"
    return ""


def present_classes(labels: Labels) -> Labels:
    """Labels under the numbers 0 … c − 1 of the classes that the sample has."""
    found: Labels = np.unique(labels, return_inverse=True)[1].astype(np.int64)
    return found


def one_hot(labels: Labels) -> np.ndarray:
    """Shape (n, c): 1 where an image is of a class, of labels 0 … c − 1."""
    indicator: np.ndarray = np.eye(int(labels.max()) + 1)[labels]
    return indicator


def class_means(features: Features, labels: Labels) -> np.ndarray:
    """Mean of the features of each class, shape (c, d)."""
    indicator = one_hot(labels)
    means: np.ndarray = (indicator.T @ features) / indicator.sum(0)[:, None]
    return means


def classes(features: Features, labels: Labels) -> Iterator[np.ndarray]:
    """The features of each class in turn, shape (n_c, d)."""
    for label in range(int(labels.max()) + 1):
        yield features[labels == label]


def directions(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Thin singular value decomposition of a matrix, without directions that are rounding.

    Returns:
        u (n, r), singular values (r,), largest first, and v (r, d); r is the numerical rank.
    """
    u, values, v = np.linalg.svd(matrix, full_matrices=False)
    kept = values > values.max(initial=0) * max(matrix.shape) * RESOLUTION
    return u[:, kept], values[kept], v[kept]


def standardised(features: Features) -> Features:
    """Features of mean 0 and standard deviation 1; those that do not vary are left out.

    A positive factor on a feature changes nothing of this.
    """
    centred = features - features.mean(0)
    spread = np.sqrt((centred**2).mean(0))
    varies = spread > np.abs(features).max(0) * RESOLUTION * len(features) ** 0.5
    found: Features = centred[:, varies] / spread[varies]
    return found


def spaced(n: int, most: int = MOST_PAIRED) -> np.ndarray:
    """Positions of at most `most` of n images, evenly spaced, the first among them."""
    if n <= most:
        return np.arange(n)
    positions: np.ndarray = np.arange(most) * n // most
    return positions
