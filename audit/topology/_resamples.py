"""Feature entropy of many choices of the same images: levels are numbered once, then counted."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

import numpy as np

from audit.arrays import NO_BIRTH
from audit.topology._estimators import ESTIMATORS, runs_of_counts

#: Counts of levels are made for so many cells at a time.
_CELLS_AT_A_TIME: Final = 1 << 22


def resampled_entropy(
    births: np.ndarray, drawn: Iterable[np.ndarray], estimator: str = "plug-in"
) -> Iterator[np.ndarray]:
    """Feature entropy (u,) of each choice of images, NaN where none of them has a birth.

    Args:
        births: (n, u) integers, from 1, or `NO_BIRTH`.
        drawn: Choices, each the positions of its images, with or without repeats.
        estimator: A name of `ESTIMATORS`.
    """
    numbers = _numbered(births)
    n_levels = int(numbers.max(initial=0)) + 1
    size = max(1, _CELLS_AT_A_TIME // n_levels)
    blocks = []
    for start in range(0, births.shape[1], size):
        block = numbers[:, start : start + size]
        blocks.append(block + np.arange(block.shape[1]) * n_levels)
    for rows in drawn:
        found = [np.empty(0)]
        for block in blocks:
            cells = block.shape[1] * n_levels
            counts = np.bincount(block[rows].ravel(), minlength=cells).reshape(-1, n_levels)
            runs = runs_of_counts(counts[:, 1:])
            undefined = np.full(len(runs.born), np.nan)
            entropy = ESTIMATORS[estimator](runs) * len(rows)
            found.append(np.divide(entropy, runs.born, out=undefined, where=runs.born > 0))
        yield np.concatenate(found)


def _numbered(births: np.ndarray) -> np.ndarray:
    """Levels of each unit numbered from 1 in their order, (n, u); 0 is no birth."""
    order = np.argsort(births, axis=0, kind="stable")
    ordered = np.take_along_axis(births, order, axis=0)
    steps = np.zeros(births.shape, np.int64)
    steps[1:] = ordered[1:] != ordered[:-1]
    steps[:1] = ordered[:1] != NO_BIRTH  # `NO_BIRTH` lies below every level
    numbers = np.empty(births.shape, np.int64)
    np.put_along_axis(numbers, order, np.cumsum(steps, axis=0), axis=0)
    return numbers
