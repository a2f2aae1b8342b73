"""Birth levels compiled for CUDA devices: one block of threads a map.

The kernels read the bits of float32 values, synchronise only within their block, and give the same
integers for any number of threads in it. Their scratch is shared memory, or global where a map does
not fit there. numba's simulator runs the same source without a device.

`cubical` fills holes by reconstruction, a thread sweeping a whole column or row at a time; `clique`
takes one edge after another from the largest down, all threads searching for the next.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar, cast

import numpy as np
from numba import cuda, int32

from audit.arrays import NO_BIRTH
from audit.topology._inputs import NOT_FINITE

UNDECIDED: Final = -3  # written for a map whose tied edges need linear algebra
_MOST: Final = np.int32(0x7FFFFFFF)
_ABSENT: Final = np.int32(-0x7FFFFFFF)  # lies below the key of every finite value
_INFINITY: Final = np.int32(0x7F800000)
_LOW_WORD: Final = np.int64(0xFFFFFFFF)
_MIXER: Final = np.int64(0x4F1BBCDD)  # odd, about 2³¹ / golden ratio: spreads keys over a table

_Function = TypeVar("_Function", bound=Callable[..., Any])


def _on_device(function: _Function) -> _Function:
    return cast(_Function, cuda.jit(device=True)(function))


def _kernel(function: Callable[..., None]) -> Any:
    try:
        return cuda.jit(cache=True)(function)
    except RuntimeError:  # what numba raises where it can keep nothing
        return cuda.jit(function)


@_on_device
def _key(bits: Any) -> Any:
    """Integer in the order of the float with these bits; −0 is 0."""
    return bits if bits >= 0 else -(bits & _MOST)


@_on_device
def _sweep(
    value: np.ndarray, filled: np.ndarray, lines: int, step: int, length: int, along: Any
) -> int:
    """Lower `filled` along each line, there and back: no pixel above its neighbour and its value.

    Line k starts at k · `step` and takes `length` steps of `along`. Returns 1 if anything fell,
    else 0.
    """
    fell = 0
    for line in range(cuda.threadIdx.x, lines, cuda.blockDim.x):
        at = np.uint64(line * step)
        level = filled[at]
        for _ in range(1, length):
            at += along
            before = filled[at]
            level = max(value[at], min(before, level))
            if level < before:
                filled[at] = level
                fell = 1
        for _ in range(1, length):
            at -= along
            before = filled[at]
            level = max(value[at], min(before, level))
            if level < before:
                filled[at] = level
                fell = 1
    return fell


@_on_device
def _insert(table: np.ndarray, key: Any) -> bool:
    """Put a key into an open-addressing table with room for it; returns whether it was new."""
    size = table.size
    mixed = (np.int64(key) & _LOW_WORD) * _MIXER & _LOW_WORD
    slot = int(mixed * size >> 32)
    while True:
        there = cuda.atomic.cas(table, slot, _ABSENT, key)
        if there == _ABSENT:
            return True
        if there == key:
            return False
        slot += 1
        if slot == size:
            slot = 0


@_on_device
def _cubical_birth(bits: np.ndarray, words: np.ndarray) -> int:
    """Birth level of one map (h, w), the same for every thread of its block.

    `filled[p]` becomes the least, over 4-connected paths from p to the outside, of the largest
    value on the path: a hole lies over p from that level down to its own. A pixel below its four
    neighbours is a hole by itself; the highest level of such a hole bounds the birth from below,
    and everything under it is one flat ground.

    Args:
        bits: (h, w) int32, the bits of float32 values.
        words: (2 · h · (w | 1),) int32 scratch.
    """
    h, w = bits.shape
    size = h * (w | 1)
    # Unsigned places need no test for being negative. Rows are odd, so that threads on rows side
    # by side meet different memory banks.
    row, one = np.uint64(w | 1), np.uint64(1)
    thread, threads = cuda.threadIdx.x, cuda.blockDim.x
    value, filled = words[:size], words[size : 2 * size]
    result = cuda.shared.array(2, int32)
    if thread == 0:
        result[0] = _ABSENT
        result[1] = 0
    bad = 0
    for c in range(thread, w, threads):
        at = np.uint64(c)
        for r in range(h):
            pattern = bits[r, c]
            if pattern & _MOST >= _INFINITY:
                bad = 1
            value[at] = _key(pattern)
            at += row
    if cuda.syncthreads_or(bad):
        return NOT_FINITE

    birth = _ABSENT
    for c in range(thread + 1, w - 1, threads):
        at = np.uint64(c)
        for _ in range(1, h - 1):
            at += row
            rim = min(min(value[at - row], value[at + row]), min(value[at - one], value[at + one]))
            if rim > value[at]:
                birth = max(birth, rim)
    cuda.atomic.max(result, 0, birth)
    cuda.syncthreads()
    ground = result[0]
    for c in range(thread, w, threads):
        at = np.uint64(c)
        for r in range(h):
            level = max(value[at], ground)
            value[at] = level
            on_border = r == 0 or r == h - 1 or c == 0 or c == w - 1
            filled[at] = level if on_border else _MOST
            at += row
    cuda.syncthreads()
    _sweep(value, filled, w, 1, h, row)
    cuda.syncthreads()
    while cuda.syncthreads_or(_sweep(value, filled, h, w | 1, w, one)):
        if not cuda.syncthreads_or(_sweep(value, filled, w, 1, h, row)):
            break

    birth = _ABSENT
    for c in range(thread, w, threads):
        at = np.uint64(c)
        for _ in range(h):
            if filled[at] > value[at]:
                birth = max(birth, filled[at])
            at += row
    cuda.atomic.max(result, 0, birth)
    cuda.syncthreads()
    birth = result[0]
    if birth == _ABSENT:
        return NO_BIRTH
    for k in range(thread, size, threads):
        filled[k] = _ABSENT
    cuda.syncthreads()
    distinct = 0
    for c in range(thread, w, threads):
        at = np.uint64(c)
        for r in range(h):
            key = value[at]
            if key >= birth:
                repeated = (c > 0 and value[at - one] == key) or (r > 0 and value[at - row] == key)
                if not repeated and _insert(filled, key):
                    distinct += 1
            at += row
    cuda.atomic.add(result, 1, distinct)
    cuda.syncthreads()
    return int(result[1])


@_on_device
def _clique_birth(bits: np.ndarray, words: np.ndarray, least: int, most: int) -> int:
    """Birth level of one map (n, n), the same for every thread of its block.

    An edge opens a cycle if its ends are connected and have no common neighbour. Within a level of
    equal edges a later one can fill the cycle again only if its ends have two common neighbours or
    more; whether it does is left to the host.

    Args:
        bits: (n, n) int32, the bits of float32 values.
        words: (n (n−1) / 2 + n · (2 + ⌈n / 16⌉),) int32 scratch.
        least: A birth before this level is none.
        most: No level after this one is looked at.
    """
    n = bits.shape[0]
    width = (n + 15) >> 4
    n_edges = n * (n - 1) // 2
    thread, threads = cuda.threadIdx.x, cuda.blockDim.x
    keys = words[:n_edges]  # of the edges still to come, row by row of the upper triangle
    best = words[n_edges : n_edges + n]  # the largest key of each row
    label = words[n_edges + n : n_edges + 2 * n]  # component of each vertex
    neighbours = words[n_edges + 2 * n : n_edges + (2 + width) * n]  # masks of 16 bits
    found = cuda.shared.array(3, int32)  # the next edge: its key, row, column
    bad = 0
    for u in range(n):
        row = u * n - u * (u + 1) // 2 - u - 1
        for v in range(thread, n, threads):
            pattern = bits[u, v]
            if pattern & _MOST >= _INFINITY:
                bad = 1
            if v > u:
                keys[row + v] = max(_key(pattern), _key(bits[v, u]))
    if cuda.syncthreads_or(bad):
        return NOT_FINITE
    for u in range(thread, n, threads):
        row = u * n - u * (u + 1) // 2 - u - 1
        largest = _ABSENT
        for v in range(u + 1, n):
            largest = max(largest, keys[row + v])
        best[u] = largest
        label[u] = u
        for k in range(width):
            neighbours[u * width + k] = 0
    if thread == 0:
        found[0] = _ABSENT
        found[1] = n
        found[2] = n
    cuda.syncthreads()

    level = 0
    opened = False
    doubtful = False
    current = _MOST
    while True:
        largest = _ABSENT
        for u in range(thread, n, threads):
            largest = max(largest, best[u])
        cuda.atomic.max(found, 0, largest)
        cuda.syncthreads()
        key = found[0]
        if key == _ABSENT:  # every edge is in: a simplex
            return NO_BIRTH
        if key != current:
            if opened:
                if doubtful:
                    return UNDECIDED
                return level if level >= least else NO_BIRTH
            if level == most:
                return NO_BIRTH
            level += 1
            current = key
        for u in range(thread, n, threads):
            if best[u] == key:
                cuda.atomic.min(found, 1, u)
        cuda.syncthreads()
        u = found[1]
        row = u * n - u * (u + 1) // 2 - u - 1
        for v in range(u + 1 + thread, n, threads):
            if keys[row + v] == key:
                cuda.atomic.min(found, 2, v)
        cuda.syncthreads()
        v = found[2]
        common = 0
        for k in range(width):
            common += cuda.popc(neighbours[u * width + k] & neighbours[v * width + k])
        kept, joined = label[u], label[v]
        if common == 0 and kept == joined:
            opened = True
        elif opened and common > 1:
            doubtful = True
        cuda.syncthreads()
        if thread == 0:
            neighbours[u * width + (v >> 4)] |= 1 << (v & 15)
            neighbours[v * width + (u >> 4)] |= 1 << (u & 15)
            keys[row + v] = _ABSENT
            best[u] = _ABSENT
            found[0] = _ABSENT
            found[1] = n
            found[2] = n
        for w in range(thread, n, threads):
            if label[w] == joined:
                label[w] = kept
        cuda.syncthreads()
        largest = _ABSENT
        for w in range(u + 1 + thread, n, threads):
            largest = max(largest, keys[row + w])
        cuda.atomic.max(best, u, largest)
        cuda.syncthreads()


@_kernel
def cubical_shared(bits: np.ndarray, births: np.ndarray) -> None:
    """Births (m,) of maps (m, h, w), a block each, in shared memory; blocks after m do nothing."""
    index = cuda.blockIdx.x
    if index < births.size:
        birth = _cubical_birth(bits[index], cuda.shared.array(0, int32))
        if cuda.threadIdx.x == 0:
            births[index] = birth


@_kernel
def cubical_global(bits: np.ndarray, births: np.ndarray, scratch: np.ndarray) -> None:
    """The same in global scratch, (m, words)."""
    index = cuda.blockIdx.x
    if index < births.size:
        birth = _cubical_birth(bits[index], scratch[index])
        if cuda.threadIdx.x == 0:
            births[index] = birth


@_kernel
def clique_shared(bits: np.ndarray, births: np.ndarray, least: int, most: int) -> None:
    """Births (m,) of maps (m, n, n), a block each, in shared memory; blocks after m do nothing."""
    index = cuda.blockIdx.x
    if index < births.size:
        birth = _clique_birth(bits[index], cuda.shared.array(0, int32), least, most)
        if cuda.threadIdx.x == 0:
            births[index] = birth


@_kernel
def clique_global(
    bits: np.ndarray, births: np.ndarray, scratch: np.ndarray, least: int, most: int
) -> None:
    """The same in global scratch, (m, words)."""
    index = cuda.blockIdx.x
    if index < births.size:
        birth = _clique_birth(bits[index], scratch[index], least, most)
        if cuda.threadIdx.x == 0:
            births[index] = birth
