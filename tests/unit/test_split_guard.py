"""The training split is opened in one place, and is what a dataset plugin must give."""

import ast
from pathlib import Path

import numpy as np
import pytest

from audit.data.split_guard import open_training
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
