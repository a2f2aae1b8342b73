"""Class names inside a checkpoint: found where training scripts leave them, and nowhere else."""

import argparse
import json

import pytest
import timm
import torch
from safetensors.torch import save_file

from audit.measuring.class_order import ordered_names
from audit.network import class_names
from audit.network.class_names import names_in_checkpoint

NAMES = ["ant", "bee", "cat"]
STATE = {"weight": torch.zeros(3, 2)}


def names_of(weights, configs=()):
    found = [
        (ordered_names(value), place) for value, place in names_in_checkpoint(weights, configs)
    ]
    return [(names, place) for names, place in found if names is not None]


@pytest.mark.parametrize(
    ("extra", "place"),
    [
        ({"class_to_idx": {"bee": 1, "ant": 0, "cat": 2}}, "class_to_idx"),
        ({"class_names": NAMES}, "class_names"),
        ({"classes": tuple(NAMES)}, "classes"),
        ({"id2label": dict(enumerate(NAMES))}, "id2label"),
        ({"meta": {"CLASSES": tuple(NAMES)}}, "meta.CLASSES"),
        ({"hyper_parameters": {"class_names": NAMES}}, "hyper_parameters.class_names"),
        ({"args": argparse.Namespace(classes=NAMES)}, "args.classes"),
        ({"pretrained_cfg": {"label_names": NAMES}}, "pretrained_cfg.label_names"),
    ],
)
def test_names_beside_a_state_dict_are_found(tmp_path, extra, place):
    path = tmp_path / "best.pth"
    torch.save({"state_dict": STATE, **extra}, path)
    assert names_of(path) == [(NAMES, f"{place} in best.pth")]


def test_names_in_the_metadata_of_safetensors_are_found(tmp_path):
    path = tmp_path / "model.safetensors"
    save_file(STATE, path, {"class_names": json.dumps(NAMES), "format": "pt", "classes": "{"})
    assert names_of(path) == [(NAMES, "class_names in model.safetensors")]


def test_names_in_a_configuration_beside_the_weights_are_found(tmp_path):
    path = tmp_path / "run" / "model.safetensors"
    path.parent.mkdir()
    save_file(STATE, path)
    labels = {str(index): name for index, name in enumerate(NAMES)}
    (path.parent / "config.json").write_text(json.dumps({"id2label": labels}))
    assert names_of(path) == [(NAMES, "id2label in run/config.json")]
    assert names_of(None, [path.parent / "config.json"]) == [(NAMES, "id2label in run/config.json")]


def test_names_that_timm_writes_for_the_hub_are_found(tmp_path):
    from timm.models._hub import save_for_hf

    network = timm.create_model("test_resnet", num_classes=3)
    save_for_hf(network, tmp_path, {"label_names": NAMES})
    found = names_of(tmp_path / "model.safetensors")
    assert found == [(NAMES, f"label_names in {tmp_path.name}/config.json")]


def test_descriptions_come_after_names(tmp_path):
    about = {"label_descriptions": {"n1": "ant", "n2": "bee"}, "label_names": ["n1", "n2"]}
    (tmp_path / "config.json").write_text(json.dumps({"pretrained_cfg": about}))
    names = [names for names, _ in names_of(None, [tmp_path / "config.json"])]
    assert names == [["n1", "n2"], ["ant", "bee"]]


def test_a_file_that_names_no_classes_is_not_read_whole(tmp_path, monkeypatch):
    def refuse(path):
        raise AssertionError("the whole file was read")

    monkeypatch.setattr(class_names, "read_torch_content", refuse)
    path = tmp_path / "best.pth"
    torch.save({"state_dict": STATE, "args": argparse.Namespace(num_classes=3)}, path)
    assert names_of(path) == []


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"\x08\0\0\0\0\0\0\0{\xff", b"\xff" * 40])
def test_files_that_cannot_be_read_hold_no_names(tmp_path, content):
    path = tmp_path / "best.pth"
    path.write_bytes(content)
    assert names_of(path) == []
    assert names_of(tmp_path / "missing.pth") == []


def test_names_are_read_by_the_trusted_door_alone(tmp_path):
    class Gadget:
        def __reduce__(self):
            return exec, (f"open({str(tmp_path / 'canary')!r}, 'w')",)

    path = tmp_path / "best.pth"
    torch.save({"state_dict": STATE, "class_names": NAMES, "gadget": Gadget()}, path)
    assert names_of(path) == []
    assert not (tmp_path / "canary").exists()


@pytest.mark.parametrize("content", ["[1]", "{", '{"id2label": 3}', "\ud800"])
def test_odd_configurations_hold_no_names(tmp_path, content):
    (tmp_path / "config.json").write_text(content, encoding="utf-8", errors="surrogatepass")
    assert names_of(None, [tmp_path / "config.json"]) == []
