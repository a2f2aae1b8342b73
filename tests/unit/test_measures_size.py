import numpy as np
import pytest
import torch
from torch import nn

from audit.conformance import ArrayView, ReferenceNetwork, reference_view
from audit_measures import control, norms, size


def test_parameters_counts_shared_tensors_once_and_no_buffers():
    shared = nn.Conv2d(2, 2, 3)
    network = nn.Sequential(shared, nn.BatchNorm2d(2), shared)
    view = ArrayView(network, torch.zeros(1, 2, 8, 8), [0])
    assert size.parameters(view) == (2 * 2 * 9 + 2) + (2 + 2)


def test_macs_of_convolutions_and_linear_maps_by_hand():
    by_hand = (3 * 6 * 9 * 256) + (6 * 8 * 9 * 256) + (8 * 8 * 9 * 64) + 8 * 3
    assert size.macs(reference_view()) == by_hand


def test_macs_counts_grouped_and_strided_convolutions():
    network = nn.Sequential(nn.Conv2d(4, 8, 3, stride=2, padding=1, groups=4), nn.Flatten())
    view = ArrayView(network, torch.zeros(1, 4, 8, 8), [0])
    assert size.macs(view) == 8 * (4 // 4) * 9 * 16


class Attention(nn.Module):
    def forward(self, images):
        tokens = images.flatten(2)
        return nn.functional.scaled_dot_product_attention(tokens, tokens, tokens).mean(2)


def test_macs_counts_attention_and_not_per_batch():
    view = ArrayView(Attention(), torch.rand(3, 3, 4, 4), [0, 1, 2])
    tokens, width = 3, 16
    assert size.macs(view) == 2 * tokens * tokens * width


def test_macs_without_any_product_is_undefined():
    view = ArrayView(nn.Flatten(), torch.zeros(1, 3, 4, 4), [0])
    assert size.macs(view).reason == (
        "the network makes no convolution or matrix product that is counted"
    )


def test_parameter_norm_is_the_euclidean_norm():
    network = ReferenceNetwork()
    flat = torch.nn.utils.parameters_to_vector(network.parameters()).detach().double().numpy()
    assert norms.parameter_norm(reference_view(network)) == pytest.approx(
        float(np.linalg.norm(flat)), rel=1e-12
    )


def test_parameter_norm_by_hand():
    network = nn.Linear(1, 1)
    with torch.no_grad():
        network.weight.fill_(3.0)
        network.bias.fill_(-4.0)
    view = ArrayView(nn.Sequential(nn.Flatten(), network), torch.zeros(1, 1, 1, 1), [0])
    assert norms.parameter_norm(view) == 5.0


def test_random_depends_on_seed_and_weights_alone():
    def value(seed, weight, checkpoint="a"):
        network = nn.Sequential(nn.Flatten(), nn.Linear(1, 1, bias=False))
        nn.init.constant_(network[1].weight, weight)
        images = torch.zeros(1, 1, 1, 1)
        return control.random(ArrayView(network, images, [0], seed=seed, checkpoint=checkpoint))

    assert value(0, 1.0) == value(0, 1.0) == value(0, 1.0, "renamed")
    assert len({value(0, 1.0), value(1, 1.0), value(0, 2.0)}) == 3
    assert all(0 <= value(seed, 1.0) < 1 for seed in range(9))
