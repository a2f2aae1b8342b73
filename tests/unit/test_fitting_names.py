"""Names of weights against those of a network: prefixes, ties, what training leaves beside."""

import pytest
import safetensors.torch
import timm
import torch
from torch import nn

from audit.errors import CheckpointError
from audit.network.fitting import fit_weights
from audit.network.weights import Weights, read_weights


def network():
    return timm.create_model("test_resnet", num_classes=3)


@pytest.fixture(scope="module")
def state():
    torch.manual_seed(0)
    return network().state_dict()


def fit(state, module=None, path="w.pth", which="auto", **facts):
    module = network() if module is None else module
    return fit_weights(
        module, Weights(dict(state), (), "torch", which=which, **facts), path
    ), module


def assert_holds(module, state):
    found = module.state_dict()
    assert all(torch.equal(found[name], tensor) for name, tensor in state.items())


def prefixed(state, prefix):
    return {prefix + name: tensor for name, tensor in state.items()}


@pytest.mark.parametrize(
    "prefix", ["model.", "net.", "network.", "backbone.", "encoder.", "model.net.", "net.module."]
)
def test_prefixes_are_stripped_where_every_name_then_fits(state, prefix):
    notes, module = fit(prefixed(state, prefix))
    assert notes == (f"stripped {prefix!r} from every name, as all names then fit the network",)
    assert_holds(module, state)


@pytest.mark.parametrize("prefix", ["model.", "module.", "_orig_mod.", "module.model."])
def test_prefixes_of_the_network_itself_are_put_before_names(state, prefix):
    module = network()
    for part in reversed(prefix.removesuffix(".").split(".")):
        outer = nn.Module()
        outer.add_module(part, module)
        module = outer
    notes, _ = fit(state, module)
    assert notes == ()
    assert_holds(module, prefixed(state, prefix))


def test_prefixes_stay_where_names_would_not_fit(state):
    module = network()
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    other = prefixed(state, "trunk.")
    with pytest.raises(CheckpointError, match=r"92 names are unexpected: trunk\.conv1"):
        fit(other, module)
    assert_holds(module, before)


def test_a_prefix_that_is_a_part_of_the_network_is_no_prefix():
    class Inner(nn.Module):
        def __init__(self):
            super().__init__()
            self.model = nn.Linear(2, 2)
            self.encoder = nn.Linear(2, 2)

    source = Inner()
    notes, module = fit(source.state_dict(), Inner())
    assert notes == ()
    assert_holds(module, source.state_dict())


def test_compiled_parts_fit_networks_that_are_not_compiled(state):
    compiled = network()
    compiled.load_state_dict(state)
    compiled.layer1 = torch.compile(compiled.layer1)
    content = compiled.state_dict()
    assert any(name.startswith("layer1._orig_mod.") for name in content)
    notes, module = fit(content)
    assert notes == ("left '_orig_mod.' out of 12 names of compiled parts",)
    assert_holds(module, state)
    notes, _ = fit(state, compiled)
    assert notes == ()


BESIDE = ["criterion.weight", "loss_fn.weight", "train_acc.tp", "valMetrics.count", "auroc.confmat"]


@pytest.mark.parametrize("name", BESIDE)
def test_losses_and_metrics_beside_the_network_are_left_out_and_named(state, name):
    notes, module = fit({**prefixed(state, "model."), name: torch.ones(3)})
    assert notes == (
        "stripped 'model.' from 92 names, as all names then fit the network",
        f"left out 1 entries that are no part of the network: {name}",
    )
    assert_holds(module, state)


@pytest.mark.parametrize("name", ["head.weight", "normalize.mean", "teacher.fc.weight", "lossy"])
def test_anything_else_beside_the_network_is_refused_by_name(state, name):
    with pytest.raises(CheckpointError) as caught:
        fit({**prefixed(state, "model."), name: torch.ones(3)})
    assert str(caught.value) == (
        "checkpoint w.pth holds every weight of the network under 'model.', and 1 names beside it "
        f"that may be a part of it: {name}; save the network alone, or give the whole that was "
        'trained as model = "package.module:function"'
    )


@pytest.mark.parametrize("prefix", ["model_ema.", "ema_model.module.", "ema."])
def test_averaged_weights_beside_others_are_chosen_by_which(state, prefix):
    averaged = {name: tensor + 1 for name, tensor in state.items()}
    content = prefixed(state, "model.") | prefixed(averaged, prefix)
    content |= {"criterion.weight": torch.ones(1)}
    with pytest.raises(CheckpointError) as caught:
        fit(content)
    assert "holds the network twice: under 'model.', and 93 names beside it: " in str(caught.value)
    assert str(caught.value).endswith(
        'set which = "ema" for averaged weights or which = "raw" for those of the last step'
    )
    assert_holds(fit(content, which="raw")[1], state)
    assert_holds(fit(content, which="ema")[1], averaged)


class Tied(nn.Module):
    """Two layers with one weight."""

    def __init__(self, tie=True):
        super().__init__()
        self.a = nn.Linear(4, 4)
        self.b = nn.Linear(4, 4)
        if tie:
            self.b.weight = self.a.weight


def test_tied_names_that_save_model_leaves_out_are_set(tmp_path):
    source, target = Tied(), Tied()
    path = tmp_path / "w.safetensors"
    safetensors.torch.save_model(source, str(path))
    weights = read_weights(path)
    assert len(weights.state_dict) == 3
    assert fit_weights(target, weights, path) == (
        "set 1 tied names that are not in the file: b.weight (as a.weight)",
    )
    assert_holds(target, source.state_dict())
    with pytest.raises(CheckpointError, match=r"1 names are missing: b\.weight"):
        fit_weights(Tied(tie=False), weights, path)


def test_tied_names_with_different_values_are_refused():
    target = Tied()
    before = target.a.weight.detach().clone()
    with pytest.raises(CheckpointError) as caught:
        fit(Tied(tie=False).state_dict(), target)
    assert str(caught.value) == (
        "checkpoint w.pth holds different values for a.weight and b.weight, which the network "
        "ties to each other; check model and model_args"
    )
    assert torch.equal(target.a.weight, before)


def test_shared_storages_count_once(tmp_path):
    shared = torch.ones(50, 50)
    path = tmp_path / "w.pth"
    torch.save({f"layers.{number}.weight": shared for number in range(48)}, path)
    assert len(read_weights(path).state_dict) == 48


def test_buffers_that_the_network_computes_itself_are_left_out(state):
    class Counting(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(2, 2)
            self.register_buffer("ids", torch.arange(3), persistent=False)

    source = Counting()
    notes, _ = fit({**source.state_dict(), "ids": torch.arange(3)}, Counting())
    assert notes == ("left out 1 buffers that the network computes itself",)
    with pytest.raises(CheckpointError, match="1 names are unexpected: ids"):
        fit({**source.state_dict(), "ids": torch.arange(3) + 1}, Counting())


def test_an_architecture_that_the_file_names_is_compared(state):
    weights = Weights(dict(state), (), "torch", architecture="test_resnet")
    assert fit_weights(network(), weights, "w", "test_resnet.r160_in1k") == ()
    weights = Weights(dict(state), (), "torch", architecture="resnet34")
    assert fit_weights(network(), weights, "w", "test_resnet") == (
        "the file says that it holds 'resnet34'; its weights fit 'test_resnet'",
    )
    with pytest.raises(CheckpointError, match="; the file says that it holds 'resnet34'; check"):
        fit_weights(nn.Linear(1, 1), weights, "w", "test_resnet")
