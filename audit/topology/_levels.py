"""Checks on arrays of birth levels and their labels."""

from __future__ import annotations

import numpy as np

from audit.errors import DataError


def checked_levels(birth_levels: np.ndarray) -> np.ndarray:
    """Birth levels as an array of integers."""
    births = np.asarray(birth_levels)
    if births.dtype.kind not in "iu" and births.size:
        raise DataError(f"birth levels must be integers; found dtype {births.dtype}")
    return births


def checked_pair(
    birth_levels: np.ndarray, labels: np.ndarray, n_classes: int
) -> tuple[np.ndarray, np.ndarray]:
    """Births (n, u) and labels (n,) that fit each other and the number of classes."""
    births, labels = checked_levels(birth_levels), np.asarray(labels)
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
