"""Birth levels against hand-worked maps and the authors' program, backend by backend."""

from pathlib import Path

import numpy as np
import pytest

from audit import NO_BIRTH, birth_levels
from audit.topology import PRESETS

pytestmark = pytest.mark.usefixtures("cuda_device")
GOLDEN = Path(__file__).parents[1] / "golden" / "clique_births.npz"

RING = [[1, 9, 2], [8, 3, 7], [1, 6, 1]]
# Vertices 0-1-2-3 in a ring by weights 9, 8, 7, 6; the chords {0, 2} and {1, 3} come later.
SQUARE = [[5, 9, 1, 6], [0, 5, 8, 2], [0, 0, 5, 7], [0, 0, 0, 5]]

BY_HAND = [
    ("cubical", RING, 4),
    ("cubical", [[1, 9, 2], [8, 9, 7], [1, 6, 1]], NO_BIRTH),  # the middle is never lower
    ("cubical", [[5, 5, 5], [5, 1, 5], [5, 5, 5]], 1),  # a plateau closes at once
    ("cubical", [[5, 5, 5], [5, 5, 5], [5, 5, 5]], NO_BIRTH),
    ("cubical", [[0, 5, 0], [5, 4, 4], [0, 4, 0]], NO_BIRTH),  # opened and filled in one level
    ("cubical", [[9, 8, 7, 6], [1, 2, 3, 5], [9, 8, 7, 4], [1, 1, 1, 1]], NO_BIRTH),  # open left
    ("cubical", [[9, 8, 7, 6], [4, 2, 2, 5], [9, 8, 7, 6], [1, 1, 1, 1]], 6),  # a hole of two
    ("cubical", [[1, 2, 3]], NO_BIRTH),
    ("cubical", [[7]], NO_BIRTH),
    ("cubical", [[0.0, 1, 0], [1, -0.0, 1], [0, 1, 0]], 1),
    ("clique", SQUARE, 4),
    ("clique", [[0, 9, 6, 1], [0, 0, 8, 2], [0, 0, 0, 7], [0, 0, 0, 0]], NO_BIRTH),
    ("clique", [[0, 9, 1, 9], [0, 0, 9, 2], [0, 0, 0, 9], [0, 0, 0, 0]], NO_BIRTH),  # level 1
    ("clique", [[0, 9, 1, 6], [0, 0, 6, 2], [0, 0, 0, 6], [0, 0, 0, 0]], 2),  # closed by ties
    ("clique", [[0, 9, 6, 6], [0, 0, 8, 6], [0, 0, 0, 7], [0, 0, 0, 0]], NO_BIRTH),
    ("clique", [[3] * 4] * 4, NO_BIRTH),
    ("clique", [[1, 2], [3, 4]], NO_BIRTH),
    ("clique", [[7]], NO_BIRTH),
]


@pytest.fixture(scope="module")
def golden_births():
    """380 maps with the birth points that the authors' own program gives them."""
    with np.load(GOLDEN) as archive:
        return dict(archive)


@pytest.mark.parametrize("backend", ["reference", "cpu", "cuda", "torch"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("filtration", "feature_map", "expected"), BY_HAND)
def test_birth_levels_by_hand(filtration, feature_map, expected, dtype, backend):
    births = birth_levels(np.array(feature_map, dtype), filtration, backend=backend)
    assert births.dtype == np.int32
    assert births.shape == ()
    assert births == expected


def test_full_preset_counts_what_the_paper_drops():
    tied = np.array([[0, 9, 1, 9], [0, 0, 9, 2], [0, 0, 0, 9], [0, 0, 0, 0]], float)
    assert birth_levels(tied, preset="paper") == NO_BIRTH  # a birth at the first level
    assert birth_levels(tied, preset="full") == 1


@pytest.mark.parametrize("backend", ["cpu", "cuda", "torch"])
@pytest.mark.parametrize("side", [4, 7, 14, 28])
def test_birth_levels_equal_the_authors_program(golden_births, side, backend):
    maps, points = golden_births[f"maps_{side}"], golden_births[f"birth_points_{side}"]
    births = birth_levels(maps, "clique", backend=backend)
    # The program's point is the level minus one, and its 0 means none.
    np.testing.assert_array_equal(np.where(births == NO_BIRTH, 0, births - 1), points)


def test_the_golden_file_holds_380_maps(golden_births):
    assert sum(len(golden_births[f"maps_{side}"]) for side in (4, 7, 14, 28)) == 380


@pytest.mark.parametrize("preset", PRESETS)
def test_reference_equals_the_authors_program_on_small_maps(golden_births, preset):
    maps = golden_births["maps_7"]
    np.testing.assert_array_equal(
        birth_levels(maps, preset=preset, backend="reference"), birth_levels(maps, preset=preset)
    )
