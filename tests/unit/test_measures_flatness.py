import math

import numpy as np
import pytest
import torch
from scipy.stats import norm
from torch import nn

from audit.conformance import ArrayView, ReferenceNetwork, reference_view
from audit_measures._changed_weights import Bracket, Changed, Share, largest_size, n_right
from audit_measures.flatness import pacbayes_flatness, pacbayes_flatness_magnitude
from audit_measures.sharpness import sharpness, sharpness_magnitude

ALL = (pacbayes_flatness, pacbayes_flatness_magnitude, sharpness, sharpness_magnitude)


class Linear(nn.Module):
    """Scores w₀·x and w₁·x of the pixels x."""

    def __init__(self, weight):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(weight, dtype=torch.float64))

    def forward(self, images):
        return images.flatten(1) @ self.weight.T


def orthonormal_view(network, n, labels=None):
    """One image for each pixel, which is 1 there and 0 elsewhere."""
    images = torch.eye(n, dtype=torch.float64).reshape(n, 1, 1, n)
    labels = np.zeros(n, int) if labels is None else labels
    return ArrayView(network, images, labels, class_names=["a", "b"], batch_size=64)


def test_flatness_of_a_linear_classifier_is_that_of_its_closed_form():
    # scores 1 and 0, each with noise σ: wrong with probability Φ(−1/(σ√2)) = 0.1
    n = 3200
    network = Linear(np.stack([np.ones(n), np.zeros(n)]).tolist())
    found = pacbayes_flatness(orthonormal_view(network, n))
    sigma = 1 / (math.sqrt(2) * norm.isf(0.1))
    assert found["low"] < found["high"] <= found["low"] * 2 ** (14 / 128) * (1 + 1e-12)
    assert found[""] == pytest.approx(1 / (found["low"] * found["high"]))
    assert found[""] ** -0.5 == pytest.approx(sigma, rel=0.12)


def test_relative_flatness_of_a_linear_classifier_is_that_of_its_closed_form():
    # 3(1 + σz) against 1 + σz': the difference is 2 with deviation σ√10
    n = 3200
    network = Linear(np.stack([3 * np.ones(n), np.ones(n)]).tolist())
    found = pacbayes_flatness_magnitude(orthonormal_view(network, n))
    sigma = 2 / (math.sqrt(10) * norm.isf(0.1))
    assert found[""] ** -0.5 == pytest.approx(sigma, rel=0.12)


def test_relative_noise_leaves_zeros():
    network = Linear([[1.0, 1.0], [0.0, 0.0]])
    found = pacbayes_flatness_magnitude(orthonormal_view(network, 2))
    # only the sign of a score of 1 can make it smaller than 0
    assert found["high"] > 0.5


def test_sharpness_of_a_linear_classifier_by_hand():
    network = Linear([[1.0] * 20, [0.0] * 20])
    found = sharpness(orthonormal_view(network, 20))
    assert found["low"] <= 0.5 * (1 + 1e-12)
    assert found["high"] >= 0.5 / 2 ** (21 / 128)
    assert found[""] == pytest.approx(4, rel=0.25)


def test_relative_sharpness_of_a_linear_classifier_by_hand():
    network = Linear([[3.0] * 20, [1.0] * 20])
    assert sharpness_magnitude(orthonormal_view(network, 20))[""] == pytest.approx(4, rel=0.25)


@pytest.mark.parametrize("compute", ALL)
def test_accuracy_that_cannot_fall_by_a_tenth_is_undefined(compute):
    network = Linear([[1.0] * 10, [0.0] * 10])
    view = orthonormal_view(network, 10, np.array([0] + [1] * 9))
    assert {value.reason for value in compute(view).values()} == {
        "1 of 10 training images are classified correctly; an accuracy that falls by 0.1 needs "
        "more than a tenth"
    }


@pytest.mark.parametrize(
    ("scale", "reason"),
    [
        (1e-9, "train accuracy falls by more than 0.1 even at σ = 0.0001317"),
        (1e9, "train accuracy falls by at most 0.1 even at σ = 1.854"),
    ],
)
def test_noise_outside_of_what_is_searched_is_undefined(scale, reason):
    network = Linear([[scale] * 40, [0.0] * 40])
    assert pacbayes_flatness(orthonormal_view(network, 40))[""].reason == reason


def test_bisection_counts_a_tenth_as_allowed():
    changed = Changed(orthonormal_view(Linear([[1.0] * 10, [0.0] * 10]), 10), Share(1, 1, 10))
    found = largest_size(changed, Bracket(-4, 4, 20), lambda size: 9 if size <= 2 else 8, "s")
    assert found[""] ** -0.5 == pytest.approx(2, rel=1e-5)


def test_outputs_that_are_not_finite_are_wrong():
    scores = torch.tensor([[1.0, 0.0], [math.nan, 0.0], [math.inf, 0.0]])
    assert n_right(scores, torch.zeros(3, dtype=torch.int64)) == 1


def test_shares_are_spread_evenly_over_the_sample():
    assert Share(1 / 8, least=2, most=4).rows(16).tolist() == [0, 8]
    assert Share(1 / 8, least=3, most=4).rows(9).tolist() == [0, 3, 6]
    assert len(Share(1 / 2, least=3, most=4).rows(100)) == 4
    assert Share(1 / 2, least=5, most=9).rows(3).tolist() == [0, 1, 2]


@pytest.mark.parametrize("compute", ALL)
def test_batch_size_does_not_change_what_is_drawn(compute):
    view = reference_view(ReferenceNetwork().double())
    images = view._images.double()
    found = [
        compute(ArrayView(view.module, images, view.labels, batch_size=size)) for size in (3, 24)
    ]
    assert found[0] == found[1]


def test_flatness_folds_batch_norm_first():
    torch.manual_seed(0)
    conv, batch_norm = nn.Conv2d(1, 4, 1, bias=False), nn.BatchNorm2d(4)
    batch_norm.weight.data *= 50
    network = nn.Sequential(conv, batch_norm, nn.ReLU(), nn.Flatten(), nn.Linear(16, 2)).eval()
    images = torch.rand(40, 1, 2, 2)
    labels = network(images).argmax(1).numpy()
    labels[0] = 1 - labels[0]
    other = nn.Sequential(*network)
    fused = nn.utils.fusion.fuse_conv_bn_eval(conv, batch_norm)
    other = nn.Sequential(fused, nn.Identity(), *network[2:])
    values = [
        pacbayes_flatness(ArrayView(n, images, labels, class_names=["a", "b"]))
        for n in (network, other)
    ]
    assert values[0] == values[1]
    assert isinstance(values[0][""], float)
