"""The door of weights, corner by corner: folders, shards, reasons, and what is only looked at."""

import types

import pytest
import safetensors.torch
import torch
from torch import nn

from audit.errors import CheckpointError
from audit.network.fitting import fit_weights
from audit.network.weights import (
    Weights,
    _confined,
    _snapshot,
    _torch_archive,
    read_torch_content,
    read_weights,
    torch_content_mentions,
)
from audit.network.weights._limits import reading_limits
from audit.network.weights._shards import opened_shard


def test_a_folder_below_that_is_of_another_format_is_named(tmp_path):
    below = tmp_path / "run" / "saved"
    below.mkdir(parents=True)
    (below / "saved_model.pb").write_bytes(b"")
    with pytest.raises(CheckpointError, match="a TensorFlow SavedModel"):
        read_weights(tmp_path)


def test_a_shard_is_as_large_as_any_file_may_be(tmp_path, monkeypatch):
    path, index = tmp_path / "s", tmp_path / "model.safetensors.index.json"
    path.write_bytes(bytes(100))
    monkeypatch.setattr(_snapshot, "_memory", lambda: 200)
    with opened_shard(path, index) as file:
        assert file.read() == bytes(100)
    monkeypatch.setattr(_snapshot, "_memory", lambda: 198)
    with (
        pytest.raises(CheckpointError, match="its 100 bytes exceeds the limit of 99"),
        opened_shard(path, index),
    ):
        pass


def test_time_grows_with_the_size_of_a_file():
    assert reading_limits(1 << 40).cpu_s == 4 + 16 + 10 * 1024


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (
            "WeightsUnpickler error: Unsupported operand 5\nmore",
            "ValueError: Unsupported operand 5",
        ),
        ("the file is odd\nweights_only=False helps", "ValueError: the file is odd"),
        ("set weights_only=False to load it", "ValueError"),
        ("Weights only load failed: use torch.load", "ValueError"),
        ("", "ValueError"),
    ],
)
def test_the_reason_of_a_refusal_has_no_advice(said, expected):
    assert _torch_archive._reason(ValueError(said)) == expected


@pytest.mark.parametrize(
    ("version", "safe"),
    [("2.9.1", False), ("2.10.0", True), ("2.15.0+cu132", True), ("3.0", True), ("1.13", False)],
)
def test_a_safe_torch_is_known_by_its_version(version, safe):
    assert _torch_archive._is_safe_torch(version) is safe


def test_texts_are_looked_for_in_archives_alone(tmp_path):
    path = tmp_path / "w.pth"
    torch.save({"class_names": ["a"], "state_dict": {"w": torch.ones(1)}}, path)
    assert torch_content_mentions(path, ["class_names"])
    assert torch_content_mentions(path, ["nothing", "state_dict"])
    assert not torch_content_mentions(path, ["class_name"])
    assert not torch_content_mentions(path, [])
    other = tmp_path / "w.safetensors"
    safetensors.torch.save_file({"class_names": torch.ones(1)}, other)
    assert not torch_content_mentions(other, ["class_names"])
    with pytest.raises(CheckpointError, match=r"is no archive of torch\.save"):
        read_torch_content(other)


def test_a_fork_leaves_the_server_to_the_process_that_started_it():
    closed = []
    server = _confined._Server()
    process = types.SimpleNamespace(returncode=None)
    server._process = process
    server._control = types.SimpleNamespace(close=lambda: closed.append(1))
    before = server._lock
    server.forget()
    assert (closed, process.returncode) == ([1], 0)
    assert (server._process, server._control) == (None, None)
    assert server._lock is not before
    server.forget()


class Net(nn.Module):
    """One layer."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(2, 3)


def renamed(module, tensors):
    """Names of an older layout, brought up to date."""
    return {name.replace("head.", "fc."): tensor for name, tensor in tensors.items()}


def test_an_older_layout_is_translated_by_the_source_of_the_network(tmp_path):
    old = {"head.weight": torch.ones(3, 2), "head.bias": torch.zeros(3)}
    net = Net()
    notes = fit_weights(net, Weights(old, (), "torch"), "w.pth", "net", renamed)
    assert notes == ("translated an older layout of names",)
    assert net.fc.weight.eq(1).all()
    with pytest.raises(CheckpointError, match=r"head\.weight"):
        fit_weights(Net(), Weights(old, (), "torch"), "w.pth", "net")
    wrong = {"tail.weight": torch.ones(3, 2), "tail.bias": torch.zeros(3)}
    with pytest.raises(CheckpointError, match=r"tail\.weight"):
        fit_weights(Net(), Weights(wrong, (), "torch"), "w.pth", "net", renamed)


def test_a_layout_that_cannot_be_translated_says_why(tmp_path):
    def refused(module, tensors):
        raise CheckpointError("its positions are of another size")

    old = {"head.weight": torch.ones(3, 2), "head.bias": torch.zeros(3)}
    with pytest.raises(CheckpointError, match=r"^checkpoint w\.pth: its positions are of another"):
        fit_weights(Net(), Weights(old, (), "torch"), "w.pth", "net", refused)
    narrow = {"fc.weight": torch.ones(3, 9), "fc.bias": torch.zeros(3)}
    with pytest.raises(CheckpointError, match=r"fc\.weight"):
        fit_weights(Net(), Weights(narrow, (), "torch"), "w.pth", "net", refused)
