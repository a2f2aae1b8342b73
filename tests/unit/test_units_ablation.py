"""Units at zero: exact, on any architecture, without a trace, in few passes; as pruned weights."""

import contextlib
import copy
import warnings

import numpy as np
import pandas as pd
import pytest
import timm
import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils import prune

import audit
from audit.conformance.views import ArrayView
from audit.errors import CheckpointError, ConfigError
from audit.network.places import Place
from audit.units.ablation import ablate
from audit.units.ablation_orders import chosen_orders
from audit.units.cumulative import cumulative
from audit.units.masked import outcomes
from audit.units.pruning import to_prune


class Net(nn.Module):
    """A function of named modules."""

    def __init__(self, run, **modules):
        super().__init__()
        for name, module in modules.items():
            self.add_module(name, module)
        self.run = run

    def forward(self, images):
        return self.run(self, images)


def seeded(make):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return make()


def images(n=4, channels=3, side=32):
    return torch.randn(n, channels, side, side, generator=torch.Generator().manual_seed(1))


def plain_network():
    """Convolutions without normalization."""
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1),
        nn.ReLU(inplace=True),
        nn.Conv2d(6, 5, 3, padding=1, stride=2),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(5, 4),
    )


@pytest.fixture
def network():
    return seeded(plain_network).eval()


def timm_network(name):
    more = {"zero_init_last": False} if "resnet" in name else {}
    return seeded(lambda: timm.create_model(name, num_classes=4, **more)).eval()


def zeroed(network, path, units):
    """A copy whose filters and biases are zero: the brute force."""
    changed = copy.deepcopy(network)
    part = changed.get_submodule(path)
    with torch.no_grad():
        part.weight[units] = 0
        part.bias[units] = 0
    return changed


def n_hooks(module):
    return sum(len(part._forward_hooks) + len(part._forward_pre_hooks) for part in module.modules())


@pytest.mark.parametrize("layer", ["0", "2", "6"])
def test_ablate_computes_what_a_copy_with_zeroed_weights_computes(network, layer):
    units = [0, 3]
    with ablate(network, {layer: units}) as given, torch.inference_mode():
        assert given is network
        found = network(images())
        assert torch.equal(found, network(images()))
        assert torch.equal(found, zeroed(network, layer, units)(images()))
    with torch.inference_mode():
        assert not torch.equal(found, network(images()))


def test_ablate_takes_rows_of_a_unit_table_and_several_layers(network):
    rows = {"layer": ["1", "1", "3", "1"], "unit": [2, 2, 4, 0], "class_name": list("abca")}
    brute = zeroed(zeroed(network, "0", [0, 2]), "2", [4])
    table = pd.DataFrame(rows).astype({"layer": "category"})
    with ablate(network, table), torch.inference_mode():
        assert torch.equal(network(images()), brute(images()))
    with ablate(network, {"1": torch.tensor([0, 2]), "3": np.array([4])}), torch.inference_mode():
        assert torch.equal(network(images()), brute(images()))


def test_ablate_leaves_the_network_as_it_was(network):
    network.train()
    before, hooks = copy.deepcopy(network.state_dict()), n_hooks(network)
    with ablate(network, {"0": [1]}):
        network(images()).sum().backward()
    with contextlib.suppress(KeyError), ablate(network, {"0": [1]}):
        raise KeyError
    assert network[0].weight.grad[1].eq(0).all()
    assert network[0].weight.grad[0].ne(0).any()
    assert network.training
    assert n_hooks(network) == hooks
    after = network.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())


@pytest.mark.parametrize(
    ("name", "layer", "unit_axis"),
    [
        ("test_resnet", "layer2", 1),
        ("test_resnet", "layer2.0.act1", 1),
        ("test_convnext", "stages.1", 1),
        ("test_convnext", "stages.1.blocks.0.mlp.act", -1),
        ("test_vit", "blocks.3", -1),
        ("test_vit", "blocks.5|norm", -1),
    ],
)
def test_ablate_finds_the_units_of_any_architecture(name, layer, unit_axis):
    network = timm_network(name)
    batch = images(side=160 if name == "test_vit" else 32)
    part = network.get_submodule(layer.partition("|")[0])

    def without(part, given, output):
        changed = output.clone()
        changed.movedim(unit_axis, 0)[[1, 4]] = 0
        return changed

    with torch.inference_mode():
        with ablate(network, {layer: [4, 1]}):
            found = network(batch)
        handle = part.register_forward_hook(without)
        assert torch.equal(found, network(batch))
        handle.remove()
        assert not torch.equal(found, network(batch))


def test_ablate_tells_calls_and_functions_apart_on_every_pass():
    def run(net, maps):
        maps = net.act(net.conv(maps))
        return functional.relu(net.act(maps + 1) - 2)

    network = seeded(lambda: Net(run, conv=nn.Conv2d(3, 2, 1), act=nn.ReLU())).eval()
    batch = images()
    for layer, wanted in (
        ("act", lambda maps: functional.relu(functional.relu(0 * maps + 1) - 2)),
        ("act#2", lambda maps: functional.relu(0 * maps - 2)),
        (":relu", lambda maps: 0 * maps),
    ):
        with ablate(network, {layer: [0]}), torch.inference_mode():
            for _ in range(2):
                found, maps = network(batch), network.conv(batch).relu()
                assert torch.equal(found[:, 0], wanted(maps)[:, 0]), layer
        assert torch.equal(found[:, 1], network(batch)[:, 1])


def test_ablate_makes_zero_of_what_is_not_finite():
    network = nn.Sequential(nn.Conv2d(1, 2, 1), nn.Flatten())
    with torch.no_grad():
        network[0].bias.copy_(torch.tensor([np.nan, np.inf]))
    with ablate(network, {"0": [0, 1]}):
        assert network(torch.ones(1, 1, 2, 2)).eq(0).all()


def test_ablate_looks_through_wrappers(network):
    averaged = torch.optim.swa_utils.AveragedModel(network)
    with ablate(averaged, {"0": [1]}) as given, torch.inference_mode():
        assert given is averaged
        assert torch.equal(averaged(images()), zeroed(network, "0", [1])(images()))


@pytest.mark.parametrize(
    ("units", "message"),
    [
        ({"laier": [0]}, "unknown layer 'laier'; did you mean 'layer'?"),
        ({"layer#1": [0]}, "unknown layer 'layer#1'; did you mean 'layer'?"),
        ({"": [0]}, "unknown layer ''"),
        (
            {"layer": []},
            "no units are given; give the numbers of some by layer, such as {'layer4': [0, 7]}, or "
            "rows of a unit table",
        ),
        (
            {"layer": [True, False]},
            "units of layer 'layer' must be whole numbers from 0, such as [0, 7]; found "
            "[True, False]",
        ),
        (
            {"layer": [-1]},
            "units of layer 'layer' must be whole numbers from 0, such as [0, 7]; found [-1]",
        ),
        (
            {"layer": 3},
            "units of layer 'layer' must be whole numbers from 0, such as [0, 7]; found 3",
        ),
        (
            [0, 1],
            "units must be a mapping of layer to numbers, or a table with columns layer and unit; "
            "found list",
        ),
    ],
)
def test_ablate_refuses_what_names_no_units(units, message):
    network = Net(lambda net, maps: net.layer(maps), layer=nn.Conv2d(3, 2, 1))
    with pytest.raises(ConfigError) as caught, ablate(network, units):
        pass
    assert str(caught.value) == message


def test_ablate_refuses_on_calling_what_shows_only_then():
    def run(net, maps):
        return net.cube(maps)

    modules = {"cube": nn.Identity(), "idle": nn.Conv2d(3, 3, 1)}
    network = Net(run, **modules)
    cube = torch.ones(2, 4, 4, 4)
    for units, message in (
        (
            {"cube": [0]},
            "layer 'cube' gives 4 × 4 × 4 for each image, of which the axis of the units cannot be "
            "told; say unit_axis=1 if channels come first or unit_axis=-1 if they come last",
        ),
        (
            {"idle": [0]},
            "layer 'idle' is not reached in a forward pass, or gives no tensor, so that its units "
            "cannot be ablated",
        ),
    ):
        with pytest.raises(ConfigError) as caught, ablate(network, units):
            network(cube)
        assert str(caught.value) == message
        assert n_hooks(network) == 0
    with ablate(network, {"cube": [1]}, unit_axis=-1):
        assert network(cube)[..., 1].eq(0).all()
    with pytest.raises(ConfigError) as caught, ablate(network, {"cube": [5, 1]}, unit_axis=1):
        network(cube)
    assert str(caught.value) == "layer 'cube' has 4 units, numbered from 0 to 3; found 5"
    with (
        pytest.raises(ConfigError, match=r"^unit_axis = 7 is out of range for layer 'cube', "),
        ablate(network, {"cube": [1]}, unit_axis=7),
    ):
        network(cube)


def test_ablate_refuses_networks_that_call_no_hooks(network):
    compiled = torch.compile(network, backend="eager")
    with pytest.raises(CheckpointError) as caught, ablate(compiled, {"0": [0]}):
        pass
    assert str(caught.value) == (
        "the network is compiled, which passes over hooks; give the network as it was before"
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it is deprecated
        whole = nn.Sequential(torch.jit.script(network))
    with (
        pytest.raises(CheckpointError, match=r"^0 is TorchScript, which passes over hooks; "),
        ablate(whole, {"0": [0]}),
    ):
        pass


@pytest.mark.parametrize("name", ["act", "layer1.0.act#2", ":relu", "layer1.0:relu#3"])
def test_a_place_is_known_by_its_name(name):
    assert Place.named(name).name == name


# Many masks on few passes.


def view_of(network, layer, batch, n_classes=4):
    labels = np.arange(len(batch)) % n_classes
    return ArrayView(network, batch, labels, layers=(layer,), batch_size=3)


def some_masks(n_units, n_masks=7):
    drawn = torch.rand(n_masks, n_units, generator=torch.Generator().manual_seed(2)).numpy()
    return drawn < np.linspace(0, 1, n_masks)[:, None]


def one_by_one(view, layer, masks):
    """Accuracy and loss of every mask and image, by `ablate`."""
    batch, labels = view._images, torch.from_numpy(view.labels)
    correct, losses = [], []
    for mask in masks:
        units = np.flatnonzero(mask)
        with torch.inference_mode():
            if len(units):
                with ablate(view.module, {layer: units}):
                    scores = view.module(batch.clone())
            else:
                scores = view.module(batch.clone())
        correct.append((scores.argmax(1) == labels).numpy())
        losses.append(functional.cross_entropy(scores, labels, reduction="none").numpy())
    return np.stack(correct), np.stack(losses)


@pytest.mark.parametrize(
    ("name", "layer", "side", "is_stacked"),
    [
        ("test_resnet", "layer2", 32, True),
        ("test_resnet", "layer2.0.act1", 32, True),
        ("test_resnet", "layer2.0.downsample", 32, False),
        ("test_convnext", "stages.1", 32, True),
        ("test_convnext", "stages.1.blocks.0.mlp.act", 32, True),
        ("test_vit", "blocks.3", 160, True),
    ],
)
def test_outcomes_are_those_of_one_mask_at_a_time(name, layer, side, is_stacked):
    view = view_of(timm_network(name), layer, images(8, side=side))
    masks = some_masks(view.specs()[0].reading.units)
    found = outcomes(view, view.specs()[0], masks)
    correct, losses = one_by_one(view, layer, masks)
    assert np.array_equal(found.correct, correct)
    np.testing.assert_allclose(found.losses, losses, rtol=1e-5, atol=1e-6)
    assert n_hooks(view.module) == 0
    if is_stacked:
        assert found.note == ""
        assert found.n_passes < 2
    else:
        assert found.note.startswith("masks are not stacked: output with shape [1, 48, 4, 4] ")
        assert found.n_passes >= len(masks)


def test_outcomes_of_a_function_s_output_are_stacked_too():
    def run(net, maps):
        return net.head(functional.relu(net.conv(maps)).mean((2, 3)))

    network = seeded(lambda: Net(run, conv=nn.Conv2d(3, 6, 3), head=nn.Linear(6, 4))).eval()
    view = view_of(network, ":relu", images(5))
    masks = some_masks(6)
    found = outcomes(view, view.specs()[0], masks)
    assert found.note == ""
    correct, losses = one_by_one(view, ":relu", masks)
    assert np.array_equal(found.correct, correct)
    np.testing.assert_allclose(found.losses, losses, rtol=1e-5, atol=1e-6)


def test_outcomes_begin_again_where_memory_runs_out(network, monkeypatch):
    view = view_of(network, "1", images(6))
    masks = some_masks(6)
    wanted = outcomes(view, view.specs()[0], masks)
    kept = type(view.module).forward
    refused = []

    def forward(module, batch):
        if not refused and len(batch) > 1:
            refused.append(len(batch))
            raise torch.OutOfMemoryError("CUDA out of memory")
        return kept(module, batch)

    monkeypatch.setattr("audit.units.masked._MOST_ROWS", {"cpu": 20})
    monkeypatch.setattr(type(view.module), "forward", forward)
    found = outcomes(view, view.specs()[0], masks)
    assert refused == [2]
    assert np.array_equal(found.correct, wanted.correct)
    np.testing.assert_allclose(found.losses, wanted.losses, rtol=1e-6)


def test_twenty_steps_of_512_units_take_few_passes_over_the_sample():
    network = seeded(lambda: timm.create_model("resnet18", num_classes=4)).eval()
    batch = images(4, side=128)
    view = view_of(network, "layer4", batch, n_classes=2)
    n_forwarded = []
    view.module.conv1.register_forward_pre_hook(lambda part, given: n_forwarded.append(given[0]))
    view.specs()
    n_forwarded.clear()
    found = cumulative(view, chosen_orders(), filtration="cubical", n_bootstrap=20)
    assert found.n_units == 512
    assert found.notes == ()
    assert set(found.curves["order"]) >= {"feature_entropy:highest", "taylor:lowest", "random"}
    assert found.curves.groupby("order").size().eq(21).all()
    n_passes = sum(map(len, n_forwarded)) / len(batch)
    assert n_passes <= 25
    # births, activations, gradients and all curves; one image more for the filters, five for tries
    assert n_passes == 4 + 6 / len(batch)
    assert found.n_passes == 6 + 5 / len(batch)  # a gradient counts as three
    n_masks = 2 + 19 * (2 * 6 + 5)  # none and all once, the rest for each order and draw
    assert n_masks - 19 < found.n_tails - 7 / len(batch) <= n_masks


# Masks as torch.nn.utils.prune has them.


@pytest.mark.parametrize("layer", ["0", "2", "1", "3"])
def test_to_prune_computes_what_ablate_computes_where_no_normalization_is_between(network, layer):
    pruned = copy.deepcopy(network).train()
    writer = {"1": "0", "3": "2"}.get(layer, layer)
    names = to_prune(pruned, {layer: [1, 4]}, None if writer == layer else images())
    assert names == [f"{writer}.weight", f"{writer}.bias"]
    assert pruned.training
    assert prune.is_pruned(pruned)
    with torch.inference_mode():
        with ablate(network, {layer: [1, 4]}):
            found = network(images())
        assert torch.equal(found, pruned(images()))
        for name in ("weight", "bias"):
            prune.remove(pruned.get_submodule(writer), name)
        assert torch.equal(found, pruned(images()))


def normalized_network():
    norm = nn.BatchNorm2d(6)
    for values in (norm.weight, norm.bias, norm.running_mean):
        nn.init.uniform_(values, 0.5, 1.5)
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, bias=False), norm, nn.ReLU(), nn.Flatten(), nn.LazyLinear(4)
    )


def test_to_prune_of_a_convolution_leaves_the_shift_of_a_normalization():
    network = seeded(normalized_network).eval()
    with torch.inference_mode():
        network(images())
    pruned = copy.deepcopy(network)
    assert to_prune(pruned, {"2": [3]}, images()) == ["0.weight"]
    norm = network[1]
    shift = norm.bias - norm.weight * norm.running_mean / (norm.running_var + norm.eps).sqrt()
    with torch.inference_mode():
        assert torch.allclose(pruned[:2](images())[:, 3], shift[3])
        with ablate(network, {"2": [3]}):
            found = network(images())
        assert not torch.allclose(found, pruned(images()))
        assert to_prune(pruned, {"1": [3]}) == ["1.weight", "1.bias"]
        assert torch.equal(found, pruned(images()))


def test_to_prune_adds_masks_and_knows_transposed_convolutions_in_groups():
    transposed = nn.ConvTranspose2d(4, 6, 2, groups=2)
    network = seeded(lambda: nn.Sequential(nn.Conv2d(3, 4, 1), transposed)).eval()
    pruned = copy.deepcopy(network)
    to_prune(pruned, {"1": [1]})
    to_prune(pruned, {"1": [4, 5]})
    with ablate(network, {"1": [1, 4, 5]}), torch.inference_mode():
        assert torch.equal(network(images()), pruned(images()))


def test_to_prune_refuses_layers_without_filters(network):
    with pytest.raises(ConfigError) as caught:
        to_prune(network, {"0": [0], "1": [0]})
    assert str(caught.value) == (
        "layer '1' has no weights of its own, one filter for each unit; name the convolution or "
        "linear map that writes its units, or give images to find it by"
    )
    with pytest.raises(ConfigError) as caught:
        to_prune(network, {"0": [6]})
    assert str(caught.value) == "layer '0' has 6 units, numbered from 0 to 5; found 6"
    nn.utils.parametrizations.weight_norm(network[2])
    with pytest.raises(ConfigError, match=r"^2.weight is no parameter but computed from others, "):
        to_prune(network, {"2": [0]})
    assert not prune.is_pruned(network)


def test_ablation_is_public():
    assert audit.ablate is ablate
