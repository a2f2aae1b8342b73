"""Births of the clique filtration, compiled."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from audit.arrays import NO_BIRTH
from audit.topology._inputs import NOT_FINITE
from audit.topology._kernels.basics import compiled, kept, order_preserving
from audit.topology._kernels.flag_complex import flag_complex_has_cycle
from audit.topology._kernels.queue import bring_forward, new_queue, put
from audit.topology._kernels.vectors import above_in_16, above_in_64, ones

_LANES: Final = 32
_ONE: Final = np.uint64(1)  # unsigned, as numba tests signed indices for their sign


@compiled
def _largest_by_lane(keys: np.ndarray, step: int, lanes: np.ndarray) -> None:
    """Largest key of each of 32 lanes, from every `step`-th row of 32 keys."""
    for i in range(_LANES):
        lanes[i] = keys[i]
    for start in range(step * _LANES, keys.size - 64, step * _LANES):
        row = keys[start : start + _LANES]
        for i in range(_LANES):
            lanes[i] = max(lanes[i], row[i])


@compiled
def _nth_of_lanes(lanes: np.ndarray, nth: int) -> Any:
    """The key with `nth` of the 32 above it; of equal ones, fewer."""
    best: Any = 0
    for i in range(_LANES):
        first, second = above_in_16(lanes, 0, lanes[i]), above_in_16(lanes, 16, lanes[i])
        rank = np.int64(ones(first | second << np.uint64(16)))
        best = max(
            best, (rank * _LANES + i) & (rank - nth - 1) >> 63
        )  # no branch: none foresees it
    return lanes[best % _LANES]


@compiled
def _collect_between(
    values: np.ndarray, floor: Any, ceiling: Any, keys: np.ndarray, ids: np.ndarray
) -> Any:
    """Queue the values above `floor` and not above `ceiling`; returns their count."""
    count: Any = np.uint64(0)
    for block in range(0, values.size - 64, 64):
        marked = above_in_64(values, block, floor) & ~above_in_64(values, block, ceiling)
        count = put(keys, ids, count, values, block, marked)
    return np.int64(count)


@compiled
def _enter_edges(
    keys: np.ndarray,
    ids: np.ndarray,
    ends: np.ndarray,
    count: int,
    adjacency: np.ndarray,
    component: np.ndarray,
    progress: np.ndarray,
    least_level: int,
    most_levels: int,
) -> int:
    """Let entries of the matrix into the graph, largest first, until a birth or the last level.

    Entry i is that of row i // n and column i % n; an edge enters with the larger of its two.
    `progress` holds the levels and edges so far. Returns the birth level, `NO_BIRTH` if there will
    be none, or 0 if more entries have to tell.
    """
    n, words = adjacency.shape
    level, edges = progress
    ends[0] = count
    depth, ready, position = 1, 0, 0
    while position < count:
        if position == ready:
            depth = bring_forward(keys, ids, ends, position, depth, n + 4)
            ready = ends[depth - 1]
        key = keys[position]
        before = edges
        opened = False
        while position < ready and keys[position] == key:
            entry = np.uint64(ids[position])
            position += 1
            u = entry // np.uint64(n)
            v = entry - u * np.uint64(n)
            u_word, u_bit = u >> np.uint64(6), _ONE << (u & np.uint64(63))
            v_word, v_bit = v >> np.uint64(6), _ONE << (v & np.uint64(63))
            if adjacency[u, v_word] & v_bit:
                continue
            common = np.uint64(0)
            for k in range(words):
                common |= adjacency[u, k] & adjacency[v, k]
            if not common:
                joined, other = component[u], component[v]
                opened |= joined == other
                for w in range(component.size):
                    component[w] = joined if component[w] == other else component[w]
            adjacency[u, v_word] |= v_bit
            adjacency[v, u_word] |= u_bit
            edges += 1
        level += edges > before
        if level > most_levels or edges == n * (n - 1) // 2:  # all edges: a simplex
            return NO_BIRTH
        if opened and (edges == before + 1 or flag_complex_has_cycle(adjacency, n)):
            return level if level >= least_level else NO_BIRTH
    progress[0], progress[1] = level, edges
    return 0


@kept
def clique_births(
    bits: np.ndarray, sign_mask: Any, least_level: int, most_levels: int, births: np.ndarray
) -> None:
    """Birth levels of the clique filtration.

    The entries above a floor that some lanes' largest foretell are let in first, then those above
    a lower floor, and at last all but the smallest, which complete the graph.

    Args:
        bits: (m, n, n) float32 or float64 maps seen as int32 or int64.
        sign_mask: The largest int of that type.
        least_level: A birth before this level is none.
        most_levels: No level after this one is looked at.
        births: (m,) int32, written: the level, `NO_BIRTH`, or `NOT_FINITE`.
    """
    m, n, _ = bits.shape
    infinity = 0x7F800000 if bits.itemsize == 4 else 0x7FF0000000000000
    size = (n * n + 63 & ~63) + 64  # the last block is only ever read
    entries = np.full(size, -sign_mask, bits.dtype)
    keys, ids, ends = new_queue(size, entries)
    adjacency = np.empty((n, (n + 63) >> 6), np.uint64)
    component = np.empty(n + 15 & ~15, np.int16)
    progress = np.empty(2, np.int64)
    lanes = np.empty(_LANES, bits.dtype)
    step = max(1, (n + 6) // _LANES)
    seen = (size - 64) / _LANES / step / (n * n)  # share of the entries that each lane sees
    nths = (
        _LANES * (1 - np.exp(-seen * (n + 6))),
        min(_LANES - 2.0, _LANES * (1 - np.exp(-seen * (1.3 * most_levels + 6)))),
    )
    for index in range(m):
        least, largest = order_preserving(bits[index].ravel(), entries, sign_mask)
        if largest >= infinity or least <= -infinity:
            births[index] = NOT_FINITE
            continue
        entries[: n * n : n + 1] = -sign_mask
        adjacency[:] = 0
        for u in range(component.size):
            component[u] = u
        progress[:] = 0
        _largest_by_lane(entries, step, lanes)
        births[index] = 0
        ceiling = largest
        for attempt in range(3):
            floor = least
            if attempt < 2 and size > 128:
                floor = max(least, _nth_of_lanes(lanes, int(nths[attempt])))
            count = _collect_between(entries, floor, ceiling, keys, ids)
            births[index] = _enter_edges(
                keys, ids, ends, count, adjacency, component, progress, least_level, most_levels
            )
            if births[index] or floor == least:
                break
            ceiling = floor
        births[index] = births[index] or NO_BIRTH
