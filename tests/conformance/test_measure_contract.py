import math
import re

import numpy as np
import pytest
import timm
import torch
from torch import nn

from audit.conformance import (
    ArrayView,
    ReferenceNetwork,
    check_invariance,
    check_measure,
    reference_view,
)
from audit.errors import DataError, PluginError, UnavailableError
from audit.plugin import DataConfig, MeasureEntry, Value
from audit_measures import genaudit_measures

MEASURES = {entry.name: entry for entry in genaudit_measures()}
NETWORKS = (
    "test_resnet",
    "test_byobnet",
    "test_convnext",
    "test_efficientnet",
    "test_mambaout",
    "test_vit",
)


EVERY = frozenset(NETWORKS)
#: Those whose layers are normalised by statistics of their input.
LAYER_NORM = frozenset({"test_convnext", "test_mambaout", "test_vit"})
#: Those of which some BatchNorm begins with a scale of 0.
ZERO_SCALE = frozenset({"test_byobnet", "test_resnet"})
#: Norms of layers, the same over the margin, and what needs two of the images.
PRODUCTS = ("log_product_frobenius", "log_product_spectral", "sum_frobenius", "sum_spectral")
#: Measures of weights before training, which are not given for networks of timm.
UNAVAILABLE = {name for name in MEASURES if name.startswith("distance_from_init.")}

#: Measures without a number, and for which networks: no ReLU network; an untrained network's margin
#: is negative; maps of 4 × 4 pixels; fewer images than features, or than clusters; a tenth of eight
#: images is one; births of untrained networks that tell no more of the class than by chance.
LACKING = {
    "path_norm": set(NETWORKS) - {"test_resnet"},
    "inverse_margin": set(NETWORKS),
    "feature_entropy.clique": {"test_vit"},
    "h_score": set(NETWORKS),
    "nleep": set(NETWORKS),
    "feature_entropy_corrected.clique": {"test_vit"},
    "feature_entropy_matched.clique": {"test_vit"},
    "random_weights_null.clique": {"test_vit"},
    "shuffled_null.clique": {"test_vit"},
    "units_below_chance.clique": {"test_vit"},
    "birth_stability.clique": set(NETWORKS),
    "birth_stability.cubical": set(NETWORKS),
    "persistent_entropy_spread": set(NETWORKS),
    "birth_information_depth.clique": {"test_efficientnet", "test_vit"},
    "birth_information_depth.cubical": {"test_byobnet", "test_efficientnet", "test_vit"},
    **dict.fromkeys((*PRODUCTS, "frobenius_over_spectral"), ZERO_SCALE),
    **dict.fromkeys((f"{name}_over_margin" for name in PRODUCTS), EVERY),
    **dict.fromkeys(("log_spectral_original_main", "path_norm_over_margin"), EVERY),
    **dict.fromkeys(("gradient_noise", "gradient_coherence"), EVERY),
    "synflow": LAYER_NORM,
}


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Networks this small only lose by sharing their work."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("name", MEASURES)
def test_measure_keeps_its_contract(name):
    values = check_measure(MEASURES[name])
    assert {value.status for value in values.values()} == {"ok"}


@pytest.fixture(scope="module", params=NETWORKS)
def timm_view(request):
    """A network with untrained weights on eight images of smoothed noise."""
    side, size = (64, {"img_size": 64}) if request.param == "test_vit" else (32, {})
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = timm.create_model(request.param, in_chans=1, num_classes=3, **size)
    noise = torch.from_numpy(np.random.default_rng(0).random((8, 1, side + 2, side + 2))).float()
    images = nn.functional.avg_pool2d(noise, 3, 1)
    config = DataConfig((1, side, side), (0.5,), (0.25,))
    return ArrayView(
        network,
        (images - 0.5) / 0.25,
        np.arange(8) % 3,
        data_config=config,
        checkpoint=request.param,
    )


@pytest.mark.parametrize("name", MEASURES)
def test_measure_gives_a_number_or_a_reason_for_timm_networks(name, timm_view, monkeypatch):
    monkeypatch.setattr("audit.conformance.measures.check_invariance", lambda entry: None)
    values = check_measure(MEASURES[name], timm_view)
    if "" in values:
        lacks = timm_view.checkpoint in LACKING.get(name, ())
        without = "unavailable" if name in UNAVAILABLE else "undefined" if lacks else "ok"
        assert values[""].status == without, values[""].reason


def entry(compute, **changes):
    described = {
        "name": "example",
        "summary": "an example",
        "version": "1",
        "direction": "none",
        "invariance": "node-wise",
        "cost": "weights",
    }
    return MeasureEntry(compute=compute, **described | changes)


def refused(bad, message, view=None):
    with pytest.raises(PluginError, match=re.escape(message)):
        check_measure(bad, view)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "Bad Name"}, "name must be lower-case words joined by '_', variants by '.'"),
        ({"version": ""}, "version must be a word"),
        ({"summary": "two\nlines"}, "summary must be one line"),
        ({"direction": "up"}, "direction must be one of ('higher', 'lower', 'none')"),
        ({"invariance": "N"}, "invariance must be one of"),
        ({"cost": "much"}, "cost must be one of"),
        ({"filtrations": ("rips",)}, "filtrations must be of ('clique', 'cubical')"),
        ({"filtrations": "clique"}, "filtrations must be of ('clique', 'cubical')"),
    ],
)
def test_check_measure_refuses_a_description(changes, message):
    refused(entry(lambda view: 1.0, **changes), f": {message}")


@pytest.mark.parametrize(
    ("measured", "message"),
    [
        ({}, "must give at least one part; it gave none"),
        (math.nan, "part '' is nan: give Value.undefined with the reason"),
        ("1", "part '' must be a number or a Value; found str"),
        (True, "part '' must be a number or a Value; found bool"),
        (torch.tensor(1.0), "part '' must be a number or a Value; found Tensor"),
        ({"Part": 1.0}, "a part must be named by lower-case words joined by '_'; found 'Part'"),
        ({1: 1.0}, "a part must be named by lower-case words joined by '_'; found 1"),
        (Value(math.inf), "part '' is inf with status \"ok\""),
        (Value(1.0, "maybe"), "must have a status of"),
        (Value(math.nan, "undefined"), "must be NaN with a reason"),
        (Value(1.0, "undefined", "but it has one"), "must be NaN with a reason"),
    ],
)
def test_check_measure_refuses_what_is_neither_number_nor_reason(measured, message):
    refused(entry(lambda view: measured), message)


def test_check_measure_takes_unavailable_for_an_answer():
    def compute(view):
        raise UnavailableError("it needs the initial weights")

    values = check_measure(entry(compute, invariance="none"))
    assert values == {"": values[""]}
    assert (values[""].status, values[""].reason) == ("unavailable", "it needs the initial weights")


def test_check_measure_refuses_numbers_that_do_not_repeat():
    numbers = iter(range(100))
    refused(entry(lambda view: next(numbers)), "must give the same number every time")
    parts = iter("abcdefgh")
    refused(entry(lambda view: {next(parts): 1}), "must give the same parts every time")


def double_first_weight(view):
    next(view.module.parameters()).mul_(2)
    return 1.0


def train_mode(view):
    view.module.train()
    return 1.0


def leave_hook(view):
    view.module.register_forward_hook(lambda *call: None)
    return 1.0


def leave_gradient(view):
    parameter = next(view.module.parameters())
    parameter.grad = torch.zeros_like(parameter)
    return 1.0


def add_parameter(view):
    view.module.extra = nn.Parameter(torch.zeros(1))
    return 1.0


def ask_gradient(view):
    next(view.module.parameters()).requires_grad_(True)
    return 1.0


def draw_from(source):
    def compute(view):
        source()
        return 1.0

    return compute


@pytest.mark.parametrize(
    ("compute", "what"),
    [
        (double_first_weight, "tensor conv1.weight"),
        (train_mode, "training mode of the network"),
        (leave_hook, "hooks of the network"),
        (leave_gradient, "gradient of conv1.weight"),
        (ask_gradient, "requires_grad of conv1.weight"),
        (add_parameter, "tensor extra"),
        (draw_from(lambda: torch.rand(1)), "global random state of torch"),
        (draw_from(np.random.rand), "global random state of numpy"),
        (draw_from(__import__("random").random), "global random state of random"),
    ],
)
def test_check_measure_names_what_was_changed(compute, what):
    refused(
        entry(compute),
        "measure 'example' must leave the network and the process as they were; it changed the "
        f"{what} (work on a copy, and take randomness from view.generator)",
    )


def test_check_measure_accepts_weights_that_are_not_finite():
    network = ReferenceNetwork()
    network.conv1.weight.data[0] = math.nan
    assert check_measure(entry(lambda view: 1.0), reference_view(network))[""].value == 1


def test_check_measure_holds_cost_and_filtrations_against_what_is_asked():
    def births(view):
        return float(view.births("cubical")[0].birth_levels.mean())

    refused(
        entry(births),
        "asks for births under ['cubical']; its filtrations must say so, and are ()",
    )
    refused(
        entry(births, filtrations=("cubical",), cost="forward"),
        "declares cost 'forward', but asks the view for ['cubical'], which costs 'topology'",
    )
    refused(
        entry(lambda view: float(view.logits().mean())),
        "declares cost 'weights', but asks the view for ['logits'], which costs 'forward'",
    )
    check_measure(entry(births, filtrations=("cubical",), cost="topology"))


def product_of_norms(view):
    networks = [part for part in view.module.modules() if hasattr(part, "weight")]
    return math.prod(float(part.weight.double().norm()) for part in networks)


def norm(view):
    return sum(float(p.double().square().sum()) for p in view.module.parameters())


@pytest.mark.parametrize(
    ("compute", "truth"),
    [
        (lambda view: 1.0, "node-wise"),
        (product_of_norms, "layer-uniform"),
        (norm, "none"),
    ],
)
@pytest.mark.parametrize("declared", ["node-wise", "layer-uniform", "none"])
def test_check_invariance_accepts_the_truth_alone(compute, truth, declared):
    declares = entry(compute, invariance=declared)

    def check():
        for how in ("node-wise", "layer-uniform"):
            check_invariance(declares, transform=how)

    if declared == truth:
        check()
        return
    with pytest.raises(PluginError, match=f"declares invariance '{declared}', but under '"):
        check()


def test_array_view_refuses_labels_that_do_not_fit():
    message = r"found \(2, 3, 8, 8\) and \(3,\)"
    with pytest.raises(DataError, match=message):
        ArrayView(ReferenceNetwork(), torch.zeros(2, 3, 8, 8), [0, 1, 2])


def test_array_view_copies_the_network_and_gives_all_images_in_order():
    network = ReferenceNetwork().train()
    images = torch.rand(5, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    view = ArrayView(network, images, [0, 1, 2, 0, 1], batch_size=2)
    assert view.module is not network
    assert network.training
    assert not view.module.training
    assert view.class_names == ("0", "1", "2")
    assert view.data_config == DataConfig((3, 8, 8), (0.0,) * 3, (1.0,) * 3)
    batches = list(view.batches())
    assert torch.equal(torch.cat([images for images, _ in batches]), images)
    assert torch.cat([labels for _, labels in batches]).tolist() == [0, 1, 2, 0, 1]


def test_array_view_has_no_clique_births_for_maps_that_are_not_square():
    view = ArrayView(ReferenceNetwork(), torch.rand(2, 3, 12, 20), [0, 1])
    assert [layer.height for layer in view.births("cubical")] == [12, 6]
    with pytest.raises(UnavailableError, match="the clique filtration needs square feature maps"):
        view.births("clique")
    assert check_measure(MEASURES["feature_entropy.clique"], view)[""].status == "unavailable"


def test_array_view_flags_dead_and_constant_maps():
    network = ReferenceNetwork()
    with torch.no_grad():
        network.conv1.weight.zero_()
        network.conv1.bias.copy_(torch.tensor([-1.0, 0, 0, 1, 1, 1]))
    view = reference_view(network)
    named = ArrayView(network, view._images, view.labels, layers=["relu1"])
    (layer,) = named.births("cubical")
    assert layer.layer == "relu1"
    assert np.array_equal(layer.flags, np.tile([3, 3, 3, 1, 1, 1], (24, 1)))
    assert (layer.birth_levels == -1).all()
