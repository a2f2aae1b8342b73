"""Batches of feature maps through the definitions: slow, and what other backends must equal."""

from __future__ import annotations

import numpy as np

from audit.topology import _clique, _cubical
from audit.topology._inputs import NOT_FINITE, Maps


def births(maps: Maps, filtration: str, preset: str, threads: int) -> np.ndarray:
    """Birth levels (…) int32 of maps (…, h, w); `NOT_FINITE` where a map holds NaN or infinity.

    `threads` is what the compiled backend takes; the definitions run on one.
    """
    del threads
    levels = _clique.paper_levels if preset == "paper" else _clique.full_levels
    result = np.empty(maps.array.shape[:-2], np.int32)
    for index in np.ndindex(result.shape):
        feature_map = maps.chunk(maps.array[index])
        if not np.isfinite(feature_map).all():
            result[index] = NOT_FINITE
        elif filtration == "cubical":
            result[index] = _cubical.birth_level(feature_map)
        else:
            result[index] = _clique.birth_level(feature_map, *levels(feature_map.shape[0]))
    return result
