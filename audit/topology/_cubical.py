"""The cubical filtration by its definition: readable, exact, slow; the reference for the kernels.

Pixels enter from the largest value down, equal values together, as the top-dimensional cells of a
complex, so that pixels touching at a corner are connected. By Alexander duality β₁ of the pixels
present counts the 4-connected components of the others that cannot reach the outside of the image.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from audit.arrays import NO_BIRTH

_EDGE_NEIGHBOURS = np.array([[0, 1, 0], [1, 1, 1], [0, 1, 0]])


def count_holes(present: np.ndarray) -> int:
    """Number of holes that a set of pixels encloses.

    Args:
        present: (h, w) bool.

    Example:
        >>> count_holes(np.array([[0, 1, 0], [1, 0, 1], [0, 1, 0]], bool))
        1
    """
    absent = np.pad(~present, 1, constant_values=True)
    _, n_components = ndimage.label(absent, structure=_EDGE_NEIGHBOURS)
    return int(n_components) - 1  # the outside is one of them


def birth_level(feature_map: np.ndarray) -> int:
    """Birth level of one feature map in the superlevel filtration of images.

    Args:
        feature_map: (h, w), finite.

    Returns:
        The first level, from 1, at which {x ≥ t} encloses a hole, or `NO_BIRTH`.

    Example:
        >>> birth_level(np.array([[1, 9, 2], [8, 3, 7], [1, 6, 1.0]]))
        4
    """
    for level, value in enumerate(np.unique(feature_map)[::-1], start=1):
        if count_holes(feature_map >= value) > 0:
            return level
    return NO_BIRTH
