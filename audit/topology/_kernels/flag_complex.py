"""Whether a flag complex has a cycle over Z/2: for the levels at which several edges enter."""

from __future__ import annotations

from typing import Any

import numpy as np

from audit.topology._kernels.basics import compiled, find
from audit.topology._kernels.vectors import ones


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
                a, b = find(parent, u), find(parent, v)
                if a == b:
                    coordinate[u, v] = free
                    free += 1
                else:
                    parent[a] = b
                    coordinate[u, v] = -1
    return free


@compiled
def _has_triangles(graph: np.ndarray, wanted: int) -> bool:
    """Whether there are so many triangles at least."""
    n, words = graph.shape
    count: Any = 0  # each triangle once an edge: three times
    for u in range(n):
        for v in range(u + 1, n):
            if graph[u, v >> 6] >> np.uint64(v & 63) & np.uint64(1):
                for k in range(words):
                    count += np.int64(ones(graph[u, k] & graph[v, k]))
                if count >= 3 * wanted:
                    return True
    return False


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
def flag_complex_has_cycle(adjacency: np.ndarray, n: int) -> bool:
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
    if free == 0:
        return False
    return not (_has_triangles(graph, free) and _triangles_span(graph, coordinate, free))
