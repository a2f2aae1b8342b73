"""Births of the cubical filtration, compiled."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from audit.arrays import NO_BIRTH
from audit.topology._inputs import NOT_FINITE
from audit.topology._kernels.basics import compiled, find, kept
from audit.topology._kernels.grid import COLUMN_STEP, FILLS, OF_RUN, ROW_STEP, RUNS, mark, read_grid
from audit.topology._kernels.queue import bring_forward, new_queue, put
from audit.topology._kernels.vectors import above_in_64, differ_in_64

_MIXER: Final = np.uint64(0x9E3779B97F4A7C15)  # 2⁶⁴ / golden ratio: spreads keys over a table


@compiled
def _hole_bound(grid: np.ndarray, stride: int, first: int, last: int, absent: int) -> int:
    """Largest key by which a single pixel is a hole: all four edge neighbours lie above it."""
    count = last - first
    middle = grid[first:last]
    above, below = grid[first - stride : last - stride], grid[first + stride : last + stride]
    left, right = grid[first - 1 : last - 1], grid[first + 1 : last + 1]
    bound = absent
    for i in range(count):
        rim = min(min(above[i], below[i]), min(left[i], right[i]))
        bound = max(bound, rim if rim > middle[i] else absent)
    return bound


@compiled
def _collect_flagged(grid: np.ndarray, flags: np.ndarray, keys: np.ndarray, ids: np.ndarray) -> Any:
    """Queue the flagged pixels; returns their count."""
    count: Any = np.uint64(0)
    for block in range(0, flags.size - 64, 64):
        count = put(keys, ids, count, grid, block, above_in_64(flags, block, 0))
    return np.int64(count)


@compiled
def _climb(
    saddles: np.ndarray,
    count: int,
    masks: np.ndarray,
    steps: np.ndarray,
    climbers: np.ndarray,
    summit: np.ndarray,
    joined: np.ndarray,
) -> None:
    """The maximum uphill of every run that a saddle touches, each joined to nothing but itself.

    All runs climb at once, a few steps a round, so that no step has to wait for the one before.
    """
    starts, places = climbers
    climbing = np.uint64(0)
    for i in range(count):
        saddle = saddles[i]
        mask = masks[saddle]
        for run in range(np.uint64(4)):
            starts[climbing + run] = places[climbing + run] = saddle + steps[mask, run]
        climbing += np.uint64(RUNS[mask])
    while climbing:
        higher = np.uint64(0)
        for k in range(climbing):
            start, place = starts[k], places[k]
            for _ in range(3):
                place = np.uint32(place + steps[masks[place], 0])
            step = steps[masks[place], 0]
            summit[start] = joined[place] = place
            starts[higher], places[higher] = start, np.uint32(place + step)
            higher += np.uint64(step != 0)
        climbing = higher


@compiled
def _cubical_birth_key(
    keys: np.ndarray,
    ids: np.ndarray,
    ends: np.ndarray,
    count: int,
    masks: np.ndarray,
    steps: np.ndarray,
    summit: np.ndarray,
    joined: np.ndarray,
    absent: int,
) -> Any:
    """Key of the first level that ends with β₁ > 0, or `absent`.

    Only saddles and filled holes are walked: any other pixel joins the one component it touches,
    that of the maximum uphill. A pixel that touches r runs of d components opens r − d cycles; one
    whose edge neighbours are all in fills a hole.
    """
    ends[0] = count
    depth, ready, position = 1, 0, 0
    holes = 0
    while position < count:
        if position == ready:
            depth = bring_forward(keys, ids, ends, position, depth, count)
            ready = ends[depth - 1]
        key = keys[position]
        while position < ready and keys[position] == key:
            pixel = ids[position]
            mask = masks[pixel]
            position += 1
            if FILLS[mask]:
                holes -= 1
                continue
            root = find(joined, summit[pixel + steps[mask, 0]])
            for k in range(1, RUNS[mask]):
                other = find(joined, summit[pixel + steps[mask, k]])
                if other == root:
                    holes += 1
                else:
                    joined[other] = root
        if holes > 0:
            return key
    return absent


@compiled
def _collect_firsts(
    grid: np.ndarray, stride: int, floor: Any, keys: np.ndarray, ids: np.ndarray
) -> Any:
    """Collect every distinct value above `floor`, plateaus little more than once; returns how many.

    A pixel equal to the one on its left or above it is passed over: its value's first pixel in
    index order has neither.
    """
    count: Any = np.uint64(0)
    for block in range(stride, grid.size - 64, 64):
        marked = above_in_64(grid, block, floor)
        if marked:
            marked &= differ_in_64(grid, block, block - 1)
            marked &= differ_in_64(grid, block, block - stride)
            count = put(keys, ids, count, grid, block, marked)
    return np.int64(count)


@compiled
def _count_distinct(keys: np.ndarray, count: int, absent: Any, table: np.ndarray) -> int:
    """Number of distinct keys among the first `count`, by a table no more than a quarter full."""
    size_bits = np.uint64(2)
    while (1 << size_bits) < 4 * count:
        size_bits += np.uint64(1)
    size = 1 << size_bits
    wrap = np.uint64(size - 1)
    for i in range(size):
        table[i] = absent
    shift = np.uint64(64) - size_bits
    others = 0
    for i in range(count):  # without branches: whoever finds its slot taken waits
        key = keys[i]
        slot = (np.uint64(key) * _MIXER) >> shift
        taken = table[slot] != absent
        table[slot] = table[slot] if taken else key
        keys[others] = key
        others += taken
    distinct = count - others
    for i in range(others):
        key = keys[i]
        slot = (np.uint64(key) * _MIXER) >> shift
        while table[slot] != key and table[slot] != absent:
            slot = (slot + np.uint64(1)) & wrap
        distinct += table[slot] != key
        table[slot] = key
    return distinct


@kept
def cubical_births(bits: np.ndarray, sign_mask: Any, births: np.ndarray) -> None:
    """Birth levels of the superlevel filtration of 8-connected images.

    Args:
        bits: (m, h, w) float32 or float64 maps seen as int32 or int64.
        sign_mask: The largest int of that type.
        births: (m,) int32, written: the level, `NO_BIRTH`, or `NOT_FINITE`.
    """
    m, h, w = bits.shape
    stride = w + 1  # one column of padding serves as both edges
    first, last = stride + 1, (h + 1) * stride
    infinity = 0x7F800000 if bits.itemsize == 4 else 0x7FF0000000000000
    absent = -sign_mask
    padded = last + stride + 128 & ~63  # whole blocks, and a block's neighbours, can be read
    grid = np.full(padded, absent, bits.dtype)
    forward = np.zeros(padded, np.uint8)
    masks = np.zeros(padded, np.uint8)
    critical = np.zeros(padded, np.uint8)
    climbers = np.empty((2, 4 * padded), np.uint32)
    summit = np.empty(padded, np.uint32)
    joined = np.empty(padded, np.uint32)
    keys, ids, ends = new_queue(padded, grid)
    table = np.empty(8 * padded, bits.dtype)
    steps = np.zeros((256, 4), np.int32)  # to one neighbour of each run; none from a maximum
    for mask in range(1, 256):
        for run in range(RUNS[mask]):
            bit = OF_RUN[mask, run]
            steps[mask, run] = ROW_STEP[bit] * stride + COLUMN_STEP[bit]
    for index in range(m):
        births[index] = NO_BIRTH
        least, largest = read_grid(bits[index], keys, grid, sign_mask)
        if largest >= infinity or least <= -infinity:
            births[index] = NOT_FINITE
            continue
        bound = max(_hole_bound(grid, stride, first, last, grid[0]), least)
        mark(grid, stride, first, last, bound, forward, masks, critical)
        count = _collect_flagged(grid, critical, keys, ids)
        _climb(ids, count, masks, steps, climbers, summit, joined)
        key = _cubical_birth_key(keys, ids, ends, count, masks, steps, summit, joined, absent)
        if key != absent:
            count = _collect_firsts(grid, stride, key - 1, keys, ids)
            births[index] = _count_distinct(keys, count, grid[0], table)
