"""Images on a padded grid, and what the neighbours above each pixel say of it."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from audit.topology._kernels.basics import compiled, order_preserving
from audit.topology._kernels.vectors import copy_16, forward_of_64

_BAND: Final = 4096  # keys that the nearest cache holds with their copies


def _ring_tables() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """What an 8-neighbour mask says of the pixel in its middle, for each of the 256 masks.

    Bits 0 to 7 run clockwise from the upper left. Returns the number of 8-connected runs among the
    neighbours, whether the pixel fills a hole (all four edge neighbours are in), one neighbour of
    each run, towards its middle, and the row and column steps to the neighbours.
    """
    rows = np.array([-1, -1, -1, 0, 1, 1, 1, 0])
    columns = np.array([-1, 0, 1, 1, 1, 0, -1, -1])
    runs = np.zeros(256, np.uint8)
    fills = np.zeros(256, np.uint8)
    of_run = np.zeros((256, 4), np.uint8)
    for mask in range(256):
        waiting = [bit for bit in range(8) if mask >> bit & 1]
        fills[mask] = all(mask >> bit & 1 for bit in (1, 3, 5, 7))
        while waiting:
            run = [waiting.pop(0)]
            for bit in run:
                near = [
                    other
                    for other in waiting
                    if max(abs(rows[bit] - rows[other]), abs(columns[bit] - columns[other])) <= 1
                ]
                run += near
                waiting = [other for other in waiting if other not in near]
            clockwise = sorted(run, key=lambda bit: (bit - 4) % 8 if {0, 7} <= set(run) else bit)
            of_run[mask, runs[mask]] = clockwise[len(run) // 2]
            runs[mask] += 1
    return runs, fills, of_run, rows, columns


RUNS, FILLS, OF_RUN, ROW_STEP, COLUMN_STEP = _ring_tables()


@compiled
def read_grid(
    bits: np.ndarray, keys: np.ndarray, grid: np.ndarray, sign_mask: Any
) -> tuple[Any, Any]:
    """Keys of a map between a row above and below and a column of padding; least and largest.

    A band of rows at a time goes through `keys`, which stays in the nearest cache.
    """
    h, w = bits.shape
    stride = w + 1
    absent = grid[0]
    band = max(1, _BAND // w)
    least, largest = sign_mask, -sign_mask
    for top in range(0, h, band):
        bottom = min(h, top + band)
        ends = order_preserving(bits[top:bottom].ravel(), keys, sign_mask)
        least, largest = min(least, ends[0]), max(largest, ends[1])
        for r in range(bottom - top):
            row = (top + r + 1) * stride + 1
            for c in range(0, w, 16):  # what is copied too much is written over
                copy_16(keys, r * w + c, grid, row + c)
            grid[row + w] = absent
    for i in range((h + 1) * stride, (h + 1) * stride + 16):
        grid[i] = absent
    return least, largest


@compiled
def _mask_and_flag(
    forward: np.ndarray,
    stride: int,
    first: int,
    last: int,
    masks: np.ndarray,
    critical: np.ndarray,
) -> None:
    """Bit masks of the neighbours that enter before each pixel, and whether it can change β₁.

    Ties enter in index order, so that an earlier neighbour is in unless this pixel lies above it.
    Of the four edge neighbours, those absent and followed clockwise by a present one count the
    runs (Yokoi's connectivity number): one run changes nothing, none means that the pixel is alone
    or fills a hole. All is done in eight bits, so that a vector holds many pixels.
    """
    middle, out, flags = forward[first:last], masks[first:last], critical[first:last]
    w, nw = forward[first - 1 : last - 1], forward[first - stride - 1 : last - stride - 1]
    n, ne = forward[first - stride : last - stride], forward[first - stride + 1 : last - stride + 1]
    for i in range(last - first):
        corners = np.uint8((~nw[i] & 16) >> 4 | (~ne[i] & 64) >> 4)
        edges = np.uint8((~n[i] & 32) >> 4 | np.uint8((~w[i] & 8) << 4))
        mask = np.uint8(middle[i] & 0b01111000 | corners | edges)
        out[i] = mask
        gaps = np.uint8(~mask)
        next_gap = np.uint8(gaps >> 1 | gaps << 7)
        gap_after = np.uint8(gaps >> 2 | gaps << 6)
        ends = np.uint8(0b10101010 & gaps & ~(next_gap & gap_after))
        others = np.uint8(ends & np.uint8(ends - 1))
        flags[i] = middle[i] & 1 & ((others != 0) | ((ends == 0) & (mask != 0)))


@compiled
def mark(
    grid: np.ndarray,
    stride: int,
    first: int,
    last: int,
    least: Any,
    forward: np.ndarray,
    masks: np.ndarray,
    critical: np.ndarray,
) -> None:
    """Neighbour masks of all pixels, and flags of those from `least` on that can change β₁."""
    for block in range(0, last, 64):
        forward_of_64(grid, block, stride, least, forward)
    _mask_and_flag(forward, stride, first, last, masks, critical)
