"""The files that a configuration names, and what their checkpoints are called."""

import json

import pytest
import safetensors.torch
import torch

from audit.errors import CheckpointError, ConfigError
from audit.network.weights.folders import stem, weights_in
from audit.runs.checkpoints import expand_checkpoints
from audit.runs.config import AuditConfig


def touch(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)


def names(base, *sections):
    """Name of each checkpoint → its file, from the base."""
    entries = [{"model": "test_resnet", **section} for section in sections]
    content = {"dataset": {"name": "digits"}, "checkpoints": entries}
    found = expand_checkpoints(AuditConfig.parse(content, base, "test"))
    return {one.name: one.path and one.path.relative_to(base).as_posix() for one in found}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("checkpoint-3.pth.tar", "checkpoint-3"),
        ("epoch=3-step=40.ckpt", "epoch=3-step=40"),
        ("resnet18-0.1.pth", "resnet18-0.1"),
        ("model.safetensors", "model"),
        ("model.safetensors.index.json", "model"),
        ("pytorch_model.bin.index.json", "pytorch_model"),
        ("w.other", "w"),
        ("plain", "plain"),
        (".pth", ".pth"),
    ],
)
def test_stems_are_without_double_endings(tmp_path, name, expected):
    assert stem(tmp_path / name) == expected


TIMM = ["args.yaml", "summary.csv", "checkpoint-1.pth.tar", "checkpoint-2.pth.tar"]


def test_a_training_folder_of_timm_is_a_series_of_epochs(tmp_path):
    run = tmp_path / "output/train/20240101-resnet18"
    touch(run, *TIMM)
    (run / "last.pth.tar").write_text("another epoch")
    (run / "model_best.pth.tar").hardlink_to(run / "checkpoint-1.pth.tar")
    expected = [f"{part}.pth.tar" for part in ("checkpoint-1", "checkpoint-2", "last")]
    assert [path.name for path in weights_in(run)] == expected
    (run / "last.pth.tar").write_text("checkpoint-2.pth.tar")
    home = "output/train/20240101-resnet18"
    series = {f"checkpoint-{n}": f"{home}/checkpoint-{n}.pth.tar" for n in (1, 2)}
    for given in (home, "output", "output/train/*", f"{home}/checkpoint-*.pth.tar"):
        assert names(tmp_path, {"weights": given}) == series


def test_files_of_one_name_are_told_apart_by_the_nearest_folders_that_differ(tmp_path):
    for version in (0, 1):
        touch(
            tmp_path / f"logs/version_{version}/checkpoints", "last.ckpt", f"epoch={version}.ckpt"
        )
        touch(tmp_path / f"logs/version_{version}", "hparams.yaml", "metrics.csv")
    expected = {
        "epoch=0": "logs/version_0/checkpoints/epoch=0.ckpt",
        "epoch=1": "logs/version_1/checkpoints/epoch=1.ckpt",
        "version_0-last": "logs/version_0/checkpoints/last.ckpt",
        "version_1-last": "logs/version_1/checkpoints/last.ckpt",
    }
    assert names(tmp_path, {"weights": "logs"}) == expected
    assert names(tmp_path, {"weights": "logs/*/checkpoints/*.ckpt"}) == expected
    sections = [{"weights": f"logs/version_{n}"} for n in (1, 0)]
    assert names(tmp_path, *sections) == expected


def test_several_folders_tell_apart_where_one_does_not(tmp_path):
    touch(tmp_path, "a/x/w.pt", "a/y/w.pt", "b/x/w.pt")
    assert list(names(tmp_path, {"weights": "**/w.pt"})) == ["a-x-w", "a-y-w", "b-x-w"]


def test_files_that_differ_in_their_endings_alone_are_told_apart_by_them(tmp_path):
    touch(tmp_path, "a/x.pt", "a/x.safetensors", "a/y.pt")
    assert list(names(tmp_path, {"weights": "a/*"})) == ["x.pt", "x.safetensors", "y"]
    touch(tmp_path, "b/x.pt")
    found = list(names(tmp_path, {"weights": "*/*"}))
    assert found == ["a-x.pt", "a-x.safetensors", "b-x", "y"]


def test_one_file_taken_twice_is_told_apart_by_which(tmp_path):
    touch(tmp_path, "a.pt", "b.pt")
    sections = [{"weights": "*.pt", "which": which} for which in ("ema", "raw")]
    assert list(names(tmp_path, *sections)) == ["a-ema", "a-raw", "b-ema", "b-raw"]
    with pytest.raises(ConfigError, match=r"^two checkpoints are named 'a': .*a\.pt and .*a\.pt; "):
        names(tmp_path, {"weights": "a.pt"}, {"weights": "*.pt"})


def test_names_that_were_given_stay(tmp_path):
    touch(tmp_path, "x/w.pt", "y/w.pt")
    found = names(tmp_path, {"weights": "x/w.pt", "name": "mine"}, {"weights": "y/w.pt"})
    assert list(found) == ["mine", "w"]
    with pytest.raises(ConfigError, match=r"^two checkpoints are named 'w': "):
        names(tmp_path, {"weights": "x/w.pt", "name": "w"}, {"weights": "y/w.pt"})


def test_a_network_by_its_usual_name_is_called_after_its_folder(tmp_path):
    touch(tmp_path, "a/model.safetensors", "a/optimizer.pt", "a/training_args.bin", "c/w.pth")
    touch(tmp_path, "b/model.safetensors.index.json", "b/model-00001-of-00002.safetensors")
    expected = {
        "a": "a/model.safetensors",
        "b": "b/model.safetensors.index.json",
        "w": "c/w.pth",
    }
    assert names(tmp_path, {"weights": "*"}) == expected
    assert names(tmp_path, {"weights": "a"}) == {"a": "a/model.safetensors"}
    assert list(names(tmp_path, {"weights": "?/model.safetensors*"})) == ["a-model", "b-model"]
    assert list(names(tmp_path, {"weights": "a/model.safetensors"})) == ["model"]


def test_states_of_trainers_are_no_checkpoints(tmp_path):
    files = ["w.pt", "optimizer.pt", "scheduler.pt", "rng_state_0.pth", "scaler.pt", ".hidden.pt"]
    touch(tmp_path / "run", *files)
    assert names(tmp_path, {"weights": "run"}) == {"w": "run/w.pt"}


def test_folders_of_other_formats_are_checkpoints_that_say_what_they_are(tmp_path):
    touch(tmp_path, "run/dcp/.metadata", "run/dcp/__0_0.distcp", "run/peft/adapter_config.json")
    assert names(tmp_path, {"weights": "run"}) == {"dcp": "run/dcp", "peft": "run/peft"}


@pytest.mark.parametrize(
    ("files", "inside"), [([], "is empty"), (["a.txt", "b.json"], "holds a.txt, b.json")]
)
def test_folders_without_weights_are_refused_with_what_they_hold(tmp_path, files, inside):
    (tmp_path / "run").mkdir()
    touch(tmp_path / "run", *files)
    folder = tmp_path / "run"
    said = (
        f"checkpoint {folder} is a folder without weights (files ending in .safetensors, .pth.tar, "
        f".pt.tar, .pth, .pt, .ckpt, .bin, .tar): it {inside}"
    )
    with pytest.raises(CheckpointError) as caught:
        weights_in(folder)
    assert str(caught.value) == said
    for given in ("run", "ru*"):
        with pytest.raises(ConfigError) as refused:
            names(tmp_path, {"weights": given})
        assert str(refused.value) == f"[[checkpoints]] weights = {given!r}: {said}"


def test_a_folder_that_a_pattern_matches_beside_files_may_be_anything(tmp_path):
    touch(tmp_path, "w.pt", "images/a.png")
    assert names(tmp_path, {"weights": "[wi]*"}) == {"w": "w.pt"}


def test_relative_local_folders_count_from_the_configuration(tmp_path, monkeypatch):
    from audit.plugin.registry import installed
    from audit.runs.checkpoints import settle_weights
    from audit.runs.config import CheckpointConfig

    folder = tmp_path / "configs/mine"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({"architecture": "test_resnet"}))
    safetensors.torch.save_file({"a": torch.ones(1)}, folder / "model.safetensors")
    monkeypatch.chdir(tmp_path)
    entry = CheckpointConfig(model="local-dir:mine", pretrained=True)
    source = installed().model_source(entry.model)
    found = settle_weights(source, entry, None, tmp_path / "configs")
    assert found.file == folder / "model.safetensors"
    assert not found.built
