"""What is born at the birth level: the cycle of the clique filtration, the hole of the cubical one.

Birth levels say when; these functions say where, for a person who looks at a unit.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from scipy import ndimage

from audit.arrays import NO_BIRTH
from audit.errors import DataError
from audit.topology.births import birth_levels

_EDGE_NEIGHBOURS = np.array([[0, 1, 0], [1, 1, 1], [0, 1, 0]])


class BirthCycle(NamedTuple):
    """The graph of a map at its birth level, and a shortest cycle that no triangles fill.

    Attributes:
        level: The birth level, from 1.
        value: The least weight of an edge that is present.
        edges: Shape (m, 2), pairs of vertices u < v that are joined at that level.
        cycle: Vertices in order; each is joined to the next, and the last to the first.
    """

    level: int
    value: float
    edges: np.ndarray
    cycle: tuple[int, ...]


class BirthHole(NamedTuple):
    """The superlevel set of a map at its birth level, and what it encloses.

    Attributes:
        level: The birth level, from 1.
        value: The threshold t.
        present: Shape (h, w), bool: the pixels with x ≥ t.
        hole: Shape (h, w), bool: the pixels that they enclose.
    """

    level: int
    value: float
    present: np.ndarray
    hole: np.ndarray


def birth_cycle(feature_map: np.ndarray, preset: str = "paper") -> BirthCycle | None:
    """The graph at birth of one map in the clique filtration, with a cycle that represents it.

    Of all closed walks that a shortest-path tree and one more edge make, the shortest whose edges
    are no sum of the boundaries of triangles modulo 2. No cycle that is no such sum is shorter.

    Args:
        feature_map: (n, n) array.
        preset: As `birth_levels`.

    Returns:
        `BirthCycle`, or None for a map without a birth.

    Raises:
        ConfigError, DataError: As `birth_levels`.

    Source:
        Erickson & Whittlesey, Greedy optimal homotopy and homology generators, SODA 2005: a
        shortest cycle that bounds nothing consists of two shortest paths from one of its vertices
        and an edge.

    Example:
        >>> square = np.array([[0, 9, 1, 6], [0, 0, 8, 2], [0, 0, 0, 7], [0, 0, 0, 0.0]])
        >>> found = birth_cycle(square)
        >>> found.level, found.value, found.cycle
        (4, 6.0, (0, 1, 2, 3))
    """
    level = _level_of_one(feature_map, "clique", preset)
    if level == NO_BIRTH:
        return None
    values = np.asarray(feature_map, np.float64)
    n = len(values)
    weights = np.maximum(values, values.T)
    above = np.triu_indices(n, 1)
    value = np.unique(weights[above])[::-1][level - 1]
    joined = weights[above] >= value
    edges = np.stack(above, axis=1)[joined]
    return BirthCycle(level, float(value), edges, _shortest_cycle(n, edges.tolist()))


def cycle_pixels(feature_map: np.ndarray, cycle: BirthCycle) -> np.ndarray:
    """The pixels of a map whose values are the weights of a cycle's edges.

    Args:
        feature_map: (n, n) array.
        cycle: Of this map.

    Returns:
        (n, n) bool: for each edge {u, v} the larger of x[u, v] and x[v, u], the first if equal.
    """
    found = np.zeros(np.shape(feature_map), bool)
    for u, v in zip(cycle.cycle, (*cycle.cycle[1:], cycle.cycle[0]), strict=True):
        u, v = min(u, v), max(u, v)
        found[(u, v) if feature_map[u, v] >= feature_map[v, u] else (v, u)] = True
    return found


def birth_hole(feature_map: np.ndarray) -> BirthHole | None:
    """The superlevel set at birth of one map in the cubical filtration, with the hole it encloses.

    Args:
        feature_map: (h, w) array.

    Returns:
        `BirthHole`, or None for a map without a birth. Where equal values close several holes at
        once, `hole` is all of them.

    Raises:
        DataError: As `birth_levels`.

    Example:
        >>> found = birth_hole(np.array([[1, 9, 2], [8, 3, 7], [1, 6, 1.0]]))
        >>> found.level, found.value, np.argwhere(found.hole).tolist()
        (4, 6.0, [[1, 1]])
    """
    level = _level_of_one(feature_map, "cubical", "paper")
    if level == NO_BIRTH:
        return None
    values = np.asarray(feature_map, np.float64)
    value = np.unique(values)[::-1][level - 1]
    present = values >= value
    return BirthHole(level, float(value), present, enclosed(present))


def enclosed(present: np.ndarray) -> np.ndarray:
    """The pixels of an image that a set of others encloses.

    Args:
        present: (h, w) bool; pixels that touch at a corner are connected.

    Returns:
        (h, w) bool: absent pixels from which no 4-connected path of absent ones leads outside.
    """
    absent = np.pad(~present, 1, constant_values=True)
    components, _ = ndimage.label(absent, structure=_EDGE_NEIGHBOURS)
    inside = absent & (components != components[0, 0])
    return np.asarray(inside[1:-1, 1:-1])


def outline(mask: np.ndarray) -> np.ndarray:
    """The sides of pixels that part a set of pixels from the others and from the outside.

    Args:
        mask: (h, w) bool.

    Returns:
        (s, 2, 2) integers: for each straight piece its two ends (x, y), in corners of pixels from
        the upper left one.

    Example:
        >>> outline(np.array([[False, True, True]])).tolist()
        [[[1, 0], [3, 0]], [[1, 1], [3, 1]], [[1, 0], [1, 1]], [[3, 0], [3, 1]]]
    """
    padded = np.pad(mask, 1)
    below = padded[1:, 1:-1] != padded[:-1, 1:-1]  # (h + 1, w): a side above each pixel of a row
    beside = padded[1:-1, 1:] != padded[1:-1, :-1]  # (h, w + 1): a side left of each pixel
    flat = [[(a, y), (b, y)] for y, row in enumerate(below) for a, b in _runs(row)]
    upright = [[(x, a), (x, b)] for x, column in enumerate(beside.T) for a, b in _runs(column)]
    return np.array([*flat, *upright], np.int64).reshape(-1, 2, 2)


def _runs(sides: np.ndarray) -> Iterator[tuple[int, int]]:
    """Start and end of each run of true entries."""
    changes = np.flatnonzero(np.diff(np.pad(sides.astype(np.int8), 1)))
    yield from zip(changes[::2].tolist(), changes[1::2].tolist(), strict=True)


def _level_of_one(feature_map: np.ndarray, filtration: str, preset: str) -> int:
    """Birth level of a single map.

    Raises:
        DataError: It is no single map, or as `birth_levels`.
    """
    if np.ndim(feature_map) != 2:
        raise DataError(
            f"one feature map of shape (height, width) is needed; found {np.shape(feature_map)}"
        )
    return int(birth_levels(np.asarray(feature_map), filtration, preset))


def _shortest_cycle(n: int, edges: Sequence[Sequence[int]]) -> tuple[int, ...]:
    """Vertices of a shortest cycle in a graph on n vertices that no triangles of it fill."""
    index = {(u, v): k for k, (u, v) in enumerate(edges)}
    neighbours: list[list[int]] = [[] for _ in range(n)]
    for u, v in index:
        neighbours[u].append(v)
        neighbours[v].append(u)
    filled = _Boundaries(index, neighbours)
    best, length = 0, len(index) + 1
    for root in range(n):
        paths = _shortest_paths(root, neighbours, index)
        for (u, v), k in index.items():
            if u in paths and v in paths:
                chain = paths[u] ^ paths[v] ^ (1 << k)
                if 0 < chain.bit_count() < length and not filled.holds(chain):
                    best, length = chain, chain.bit_count()
    return _in_order([edge for edge, k in index.items() if best >> k & 1])


def _shortest_paths(
    root: int, neighbours: Sequence[Sequence[int]], index: dict[tuple[int, int], int]
) -> dict[int, int]:
    """Vertex → the edges of a shortest path from the root to it, as the bits of an integer."""
    paths = {root: 0}
    queue = [root]
    for u in queue:
        for v in neighbours[u]:
            if v not in paths:
                paths[v] = paths[u] | 1 << index[min(u, v), max(u, v)]
                queue.append(v)
    return paths


class _Boundaries:
    """All sums modulo 2 of the boundaries of a graph's triangles.

    Args:
        index: Edge → its number.
        neighbours: Of each vertex.
    """

    def __init__(
        self, index: dict[tuple[int, int], int], neighbours: Sequence[Sequence[int]]
    ) -> None:
        self._pivots: dict[int, int] = {}
        sets = [set(found) for found in neighbours]
        for u, v in index:
            for w in sets[u] & sets[v]:
                if w > v:
                    rest = self._rest(1 << index[u, v] | 1 << index[u, w] | 1 << index[v, w])
                    if rest:
                        self._pivots[rest.bit_length()] = rest

    def holds(self, chain: int) -> bool:
        """Whether a set of edges is such a sum."""
        return self._rest(chain) == 0

    def _rest(self, chain: int) -> int:
        while chain and chain.bit_length() in self._pivots:
            chain ^= self._pivots[chain.bit_length()]
        return chain


def _in_order(edges: Sequence[tuple[int, int]]) -> tuple[int, ...]:
    """The vertices of a cycle in order, from its least vertex towards the lesser neighbour."""
    beside: dict[int, list[int]] = {}
    for u, v in edges:
        beside.setdefault(u, []).append(v)
        beside.setdefault(v, []).append(u)
    start = min(beside)
    order = [start, min(beside[start])]
    while len(order) < len(edges):
        before, last = order[-2:]
        order.append(next(v for v in beside[last] if v != before))
    return tuple(order)
