import numpy as np
import pytest
import torch
from torch import nn

from audit.conformance import ArrayView
from audit.topology.diagrams import persistence_diagrams, summarize
from audit_measures.persistence import MEASURES, SHARE

AREA, ENTROPY = (entry.compute for entry in MEASURES)
RING = [[1, 9, 2], [8, 3, 7], [1, 6, 1]]  # one hole, from level 4 to level 5 of 7


class Maps(nn.Module):
    """Gives the images themselves as maps, and a score for two classes."""

    def __init__(self):
        super().__init__()
        self.relu = nn.ReLU()

    def forward(self, images):
        maps = self.relu(images)
        return maps.mean((2, 3))


def view_of(maps):
    return ArrayView(
        Maps(), torch.as_tensor(np.asarray(maps), dtype=torch.float32), [0] * len(maps)
    )


def padded(feature_map, side=5, value=0.0):
    whole = np.full((side, side), value)
    whole[1:4, 1:4] = feature_map
    return whole


def test_hole_area_of_one_ring_by_hand():
    # levels of the padded ring: 9 8 7 6 | 3 2 1 0: the hole lives at level 4 alone, of 8 levels
    view = view_of([[padded(RING), padded(RING)]])
    assert AREA(view)[""].value == pytest.approx(1 / 8)
    assert ENTROPY(view)[""].value == 0  # one hole has all the life there is


def test_hole_area_is_the_total_persistence_on_levels():
    maps = np.random.default_rng(0).random((30, 2, 6, 6)).astype(np.float32)
    diagrams = persistence_diagrams(maps, scale="levels")
    total = summarize(diagrams).total_persistence[:, 1]
    assert AREA(view_of(maps))[""].value == pytest.approx(float((total / 36).mean()), rel=1e-12)


def test_hole_entropy_takes_every_tenth_image():
    maps = np.random.default_rng(1).random((30, 2, 8, 8)).astype(np.float32)
    chosen = summarize(persistence_diagrams(maps[::10], scale="levels")).persistent_entropy[:, 1]
    assert SHARE == 1 / 10
    assert ENTROPY(view_of(maps))[""].value == pytest.approx(float(np.nanmean(chosen)), rel=1e-12)


def test_constant_maps_have_no_number():
    parts = AREA(view_of(np.ones((2, 2, 5, 5))))
    assert parts[""].status == "undefined"
    assert parts["layer_1"].reason == "relu: no map has a number"


@pytest.mark.parametrize("compute", [AREA, ENTROPY])
def test_only_the_order_of_values_counts(compute):
    maps = np.random.default_rng(2).random((20, 3, 6, 6))
    before, after = compute(view_of(maps)), compute(view_of(maps**3 * 7))
    assert before == after
