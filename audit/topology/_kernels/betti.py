"""Betti curves of the cubical filtration, compiled."""

from __future__ import annotations

from typing import Any

import numpy as np

from audit.topology._inputs import NOT_FINITE
from audit.topology._kernels.basics import find, kept
from audit.topology._kernels.grid import COLUMN_STEP, FILLS, OF_RUN, ROW_STEP, RUNS, mark, read_grid
from audit.topology._kernels.queue import bring_forward, new_queue


@kept
def betti_curves(
    bits: np.ndarray, sign_mask: Any, beta_0: np.ndarray, beta_1: np.ndarray, n_levels: np.ndarray
) -> None:
    """β₀ and β₁ of the superlevel sets of 8-connected images at the end of every level.

    β₀ is counted by joining components; β₁ = β₀ − χ, the Euler characteristic changing at each
    pixel by one less the runs it touches (none where it fills a hole).

    Args:
        bits: (m, h, w) float32 or float64 maps seen as int32 or int64.
        sign_mask: The largest int of that type.
        beta_0: (m, h · w) int32, written; the last level's value is repeated after it.
        beta_1: (m, h · w) int32, written likewise.
        n_levels: (m,) int32, written: the number of levels, or `NOT_FINITE`.
    """
    m, h, w = bits.shape
    stride = w + 1
    first, last = stride + 1, (h + 1) * stride
    infinity = 0x7F800000 if bits.itemsize == 4 else 0x7FF0000000000000
    padded = last + stride + 128 & ~63
    absent = -sign_mask
    grid = np.full(padded, absent, bits.dtype)
    forward = np.zeros(padded, np.uint8)
    masks = np.zeros(padded, np.uint8)
    critical = np.zeros(padded, np.uint8)
    parent = np.empty(padded, np.int32)
    keys, ids, ends = new_queue(h * w, grid)
    steps = ROW_STEP * stride + COLUMN_STEP
    for index in range(m):
        least, largest = read_grid(bits[index], keys, grid, sign_mask)
        if largest >= infinity or least <= -infinity:
            n_levels[index] = NOT_FINITE
            continue
        mark(grid, stride, first, last, grid[0], forward, masks, critical)
        for i in range(h * w):
            pixel = first + i // w * stride + i % w
            keys[i] = grid[pixel]
            ids[i] = pixel
            parent[pixel] = pixel
        ends[0] = h * w
        depth, ready, level = 1, 0, -1
        components, euler = 0, 0
        for position in range(h * w):
            if position == ready:
                depth = bring_forward(keys, ids, ends, position, depth, h * w)
                ready = ends[depth - 1]
            level += position == 0 or keys[position] != keys[position - 1]
            pixel = ids[position]
            mask = masks[pixel]
            components += 1
            euler += 1
            if not FILLS[mask]:
                euler -= RUNS[mask]
            for k in range(RUNS[mask]):
                other = find(parent, pixel + steps[OF_RUN[mask, k]])
                if other != pixel:
                    root = find(parent, pixel)
                    components -= other != root
                    parent[other] = root
            beta_0[index, level] = components
            beta_1[index, level] = components - euler
        n_levels[index] = level + 1
        beta_0[index, level + 1 :] = 1
        beta_1[index, level + 1 :] = 0
