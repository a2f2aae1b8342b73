"""Birth levels compiled for the CPU: one call per batch, nothing shared between calls.

Both kernels read order-preserving integer keys, keep per-call scratch the size of one map, sort no
more than the birth needs, and stop at the birth. They hold no lock and release the interpreter, so
`audit.topology.threads` runs them side by side on parts of a batch.

Everything compiled is in this one file: numba's cache on disk watches the file of the outermost
function only, so a helper elsewhere could change without its callers being compiled again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar, cast

import numpy as np
from numba import njit

from audit.arrays import NO_BIRTH
from audit.topology.inputs import NOT_FINITE

_INSERTION_SORT_UP_TO: Final = 20

_Function = TypeVar("_Function", bound=Callable[..., Any])


def compiled(function: _Function) -> _Function:
    """Compile on first call, without the interpreter's lock, and keep the result on disk."""
    return cast(_Function, njit(nogil=True, cache=True)(function))


def _ring_tables() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """What an 8-neighbour mask says of the pixel in its middle, for each of the 256 masks.

    Bits 0 to 7 run clockwise from the upper left. Returns the number of 8-connected runs among the
    neighbours, whether the pixel fills a hole (all four edge neighbours are in), one neighbour of
    each run, and the row and column steps to the neighbours.
    """
    rows = np.array([-1, -1, -1, 0, 1, 1, 1, 0])
    columns = np.array([-1, 0, 1, 1, 1, 0, -1, -1])
    runs = np.zeros(256, np.uint8)
    fills = np.zeros(256, np.uint8)
    first_of_run = np.zeros((256, 4), np.uint8)
    for mask in range(256):
        waiting = [bit for bit in range(8) if mask >> bit & 1]
        fills[mask] = all(mask >> bit & 1 for bit in (1, 3, 5, 7))
        while waiting:
            run = [waiting.pop(0)]
            first_of_run[mask, runs[mask]] = run[0]
            runs[mask] += 1
            for bit in run:
                near = [
                    other
                    for other in waiting
                    if max(abs(rows[bit] - rows[other]), abs(columns[bit] - columns[other])) <= 1
                ]
                run += near
                waiting = [other for other in waiting if other not in near]
    return runs, fills, first_of_run, rows, columns


_RUNS, _FILLS, _FIRST_OF_RUN, _ROW_STEP, _COLUMN_STEP = _ring_tables()
_CRITICAL = ((_RUNS >= 2) | (_FILLS == 1)).astype(np.uint8)


@compiled
def _partition_front(
    keys: np.ndarray, ids: np.ndarray, start: int, bounds: np.ndarray, depth: int
) -> int:
    """Sort the next few largest keys to `start`, as far as `bounds[depth - 1]`; returns `depth`.

    Incremental quicksort (Paredes & Navarro 2006): `bounds` is a stack of ends, every key before
    an end being greater than every key after it. Only the first part is ever refined.
    """
    while bounds[depth - 1] <= start:
        depth -= 1
    while True:
        end = bounds[depth - 1]
        size = end - start
        if size <= _INSERTION_SORT_UP_TO:
            for i in range(start + 1, end):
                key, name = keys[i], ids[i]
                j = i
                while j > start and keys[j - 1] < key:
                    keys[j] = keys[j - 1]
                    ids[j] = ids[j - 1]
                    j -= 1
                keys[j] = key
                ids[j] = name
            return depth
        step = (start * 40503 + size * 2654435761) % (size // 3)
        a, b, c = keys[start + step], keys[start + size // 3 + step], keys[end - 1 - step]
        pivot = max(min(a, b), min(max(a, b), c))
        split = start
        for i in range(start, end):
            key, name = keys[i], ids[i]
            keys[i] = keys[split]
            ids[i] = ids[split]
            keys[split] = key
            ids[split] = name
            split += key > pivot
        if split == start:  # the pivot is the largest key: gather its equals, which need no sorting
            for i in range(start, end):
                key, name = keys[i], ids[i]
                keys[i] = keys[split]
                ids[i] = ids[split]
                keys[split] = key
                ids[split] = name
                split += key == pivot
            if split < end:
                bounds[depth] = split
                depth += 1
            return depth
        bounds[depth] = split
        depth += 1


@compiled
def _find(parent: np.ndarray, i: int) -> int:
    """Root of `i`, halving the path on the way."""
    while parent[i] != i:
        parent[i] = parent[parent[i]]
        i = parent[i]
    return i


# --- clique --------------------------------------------------------------------------------------


@compiled
def _link_is_connected(
    graph: np.ndarray, u: int, v: int, common: np.ndarray, seen: np.ndarray, words: int
) -> bool:
    """Whether the common neighbours of u and v are some, and connected among themselves."""
    some = False
    for k in range(words):
        common[k] = graph[u, k] & graph[v, k]
        seen[k] = 0
        if common[k] and not some:
            some = True
            seen[k] = common[k] & (~common[k] + np.uint64(1))
    if not some:
        return False
    n = graph.shape[0]
    grew = True
    while grew:
        grew = False
        for w in range(n):
            bit = np.uint64(1) << np.uint64(w & 63)
            if common[w >> 6] & bit and not seen[w >> 6] & bit:
                for k in range(words):
                    if graph[w, k] & seen[k]:
                        seen[w >> 6] |= bit
                        grew = True
                        break
    missed = False
    for k in range(words):
        missed |= seen[k] != common[k]
    return not missed


@compiled
def _cycle_coordinates(graph: np.ndarray, parent: np.ndarray, coordinate: np.ndarray) -> int:
    """Number the edges outside a spanning forest, -1 for those inside; returns how many."""
    n = graph.shape[0]
    for u in range(n):
        parent[u] = u
    free = 0
    for u in range(n):
        for v in range(u + 1, n):
            if graph[u, v >> 6] >> np.uint64(v & 63) & np.uint64(1):
                a, b = _find(parent, u), _find(parent, v)
                if a == b:
                    coordinate[u, v] = free
                    free += 1
                else:
                    parent[a] = b
                    coordinate[u, v] = -1
    return free


@compiled
def _triangles_span(graph: np.ndarray, coordinate: np.ndarray, free: int) -> bool:
    """Whether the triangles generate all `free` independent cycles over Z/2."""
    n = graph.shape[0]
    width = (free + 63) >> 6
    basis = np.zeros((free, width), np.uint64)
    used = np.zeros(free, np.uint8)
    column = np.zeros(width, np.uint64)
    rank = 0
    for u in range(n):
        for v in range(u + 1, n):
            if not graph[u, v >> 6] >> np.uint64(v & 63) & np.uint64(1):
                continue
            for w in range(v + 1, n):
                shift = np.uint64(w & 63)
                if not graph[u, w >> 6] & graph[v, w >> 6] & (np.uint64(1) << shift):
                    continue
                column[:] = 0
                for edge in (coordinate[u, v], coordinate[u, w], coordinate[v, w]):
                    if edge >= 0:
                        column[edge >> 6] ^= np.uint64(1) << np.uint64(edge & 63)
                for edge in range(free):
                    if not column[edge >> 6] >> np.uint64(edge & 63) & np.uint64(1):
                        continue
                    if not used[edge]:
                        used[edge] = 1
                        basis[edge] = column
                        rank += 1
                        break
                    for k in range(edge >> 6, width):
                        column[k] ^= basis[edge, k]
                if rank == free:
                    return True
    return False


@compiled
def _flag_complex_has_cycle(adjacency: np.ndarray, n: int) -> bool:
    """Whether β₁ > 0 over Z/2 for the flag complex of a graph given by bit rows.

    An edge whose common neighbours are connected among themselves can go without changing H₁
    (Mayer-Vietoris: its star meets the rest in the suspension of that link). What is left is small
    or has no triangles; its rank decides.
    """
    words = adjacency.shape[1]
    for u in range(n):
        degree = 0
        for v in range(n):
            if adjacency[u, v >> 6] >> np.uint64(v & 63) & np.uint64(1):
                degree += 1
        if degree == n - 1:
            return False  # a cone
    graph = adjacency.copy()
    common = np.zeros(words, np.uint64)
    seen = np.zeros(words, np.uint64)
    shrank = True
    while shrank:
        shrank = False
        for u in range(n):
            for v in range(u + 1, n):
                bit = np.uint64(1) << np.uint64(v & 63)
                if graph[u, v >> 6] & bit and _link_is_connected(graph, u, v, common, seen, words):
                    graph[u, v >> 6] ^= bit
                    graph[v, u >> 6] ^= np.uint64(1) << np.uint64(u & 63)
                    shrank = True
    coordinate = np.full((n, n), -1, np.int32)
    free = _cycle_coordinates(graph, np.zeros(n, np.int32), coordinate)
    return free > 0 and not _triangles_span(graph, coordinate, free)


@compiled
def _clique_birth(
    keys: np.ndarray,
    ids: np.ndarray,
    adjacency: np.ndarray,
    parent: np.ndarray,
    bounds: np.ndarray,
    least_level: int,
    most_levels: int,
) -> int:
    """Birth level of the graph whose edge `ids[k]` = u · 65536 + v enters at `keys[k]`."""
    n, words = adjacency.shape
    n_edges = n * (n - 1) // 2
    for u in range(n):
        parent[u] = u
        for k in range(words):
            adjacency[u, k] = 0
    bounds[0] = n_edges
    depth = 1
    ready = 0
    position = 0
    level = 0
    while position < n_edges and level < most_levels:
        level += 1
        if position == ready:
            depth = _partition_front(keys, ids, position, bounds, depth)
            ready = bounds[depth - 1]
        start = position
        key = keys[start]
        opened = False
        while position < ready and keys[position] == key:
            u, v = ids[position] >> 16, ids[position] & 65535
            apart = True
            for k in range(words):
                if adjacency[u, k] & adjacency[v, k]:
                    apart = False
                    break
            if apart:
                a, b = _find(parent, u), _find(parent, v)
                if a == b:
                    opened = True
                else:
                    parent[a] = b
            adjacency[u, v >> 6] |= np.uint64(1) << np.uint64(v & 63)
            adjacency[v, u >> 6] |= np.uint64(1) << np.uint64(u & 63)
            position += 1
        if (
            opened
            and position < n_edges  # all edges: a simplex
            and (position == start + 1 or _flag_complex_has_cycle(adjacency, n))
        ):
            return level if level >= least_level else NO_BIRTH
    return NO_BIRTH


@compiled
def clique_births(
    bits: np.ndarray, sign_mask: Any, least_level: int, most_levels: int, births: np.ndarray
) -> None:
    """Birth levels of the clique filtration.

    Args:
        bits: (m, n, n) float32 or float64 maps seen as int32 or int64.
        sign_mask: The largest int of that type.
        least_level: A birth before this level is none.
        most_levels: No level after this one is looked at.
        births: (m,) int32, written: the level, `NO_BIRTH`, or `NOT_FINITE`.
    """
    m, n, _ = bits.shape
    n_edges = n * (n - 1) // 2
    words = (n + 63) >> 6
    infinity = 0x7F800000 if bits.itemsize == 4 else 0x7FF0000000000000
    keys = np.empty(n_edges, bits.dtype)
    ids = np.empty(n_edges, np.int32)
    square = np.empty((n, n), bits.dtype)
    adjacency = np.empty((n, words), np.uint64)
    parent = np.empty(n, np.int32)
    bounds = np.empty(n_edges + 2, np.int32)
    for index in range(m):
        if _load(bits[index].ravel(), square.ravel(), sign_mask) >= infinity:
            births[index] = NOT_FINITE
            continue
        edge = 0
        for u in range(n):
            for v in range(u + 1, n):
                keys[edge] = max(square[u, v], square[v, u])
                ids[edge] = u << 16 | v
                edge += 1
        births[index] = _clique_birth(
            keys, ids, adjacency, parent, bounds, least_level, most_levels
        )


@compiled
def _load(bits: np.ndarray, keys: np.ndarray, sign_mask: Any) -> Any:
    """Order-preserving integer keys of floats, −0 as 0; returns the largest exponent pattern."""
    largest = bits[0] & sign_mask
    for i in range(bits.size):
        magnitude = bits[i] & sign_mask
        largest = max(largest, magnitude)
        keys[i] = -magnitude if bits[i] < 0 else magnitude
    return largest


# --- cubical -------------------------------------------------------------------------------------


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
def _upper_masks(grid: np.ndarray, stride: int, first: int, last: int, masks: np.ndarray) -> None:
    """Bit mask of the neighbours that enter before each pixel; ties enter in index order."""
    count = last - first
    middle, out = grid[first:last], masks[first:last]
    a = grid[first - stride - 1 : last - stride - 1]
    b = grid[first - stride : last - stride]
    c = grid[first - stride + 1 : last - stride + 1]
    d = grid[first + 1 : last + 1]
    e = grid[first + stride + 1 : last + stride + 1]
    f = grid[first + stride : last + stride]
    g = grid[first + stride - 1 : last + stride - 1]
    h = grid[first - 1 : last - 1]
    for i in range(count):
        x = middle[i]
        low = (a[i] >= x) | (b[i] >= x) << 1 | (c[i] >= x) << 2 | (d[i] > x) << 3
        high = (e[i] > x) << 4 | (f[i] > x) << 5 | (g[i] > x) << 6 | (h[i] >= x) << 7
        out[i] = low | high


@compiled
def _critical_pixels(
    grid: np.ndarray,
    masks: np.ndarray,
    uphill: np.ndarray,
    first: int,
    last: int,
    least: int,
    keys: np.ndarray,
    ids: np.ndarray,
    parent: np.ndarray,
) -> int:
    """Collect the pixels that can change β₁, and point every other at a neighbour above it."""
    count = 0
    for i in range(first, last):
        mask = masks[i]
        parent[i] = i + uphill[mask]
        keys[count] = grid[i]
        ids[count] = i
        count += _CRITICAL[mask] & (grid[i] >= least)
    return count


@compiled
def _cubical_birth_key(
    keys: np.ndarray,
    ids: np.ndarray,
    count: int,
    masks: np.ndarray,
    steps: np.ndarray,
    parent: np.ndarray,
    bounds: np.ndarray,
    absent: int,
) -> Any:
    """Key of the first level that ends with β₁ > 0, or `absent`.

    Only saddles and filled holes are walked: any other pixel joins the one component it touches,
    which its pointer uphill already says. A pixel that touches r runs of d components opens r − d
    cycles; one whose edge neighbours are all in fills a hole.
    """
    bounds[0] = count
    depth = 1
    ready = 0
    position = 0
    holes = 0
    while position < count:
        if position == ready:
            depth = _partition_front(keys, ids, position, bounds, depth)
            ready = bounds[depth - 1]
        key = keys[position]
        while position < ready and keys[position] == key:
            pixel = ids[position]
            mask = masks[pixel]
            position += 1
            if _FILLS[mask]:
                holes -= 1
                continue
            root = _find(parent, pixel + steps[_FIRST_OF_RUN[mask, 0]])
            for k in range(1, _RUNS[mask]):
                other = _find(parent, pixel + steps[_FIRST_OF_RUN[mask, k]])
                if other == root:
                    holes += 1
                else:
                    parent[other] = root
        if holes > 0:
            return key
    return absent


@compiled
def _distinct_from(
    grid: np.ndarray, first: int, last: int, least: int, keys: np.ndarray, table: np.ndarray
) -> int:
    """Number of distinct keys of at least `least`: the dense rank of `least`."""
    count = 0
    for i in range(first, last):
        keys[count] = grid[i]
        count += grid[i] >= least
    size_bits = 2
    while (1 << size_bits) < 2 * count:
        size_bits += 1
    size = 1 << size_bits
    table[:size] = least - 1
    distinct = 0
    for i in range(count):
        key = keys[i]
        mixed = np.uint64(key) * np.uint64(0x9E3779B97F4A7C15)
        slot = np.int64(mixed >> np.uint64(64 - size_bits))
        while table[slot] >= least and table[slot] != key:
            slot = (slot + 1) & (size - 1)
        distinct += table[slot] != key
        table[slot] = key
    return distinct


@compiled
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
    padded = (h + 2) * stride + 2
    grid = np.full(padded, absent, bits.dtype)
    masks = np.empty(padded, np.uint8)
    parent = np.empty(padded, np.int32)
    keys = np.empty(padded, bits.dtype)
    ids = np.empty(padded, np.int32)
    bounds = np.empty(padded, np.int32)
    table = np.empty(4 * padded, bits.dtype)
    steps = _ROW_STEP * stride + _COLUMN_STEP
    uphill = np.zeros(256, np.int32)
    for mask in range(1, 256):
        uphill[mask] = steps[_FIRST_OF_RUN[mask, 0]]
    for index in range(m):
        largest = bits[index, 0, 0] & sign_mask
        for r in range(h):
            start = (r + 1) * stride + 1
            row = _load(bits[index, r], grid[start : start + w], sign_mask)
            largest = max(largest, row)
        if largest >= infinity:
            births[index] = NOT_FINITE
            continue
        births[index] = NO_BIRTH
        bound = _hole_bound(grid, stride, first, last, grid[0])
        _upper_masks(grid, stride, first, last, masks)
        count = _critical_pixels(
            grid, masks, uphill, first, last, max(bound, absent + 1), keys, ids, parent
        )
        key = _cubical_birth_key(keys, ids, count, masks, steps, parent, bounds, absent)
        if key != absent:
            births[index] = _distinct_from(grid, first, last, key, keys, table)
