"""The checkpoint door on benign files: every supported form loads, and says what it did."""

import argparse
import collections
import hashlib
import json
import os
import stat
import struct

import pytest
import safetensors.torch
import torch
from torch import nn

from audit.errors import CheckpointError, StoreError
from audit.network import weights as loading
from audit.network.fitting import check_finite, fit_weights
from audit.network.saving import write_weights
from audit.network.weights import Weights, file_digest, read_weights
from audit.network.weights._torch_archive import read_torch_archive


class Net(nn.Module):
    """A convolution, a batch normalization and a head."""

    def __init__(self, num_classes=4, in_chans=3):
        super().__init__()
        self.conv = nn.Conv2d(in_chans, 2, 3)
        self.norm = nn.BatchNorm2d(2)
        self.fc = nn.Linear(2, num_classes)


class Wrapped(nn.Module):
    """A network whose own submodule is called "module"."""

    def __init__(self):
        super().__init__()
        self.module = nn.Linear(2, 2)


@pytest.fixture
def state():
    torch.manual_seed(0)
    return Net().state_dict()


def save(path, content, kind):
    if kind == "safetensors":
        safetensors.torch.save_file(content, path)
    else:
        torch.save(content, path)
    return path


def assert_same(found, expected):
    assert set(found) == set(expected)
    for name, tensor in expected.items():
        assert torch.equal(found[name], tensor), name


@pytest.mark.parametrize("kind", ["safetensors", "torch"])
@pytest.mark.parametrize("name", ["w.safetensors", "w.pth", "größe 图 w.bin", "no_extension"])
def test_read_weights_goes_by_content_not_by_name(tmp_path, state, kind, name):
    weights = read_weights(save(tmp_path / name, state, kind))
    assert_same(weights.state_dict, state)
    assert (weights.notes, weights.format, weights.prefix) == ((), kind, "")


NESTINGS = {
    "state_dict": "took the weights in 'state_dict'",
    "model": "took the weights in 'model'",
    "model_state_dict": "took the weights in 'model_state_dict'",
    "state_dict_ema": "took the weights in 'state_dict_ema' (averaged weights)",
    "model_ema": "took the weights in 'model_ema' (averaged weights)",
}
PREFIXES = ["", "module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module."]


@pytest.mark.parametrize("nesting", [None, *NESTINGS])
@pytest.mark.parametrize("prefix", PREFIXES)
def test_read_weights_unwraps_and_says_so(tmp_path, state, nesting, prefix):
    content = {prefix + name: tensor for name, tensor in state.items()}
    if nesting:
        content = {nesting: content, "epoch": 3, "args": argparse.Namespace(lr=0.1)}
    weights = read_weights(save(tmp_path / "w.pth", content, "torch"))
    assert_same(weights.state_dict, state)
    notes = [NESTINGS[nesting]] if nesting else []
    if prefix:
        notes.append(f"stripped {prefix!r} from every name")
    assert weights.notes == tuple(notes)
    assert weights.prefix == prefix


def test_read_weights_prefers_averaged_weights_and_says_so(tmp_path, state):
    raw = {name: torch.zeros_like(tensor) for name, tensor in state.items()}
    content = {"state_dict": raw, "state_dict_ema": state, "optimizer": {"state": {}}}
    weights = read_weights(save(tmp_path / "w.pth", content, "torch"))
    assert_same(weights.state_dict, state)
    assert weights.notes == (
        "took the weights in 'state_dict_ema' (averaged weights) rather than 'state_dict'",
    )


def test_read_weights_passes_over_empty_choices(tmp_path, state):
    content = {"model_ema": None, "state_dict_ema": {}, "model": {"state_dict": state}}
    weights = read_weights(save(tmp_path / "w.pth", content, "torch"))
    assert weights.notes == ("took the weights in 'model'", "took the weights in 'state_dict'")


def test_read_weights_unwraps_averaged_models(tmp_path, state):
    averaged = torch.optim.swa_utils.AveragedModel(Net())
    weights = read_weights(save(tmp_path / "w.pth", averaged.state_dict(), "torch"))
    assert set(weights.state_dict) == set(state)
    assert weights.notes == (
        "left out the averaging counter 'n_averaged'",
        "stripped 'module.' from every name",
    )


def test_read_weights_leaves_a_prefix_that_only_some_names_have(tmp_path):
    content = {"module.a": torch.ones(1), "b": torch.ones(1)}
    assert set(read_weights(save(tmp_path / "w", content, "torch")).state_dict) == set(content)


BENIGN = {
    "ordered": collections.OrderedDict,
    "parameters": lambda s: {k: nn.Parameter(v, requires_grad=False) for k, v in s.items()},
    "trained parameters": lambda s: {
        k: nn.Parameter(v) if v.is_floating_point() else v for k, v in s.items()
    },
    "training run": lambda s: {
        "epoch": 5,
        "arch": "net",
        "state_dict": s,
        "optimizer": torch.optim.SGD(Net().parameters(), 0.1, momentum=0.9).state_dict(),
        "milestones": collections.Counter({3: 1}),
        "args": argparse.Namespace(data="/data", lr=0.1, tags=["a"], nothing=None),
        "metric": 0.5,
        "seen": {1, 2},
        "device": torch.device("cpu"),
        "dtype": torch.float16,
        "size": torch.Size([1, 2]),
        "blob": b"bytes",
        "rng": torch.get_rng_state(),
    },
    "views": lambda s: {k: torch.stack([v, v])[1] for k, v in s.items()},
    "transposed": lambda s: {k: v.T.contiguous().T if v.dim() == 2 else v for k, v in s.items()},
    "half": lambda s: {k: v.half().float() if v.is_floating_point() else v for k, v in s.items()},
}


@pytest.mark.parametrize("name", sorted(BENIGN))
def test_read_weights_of_benign_checkpoints_needs_no_opt_out(tmp_path, state, name):
    path = save(tmp_path / "w.pth", BENIGN[name](state), "torch")
    weights = read_weights(path)
    net = Net()
    fit_weights(net, weights, path)
    assert set(weights.state_dict) == set(state)


def test_read_weights_of_tied_tensors(tmp_path):
    shared = torch.ones(100, 100)
    path = save(tmp_path / "w.pth", {"a": shared, "b": shared, "c": shared}, "torch")
    assert set(read_weights(path).state_dict) == {"a", "b", "c"}


def test_read_weights_names_what_it_leaves_out(tmp_path):
    path = save(tmp_path / "w.pth", {"a": torch.ones(1), "epoch": 3, "note": "x"}, "torch")
    assert read_weights(path).notes == ("left out entries that are not tensors: epoch, note",)


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ({"epoch": 3}, "must hold tensors by name; found epoch"),
        ({}, "must hold tensors by name; found nothing"),
        ([1], "params, module; found a list"),
        (torch.ones(1), "params, module; found a Tensor"),
    ],
)
def test_read_weights_says_what_it_found_instead_of_weights(tmp_path, content, found):
    with pytest.raises(CheckpointError) as caught:
        read_weights(save(tmp_path / "w.pth", content, "torch"))
    assert str(caught.value).endswith(found)


def test_read_weights_can_hold_a_file_to_its_digest(tmp_path, state):
    path = save(tmp_path / "w.safetensors", state, "safetensors")
    digest = file_digest(path)
    assert digest == hashlib.sha256(path.read_bytes()).hexdigest()
    read_weights(path, digest)
    save(path, {"a": torch.ones(1)}, "safetensors")
    with pytest.raises(CheckpointError) as caught:
        read_weights(path, digest)
    assert str(caught.value) == (
        f"checkpoint {path} changed while it was used: its SHA-256 is no longer {digest}; "
        "start again when nothing writes to it"
    )


@pytest.mark.parametrize("read", [read_weights, file_digest])
def test_missing_files_are_named(tmp_path, read):
    path = tmp_path / "missing.pth"
    with pytest.raises(CheckpointError) as caught:
        read(path)
    assert str(caught.value) == (
        f"checkpoint {path} cannot be read: [Errno 2] No such file or directory: '{path}'"
    )


def test_fit_weights_puts_every_weight_in(tmp_path, state):
    net = Net()
    assert fit_weights(net, Weights(state, (), "torch"), tmp_path) == ()
    assert_same(net.state_dict(), state)


def test_fit_weights_restores_a_prefix_that_is_the_networks_own(tmp_path):
    source, target = Wrapped(), Wrapped()
    path = save(tmp_path / "w.pth", {f"module.{k}": v for k, v in source.state_dict().items()}, "")
    weights = read_weights(path)
    assert weights.prefix == "module.module."
    fit_weights(target, weights, path)
    assert_same(target.state_dict(), source.state_dict())


def test_fit_weights_lists_missing_and_unexpected_names(state):
    del state["conv.weight"], state["fc.bias"]
    state |= {f"extra.{number:02d}": torch.ones(1) for number in range(12)}
    net = Net()
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    with pytest.raises(CheckpointError) as caught:
        fit_weights(net, Weights(state, (), "torch"), "w.pth")
    extra = ", ".join(f"extra.{number:02d}" for number in range(10))
    assert str(caught.value) == (
        "checkpoint w.pth does not fit the model Net; 2 names are missing: conv.weight, fc.bias; "
        f"12 names are unexpected: {extra} and 2 more; check model and model_args"
    )
    assert_same(net.state_dict(), before)


def test_fit_weights_says_which_argument_makes_the_shapes_fit(state):
    with pytest.raises(CheckpointError) as caught:
        fit_weights(Net(num_classes=16, in_chans=1), Weights(state, (), "torch"), "w.pth")
    assert str(caught.value) == (
        "checkpoint w.pth does not fit the model Net; 3 shapes differ: "
        "conv.weight is 2 × 3 × 3 × 3 in the file, 2 × 1 × 3 × 3 in the model, "
        "fc.weight is 4 × 2 in the file, 16 × 2 in the model, "
        "fc.bias is 4 in the file, 16 in the model; "
        "set model_args.in_chans = 3 and model_args.num_classes = 4"
    )


def test_fit_weights_describes_other_shapes(state):
    state["conv.weight"] = torch.ones(5, 3, 3, 3)
    state["fc.bias"] = torch.tensor(1.0)
    with pytest.raises(CheckpointError) as caught:
        fit_weights(Net(), Weights(state, (), "torch"), "w.pth")
    assert str(caught.value) == (
        "checkpoint w.pth does not fit the model Net; 2 shapes differ: "
        "conv.weight is 5 × 3 × 3 × 3 in the file, 2 × 3 × 3 × 3 in the model, "
        "fc.bias is a single number in the file, 4 in the model; check model and model_args"
    )


@pytest.mark.parametrize(
    "dtype", [torch.float16, torch.bfloat16, torch.float64, torch.float8_e4m3fn]
)
def test_fit_weights_converts_floats_and_says_so(tmp_path, state, dtype):
    content = {k: v.to(dtype) if v.is_floating_point() else v for k, v in state.items()}
    path = save(tmp_path / "w.safetensors", content, "safetensors")
    net = Net()
    name = str(dtype).removeprefix("torch.")
    assert fit_weights(net, read_weights(path), path) == (
        f"converted 8 tensors from {name} to float32",
    )
    assert {tensor.dtype for tensor in net.parameters()} == {torch.float32}


@pytest.mark.parametrize("dtype", [torch.int8, torch.uint8, torch.complex64, torch.bool])
def test_fit_weights_refuses_types_that_cannot_be_converted(state, dtype):
    state["fc.weight"] = state["fc.weight"].to(dtype)
    with pytest.raises(CheckpointError) as caught:
        fit_weights(Net(), Weights(state, (), "torch"), "w.pth")
    assert str(caught.value) == (
        f"checkpoint w.pth: fc.weight is {dtype}, which cannot be converted to torch.float32; "
        "save it as floating point numbers"
    )


def test_fit_weights_asks_for_whole_numbers_where_those_are_needed(state):
    state["norm.num_batches_tracked"] = torch.tensor(2.5)
    with pytest.raises(CheckpointError, match=r"to torch\.int64; save it as whole numbers$"):
        fit_weights(Net(), Weights(state, (), "torch"), "w.pth")


def test_fit_weights_does_without_batch_counters(state):
    del state["norm.num_batches_tracked"]
    net = Net()
    assert fit_weights(net, Weights(state, (), "torch"), "w.pth") == (
        "1 batch counters (num_batches_tracked) are not in the file",
    )


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_weights_that_are_not_finite_are_refused(state, value):
    state["fc.weight"][1, 1] = value
    state["norm.bias"][:] = value
    message = (
        "checkpoint w.pth has weights that are NaN or infinite: 2 of 2 in norm.bias, "
        "2 of 9 tensors in all; the training diverged, leave it out"
    )
    with pytest.raises(CheckpointError) as caught:
        check_finite(state, "w.pth")
    assert str(caught.value) == message
    net = Net()
    with pytest.raises(CheckpointError) as caught:
        fit_weights(net, Weights(state, (), "torch"), "w.pth")
    assert str(caught.value) == message
    assert all(torch.isfinite(tensor).all() for tensor in net.state_dict().values())


def test_eight_bit_floats_that_are_not_finite_are_refused(state):
    state["fc.weight"] = torch.full((4, 2), float("nan")).to(torch.float8_e4m3fn)
    with pytest.raises(CheckpointError, match=r"8 of 8 in fc\.weight"):
        fit_weights(Net(), Weights(state, (), "torch"), "w.pth")


def test_write_weights_writes_what_read_weights_reads(tmp_path, state):
    net = Net()
    path = tmp_path / "new folder" / "w.safetensors"
    write_weights(net, path, {"recipe": "ü"})
    assert_same(read_weights(path).state_dict, net.state_dict())
    assert_same(safetensors.torch.load_file(path), net.state_dict())
    with safetensors.safe_open(path, "pt") as file:
        assert file.metadata() == {"recipe": "ü"}
    assert os.listdir(path.parent) == ["w.safetensors"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert struct.unpack("<Q", path.read_bytes()[:8])[0] % 8 == 0


def test_write_weights_gives_equal_bytes_for_equal_weights(tmp_path, state):
    metadata = {f"key {number}": str(number) for number in range(20)}
    backwards = dict(reversed(metadata.items()))
    write_weights(state, tmp_path / "a", metadata)
    write_weights(state, tmp_path / "b", backwards)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    write_weights(state, tmp_path / "c")
    content = (tmp_path / "c").read_bytes()
    assert "__metadata__" not in json.loads(content[8 : 8 + struct.unpack("<Q", content[:8])[0]])


def test_write_weights_takes_tied_and_strided_tensors(tmp_path):
    tensor = torch.arange(6.0).reshape(2, 3)
    content = {"a": tensor, "b": tensor, "c": tensor.T}
    write_weights(content, tmp_path / "w")
    assert_same(read_weights(tmp_path / "w").state_dict, content)


@pytest.mark.parametrize("name", ["fsync", "replace"])
def test_write_weights_that_fails_leaves_the_old_file(tmp_path, monkeypatch, name):
    path = tmp_path / "w"
    write_weights({"a": torch.ones(1)}, path)
    before = path.read_bytes()

    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, name, full)
    with pytest.raises(StoreError) as caught:
        write_weights({"a": torch.zeros(100)}, path)
    assert str(caught.value).startswith(f"{path} cannot be written (")
    assert "bytes): No space left on device; " in str(caught.value)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["w"]


def test_torch_files_need_a_safe_torch(tmp_path, state, monkeypatch):
    path = save(tmp_path / "w.pth", state, "torch")
    monkeypatch.setattr(torch, "__version__", "2.9.1+cpu")
    with pytest.raises(CheckpointError) as caught:
        read_torch_archive(path.read_bytes(), path)
    assert str(caught.value) == (
        f"reading {path} safely needs torch 2.10 or later (CVE-2026-24747); "
        "torch 2.9.1+cpu is installed"
    )
    assert not hasattr(loading, "torch")
