import math

import numpy as np
import pytest
import torch
from torch import nn

from audit.conformance import ArrayView
from audit.plugin import Value
from audit_measures._strong_alterations import (
    MOST_HIDDEN,
    WAYS,
    Draws,
    altered,
    draw,
    hidden,
    rotated,
    sheared,
    shifted,
    zoomed,
)
from audit_measures.altered_accuracy import altered_accuracy


def drawn(way="shift", strength=1.0, sign=1.0, place=(0.0, 0.0), n=1):
    """The same draws for n images."""
    number = list(WAYS).index(way)
    return Draws(np.full(n, number), np.full(n, strength), np.full(n, sign), np.tile(place, (n, 1)))


def test_ways_and_strengths_are_spread_evenly():
    draws = draw(40, np.random.default_rng(0))
    assert all(sorted(five) == [0, 1, 2, 3, 4] for five in draws.way.reshape(8, 5).tolist())
    for way in range(5):
        expected = (np.arange(8) + 0.5) / 8
        assert np.sort(draws.strength[draws.way == way]) == pytest.approx(expected)


def test_a_shift_takes_pixels_from_beside_and_continues_the_edge():
    row = torch.arange(10.0).expand(1, 1, 10, 10) / 10
    expected = torch.tensor([2, 3, 4, 5, 6, 7, 8, 9, 9, 9]) / 10
    assert torch.allclose(shifted(row, drawn()), expected.expand(1, 1, 10, 10), atol=1e-6)


@pytest.mark.parametrize("side", [(24, 24), (16, 32)])
def test_a_rotation_turns_by_its_angle_in_pixels_whatever_the_shape(side):
    height, width = side
    y, x = np.mgrid[:height, :width] - np.array([(height - 1) / 2, (width - 1) / 2])[:, None, None]
    cos, sin = math.cos(math.pi / 6), math.sin(math.pi / 6)
    pixels = torch.from_numpy(0.5 + (x + 2 * y) / 200).float()[None, None]
    expected = 0.5 + ((cos * x - sin * y) + 2 * (sin * x + cos * y)) / 200
    middle = (slice(height // 2 - 3, height // 2 + 3), slice(width // 2 - 3, width // 2 + 3))
    found = rotated(pixels, drawn("rotation"))[0, 0].numpy()
    assert found[middle] == pytest.approx(expected[middle], abs=1e-5)


def test_zoom_and_shear_take_pixels_from_where_they_say():
    y, x = np.mgrid[:20, :20] - 9.5
    pixels = torch.from_numpy(0.5 + x / 100).float()[None, None]
    middle = (slice(7, 13), slice(7, 13))
    smaller = zoomed(pixels, drawn("zoom"))[0, 0].numpy()
    larger = zoomed(pixels, drawn("zoom", sign=-1.0))[0, 0].numpy()
    slanted = sheared(pixels, drawn("shear"))[0, 0].numpy()
    assert smaller[middle] == pytest.approx((0.5 + 1.4 * x / 100)[middle], abs=1e-5)
    assert larger[middle] == pytest.approx((0.5 + x / 140)[middle], abs=1e-5)
    assert slanted[middle] == pytest.approx((0.5 + (x + 0.4 * y) / 100)[middle], abs=1e-5)


def test_a_part_is_hidden_under_the_mean_colour():
    pixels = torch.rand(1, 3, 12, 12, generator=torch.Generator().manual_seed(0))
    strength = (1 / 9) / MOST_HIDDEN  # a third of each side
    made = hidden(pixels, drawn("occlusion", strength, place=(0.999, 0.0)))
    expected = pixels.clone()
    expected[0, :, 8:, :4] = pixels.mean((2, 3))[0, :, None, None]
    assert torch.allclose(made, expected)


def test_the_weakest_alteration_is_none():
    pixels = torch.rand(4, 1, 9, 7, generator=torch.Generator().manual_seed(0))
    for way in WAYS:
        assert torch.allclose(altered(pixels, drawn(way, 0.0, n=4)), pixels, atol=1e-5)


class Bright(nn.Module):
    """Class 1 where the image is bright on average: no way changes that of a plain image."""

    def forward(self, images):
        score = images.mean((1, 2, 3)) - 0.5
        return torch.stack([-score, score], 1)


def evenly(levels, side=8):
    """Images of one brightness each."""
    return torch.tensor(levels)[:, None, None, None].expand(-1, 1, side, side).contiguous()


def test_altered_accuracy_counts_labels_and_agreement_predictions():
    # one brightness everywhere survives every way; images 0 to 9 have the right label, 10 to 19 not
    view = ArrayView(Bright(), evenly([0.2] * 5 + [0.8] * 5 + [0.2] * 10), [0] * 5 + [1] * 15)
    values = altered_accuracy(view)
    # 20 images once, and of rows 0, 2, 3, 4, 6, 7, 8, … once more: 15, of which 7 or 8 are right
    rows = np.array([*range(20), *(row for row in range(20) if row % 4 != 1)])
    assert len(rows) == 35
    assert values[""] == pytest.approx((rows < 10).mean())
    assert values["agreement"] == 1.0
    assert values["vote"] == pytest.approx(7 / 15)  # of rows 0 to 9 all but 1, 5 and 9 come twice
    low, high = (1 / (1 + math.exp(-2 * s * 0.3)) for s in (1, -1))
    assert values["probability"] == pytest.approx(np.where(rows < 10, low, high).mean(), abs=1e-5)


class Doubt(nn.Module):
    """Nearly certain of class 1 at the first forward pass, and a little more of 0 at the second."""

    def __init__(self):
        super().__init__()
        self.n_passes = 0

    def forward(self, images):
        scores = [[0.0, 0.0], [0.0, 3.0], [1.0, 0.0]][self.n_passes]
        self.n_passes += 1
        return torch.tensor(scores).expand(len(images), 2)


def test_a_vote_goes_by_the_mean_of_both_probabilities():
    # class 1 has 0.95 after the first alteration and 0.27 after the second: 0.61 on average
    values = altered_accuracy(ArrayView(Doubt(), evenly([0.5] * 4), [1] * 4))
    assert values["vote"] == 1.0
    assert values[""] == pytest.approx(4 / 7)


def test_parts_average_to_the_whole():
    generator = torch.Generator().manual_seed(3)
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 3))
    with torch.no_grad():
        weight = network[1].weight.normal_(generator=generator)
        network[1].bias.copy_(-weight.sum(1) / 2)
    images = torch.rand(60, 1, 8, 8, generator=generator)
    labels = network(images).argmax(1).tolist()
    view = ArrayView(network, images, labels)
    values = altered_accuracy(view)
    assert 0.1 < values[""] < 0.98
    assert values["agreement"] == values[""]  # all labels are those predicted
    assert min(values[way] for way in WAYS) <= values[""] <= max(values[way] for way in WAYS)
    assert values["mild"] > values["strong"]
    other = altered_accuracy(ArrayView(network, images, labels, batch_size=7))
    assert other == pytest.approx(values, rel=1e-6)


def test_a_constant_network_is_right_as_often_as_its_class_comes():
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 2))
    nn.init.zeros_(network[1].weight)
    network[1].bias.data = torch.tensor([1.0, 0.0])
    values = altered_accuracy(ArrayView(network, torch.rand(40, 1, 8, 8), [0] * 40))
    assert values[""] == values["shear"] == values["agreement"] == 1.0


def test_a_way_that_no_image_is_altered_in_is_undefined():
    values = altered_accuracy(ArrayView(Bright(), evenly([0.8]), [1]))
    lacking = [way for way in WAYS if values[way] != 1.0]
    assert 3 <= len(lacking) <= 4  # two alterations, perhaps of one way
    for way in lacking:
        reason = f"no image of the training sample is altered by {way}"
        assert values[way] == Value.undefined(reason)
    assert values[""] == 1.0


def test_outputs_that_are_not_finite_are_undefined():
    class Broken(nn.Module):
        def forward(self, images):
            return torch.full((len(images), 2), math.nan)

    value = altered_accuracy(ArrayView(Broken(), evenly([0.8, 0.2]), [1, 0]))
    assert value.status == "undefined"
    assert "not finite" in value.reason
