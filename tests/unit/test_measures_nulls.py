"""Corrected and matched feature entropy, and feature entropy against chance, as measures."""

import math

import numpy as np
import pytest
import timm
import torch
from torch import nn
from torch.nn.functional import adaptive_max_pool2d

from audit.conformance import ArrayView
from audit.errors import UnavailableError
from audit.plugin import Layer
from audit.topology import birth_levels
from audit.topology.entropy import feature_entropy_by_class
from audit.transforms import fresh_network
from audit_measures import birth_nulls, corrected_entropy, matched_resolution
from audit_measures.matched_resolution import common_grid

CORRECTED, MATCHED, NULLS = (
    {entry.name: entry.compute for entry in module.MEASURES}
    for module in (corrected_entropy, matched_resolution, birth_nulls)
)


class Maps(nn.Module):
    """Gives the images themselves as maps, and again at a quarter of their pixels."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.ReLU(), nn.ReLU()
        self.head = nn.Linear(3, 2)

    def forward(self, images):
        maps = self.second(adaptive_max_pool2d(self.first(images), images.shape[-1] // 2))
        return self.head(maps.mean((2, 3)))


def view_of(maps, labels=None, **options):
    labels = np.arange(len(maps)) % 2 if labels is None else labels
    layers = ["first", "second"]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = Maps()
    return ArrayView(network, torch.as_tensor(maps).float(), labels, layers=layers, **options)


def noise(n, side, seed=0):
    return np.random.default_rng(seed).random((n, 3, side, side)).astype(np.float32) + 0.1


def entropy_of(maps, filtration, estimator="plug-in"):
    births = birth_levels(maps, filtration)
    by_class = feature_entropy_by_class(births, np.arange(len(maps)) % 2, 2, estimator)
    least = 0.1 if estimator == "chao-wang-jost" else 0.0
    return float(np.nanmean(by_class.feature_entropy[by_class.effective_rate >= least]))


def test_corrected_entropy_is_the_mean_of_the_corrected_numbers():
    maps = noise(24, 8)
    parts = CORRECTED["feature_entropy_corrected.cubical"](view_of(maps))
    expected = entropy_of(maps, "cubical", "chao-wang-jost")
    assert parts["layer_1"].value == pytest.approx(expected, rel=1e-12)
    assert parts["lower"] < parts[""].value < parts["upper"]


def test_corrected_entropy_of_equal_maps_is_zero_with_an_interval_of_no_width():
    maps = np.repeat(noise(1, 10), 8, axis=0)
    parts = CORRECTED["feature_entropy_corrected.clique"](view_of(maps))
    assert [parts[""].value, parts["lower"], parts["upper"]] == [0, 0, 0]


def test_corrected_entropy_without_births_has_neither_mean_nor_interval():
    parts = CORRECTED["feature_entropy_corrected.cubical"](view_of(np.ones((4, 3, 8, 8))))
    assert parts["layer_1"].reason == "first: no unit is born on a tenth of the images of any class"
    assert parts["lower"].reason == "no layer has a value, so there is no interval of their mean"
    clique = CORRECTED["feature_entropy_corrected.clique"](view_of(noise(4, 8)))
    assert clique["layer_2"].reason == (
        "second: births of maps of 4 × 4 pixels have a single possible level; 5 × 5 pixels are the "
        "least"
    )


@pytest.mark.parametrize("filtration", ["clique", "cubical"])
def test_matched_entropy_is_that_of_pooled_maps(filtration):
    maps = noise(24, 12)
    parts = MATCHED[f"feature_entropy_matched.{filtration}"](view_of(maps, batch_size=5))
    pooled = adaptive_max_pool2d(torch.as_tensor(maps), 6).numpy()
    expected = entropy_of(pooled, filtration)
    assert parts["layer_1"].value == pytest.approx(expected, rel=1e-12)
    assert parts["layer_2"].value == pytest.approx(expected, rel=1e-12)
    assert parts["depth_slope"].value == pytest.approx(0, abs=1e-12)
    assert parts["grid"] == 6


def test_matched_entropy_of_layers_below_the_grid_is_undefined():
    parts = MATCHED["feature_entropy_matched.clique"](view_of(noise(12, 9)))
    assert parts["grid"] == 9
    assert parts["last"].reason == (
        "second: maps of 4 × 4 pixels are smaller than the grid of 9 × 9 they are compared on"
    )


def test_matched_entropy_without_large_or_square_maps_says_so():
    small = MATCHED["feature_entropy_matched.clique"](view_of(noise(4, 4), labels=[0] * 4))
    assert small["grid"].reason == "no layer has maps that are large enough"
    view = view_of(noise(4, 10)[..., :8])
    layers = ArrayView(view.module, view._images, view.labels, layers=["first"])
    with pytest.raises(UnavailableError, match=r"^the clique filtration needs square feature maps"):
        MATCHED["feature_entropy_matched.clique"](layers)


def test_the_grid_is_the_smallest_map_a_filtration_can_use():
    layers = [Layer("a", 12, 20, 1), Layer("b", 9, 9, 1), Layer("c", 4, 5, 1), Layer("d", 2, 2, 1)]
    assert common_grid(layers, "clique") == (9, 9)
    assert common_grid(layers, "cubical") == (4, 5)
    assert common_grid(layers[3:], "cubical") is None


@pytest.mark.parametrize("filtration", ["clique", "cubical"])
def test_a_shape_that_a_class_shares_lies_below_chance_and_noise_does_not(filtration):
    ring = np.zeros((12, 12))
    ring[3:9, 3:9], ring[5:7, 5:7] = 5, 0
    # under "clique" only the order of a few edges counts, so the shared maps are nearly the same
    strength = 0.01 if filtration == "cubical" else 1e-6
    random = np.random.default_rng(0)
    base = ring + random.random((12, 12))
    shared = np.stack([[base + strength * random.random((12, 12))] * 3 for _ in range(30)])
    z, share = NULLS[f"shuffled_null.{filtration}"], NULLS[f"units_below_chance.{filtration}"]
    labels = [0] * 30
    assert z(view_of(shared, labels))["layer_1"].value < -5
    assert share(view_of(shared, labels))["layer_1"].value == 1
    plain = z(view_of(noise(30, 12), labels))
    assert abs(plain["layer_1"].value) < 2.5


def test_constant_maps_have_no_score_against_chance():
    parts = NULLS["units_below_chance.cubical"](view_of(np.ones((4, 3, 8, 8))))
    assert parts["pairs"] == 0
    assert parts["layer_1"].reason == (
        "first: no pair of a unit and a class has births that differ by chance"
    )


def network(name="test_resnet", **options):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return timm.create_model(name, in_chans=1, num_classes=3, **options)


def view_of_network(module, n=12, side=32):
    images = torch.rand(n, 1, side, side, generator=torch.Generator().manual_seed(0))
    return ArrayView(module, images, np.arange(n) % 3)


def test_random_weights_are_the_same_for_every_checkpoint_and_another_than_its_own():
    one, other = network(), network()
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.mul_(1.5)
    before = torch.get_rng_state()
    drawn = [fresh_network(view_of_network(module)).state_dict() for module in (one, other)]
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(drawn[0][name], drawn[1][name]) for name in drawn[0])
    first = next(name for name in drawn[0] if name.endswith("weight"))
    assert not torch.equal(drawn[0][first], one.state_dict()[first])
    double = fresh_network(view_of_network(network().double())).state_dict()
    assert all(torch.equal(double[name].float(), drawn[0][name].float()) for name in double)


@pytest.mark.parametrize("name", ["test_vit", "test_convnext", "test_efficientnet", "test_nfnet"])
def test_random_weights_of_timm_networks_are_finite(name):
    side = 160 if name == "test_vit" else 32
    module = fresh_network(view_of_network(network(name), n=2, side=side))
    assert all(torch.isfinite(parameter).all() for parameter in module.parameters())
    assert not module.training


class Odd(nn.Module):
    """Has a parameter that nobody resets."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, images):
        return (self.scale * images).mean((2, 3))


def test_random_weights_name_the_parameter_that_nobody_draws():
    images = torch.zeros(2, 3, 8, 8)
    with pytest.raises(UnavailableError) as caught:
        fresh_network(ArrayView(Odd(), images, [0, 1]))
    assert str(caught.value) == (
        "nothing says how the parameter 'scale' is drawn before training: its module has no "
        "reset_parameters() that sets it"
    )
    with pytest.raises(UnavailableError, match=r"^the network has no parameters to draw anew$"):
        fresh_network(ArrayView(nn.Flatten(), images, [0, 1]))


def test_a_network_with_the_very_random_weights_lies_at_chance():
    module = fresh_network(view_of_network(network()))
    view = view_of_network(module)
    parts = NULLS["random_weights_null.cubical"](view)
    assert parts["n_images"] == 12
    assert parts["layer_1"].value == pytest.approx(0, abs=1e-9)


def test_random_weights_null_is_the_formula_on_births_of_both():
    view = view_of_network(network(), n=18)
    kept = view.reduced(birth_nulls.RandomNetwork)
    layer = view.births("cubical")[0]
    rows, births = kept.births("cubical", layer.layer)
    np.testing.assert_array_equal(rows, np.arange(18))
    numbers = []
    for levels in (layer.birth_levels, births):
        by_class = feature_entropy_by_class(levels, view.labels, 3).feature_entropy
        numbers.append([np.mean(c[np.isfinite(c)]) for c in by_class.T if np.isfinite(c).any()])
    expected = (np.mean(numbers[0]) - np.mean(numbers[1])) / np.std(numbers[1], ddof=1)
    parts = NULLS["random_weights_null.cubical"](view)
    assert parts["layer_1"].value == pytest.approx(expected, rel=1e-9)
    assert math.isfinite(parts[""].value)
