"""Weights in several files: every shard through the same door, held to the index."""

import json
import os

import pytest
import safetensors.torch
import timm
import torch

from audit.errors import CheckpointError
from audit.network.fitting import fit_weights
from audit.network.weights import content_digest, file_digest, read_weights

A, B = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"


@pytest.fixture(scope="module")
def state():
    torch.manual_seed(0)
    return timm.create_model("test_resnet", num_classes=3).state_dict()


def write(folder, parts, places=None, kind="safetensors"):
    """Shards and an index, as `save_pretrained` writes them."""
    folder.mkdir(exist_ok=True)
    for name, part in parts.items():
        if kind == "safetensors":
            safetensors.torch.save_file(part, folder / name)
        else:
            torch.save(part, folder / name)
    places = places or {tensor: name for name, part in parts.items() for tensor in part}
    index = folder / f"model.{kind}.index.json"
    index.write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": places}))
    return index


def halves(state):
    names = list(state)
    half = len(names) // 2
    return {A: {n: state[n] for n in names[:half]}, B: {n: state[n] for n in names[half:]}}


@pytest.mark.parametrize("kind", ["safetensors", "torch"])
@pytest.mark.parametrize("given", ["index", "folder"])
def test_shards_are_read_by_index_or_folder(tmp_path, state, kind, given):
    index = write(tmp_path / "net", halves(state), kind=kind)
    path = index if given == "index" else index.parent
    weights = read_weights(path, content_digest(path))
    assert (weights.format, weights.notes) == (kind, ())
    net = timm.create_model("test_resnet", num_classes=3)
    fit_weights(net, weights, path)
    assert all(torch.equal(net.state_dict()[name], tensor) for name, tensor in state.items())


def test_shards_may_all_have_the_prefix_of_a_wrapper(tmp_path):
    parts = {A: {"module.a": torch.ones(1)}, B: {"module.b": torch.ones(2)}}
    weights = read_weights(write(tmp_path, parts))
    assert set(weights.state_dict) == {"a", "b"}
    mixed = {A: {"module.a": torch.ones(1)}, B: {"b": torch.ones(2)}}
    assert set(read_weights(write(tmp_path, mixed)).state_dict) == {"module.a", "b"}


def test_the_digest_covers_index_and_shards(tmp_path, state):
    index = write(tmp_path, halves(state))
    before = content_digest(index)
    assert content_digest(tmp_path) == before == content_digest(index)
    assert before != file_digest(index)
    content = bytearray((tmp_path / B).read_bytes())
    content[-2] ^= 1
    (tmp_path / B).write_bytes(bytes(content))
    assert content_digest(index) != before
    with pytest.raises(CheckpointError, match=r"changed while it was used: its SHA-256 is no"):
        read_weights(index, before)


def test_a_shard_alone_is_named_as_one(tmp_path, state):
    write(tmp_path, halves(state))
    with pytest.raises(CheckpointError) as caught:
        read_weights(tmp_path / A)
    assert str(caught.value) == (
        f"checkpoint {tmp_path / A} is shard 1 of 2, which holds a part of the weights; "
        "give the index model.safetensors.index.json or its folder instead"
    )
    only = tmp_path / "model-00001-of-00001.safetensors"
    safetensors.torch.save_file({"a": torch.ones(1)}, only)
    assert set(read_weights(only).state_dict) == {"a"}


def test_missing_shards_are_named(tmp_path, state):
    index = write(tmp_path, halves(state))
    (tmp_path / B).unlink()
    with pytest.raises(CheckpointError) as caught:
        read_weights(index)
    assert str(caught.value) == (
        f"checkpoint {index} needs the shard {B}, which does not exist; copy all shards beside "
        "the index"
    )


def test_names_are_held_to_the_index(tmp_path):
    one, two = {"a": torch.ones(1)}, {"b": torch.ones(1)}
    index = write(tmp_path, {A: one, B: one | two}, {"a": A, "b": B})
    with pytest.raises(CheckpointError) as caught:
        read_weights(index)
    assert str(caught.value) == (
        f"checkpoint {index} is refused: a is in two shards, {A} and {B}; save it again"
    )
    index = write(tmp_path, {A: one, B: two}, {"a": A, "b": B, "c": B})
    with pytest.raises(CheckpointError, match=rf"1 names of the index are not .*: c \(of {B}\)"):
        read_weights(index)
    index = write(tmp_path, {A: one, B: two}, {"a": B, "b": B})
    with pytest.raises(CheckpointError, match=rf"1 names of the index are not .*: a \(of {B}\)"):
        read_weights(index)
    index = write(tmp_path, {B: one | two}, {"b": B})
    with pytest.raises(CheckpointError, match=rf"1 names in the shards are .*: a \(in {B}\)"):
        read_weights(index)


@pytest.mark.parametrize(
    "content",
    [b"", b"[]", b"{}", b'{"weight_map": {}}', b'{"weight_map": {"a": 1}}', b"\xff", b"[" * 9999],
)
def test_an_index_that_is_none_is_refused(tmp_path, content):
    index = tmp_path / "model.safetensors.index.json"
    index.write_bytes(content)
    with pytest.raises(CheckpointError) as caught:
        read_weights(index)
    assert str(caught.value) == (
        f"checkpoint {index} must be an index: JSON with a weight_map of tensor names to files; "
        "copy it again"
    )


def test_hostile_shards_are_refused_as_any_file_is(tmp_path):
    index = write(tmp_path, {A: {"a": torch.ones(1)}}, {"a": A, "b": B})
    torch.save({"b": os.system}, tmp_path / B)
    with pytest.raises(CheckpointError, match=r"its pickle names posix\.system"):
        read_weights(index)
    torch.save([1], tmp_path / B)
    with pytest.raises(CheckpointError, match="must hold tensors by name; found a list"):
        read_weights(index)
