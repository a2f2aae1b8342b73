"""Betti curves and diagrams against GUDHI's own complexes, duality, and hand-worked maps."""

import gudhi
import numpy as np
import pytest
import torch

from audit import NO_BIRTH, birth_levels
from audit.errors import ConfigError, DataError
from audit.topology.diagrams import Diagram, betti_curves, persistence_diagrams, summarize

RING = np.array([[1, 9, 2], [8, 3, 7], [1, 6, 1.0]])


def maps_of_every_kind(h, w):
    generator = np.random.default_rng(0)
    noise = generator.standard_normal((12, h, w))
    return np.concatenate([noise, np.maximum(noise, 0), generator.integers(-2, 3, (12, h, w))])


def euler_characteristic(present):
    """Vertices less edges plus squares of a set of closed pixels."""
    padded = np.pad(present, 1)
    across, down = padded[:, 1:] | padded[:, :-1], padded[1:] | padded[:-1]
    corners = across[1:] | across[:-1]
    return int(corners.sum()) - int(across.sum() + down.sum()) + int(present.sum())


def sorted_bars(bars):
    bars = np.asarray(bars, float).reshape(-1, 2)
    return bars[np.lexsort((bars[:, 1], bars[:, 0]))]


def test_diagrams_of_a_ring_by_hand():
    (diagram,) = persistence_diagrams([RING])
    # 9, 8, 7 and 6 touch at corners, so one component grows; the last closes the ring around 3.
    np.testing.assert_array_equal(diagram.h0, [[9, -np.inf]])
    np.testing.assert_array_equal(diagram.h1, [[6, 3]])
    (levels,) = persistence_diagrams([RING], scale="levels")
    np.testing.assert_array_equal(levels.h0, [[1, np.inf]])
    np.testing.assert_array_equal(levels.h1, [[4, 5]])
    (edges,) = persistence_diagrams([RING], construction="V", scale="levels")
    # Along edges 9, 8, 7, 6 stay apart until 3 (level 5) joins them.
    np.testing.assert_array_equal(edges.h0, [[1, np.inf], [2, 5], [3, 5], [4, 5]])
    assert len(edges.h1) == 0


@pytest.mark.parametrize("shape", [(3, 3), (6, 9), (1, 7), (5, 2), (1, 1)])
@pytest.mark.parametrize("direction", ["superlevel", "sublevel"])
@pytest.mark.parametrize("construction", ["T", "V"])
def test_diagrams_equal_gudhis_complexes(shape, direction, construction):
    maps = maps_of_every_kind(*shape)
    sign = -1 if direction == "superlevel" else 1
    for feature_map, diagram in zip(
        maps, persistence_diagrams(maps, direction, construction), strict=True
    ):
        cells = "top_dimensional_cells" if construction == "T" else "vertices"
        cubes = gudhi.CubicalComplex(**{cells: sign * feature_map})
        cubes.compute_persistence(homology_coeff_field=2, min_persistence=0)
        for dimension, bars in enumerate(diagram):
            expected = cubes.persistence_intervals_in_dimension(dimension)
            np.testing.assert_array_equal(sorted_bars(sign * bars), sorted_bars(expected) + 0.0)


@pytest.mark.parametrize("construction", ["T", "V"])
def test_superlevel_is_sublevel_of_the_negative(construction):
    maps = maps_of_every_kind(6, 7)
    above = persistence_diagrams(maps, "superlevel", construction)
    below = persistence_diagrams(-maps, "sublevel", construction)
    for one, other in zip(above, below, strict=True):
        np.testing.assert_array_equal(one.h0, -other.h0)
        np.testing.assert_array_equal(one.h1, -other.h1)


@pytest.mark.parametrize("direction", ["superlevel", "sublevel"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(8, 8), (1, 5), (3, 11)])
def test_curves_count_the_bars_alive_and_obey_euler(direction, dtype, shape):
    maps = maps_of_every_kind(*shape).astype(dtype)
    curves = betti_curves(maps, direction)
    diagrams = persistence_diagrams(maps, direction, scale="levels")
    sign = 1 if direction == "superlevel" else -1
    for k, (feature_map, diagram) in enumerate(zip(maps, diagrams, strict=True)):
        values = np.unique(sign * feature_map)[::-1]
        assert curves.n_levels[k] == len(values)
        for level, value in enumerate(values, start=1):
            betas = [np.sum((b[:, 0] <= level) & (level < b[:, 1])) for b in diagram]
            assert curves.beta_0[k, level - 1] == betas[0]
            assert curves.beta_1[k, level - 1] == betas[1]
            euler = euler_characteristic(sign * feature_map >= value)
            assert betas[0] - betas[1] == euler
        assert (curves.beta_0[k, len(values) :] == 1).all()
        assert (curves.beta_1[k, len(values) :] == 0).all()


def test_births_are_where_the_curve_leaves_zero():
    maps = maps_of_every_kind(7, 9)
    curves = betti_curves(maps)
    first = (curves.beta_1 > 0).argmax(axis=1) + 1
    expected = np.where((curves.beta_1 > 0).any(axis=1), first, NO_BIRTH)
    np.testing.assert_array_equal(birth_levels(maps, "cubical"), expected)


def test_batches_tensors_and_threads_change_nothing(monkeypatch):
    maps = maps_of_every_kind(5, 6).astype(np.float32)
    curves, diagrams = betti_curves(maps), persistence_diagrams(maps, threads=1)
    monkeypatch.setattr("audit.topology.diagrams._MAPS_PER_CHUNK", 5)
    for shaped in (maps.reshape(4, 9, 5, 6), torch.from_numpy(maps).reshape(2, 2, 9, 5, 6)):
        for a, b in zip(curves, betti_curves(shaped), strict=True):
            np.testing.assert_array_equal(a.ravel(), b.ravel())
        for a, b in zip(diagrams, persistence_diagrams(shaped, threads=3), strict=True):
            np.testing.assert_array_equal(a.h0, b.h0)
            np.testing.assert_array_equal(a.h1, b.h1)
    assert betti_curves(np.empty((0, 3, 3))).beta_0.shape == (0, 9)
    assert persistence_diagrams(np.empty((0, 3, 3))) == []


def test_summaries_by_hand():
    bars = Diagram(h0=np.array([[9, -np.inf], [5, 4.0], [5, 2]]), h1=np.empty((0, 2)))
    summary = summarize([bars])
    np.testing.assert_array_equal(summary.n_pairs, [[2, 0]])
    np.testing.assert_array_equal(summary.total_persistence, [[4, 0]])
    np.testing.assert_array_equal(summary.longest_bar, [[3, 0]])
    entropy = -(0.25 * np.log(0.25) + 0.75 * np.log(0.75))
    np.testing.assert_allclose(summary.persistent_entropy, [[entropy, np.nan]], rtol=1e-12)
    assert summarize([]).n_pairs.shape == (0, 2)


def test_summaries_on_levels_are_blind_to_increasing_maps():
    maps = maps_of_every_kind(6, 6)
    one, other = (
        summarize(persistence_diagrams(m, scale="levels")) for m in (maps, np.arctan(maps))
    )
    for a, b in zip(one, other, strict=True):
        np.testing.assert_array_equal(a, b)


REFUSED = [
    (
        lambda: betti_curves(RING, "up"),
        ConfigError,
        "unknown direction 'up'; known: superlevel, sublevel",
    ),
    (
        lambda: persistence_diagrams(RING, "down"),
        ConfigError,
        "unknown direction 'down'; known: superlevel, sublevel",
    ),
    (
        lambda: persistence_diagrams(RING, construction="t"),
        ConfigError,
        "unknown construction 't'; known: T, V",
    ),
    (
        lambda: persistence_diagrams(RING, scale="level"),
        ConfigError,
        "unknown scale 'level'; did you mean 'levels'? known: values, levels",
    ),
    (
        lambda: betti_curves(np.array([[1, np.nan]])),
        DataError,
        "feature maps must be finite; found nan at index (0, 1); "
        "check the weights and the inputs of the layer",
    ),
    (
        lambda: persistence_diagrams(np.array([[[1, 2]], [[3, -np.inf]]])),
        DataError,
        "feature maps must be finite; found -inf at index (1, 0, 1); "
        "check the weights and the inputs of the layer",
    ),
]


@pytest.mark.parametrize(("call", "kind", "message"), REFUSED, ids=[case[2] for case in REFUSED])
def test_refusals_say_what_was_found(call, kind, message):
    with pytest.raises(kind) as caught:
        call()
    assert str(caught.value) == message
