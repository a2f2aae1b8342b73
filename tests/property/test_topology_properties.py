"""What birth levels must obey on any map whatever; small integers force ties."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from audit import NO_BIRTH, birth_levels
from audit.topology import FILTRATIONS, PRESETS, _cubical

FLOATS = st.floats(-(2.0**60), 2.0**60, width=32)
TIED = st.integers(-3, 3).map(float)


def holds(**drawn):
    """A property of what is drawn; no deadline, as the first call may compile."""
    return lambda test: settings(deadline=None)(given(**drawn)(test))


def images(values=FLOATS | TIED, least=1):
    """Images of any shape, of one kind of value."""
    sides = st.integers(least, 8)
    return st.tuples(sides, sides).flatmap(lambda shape: arrays(np.float32, shape, elements=values))


def squares(values=FLOATS | TIED, least=1):
    """Square maps."""
    return st.integers(least, 8).flatmap(lambda n: arrays(np.float32, (n, n), elements=values))


each_filtration = pytest.mark.parametrize("filtration", FILTRATIONS)


@each_filtration
@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.usefixtures("cuda_device")
@holds(feature_map=squares())
def test_every_backend_gives_the_same_level(filtration, preset, feature_map):
    births = {
        int(birth_levels(feature_map, filtration, preset, backend))
        for backend in ("reference", "cpu", "cuda", "torch")
    }
    assert len(births) == 1


@pytest.mark.usefixtures("cuda_device")
@holds(feature_map=images())
def test_every_backend_gives_the_same_level_on_images(feature_map):
    births = {
        int(birth_levels(feature_map, "cubical", backend=backend))
        for backend in ("reference", "cpu", "cuda", "torch")
    }
    assert len(births) == 1


@each_filtration
@holds(feature_map=squares(st.integers(-6, 6)))
def test_strictly_increasing_maps_change_nothing(filtration, feature_map):
    birth = birth_levels(feature_map, filtration)
    for increasing in (np.arctan, np.cbrt, lambda x: 3 * x - 100, lambda x: x**3 + x):
        assert birth_levels(increasing(feature_map.astype(float)), filtration) == birth


@each_filtration
@holds(feature_map=squares(st.floats(-(2.0**40), 2.0**40, width=32)), power=st.integers(-60, 60))
def test_scaling_by_powers_of_two_changes_nothing(filtration, feature_map, power):
    scaled = feature_map.astype(np.float64) * 2.0**power
    assert birth_levels(scaled, filtration) == birth_levels(feature_map, filtration)


@each_filtration
@holds(feature_map=squares())
def test_transposition_changes_nothing(filtration, feature_map):
    assert birth_levels(feature_map.T, filtration) == birth_levels(feature_map, filtration)


@holds(feature_map=images())
def test_flips_and_turns_of_an_image_change_nothing(feature_map):
    birth = birth_levels(feature_map, "cubical")
    for turned in (feature_map[::-1], feature_map[:, ::-1], np.rot90(feature_map)):
        assert birth_levels(turned, "cubical") == birth


@holds(feature_map=squares(), data=st.data())
def test_renaming_the_vertices_changes_nothing(feature_map, data):
    order = data.draw(st.permutations(range(len(feature_map))))
    renamed = feature_map[np.ix_(order, order)]
    assert birth_levels(renamed, "clique") == birth_levels(feature_map, "clique")


@holds(feature_map=squares(), diagonal=FLOATS)
def test_the_diagonal_is_not_used_by_the_clique_filtration(feature_map, diagonal):
    other = feature_map.copy()
    np.fill_diagonal(other, diagonal)
    assert birth_levels(other, "clique") == birth_levels(feature_map, "clique")


@holds(feature_map=images(), width=st.integers(1, 3))
def test_a_border_below_every_value_changes_nothing(feature_map, width):
    padded = np.pad(feature_map, width, constant_values=-(2.0**61))
    assert birth_levels(padded, "cubical") == birth_levels(feature_map, "cubical")


@holds(feature_map=squares(least=4), preset=st.just("full"))
def test_a_vertex_joined_last_changes_nothing(feature_map, preset):
    padded = np.pad(feature_map, (0, 1), constant_values=-(2.0**61))
    assert birth_levels(padded, "clique", preset) == birth_levels(feature_map, "clique", preset)


@holds(feature_map=images())
def test_a_cubical_birth_is_the_first_level_with_a_hole(feature_map):
    birth = birth_levels(feature_map, "cubical")
    values = np.unique(feature_map)[::-1]
    holes = [_cubical.count_holes(feature_map >= value) for value in values]
    if birth == NO_BIRTH:
        assert not any(holes)
    else:
        assert not any(holes[: birth - 1])
        assert holes[birth - 1]


@each_filtration
@holds(value=FLOATS, side=st.integers(1, 9))
def test_constant_maps_are_never_born(filtration, value, side):
    for preset in PRESETS:
        constant = np.full((side, side), value)
        assert birth_levels(constant, filtration, preset) == NO_BIRTH


@holds(feature_map=squares(least=4))
def test_the_presets_differ_only_in_the_levels_that_count(feature_map):
    full = birth_levels(feature_map, "clique", "full")
    n_edges = len(feature_map) * (len(feature_map) - 1) // 2
    most = min(51, int(np.ceil(n_edges * 4 / 5)))
    expected = full if 2 <= full <= most else NO_BIRTH
    assert birth_levels(feature_map, "clique", "paper") == expected


@each_filtration
@holds(maps=arrays(np.float32, (5, 6, 6), elements=FLOATS | TIED), data=st.data())
def test_the_order_and_split_of_a_batch_change_nothing(filtration, maps, data):
    births = birth_levels(maps, filtration)
    order = data.draw(st.permutations(range(5)))
    cut = data.draw(st.integers(0, 5))
    np.testing.assert_array_equal(birth_levels(maps[order], filtration), births[order])
    parts = [birth_levels(part, filtration) for part in (maps[:cut], maps[cut:])]
    np.testing.assert_array_equal(np.concatenate(parts), births)
