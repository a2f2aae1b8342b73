"""Cycles and holes at birth: against linear algebra, GUDHI, and every cycle there is."""

import itertools

import gudhi
import numpy as np
import pytest

from audit import birth_levels
from audit.errors import DataError
from audit.topology.cycles import birth_cycle, birth_hole, enclosed, outline


def maps_of_every_kind(side, n_of_each=40):
    generator = np.random.default_rng(side)
    noise = generator.standard_normal((n_of_each, side, side))
    ties = generator.integers(-2, 4, (n_of_each, side, side))
    return np.concatenate([noise, np.maximum(noise, 0), ties]).astype(np.float64)


def edges_of(cycle):
    return [tuple(sorted(pair)) for pair in zip(cycle, (*cycle[1:], cycle[0]), strict=True)]


def rank_mod_2(matrix):
    """Rank over Z/2 by Gaussian elimination on a dense matrix."""
    rows = matrix.astype(bool).copy()
    rank = 0
    for column in range(rows.shape[1]):
        below = np.flatnonzero(rows[rank:, column])
        if len(below):
            pivot = rank + below[0]
            rows[[rank, pivot]] = rows[[pivot, rank]]
            others = np.flatnonzero(rows[:, column])
            rows[others[others != rank]] ^= rows[rank]
            rank += 1
    return rank


def boundary_of_triangles(n, edges):
    """Column per triangle of the graph, row per edge."""
    index = {tuple(edge): k for k, edge in enumerate(edges)}
    columns = []
    for triangle in itertools.combinations(range(n), 3):
        sides = list(itertools.combinations(triangle, 2))
        if all(side in index for side in sides):
            column = np.zeros(len(index), int)
            column[[index[side] for side in sides]] = 1
            columns.append(column)
    return index, np.array(columns).T.reshape(len(index), -1)


def first_betti_number(triangles, edges, n):
    tree = gudhi.SimplexTree()
    for vertex in range(n):
        tree.insert([vertex])
    for edge in edges:
        tree.insert(list(edge))
    for triangle in triangles:
        tree.insert(list(triangle))
    tree.compute_persistence(homology_coeff_field=2, persistence_dim_max=True)
    return tree.betti_numbers()[1] if len(tree.betti_numbers()) > 1 else 0


def born_cycles(side, preset):
    found = [(x, birth_cycle(x, preset)) for x in maps_of_every_kind(side)]
    assert sum(cycle is not None for _, cycle in found) >= 8
    return [(x, cycle) for x, cycle in found if cycle is not None]


@pytest.mark.parametrize("side", [4, 5, 7, 14])
@pytest.mark.parametrize("preset", ["paper", "full"])
def test_a_cycle_is_of_edges_present_at_birth_and_bounds_no_triangles(side, preset):
    for x, found in born_cycles(side, preset):
        assert found.level == birth_levels(x, preset=preset)
        weights = np.maximum(x, x.T)
        present = {
            (u, v)
            for u, v in itertools.combinations(range(side), 2)
            if weights[u, v] >= found.value
        }
        assert {tuple(edge) for edge in found.edges.tolist()} == present
        distinct = {weights[edge] for edge in present}
        assert len(distinct) == found.level
        assert min(distinct) == found.value
        sides = edges_of(found.cycle)
        assert len(set(found.cycle)) == len(found.cycle) >= 4
        assert set(sides) <= present
        index, boundary = boundary_of_triangles(side, found.edges.tolist())
        chain = np.zeros((len(index), 1), int)
        chain[[index[edge] for edge in sides]] = 1
        assert rank_mod_2(np.hstack([boundary, chain])) == rank_mod_2(boundary) + 1


@pytest.mark.parametrize("side", [5, 9])
def test_a_disc_glued_to_the_cycle_takes_one_class_away(side):
    for _, found in born_cycles(side, "paper"):
        edges = found.edges.tolist()
        index, boundary = boundary_of_triangles(side, edges)
        names = list(index)
        triangles = [
            sorted({v for row in np.flatnonzero(column) for v in names[row]})
            for column in boundary.T
        ]
        before = first_betti_number(triangles, edges, side)
        disc = [[*edge, side] for edge in edges_of(found.cycle)]
        assert before >= 1
        assert first_betti_number([*triangles, *disc], edges, side + 1) == before - 1


def test_no_cycle_that_bounds_nothing_is_shorter():
    for x, found in born_cycles(6, "full"):
        index, boundary = boundary_of_triangles(6, found.edges.tolist())
        rank = rank_mod_2(boundary)
        lengths = []
        for length in range(3, len(found.cycle) + 1):
            for order in itertools.permutations(range(6), length):
                sides = edges_of(order)
                if order[0] == min(order) and set(sides) <= index.keys():
                    chain = np.zeros((len(index), 1), int)
                    chain[[index[edge] for edge in sides]] = 1
                    if rank_mod_2(np.hstack([boundary, chain])) > rank:
                        lengths.append(length)
        assert min(lengths) == len(found.cycle), x


def test_a_map_without_a_birth_has_neither_cycle_nor_hole():
    assert birth_cycle(np.zeros((5, 5))) is None
    assert birth_hole(np.arange(12.0).reshape(3, 4)) is None


def test_two_holes_at_once_are_both_shown():
    ring = np.array([[1, 1, 1], [1, 0, 1], [1, 1, 1.0]])
    found = birth_hole(np.hstack([ring, ring]))
    assert found.hole.sum() == 2
    assert found.level == 1


@pytest.mark.parametrize("side", [4, 7, 14])
def test_a_hole_is_what_filling_takes_away(side):
    def holes(present):
        cells = gudhi.CubicalComplex(top_dimensional_cells=np.where(present, 0.0, 1.0))
        return int(sum(birth == 0 for birth, _ in _intervals(cells)))

    def _intervals(cells):
        cells.compute_persistence(homology_coeff_field=2)
        return cells.persistence_intervals_in_dimension(1)

    n_born = 0
    for x in maps_of_every_kind(side):
        found = birth_hole(x)
        if found is None:
            continue
        n_born += 1
        assert found.level == birth_levels(x, "cubical")
        np.testing.assert_array_equal(found.present, x >= found.value)
        assert not (found.hole & found.present).any()
        assert holes(found.present) >= 1
        assert holes(found.present | found.hole) == 0
        assert not enclosed(found.present | found.hole).any()
    assert n_born >= 8


def test_an_outline_has_each_side_once():
    mask = np.random.default_rng(0).random((6, 9)) < 0.5
    padded = np.pad(mask, 1)
    n_sides = (padded[1:] != padded[:-1]).sum() + (padded[:, 1:] != padded[:, :-1]).sum()
    pieces = outline(mask)
    lengths = np.abs(pieces[:, 1] - pieces[:, 0])
    assert (np.minimum(*lengths.T) == 0).all()
    assert lengths.sum() == n_sides
    assert outline(np.zeros((3, 3), bool)).shape == (0, 2, 2)


def test_an_outline_is_given_in_corners_of_pixels():
    """A ring of pixels around one: eight straight pieces, an outer square and an inner one."""
    mask = np.ones((3, 3), bool)
    mask[1, 1] = False
    outer = [[[0, 0], [3, 0]], [[0, 3], [3, 3]], [[0, 0], [0, 3]], [[3, 0], [3, 3]]]
    inner = [[[1, 1], [2, 1]], [[1, 2], [2, 2]], [[1, 1], [1, 2]], [[2, 1], [2, 2]]]
    assert sorted(outline(mask).tolist()) == sorted(outer + inner)
    alone = [[[1, 0], [3, 0]], [[1, 1], [3, 1]], [[1, 0], [1, 1]], [[3, 0], [3, 1]]]
    assert outline(np.array([[False, True, True]])).tolist() == alone


def test_a_stack_of_maps_is_refused():
    with pytest.raises(DataError) as caught:
        birth_cycle(np.zeros((2, 4, 4)))
    assert str(caught.value) == (
        "one feature map of shape (height, width) is needed; found (2, 4, 4)"
    )
