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
_MIXER: Final = np.uint64(0x9E3779B97F4A7C15)  # 2⁶⁴ / golden ratio: spreads keys over a table

_Function = TypeVar("_Function", bound=Callable[..., Any])


def compiled(function: _Function) -> _Function:
    """Compile on first call, without the interpreter's lock, and keep the result on disk."""
    return cast(_Function, njit(nogil=True, cache=True)(function))


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


_RUNS, _FILLS, _OF_RUN, _ROW_STEP, _COLUMN_STEP = _ring_tables()


@compiled
def _pivot(keys: np.ndarray, start: int, end: int, wanted: int) -> Any:
    """A key below which about `wanted` of the part are not, from a few keys here and there.

    The largest of s keys has about 1/(s + 1) of the part above it; where half of the part or more
    is wanted it is the median of three.
    """
    size = end - start
    samples = min(size // wanted, 31)
    step = size // (samples + 4)
    at = start + (start * 40503 + size * 2654435761) % (step + 1)
    if samples < 3:
        a, b, c = keys[at], keys[at + step], keys[at + 2 * step]
        return max(min(a, b), min(max(a, b), c))
    pivot = keys[at]
    for k in range(1, samples):
        pivot = max(pivot, keys[at + k * step])
    return pivot


@compiled
def _partition_front(
    keys: np.ndarray, ids: np.ndarray, start: int, bounds: np.ndarray, depth: int, wanted: int
) -> int:
    """Sort the next few largest keys to `start`, as far as `bounds[depth - 1]`; returns `depth`.

    Incremental quicksort (Paredes & Navarro 2006): `bounds` is a stack of ends, every key before
    an end being greater than every key after it. Only the first part is ever refined. `wanted` is
    a guess at how many keys will be read in all.
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
        pivot = _pivot(keys, start, end, wanted)
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


@compiled
def _all_finite(bits: np.ndarray, infinity: int, absent: Any) -> bool:
    """Whether no bit pattern is that of an infinity or NaN; `absent` lies below every other."""
    highest = bits[0]
    highest_negative = absent
    for i in range(bits.size):
        pattern = bits[i]
        highest = max(highest, pattern)
        highest_negative = max(highest_negative, pattern if pattern < 0 else absent)
    return bool(highest < infinity and highest_negative < absent + infinity - 1)


@compiled
def _load(bits: np.ndarray, keys: np.ndarray, start: int, stride: int, sign_mask: Any) -> None:
    """Order-preserving integer keys of floats, −0 as 0; row r goes to `start + r * stride`."""
    rows, columns = bits.shape
    for r in range(rows):
        row = keys[start + r * stride : start + r * stride + columns]
        for c in range(columns):
            magnitude = bits[r, c] & sign_mask
            row[c] = -magnitude if bits[r, c] < 0 else magnitude


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
                for k in range(width):
                    column[k] = 0
                for edge in (coordinate[u, v], coordinate[u, w], coordinate[v, w]):
                    if edge >= 0:
                        column[edge >> 6] ^= np.uint64(1) << np.uint64(edge & 63)
                for edge in range(free):
                    if not column[edge >> 6] >> np.uint64(edge & 63) & np.uint64(1):
                        continue
                    if not used[edge]:
                        used[edge] = 1
                        for k in range(width):
                            basis[edge, k] = column[k]
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
    graph = np.empty((n, words), np.uint64)
    for u in range(n):
        for k in range(words):
            graph[u, k] = adjacency[u, k]
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
            depth = _partition_front(keys, ids, position, bounds, depth, n + 4)
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
    square = np.empty(n * n, bits.dtype)
    adjacency = np.empty((n, words), np.uint64)
    parent = np.empty(n, np.int32)
    bounds = np.empty(n_edges + 2, np.int32)
    lowest = np.empty(1, bits.dtype)
    lowest[0] = -sign_mask
    for index in range(m):
        if not _all_finite(bits[index].ravel(), infinity, lowest[0]):
            births[index] = NOT_FINITE
            continue
        _load(bits[index], square, 0, n, sign_mask)
        edge = 0
        for u in range(n):
            for v in range(u + 1, n):
                keys[edge] = max(square[u * n + v], square[v * n + u])
                ids[edge] = u << 16 | v
                edge += 1
        births[index] = _clique_birth(
            keys, ids, adjacency, parent, bounds, least_level, most_levels
        )


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
def _compare_forward(
    grid: np.ndarray, stride: int, last: int, least: Any, forward: np.ndarray
) -> None:
    """Which later neighbours lie above each pixel (bits 3 to 6), and whether it is `least` (0)."""
    middle, out = grid[:last], forward[:last]
    e, se = grid[1 : last + 1], grid[stride + 1 : last + stride + 1]
    s, sw = grid[stride : last + stride], grid[stride - 1 : last + stride - 1]
    for i in range(last):
        x = middle[i]
        later = (e[i] > x) << 3 | (se[i] > x) << 4 | (s[i] > x) << 5 | (sw[i] > x) << 6
        out[i] = later | (x >= least)


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
def _collect(
    grid: np.ndarray, critical: np.ndarray, words: np.ndarray, keys: np.ndarray, ids: np.ndarray
) -> int:
    """Keys and ids of the flagged pixels, found eight flags at a time; returns their count."""
    count = 0
    for word in range(words.size):
        if words[word]:
            for i in range(8 * word, 8 * word + 8):
                keys[count] = grid[i]
                ids[count] = i
                count += critical[i]
    return count


@compiled
def _flag_first_from(
    grid: np.ndarray, stride: int, first: int, last: int, least: Any, flags: np.ndarray
) -> None:
    """Flag every distinct value of at least `least` somewhere, and plateaus little more than once.

    A pixel equal to the one on its left or above it is passed over: its value's first pixel in
    index order has neither.
    """
    values, out = grid[first:last], flags[first:last]
    left, above = grid[first - 1 : last - 1], grid[first - stride : last - stride]
    for i in range(last - first):
        x = values[i]
        out[i] = (x >= least) & (x != left[i]) & (x != above[i])


@compiled
def _collect_keys(grid: np.ndarray, flags: np.ndarray, words: np.ndarray, keys: np.ndarray) -> int:
    """As `_collect`, without the ids."""
    count = 0
    for word in range(words.size):
        if words[word]:
            for i in range(8 * word, 8 * word + 8):
                keys[count] = grid[i]
                count += flags[i]
    return count


@compiled
def _summit(parent: np.ndarray, masks: np.ndarray, uphill: np.ndarray, i: int) -> int:
    """Representative of a pixel's component: uphill to a maximum, then as the saddles joined."""
    while True:
        if parent[i] < 0:
            parent[i] = i + uphill[masks[i]]
        above = parent[i]
        if above == i:
            return i
        if parent[above] < 0:
            parent[above] = above + uphill[masks[above]]
        parent[i] = parent[above]
        i = parent[i]


@compiled
def _cubical_birth_key(
    keys: np.ndarray,
    ids: np.ndarray,
    count: int,
    masks: np.ndarray,
    steps: np.ndarray,
    uphill: np.ndarray,
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
            depth = _partition_front(keys, ids, position, bounds, depth, count)
            ready = bounds[depth - 1]
        key = keys[position]
        while position < ready and keys[position] == key:
            pixel = ids[position]
            mask = masks[pixel]
            position += 1
            if _FILLS[mask]:
                holes -= 1
                continue
            root = _summit(parent, masks, uphill, pixel + steps[_OF_RUN[mask, 0]])
            for k in range(1, _RUNS[mask]):
                other = _summit(parent, masks, uphill, pixel + steps[_OF_RUN[mask, k]])
                if other == root:
                    holes += 1
                else:
                    parent[other] = root
        if holes > 0:
            return key
    return absent


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
    padded = (h + 2) * stride + 8 & ~7
    grid = np.full(padded, absent, bits.dtype)
    forward = np.zeros(padded, np.uint8)
    masks = np.zeros(padded, np.uint8)
    critical = np.zeros(padded, np.uint8)
    words = critical.view(np.uint64)
    parent = np.empty(padded, np.int32)
    keys = np.empty(padded, bits.dtype)
    ids = np.empty(padded, np.int32)
    bounds = np.empty(padded, np.int32)
    table = np.empty(8 * padded, bits.dtype)
    steps = _ROW_STEP * stride + _COLUMN_STEP
    uphill = np.zeros(256, np.int32)
    for mask in range(1, 256):
        uphill[mask] = steps[_OF_RUN[mask, 0]]
    for index in range(m):
        births[index] = NO_BIRTH
        if not _all_finite(bits[index].ravel(), infinity, grid[0]):
            births[index] = NOT_FINITE
            continue
        _load(bits[index], grid, first, stride, sign_mask)
        bound = _hole_bound(grid, stride, first, last, grid[0])
        least = max(bound, grid[0] + 1)
        _compare_forward(grid, stride, last, least, forward)
        _mask_and_flag(forward, stride, first, last, masks, critical)
        count = _collect(grid, critical, words, keys, ids)
        for i in range(padded):
            parent[i] = -1
        key = _cubical_birth_key(keys, ids, count, masks, steps, uphill, parent, bounds, absent)
        if key != absent:
            _flag_first_from(grid, stride, first, last, key, critical)
            count = _collect_keys(grid, critical, words, keys)
            births[index] = _count_distinct(keys, count, grid[0], table)


@compiled
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
    padded = (h + 2) * stride + 8
    grid = np.full(padded, -sign_mask, bits.dtype)
    forward = np.zeros(padded, np.uint8)
    masks = np.zeros(padded, np.uint8)
    critical = np.zeros(padded, np.uint8)
    parent = np.empty(padded, np.int32)
    keys = np.empty(h * w, bits.dtype)
    ids = np.empty(h * w, np.int32)
    bounds = np.empty(padded, np.int32)
    steps = _ROW_STEP * stride + _COLUMN_STEP
    for index in range(m):
        if not _all_finite(bits[index].ravel(), infinity, grid[0]):
            n_levels[index] = NOT_FINITE
            continue
        _load(bits[index], grid, first, stride, sign_mask)
        _compare_forward(grid, stride, last, grid[0], forward)
        _mask_and_flag(forward, stride, first, last, masks, critical)
        for i in range(h * w):
            pixel = first + i // w * stride + i % w
            keys[i] = grid[pixel]
            ids[i] = pixel
            parent[pixel] = pixel
        bounds[0] = h * w
        depth, ready, level = 1, 0, -1
        components, euler = 0, 0
        for position in range(h * w):
            if position == ready:
                depth = _partition_front(keys, ids, position, bounds, depth, h * w)
                ready = bounds[depth - 1]
            level += position == 0 or keys[position] != keys[position - 1]
            pixel = ids[position]
            mask = masks[pixel]
            components += 1
            euler += 1
            if not _FILLS[mask]:
                euler -= _RUNS[mask]
            for k in range(_RUNS[mask]):
                other = _find(parent, pixel + steps[_OF_RUN[mask, k]])
                if other != pixel:
                    root = _find(parent, pixel)
                    components -= other != root
                    parent[other] = root
            beta_0[index, level] = components
            beta_1[index, level] = components - euler
        n_levels[index] = level + 1
        beta_0[index, level + 1 :] = 1
        beta_1[index, level + 1 :] = 0
