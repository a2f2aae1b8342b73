"""The clique filtration by its definition: readable, exact, slow; the reference for the kernels.

The rows of a square feature map are the vertices of a graph, and `max(x[i, j], x[j, i])` weighs the
edge {i, j}. Edges enter from the largest weight down, equal weights together; at each level the
flag complex of the graph so far has a first Betti number. The birth level is the first level at
which it is positive.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator

import numpy as np

from audit.arrays import NO_BIRTH


def paper_levels(side: int) -> tuple[int, int]:
    """First and last level whose births count under the paper's preset, for `side` vertices.

    Levels above `ceil(0.8 · side (side − 1) / 2)` are dropped, and of the rest 2 to 51 count.

    Source: Zhao & Zhang 2022 (arXiv 2103.09716) and the authors' program, whose birth point is the
    level minus one.

    Example:
        >>> paper_levels(4), paper_levels(14)
        ((2, 5), (2, 51))
    """
    n_edges = side * (side - 1) // 2
    return 2, min(51, -(-4 * n_edges // 5))


def full_levels(side: int) -> tuple[int, int]:
    """First and last level whose births count when none is dropped."""
    return 1, max(1, side * (side - 1) // 2)


def rank_mod_2(columns: Iterable[int]) -> int:
    """Rank over Z/2 of a matrix whose columns are the bits of integers.

    Example:
        >>> rank_mod_2([0b011, 0b110, 0b101])
        2
    """
    pivots: dict[int, int] = {}
    for column in columns:
        rest = column
        while rest and rest.bit_length() in pivots:
            rest ^= pivots[rest.bit_length()]
        if rest:
            pivots[rest.bit_length()] = rest
    return len(pivots)


def first_betti_number(n_vertices: int, edges: Iterable[tuple[int, int]]) -> int:
    """β₁ over Z/2 of the flag complex of a graph: dim ker ∂₁ − rank ∂₂.

    Args:
        n_vertices: Number of vertices.
        edges: Pairs u < v.

    Example:
        >>> first_betti_number(4, [(0, 1), (1, 2), (2, 3), (0, 3)])
        1
        >>> first_betti_number(4, [(0, 1), (1, 2), (2, 3), (0, 3), (0, 2)])
        0
    """
    index = {edge: k for k, edge in enumerate(sorted(edges))}
    boundary_of_edges = [1 << u | 1 << v for u, v in index]
    boundary_of_triangles = [
        1 << index[u, v] | 1 << index[u, w] | 1 << index[v, w]
        for u, v, w in itertools.combinations(range(n_vertices), 3)
        if (u, v) in index and (u, w) in index and (v, w) in index
    ]
    return len(index) - rank_mod_2(boundary_of_edges) - rank_mod_2(boundary_of_triangles)


def graphs_by_level(feature_map: np.ndarray) -> Iterator[list[tuple[int, int]]]:
    """The edges present at levels 1, 2, … of one (n, n) feature map."""
    n = feature_map.shape[0]
    weights = np.maximum(feature_map, feature_map.T)
    pairs = list(itertools.combinations(range(n), 2))
    for weight in sorted({weights[pair] for pair in pairs}, reverse=True):
        yield [pair for pair in pairs if weights[pair] >= weight]


def birth_level(feature_map: np.ndarray, least_level: int, most_levels: int) -> int:
    """Birth level of one feature map in the clique filtration.

    Args:
        feature_map: (n, n), finite.
        least_level: A birth before this level is none.
        most_levels: No level after this one is looked at.

    Returns:
        The first level with β₁ > 0, from 1, or `NO_BIRTH`.

    Example:
        >>> square = np.array([[0, 9, 1, 6], [0, 0, 8, 2], [0, 0, 0, 7], [0, 0, 0, 0.0]])
        >>> birth_level(square, *paper_levels(4))
        4
    """
    levels = itertools.islice(graphs_by_level(feature_map), most_levels)
    for level, edges in enumerate(levels, start=1):
        if first_betti_number(feature_map.shape[0], edges) > 0:
            return level if level >= least_level else NO_BIRTH
    return NO_BIRTH
