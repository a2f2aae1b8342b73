"""Weights as people and attackers lay them out: wrapped, incomplete, linked elsewhere."""

import itertools
import json
import os

import pytest
import safetensors.torch
import torch
from torch import nn

from audit.errors import CheckpointError
from audit.network.fitting import fit_weights
from audit.network.weights import content_digest, read_weights

A = "model-00001-of-00002.safetensors"


def write(folder, parts, places=None):
    """Shards and an index, as `save_pretrained` writes them."""
    folder.mkdir(exist_ok=True)
    for name, part in parts.items():
        safetensors.torch.save_file(part, folder / name)
    places = places or {tensor: name for name, part in parts.items() for tensor in part}
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": places}))
    return index


# 4: shards that lead elsewhere


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "a/b", "..", "", "a\\b", "x\0"])
def test_row_04_shards_that_lead_elsewhere_are_refused_by_name(tmp_path, name):
    index = write(tmp_path / "net", {A: {"a": torch.ones(1)}}, {"a": name})
    safetensors.torch.save_file({"a": torch.ones(1)}, tmp_path / "x")
    for read in (read_weights, content_digest):
        with pytest.raises(CheckpointError) as caught:
            read(index)
        assert str(caught.value) == (
            f"checkpoint {index} is refused: its index names the shard {name!r}, and shards must "
            "be files beside the index"
        )


@pytest.mark.parametrize(
    ("link", "what"), [(os.symlink, "a symbolic link"), (os.link, "a hard link (2 names)")]
)
def test_row_04_linked_shards_are_refused_by_name(tmp_path, link, what):
    index = write(tmp_path / "net", {A: {"a": torch.ones(1)}})
    (index.parent / A).rename(tmp_path / "outside")
    link(tmp_path / "outside", index.parent / A)
    for read in (read_weights, content_digest):
        with pytest.raises(CheckpointError) as caught:
            read(index)
        assert str(caught.value) == (
            f"checkpoint {index} is refused: its shard {A} is {what}, which may lead out of the "
            "folder; copy the files themselves"
        )


def test_row_04_shards_that_are_no_files_are_refused(tmp_path):
    index = write(tmp_path, {}, {"a": "b"})
    os.mkfifo(tmp_path / "b")
    with pytest.raises(CheckpointError, match="is no plain file"):
        read_weights(index)


# 7: weights that are wrapped


def network(n_classes=3):
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU(), nn.Flatten(), nn.Linear(72, n_classes)
    )


PREFIXES = ("", "module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module.")
NESTINGS = ((), ("state_dict",), ("model",), ("model", "state_dict"), ("state_dict_ema",))
EMA_BESIDE = (None, "state_dict_ema", "model_ema")


@pytest.mark.parametrize("which", ["auto", "ema", "raw"])
@pytest.mark.parametrize("prefix", PREFIXES)
def test_row_07_wrapped_weights_fit_and_what_was_done_is_said(tmp_path, prefix, which):
    """All permutations of prefixes, nesting, and averaged weights beside those of the last step."""
    raw = network().state_dict()
    averaged = {name: tensor + 1 for name, tensor in raw.items()}
    for number, (nesting, beside) in enumerate(itertools.product(NESTINGS, EMA_BESIDE)):
        if beside and nesting in ((), ("state_dict_ema",)):
            continue
        content = {prefix + name: tensor for name, tensor in raw.items()}
        for key in reversed(nesting):
            content = {key: content, "epoch": 3}
        if beside:
            content[beside] = {prefix + name: tensor for name, tensor in averaged.items()}
        path = tmp_path / f"{number}.pth"
        torch.save(content, path)
        has_averaged = beside is not None or "state_dict_ema" in nesting
        has_raw = "state_dict_ema" not in nesting
        if (which == "ema" and not has_averaged) or (which == "raw" and not has_raw):
            with pytest.raises(CheckpointError, match=f'which = "{which}" asks for'):
                read_weights(path, which=which)
            continue
        weights = read_weights(path, which=which)
        into = network()
        fit_weights(into, weights, path)
        expected = averaged if beside and which != "raw" else raw
        for name, tensor in into.state_dict().items():
            assert torch.equal(tensor, expected[name]), (nesting, beside, name)
        said = " ".join(weights.notes)
        assert (f"stripped {prefix!r} from every name" in said) == bool(prefix)
        assert all(f"took the weights in {key!r}" in said for key in nesting[:1] if not beside)
        if beside:
            assert "rather than" in said
            assert ("(averaged weights)" in said) == (which != "raw")


# 8: weights that do not fit


def edited(how):
    """Weights with so many names missing, extra or of another shape."""
    state = network().state_dict()
    if how == "missing":
        del state["0.weight"], state["4.bias"]
    elif how == "extra":
        state |= {f"extra.{number:02d}": torch.ones(2) for number in range(12)}
    elif how == "shape":
        state["4.weight"] = torch.ones(5, 72)
    elif how == "head dropped":
        del state["4.weight"], state["4.bias"]
    return state


TEN = ", ".join(f"extra.{number:02d}" for number in range(10))
MISFITS = {
    "missing": "2 names are missing: 0.weight, 4.bias",
    "extra": f"12 names are unexpected: {TEN} and 2 more",
    "shape": "1 shapes differ: 4.weight is 5 × 72 in the file, 3 × 72 in the model",
    "head dropped": "2 names are missing: 4.weight, 4.bias",
}


@pytest.mark.parametrize("how", MISFITS)
def test_row_08_weights_that_do_not_fit_are_refused_with_the_first_ten_names(tmp_path, how):
    path = tmp_path / "w.pth"
    torch.save(edited(how), path)
    into = network()
    before = {name: tensor.clone() for name, tensor in into.state_dict().items()}
    with pytest.raises(CheckpointError) as caught:
        fit_weights(into, read_weights(path), path)
    assert MISFITS[how] in str(caught.value)
    for name, tensor in into.state_dict().items():  # nothing was loaded in part
        assert torch.equal(tensor, before[name])
