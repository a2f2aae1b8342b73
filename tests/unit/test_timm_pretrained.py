"""Which files timm reads for pretrained weights."""

import json

import pytest
import safetensors.torch
import timm
import torch

import audit_timm
from audit.errors import CheckpointError, ConfigError
from audit.network.digests import files_digest, state_digest
from audit.network.fitting import fit_weights
from audit.network.weights import read_weights
from audit.plugin.registry import Registry

TIMM = Registry({"timm": audit_timm}).models["timm"]
COMMIT = "0123456789abcdef0123456789abcdef01234567"
CONFIG = {"architecture": "test_resnet", "num_classes": 3, "pretrained_cfg": {}}


@pytest.fixture(scope="module")
def weights():
    """The bytes of a weights file for a small network, and its state dict."""
    torch.manual_seed(1)
    state = timm.create_model("test_resnet", num_classes=3).state_dict()
    return safetensors.torch.save(state), state


@pytest.fixture
def folder(tmp_path, weights):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text(json.dumps(CONFIG))
    (tmp_path / "model" / "model.safetensors").write_bytes(weights[0])
    return tmp_path / "model"


def change(path):
    """Change one byte of a number, so that the file stays readable."""
    content = bytearray(path.read_bytes())
    content[-2] ^= 1
    path.write_bytes(bytes(content))


def key_of(reference, args=None):
    return files_digest(TIMM.reads(reference, args or {}))


def pretrained(reference, args=None):
    path = TIMM.weights_file(reference, args or {})
    network = TIMM.create(reference, args or {}, False)
    fit_weights(network, read_weights(path), path, reference, TIMM.adapt)
    return state_digest(network)


def test_reads_of_a_local_folder_are_configuration_and_weights(folder):
    reference = f"local-dir:{folder}"
    for name in ("a.pth", "b.bin", "c.pth.tar", "notes.txt", "d.pt"):
        (folder / name).write_bytes(b"x")
    names = [path.name for path in TIMM.reads(reference, {})]
    assert names == ["config.json", "a.pth", "b.bin", "c.pth.tar", "model.safetensors"]


def test_digest_of_a_local_folder_changes_with_a_byte_of_its_weights(folder):
    reference = f"local-dir:{folder}"
    before, network = key_of(reference), pretrained(reference)
    assert key_of(reference) == before
    change(folder / "model.safetensors")
    assert key_of(reference) != before
    assert pretrained(reference) != network


def test_digest_of_a_local_folder_changes_with_a_byte_of_its_configuration(folder):
    reference = f"local-dir:{folder}"
    before = key_of(reference)
    with (folder / "config.json").open("a") as file:
        file.write(" ")
    assert key_of(reference) != before


def test_digest_of_a_local_folder_changes_when_timm_would_choose_another_file(folder):
    reference = f"local-dir:{folder}"
    other = folder / "a.safetensors"
    (folder / "model.safetensors").rename(other)
    before, network = key_of(reference), pretrained(reference)
    (folder / "model.safetensors").write_bytes(other.read_bytes())
    change(folder / "model.safetensors")
    assert key_of(reference) != before
    assert pretrained(reference) != network


@pytest.mark.parametrize("argument", ["pretrained_cfg_overlay", "pretrained_cfg"])
def test_reads_the_file_that_arguments_name(folder, argument):
    path = folder / "model.safetensors"
    args = {"num_classes": 3, argument: {"file": str(path), "num_classes": 3}}
    assert TIMM.reads("test_resnet", args) == [path]
    assert TIMM.weights_file("test_resnet", args) == path
    before = key_of("test_resnet", args)
    change(path)
    assert key_of("test_resnet", args) != before


def test_the_weights_of_a_local_folder_are_the_file_that_timm_would_choose(folder):
    reference = f"local-dir:{folder}"
    assert TIMM.weights_file(reference, {}) == folder / "model.safetensors"
    (folder / "model.safetensors").rename(folder / "b.safetensors")
    (folder / "a.pth").touch()
    assert TIMM.weights_file(reference, {}) == folder / "b.safetensors"
    (folder / "pytorch_model.bin").touch()
    assert TIMM.weights_file(reference, {}) == folder / "pytorch_model.bin"
    for path in folder.iterdir():
        path.unlink()
    (folder / "config.json").write_text(json.dumps(CONFIG))
    with pytest.raises(CheckpointError, match="has no file with weights in its folder"):
        TIMM.weights_file(reference, {})


def test_relative_paths_of_timm_count_from_the_folder_they_are_given(tmp_path):
    args = {"pretrained_cfg": {"file": "w.pth"}, "pretrained_cfg_overlay": {"url": "x"}, "a": 1}
    reference, moved = TIMM.located("local-dir:mine", args, tmp_path)
    assert reference == f"local-dir:{tmp_path / 'mine'}"
    assert moved == {**args, "pretrained_cfg": {"file": str(tmp_path / "w.pth")}}
    assert TIMM.located("local-dir:/a/b", {}, tmp_path) == ("local-dir:/a/b", {})
    assert TIMM.located("resnet18", {}, tmp_path) == ("resnet18", {})


def cached(root, repository, commit, files=(), absent=(), branch=None):
    """A repository in a cache such as the hub's client keeps."""
    home = root / f"models--{repository.replace('/', '--')}"
    (home / "snapshots" / commit).mkdir(parents=True, exist_ok=True)
    (home / ".no_exist" / commit).mkdir(parents=True, exist_ok=True)
    for name, content in dict(files).items():
        (home / "snapshots" / commit / name).write_bytes(content)
    for name in absent:
        (home / ".no_exist" / commit / name).touch()
    if branch:
        (home / "refs").mkdir(exist_ok=True)
        (home / "refs" / branch).write_text(commit)
    return home / "snapshots" / commit


@pytest.mark.parametrize("reference", ["resnet18", "resnet18.a1_in1k"])
def test_reads_of_an_architecture_are_in_the_cache_of_the_hub(tmp_path, reference):
    repository, files = "timm/resnet18.a1_in1k", {"model.safetensors": b"x"}
    args = {"num_classes": 3, "cache_dir": str(tmp_path)}
    assert TIMM.reads(reference, args) is None
    home = cached(tmp_path, repository, COMMIT, files, branch="main")
    assert TIMM.reads(reference, args) == [home / "model.safetensors"]
    other = cached(tmp_path, repository, COMMIT[::-1], files, branch="main")
    assert TIMM.reads(reference, args) == [other / "model.safetensors"]
    assert TIMM.reads("resnet18.tv_in1k", args) is None


def test_reads_of_a_pinned_model_are_in_the_cache_of_the_hub(tmp_path, weights):
    reference, args = f"hf-hub:some/model@{COMMIT}", {"cache_dir": str(tmp_path)}
    assert TIMM.reads(reference, args) is None
    files = {"config.json": json.dumps(CONFIG).encode()}
    home = cached(tmp_path, "some/model", COMMIT, files)
    assert TIMM.reads(reference, args) is None
    (home / "model.safetensors").write_bytes(weights[0])
    assert TIMM.reads(reference, args) == [home / "config.json", home / "model.safetensors"]
    before, network = key_of(reference, args), pretrained(reference, args)
    change(home / "model.safetensors")
    assert key_of(reference, args) != before
    assert pretrained(reference, args) != network


def test_reads_the_older_format_only_where_the_newer_is_known_to_be_absent(tmp_path):
    reference, args = f"hf-hub:some/model@{COMMIT}", {"cache_dir": str(tmp_path)}
    files = {"config.json": json.dumps(CONFIG).encode(), "pytorch_model.bin": b"x"}
    home = cached(tmp_path, "some/model", COMMIT, files)
    assert TIMM.reads(reference, args) is None
    cached(tmp_path, "some/model", COMMIT, absent=["model.safetensors"])
    assert TIMM.reads(reference, args) == [home / "config.json", home / "pytorch_model.bin"]
    (home / "config.json").write_bytes(b"not json")
    assert TIMM.reads(reference, args) is None


def test_reads_the_file_that_a_configuration_on_the_hub_names(tmp_path):
    reference, args = f"hf-hub:some/model@{COMMIT}", {"cache_dir": str(tmp_path)}
    config = {**CONFIG, "pretrained_cfg": {"hf_hub_filename": "other.safetensors"}}
    files = {"config.json": json.dumps(config).encode(), "model.safetensors": b"x"}
    home = cached(tmp_path, "some/model", COMMIT, files)
    assert TIMM.reads(reference, args) is None
    (home / "other.safetensors").write_bytes(b"y")
    assert TIMM.reads(reference, args) == [home / "config.json", home / "other.safetensors"]


@pytest.mark.parametrize(
    "args",
    [
        {"pretrained_cfg_overlay": {"file": "elsewhere"}},
        {"pretrained_cfg_overlay": {"source": ""}},
        {"pretrained_cfg": {"file": "elsewhere"}},
    ],
)
def test_reads_cannot_be_told_where_arguments_lead_elsewhere(folder, args):
    assert TIMM.reads(f"local-dir:{folder}", args) is None
    assert TIMM.reads(f"hf-hub:some/model@{COMMIT}", args) is None


@pytest.mark.parametrize(
    ("reference", "args"),
    [
        ("resnet18", {"pretrained_cfg": {"no_such_key": 1}}),
        ("resnet18", {"pretrained_cfg_overlay": {"source": "local-dir", "file": "x"}}),
        ("resnet18", {"pretrained_cfg": {"url": "https://example.org/x.pth"}}),
        ("resnet18", {"pretrained_cfg_overlay": {"hf_hub_id": "no repository/at/all"}}),
        ("resnet18.no_such_tag", {}),
    ],
)
def test_reads_cannot_be_told_of_other_sources(tmp_path, reference, args):
    assert TIMM.reads(reference, {**args, "cache_dir": str(tmp_path)}) is None


@pytest.mark.parametrize("argument", ["pretrained_cfg_overlay", "pretrained_cfg"])
def test_arguments_that_lead_to_other_weights_than_the_reference_are_refused(folder, argument):
    args = {argument: {"file": str(folder / "model.safetensors")}}
    for reference in (f"local-dir:{folder}", f"hf-hub:some/model@{COMMIT}"):
        with pytest.raises(ConfigError, match=rf"model_args\.{argument} leads to other weights"):
            TIMM.weights_file(reference, args)
    with pytest.raises(ConfigError, match="leads to weights by source or state_dict"):
        TIMM.weights_file("test_resnet", {argument: {"state_dict": {"a": 1}}})


def test_weights_on_the_hub_come_from_its_cache_through_the_door(tmp_path, weights, offline):
    args = {"cache_dir": str(tmp_path)}
    files = {"config.json": json.dumps(CONFIG).encode(), "model.safetensors": weights[0]}
    home = cached(tmp_path, "some/model", COMMIT, files)
    reference = f"hf-hub:some/model@{COMMIT}"
    assert TIMM.weights_file(reference, args) == home / "model.safetensors"
    before = pretrained(reference, args)
    change(home / "model.safetensors")
    assert pretrained(reference, args) != before
    home = cached(
        tmp_path, "timm/resnet18.a1_in1k", COMMIT, {"model.safetensors": b"x"}, (), "main"
    )
    assert TIMM.weights_file("resnet18", args) == home / "model.safetensors"
    with pytest.raises(CheckpointError, match="which could not be fetched") as caught:
        TIMM.weights_file("resnet18.tv_in1k", args)
    assert "\n" not in str(caught.value)


@pytest.fixture
def offline(monkeypatch):
    """The hub cannot be reached, as it says itself."""
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)


@pytest.mark.parametrize("kind", ["local-dir", "hub", "file"])
def test_a_head_of_another_size_fails_and_is_never_drawn_anew(
    tmp_path, folder, weights, kind, offline
):
    args = {"num_classes": 7}
    if kind == "local-dir":
        reference = f"local-dir:{folder}"
    elif kind == "file":
        reference = "test_resnet"
        args["pretrained_cfg_overlay"] = {"file": str(folder / "model.safetensors")}
    else:
        reference = f"hf-hub:some/model@{COMMIT}"
        files = {"config.json": json.dumps(CONFIG).encode(), "model.safetensors": weights[0]}
        cached(tmp_path, "some/model", COMMIT, files)
        args["cache_dir"] = str(tmp_path)
    with pytest.raises(CheckpointError, match=r"num_classes = 3"):
        pretrained(reference, args)
    network = TIMM.create(reference, args, False)
    assert network.num_classes == 7


def test_heads_with_an_extra_first_class_are_read_without_it():
    module = timm.create_model("test_resnet", num_classes=3)
    module.pretrained_cfg = {**module.pretrained_cfg, "label_offset": 1}
    state = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    larger = {
        **state,
        "fc.weight": torch.cat([torch.ones(1, state["fc.weight"].shape[1]), state["fc.weight"]]),
    }
    larger["fc.bias"] = torch.cat([torch.ones(1), state["fc.bias"]])
    found = TIMM.adapt(module, larger)
    assert torch.equal(found["fc.weight"], state["fc.weight"])
    assert torch.equal(found["fc.bias"], state["fc.bias"])


def test_digest_of_a_local_folder_still_covers_its_configuration(folder):
    before = TIMM.digest(f"local-dir:{folder}")
    (folder / "config.json").write_text(json.dumps({**CONFIG, "num_classes": 4}))
    assert TIMM.digest(f"local-dir:{folder}") != before


@pytest.mark.parametrize("wanted", [False, True])
def test_timm_create_refuses_weights_past_the_door(folder, wanted):
    path = folder / "model.safetensors"
    with pytest.raises(ConfigError) as caught:
        TIMM.create("test_resnet", {"checkpoint_path": str(path)}, wanted)
    assert str(caught.value) == (
        f"model 'test_resnet': model_args.checkpoint_path = {str(path)!r} would be read "
        "unchecked; give the file as `weights` of the checkpoint instead"
    )


def test_timm_create_takes_an_empty_checkpoint_path():
    assert TIMM.create("test_resnet", {"checkpoint_path": ""}, False) is not None
