"""Birth levels compiled for the CPU: one call per batch, nothing shared between calls.

Both kernels read order-preserving integer keys, keep per-call scratch of a few maps' size, sort no
more than the birth needs, and stop at the birth. They hold no lock and release the interpreter, so
`audit.topology.cpu` runs them side by side on parts of a batch.

What runs for each map compares 64 keys at a time, avoids branches that nothing foretells, and
passes whole arrays: numba counts references, atomically, for slices and tuples of arrays.

Everything compiled is in this one file: numba's cache on disk watches the file of the outermost
function only, so a helper elsewhere could change without its callers being compiled again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar, cast

import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]
from numba import njit, types
from numba.extending import intrinsic

from audit.arrays import NO_BIRTH
from audit.topology.inputs import NOT_FINITE

_INSERTION_SORT_UP_TO: Final = 12
_SORT_BY_RANK_UP_TO: Final = 64
_BAND: Final = 4096  # keys that the nearest cache holds with their copies
_SPARE: Final = _SORT_BY_RANK_UP_TO + 17
_LANES: Final = 32
_ONE: Final = np.uint64(1)  # unsigned, as numba tests signed indices for their sign
_MIXER: Final = np.uint64(0x9E3779B97F4A7C15)  # 2⁶⁴ / golden ratio: spreads keys over a table

_Function = TypeVar("_Function", bound=Callable[..., Any])


def compiled(function: _Function) -> _Function:
    """Compile on first call, without the interpreter's lock, and keep the result on disk."""
    return cast(_Function, njit(nogil=True, cache=True)(function))


def _instruction(function: Callable[..., Any]) -> Any:
    """Function for compiled code whose body says how its LLVM instructions are built."""
    return intrinsic(function)


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


def _vector(context: Any, builder: Any, array: Any, value: Any, start: Any, lanes: int) -> Any:
    """LLVM vector of the elements of an array from `start` on."""
    data = context.make_array(array)(context, builder, value).data
    vector = ir.VectorType(context.get_value_type(array.dtype), lanes)
    at = builder.bitcast(builder.gep(data, [start]), vector.as_pointer())
    return builder.load(at, align=array.dtype.bitwidth // 8)


def _store(context: Any, builder: Any, array: Any, value: Any, start: Any, vector: Any) -> None:
    """Write an LLVM vector to the elements of an array from `start` on."""
    data = context.make_array(array)(context, builder, value).data
    at = builder.bitcast(builder.gep(data, [start]), vector.type.as_pointer())
    builder.store(vector, at, align=array.dtype.bitwidth // 8)


def _everywhere(builder: Any, value: Any, lanes: int) -> Any:
    """LLVM vector of one value."""
    undefined = ir.Constant(ir.VectorType(value.type, lanes), ir.Undefined)
    first = builder.insert_element(undefined, value, ir.IntType(32)(0))
    places = ir.Constant(ir.VectorType(ir.IntType(32), lanes), None)
    return builder.shuffle_vector(first, undefined, places)


def _comparison(lanes: int) -> Any:
    """Compiled function (keys, start, key): bit i tells whether `keys[start + i] > key`."""

    @_instruction
    def above(_: Any, keys: Any, start: Any, key: Any) -> Any:
        def generate(context: Any, builder: Any, _: Any, arguments: Any) -> Any:
            values = _vector(context, builder, keys, arguments[0], arguments[1], lanes)
            flags = builder.icmp_signed(">", values, _everywhere(builder, arguments[2], lanes))
            bits = builder.bitcast(flags, ir.IntType(lanes))
            return bits if lanes == 64 else builder.zext(bits, ir.IntType(64))

        return types.uint64(keys, types.intp, keys.dtype), generate

    return above


_above_in_64, _above_in_16 = _comparison(64), _comparison(16)


@_instruction
def _differ_in_64(_: Any, keys: Any, start: Any, other: Any) -> Any:
    """Bit i tells whether `keys[start + i]` and `keys[other + i]` differ."""

    def generate(context: Any, builder: Any, _: Any, arguments: Any) -> Any:
        array, *starts = arguments
        one, two = (_vector(context, builder, keys, array, start, 64) for start in starts)
        return builder.bitcast(builder.icmp_signed("!=", one, two), ir.IntType(64))

    return types.uint64(keys, types.intp, types.intp), generate


@_instruction
def _copy_16(_: Any, source: Any, start: Any, target: Any, to: Any) -> Any:
    """Copy 16 elements between arrays of one type."""

    def generate(context: Any, builder: Any, _: Any, arguments: Any) -> Any:
        values, start, target_values, to = arguments
        sixteen = _vector(context, builder, source, values, start, 16)
        _store(context, builder, target, target_values, to, sixteen)
        return context.get_dummy_value()

    return types.void(source, types.intp, target, types.intp), generate


@_instruction
def _forward_of_64(_: Any, grid: Any, start: Any, stride: Any, least: Any, forward: Any) -> Any:
    """Which later neighbours lie above each pixel (bits 3 to 6), and whether it is `least` (0)."""

    def generate(context: Any, builder: Any, _: Any, arguments: Any) -> Any:
        array, start, stride, least, out = arguments
        pixels = _vector(context, builder, grid, array, start, 64)
        flags = [builder.icmp_signed(">=", pixels, _everywhere(builder, least, 64))]
        below = builder.add(start, stride)
        right, left = stride.type(1), stride.type(-1)
        places = [
            builder.add(start, right),
            builder.add(below, right),
            below,
            builder.add(below, left),
        ]
        for place in places:
            later = _vector(context, builder, grid, array, place, 64)
            flags.append(builder.icmp_signed(">", later, pixels))
        eight = ir.VectorType(ir.IntType(8), 64)
        total = ir.Constant(eight, None)
        for flag, value in zip(flags, (1, 8, 16, 32, 64), strict=True):
            chosen = builder.select(
                flag, ir.Constant(eight, [value] * 64), ir.Constant(eight, None)
            )
            total = builder.or_(total, chosen)
        _store(context, builder, forward, out, start, total)
        return context.get_dummy_value()

    return types.void(grid, types.intp, types.intp, grid.dtype, forward), generate


@_instruction
def _ones(_: Any, bits: Any) -> Any:
    """Number of bits set."""
    return types.uint64(bits), lambda _context, builder, _signature, given: builder.ctpop(given[0])


@_instruction
def _lowest(_: Any, bits: Any) -> Any:
    """Position of the lowest bit set, 64 where there is none."""
    return types.uint64(bits), lambda _context, builder, _signature, given: builder.cttz(
        given[0], ir.IntType(1)(0)
    )


@compiled
def _queue(capacity: int, absent: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Keys, ids and ends of a queue: parts that end at `ends`, each above the next in all its keys.

    Beyond the capacity there is room to write eight, and then to sort a part.
    """
    keys = np.empty(capacity + 8 + _SPARE, absent.dtype)
    keys[keys.size - 1] = absent[0]
    return keys, np.empty(keys.size, np.int32), np.empty(capacity + 1, np.int32)


@compiled
def _put(
    keys: np.ndarray, ids: np.ndarray, count: Any, values: np.ndarray, block: int, marked: Any
) -> Any:
    """Append the marked values of a block of 64 and their places; returns the count with them.

    Eight are written at a time, needed or not: that is faster than to mispredict where they end.
    """
    more = _ones(marked)
    for eight in range(count, count + more, np.uint64(8)):
        for k in range(eight, eight + np.uint64(8)):
            i = np.uint64(block) + _lowest(marked)
            keys[k] = values[i]
            ids[k] = i
            marked &= marked - _ONE
    return count + more


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
def _sort_by_rank(keys: np.ndarray, ids: np.ndarray, start: int, end: int) -> None:
    """Sort up to 64 keys in descending order: the place of each is the number of keys above it."""
    spare = keys.size - _SPARE
    spare_keys, spare_ids = keys[spare:], ids[spare:]
    count = end - start
    absent = spare_keys[_SPARE - 1]
    for i in range(count, count + 16):
        spare_keys[i] = absent
    for i in range(count):
        spare_keys[i] = keys[start + i]
        spare_ids[i] = ids[start + i]
        ids[start + i] = -1
    for i in range(count):
        key = spare_keys[i]
        place = np.uint64(start)
        for block in range(0, count, 16):
            place += _ones(_above_in_16(spare_keys, block, key))
        while ids[place] >= 0:  # taken by an equal key
            place += _ONE
        keys[place] = key
        ids[place] = spare_ids[i]


@compiled
def _insertion_sort(keys: np.ndarray, ids: np.ndarray, start: int, end: int) -> None:
    """Sort a few keys in descending order."""
    for i in range(start + 1, end):
        key, name = keys[i], ids[i]
        j = i
        while j > start and keys[j - 1] < key:
            keys[j] = keys[j - 1]
            ids[j] = ids[j - 1]
            j -= 1
        keys[j] = key
        ids[j] = name


@compiled
def _refine(
    keys: np.ndarray, ids: np.ndarray, ends: np.ndarray, start: int, depth: int, wanted: int
) -> int:
    """Divide the part at `start` until its first part is small, or of equal keys."""
    while True:
        end = ends[depth - 1]
        size = end - start
        if size <= _SORT_BY_RANK_UP_TO:
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
                ends[depth] = split
                depth += 1
            return depth
        ends[depth] = split
        depth += 1


@compiled
def _bring_forward(
    keys: np.ndarray, ids: np.ndarray, ends: np.ndarray, start: int, depth: int, wanted: int
) -> int:
    """Sort the next few largest keys to `start`, as far as `ends[depth - 1]`; returns `depth`.

    Incremental quicksort (Paredes & Navarro 2006): only the first part is ever refined. `wanted`
    is a guess at how many keys will be read in all.
    """
    while ends[depth - 1] <= start:
        depth -= 1
    if ends[depth - 1] - start > _SORT_BY_RANK_UP_TO:
        depth = _refine(keys, ids, ends, start, depth, wanted)
    end = ends[depth - 1]
    if end - start <= _INSERTION_SORT_UP_TO:
        _insertion_sort(keys, ids, start, end)
    elif end - start <= _SORT_BY_RANK_UP_TO:
        _sort_by_rank(keys, ids, start, end)
    return depth


@compiled
def _find(parent: np.ndarray, i: int) -> int:
    """Root of `i`, halving the path on the way."""
    while parent[i] != i:
        parent[i] = parent[parent[i]]
        i = parent[i]
    return i


@compiled
def _order_preserving(bits: np.ndarray, keys: np.ndarray, sign_mask: Any) -> tuple[Any, Any]:
    """Integer keys in the order of floats, −0 as 0; returns the least and the largest."""
    for i in range(bits.size):
        magnitude = bits[i] & sign_mask
        keys[i] = -magnitude if bits[i] < 0 else magnitude
    least = largest = keys[0]
    for i in range(bits.size):
        least, largest = min(least, keys[i]), max(largest, keys[i])
    return least, largest


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
        first, second = _above_in_16(lanes, 0, lanes[i]), _above_in_16(lanes, 16, lanes[i])
        rank = np.int64(_ones(first | second << np.uint64(16)))
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
        marked = _above_in_64(values, block, floor) & ~_above_in_64(values, block, ceiling)
        count = _put(keys, ids, count, values, block, marked)
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
            depth = _bring_forward(keys, ids, ends, position, depth, n + 4)
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
        if opened and (edges == before + 1 or _flag_complex_has_cycle(adjacency, n)):
            return level if level >= least_level else NO_BIRTH
    progress[0], progress[1] = level, edges
    return 0


@compiled
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
    keys, ids, ends = _queue(size, entries)
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
        least, largest = _order_preserving(bits[index].ravel(), entries, sign_mask)
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


# --- cubical -------------------------------------------------------------------------------------


@compiled
def _read_grid(
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
        ends = _order_preserving(bits[top:bottom].ravel(), keys, sign_mask)
        least, largest = min(least, ends[0]), max(largest, ends[1])
        for r in range(bottom - top):
            row = (top + r + 1) * stride + 1
            for c in range(0, w, 16):  # what is copied too much is written over
                _copy_16(keys, r * w + c, grid, row + c)
            grid[row + w] = absent
    for i in range((h + 1) * stride, (h + 1) * stride + 16):
        grid[i] = absent
    return least, largest


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
def _collect_flagged(grid: np.ndarray, flags: np.ndarray, keys: np.ndarray, ids: np.ndarray) -> Any:
    """Queue the flagged pixels; returns their count."""
    count: Any = np.uint64(0)
    for block in range(0, flags.size - 64, 64):
        count = _put(keys, ids, count, grid, block, _above_in_64(flags, block, 0))
    return np.int64(count)


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
        marked = _above_in_64(grid, block, floor)
        if marked:
            marked &= _differ_in_64(grid, block, block - 1)
            marked &= _differ_in_64(grid, block, block - stride)
            count = _put(keys, ids, count, grid, block, marked)
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
        climbing += np.uint64(_RUNS[mask])
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
            depth = _bring_forward(keys, ids, ends, position, depth, count)
            ready = ends[depth - 1]
        key = keys[position]
        while position < ready and keys[position] == key:
            pixel = ids[position]
            mask = masks[pixel]
            position += 1
            if _FILLS[mask]:
                holes -= 1
                continue
            root = _find(joined, summit[pixel + steps[mask, 0]])
            for k in range(1, _RUNS[mask]):
                other = _find(joined, summit[pixel + steps[mask, k]])
                if other == root:
                    holes += 1
                else:
                    joined[other] = root
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
    padded = last + stride + 128 & ~63  # whole blocks, and a block's neighbours, can be read
    grid = np.full(padded, absent, bits.dtype)
    forward = np.zeros(padded, np.uint8)
    masks = np.zeros(padded, np.uint8)
    critical = np.zeros(padded, np.uint8)
    climbers = np.empty((2, 4 * padded), np.uint32)
    summit = np.empty(padded, np.uint32)
    joined = np.empty(padded, np.uint32)
    keys, ids, ends = _queue(padded, grid)
    table = np.empty(8 * padded, bits.dtype)
    steps = np.zeros((256, 4), np.int32)  # to one neighbour of each run; none from a maximum
    for mask in range(1, 256):
        for run in range(_RUNS[mask]):
            bit = _OF_RUN[mask, run]
            steps[mask, run] = _ROW_STEP[bit] * stride + _COLUMN_STEP[bit]
    for index in range(m):
        births[index] = NO_BIRTH
        least, largest = _read_grid(bits[index], keys, grid, sign_mask)
        if largest >= infinity or least <= -infinity:
            births[index] = NOT_FINITE
            continue
        bound = max(_hole_bound(grid, stride, first, last, grid[0]), least)
        for block in range(0, last, 64):
            _forward_of_64(grid, block, stride, bound, forward)
        _mask_and_flag(forward, stride, first, last, masks, critical)
        count = _collect_flagged(grid, critical, keys, ids)
        _climb(ids, count, masks, steps, climbers, summit, joined)
        key = _cubical_birth_key(keys, ids, ends, count, masks, steps, summit, joined, absent)
        if key != absent:
            count = _collect_firsts(grid, stride, key - 1, keys, ids)
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
    padded = last + stride + 128 & ~63
    absent = -sign_mask
    grid = np.full(padded, absent, bits.dtype)
    forward = np.zeros(padded, np.uint8)
    masks = np.zeros(padded, np.uint8)
    critical = np.zeros(padded, np.uint8)
    parent = np.empty(padded, np.int32)
    keys, ids, ends = _queue(h * w, grid)
    steps = _ROW_STEP * stride + _COLUMN_STEP
    for index in range(m):
        least, largest = _read_grid(bits[index], keys, grid, sign_mask)
        if largest >= infinity or least <= -infinity:
            n_levels[index] = NOT_FINITE
            continue
        for block in range(0, last, 64):
            _forward_of_64(grid, block, stride, grid[0], forward)
        _mask_and_flag(forward, stride, first, last, masks, critical)
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
                depth = _bring_forward(keys, ids, ends, position, depth, h * w)
                ready = ends[depth - 1]
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
