"""The training split is opened in one place, and is what a dataset plugin must give."""

import ast
import dataclasses
from pathlib import Path

import numpy as np
import pytest

from audit.data.split_guard import (
    folder_looks_held_out,
    looks_held_out,
    open_held_out,
    open_training,
)
from audit.errors import ConfigError, PluginError
from audit.plugin import DatasetEntry, ImageSplit
from audit.plugin.registry import installed

ROOT = Path(__file__).parents[2]

#: Modules of `audit` that may open splits themselves: they measure nothing.
EXCEPTIONS = {
    "audit/data/split_guard.py",  # the guard
    "audit/zoo/training.py",  # trains on one split and takes accuracies on the other
    "audit/conformance/sources.py",  # compares the splits of a plugin with each other
}


class Split(ImageSplit):
    def __init__(self, names, n_labels):
        self.class_names = ("x", "y")
        self.labels = np.arange(n_labels) % 2
        self.sample_ids = tuple(names)

    def digest(self, index):
        return f"{index:064x}"

    def load(self, index):
        raise NotImplementedError


def dataset(split):
    asked = []

    def open_split(name, options):
        asked.append((name, dict(options)))
        return split

    return DatasetEntry(name="fake", summary="fake", version="1", open=open_split), asked


def test_open_training_asks_for_the_training_split_alone():
    split = Split("abc", 3)
    entry, asked = dataset(split)
    assert open_training(entry, {"root": "somewhere"}) is split
    assert asked == [("train", {"root": "somewhere"})]


@pytest.mark.parametrize(
    ("split", "message"),
    [
        ([1, 2], "must open an ImageSplit; it gave a list"),
        (
            Split("abc", 2),
            "must give each training image one label and one name; it gave 2 labels and 3 names",
        ),
        (
            Split("abcab", 5),
            "must give each training image a name of its own; "
            "it gave more than one the name 'a', 'b'",
        ),
    ],
)
def test_open_training_refuses_what_is_no_split(split, message):
    with pytest.raises(PluginError) as caught:
        open_training(dataset(split)[0], {})
    assert str(caught.value) == f"dataset 'fake' {message}"


def test_open_training_passes_on_what_the_plugin_refuses():
    with pytest.raises(ConfigError, match="unknown option 'colour'"):
        open_training(installed().datasets["digits"], {"colour": 1})


def opens_a_split(path):
    """Whether a file calls some `open` with the name of a split."""
    calls = (n for n in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(n, ast.Call))
    return any(
        isinstance(call.func, ast.Attribute)
        and call.func.attr == "open"
        and any(isinstance(a, ast.Constant) and a.value in ("train", "held_out") for a in call.args)
        for call in calls
    )


def test_splits_are_opened_by_the_guard_alone():
    opening = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "audit").rglob("*.py")
        if opens_a_split(path)
    }
    assert opening <= EXCEPTIONS


@pytest.mark.parametrize(
    "name",
    [
        "val",
        "test",
        "validation",
        "test[:10%]",
        "imagenet-val-0001",
        "testSet",
        "held_out",
        "tests",
    ],
)
def test_split_names_of_held_out_data_are_recognised(name):
    assert looks_held_out(name)


@pytest.mark.parametrize("name", ["train", "trainval", "latest", "valley", "train+test", "extra"])
def test_split_names_of_training_data_are_let_through(name):
    assert not looks_held_out(name)


@pytest.mark.parametrize("name", ["val", "val2017", "Imagenet-Val", "test_images", "evaluation"])
def test_folders_of_held_out_data_are_recognised(name):
    assert folder_looks_held_out(name)


@pytest.mark.parametrize("name", ["test_of_a_camera0", "test_x1", "contest", "training-test"])
def test_folders_whose_names_only_begin_so_are_let_through(name):
    assert not folder_looks_held_out(name)


def test_open_training_refuses_labels_without_a_name():
    split = Split("abc", 3)
    split.labels = np.array([0, 1, 2])
    with pytest.raises(PluginError) as caught:
        open_training(dataset(split)[0], {})
    assert str(caught.value) == (
        "dataset 'fake' must give labels from 0 to 1, one for each of its 2 class names; it gave 0 "
        "to 2"
    )


def test_open_held_out_asks_the_dataset_for_what_it_compares():
    split = Split("abc", 3)
    entry, asked = dataset(split)
    assert open_held_out(entry, {"root": "x"}) is split
    assert asked == [("held_out", {"root": "x"})]
    own = dataclasses.replace(entry, open_held_out=lambda options: options)
    with pytest.raises(PluginError, match="must open an ImageSplit; it gave a dict"):
        open_held_out(own, {"root": "x"})
    assert open_held_out(own, {}, own=True) is split
