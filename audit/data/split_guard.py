"""The one place where a training split is opened to be measured.

Measures are given training images alone. Whoever opens images for them does so here, so that no
other split can be asked for by mistake, and so that whatever a plugin hands over is a split whose
images can be told apart by name: the sample, its fingerprint and the store's keys rest on that.
What a plugin can tell about its own files, such as a folder that holds splits instead of classes,
it refuses itself, with the words of this module: `looks_held_out` and what rests on it.
"""

from __future__ import annotations

import collections
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np

from audit.errors import DataError, PluginError, quoted
from audit.plugin import DatasetEntry, ImageSplit

_HELD_OUT_WORDS: Final = frozenset(
    (
        "val",
        "valid",
        "validation",
        "test",
        "tests",
        "testing",
        "eval",
        "evaluation",
        "heldout",
        "holdout",
        "held",
    )
)
_HELD_OUT_FOLDER: Final = re.compile(
    r"(?:.*[^a-z])?(?:val|valid|validation|tests?|testing|eval|evaluation|(?:held|hold)[-_ ]?out)"
    r"(?:[-_ ]?(?:set|data|dataset|images|imgs|split))?(?:[-_ ]?\d{3,4})?"
)
_TRAINING_WORDS: Final = frozenset(("train", "training", "trainval"))
_GENERIC: Final = frozenset(("images", "image", "imgs", "img", "data", "jpegimages"))


def open_training(entry: DatasetEntry, options: Mapping[str, Any]) -> ImageSplit:
    """Open the training split of a dataset, and no other.

    Args:
        entry: The dataset.
        options: Its own options.

    Raises:
        ConfigError: An option is unknown or cannot be used.
        DataError: The training set cannot be used.
        PluginError: The plugin breaks its contract: it gives something else than a split, labels
            and names that do not pair up, or one name to two images.
    """
    split: object = entry.open("train", options)
    if not isinstance(split, ImageSplit):
        raise PluginError(
            f"dataset {entry.name!r} must open an ImageSplit; it gave a {type(split).__name__}"
        )
    n_labels, n_names = len(split.labels), len(split.sample_ids)
    if n_labels != n_names:
        raise PluginError(
            f"dataset {entry.name!r} must give each training image one label and one name; "
            f"it gave {n_labels} labels and {n_names} names"
        )
    if len(set(split.sample_ids)) != n_names:
        counts = collections.Counter(split.sample_ids)
        twice = quoted(name for name, count in counts.items() if count > 1)
        raise PluginError(
            f"dataset {entry.name!r} must give each training image a name of its own; "
            f"it gave more than one the name {twice}"
        )
    labels, n_classes = np.asarray(split.labels), len(split.class_names)
    if n_labels and not (labels.min() >= 0 and labels.max() < n_classes):
        raise PluginError(
            f"dataset {entry.name!r} must give labels from 0 to {n_classes - 1}, one for each of "
            f"its {n_classes} class names; it gave {labels.min()} to {labels.max()}"
        )
    return split


def open_held_out(entry: DatasetEntry, options: Mapping[str, Any], own: bool = False) -> ImageSplit:
    """Open held-out images, which are only ever compared with training images.

    Args:
        entry: The dataset.
        options: Where the held-out images lie, in its own options; where `own`, the options of
            the training set.
        own: Whether the dataset's own held-out split is meant.

    Raises:
        ConfigError: An option is unknown or cannot be used.
        DataError: The images cannot be used.
        PluginError: The plugin gives something else than a split.
    """
    opened = None if own else entry.open_held_out
    split: object = opened(options) if opened else entry.open("held_out", options)
    if not isinstance(split, ImageSplit):
        raise PluginError(
            f"dataset {entry.name!r} must open an ImageSplit; it gave a {type(split).__name__}"
        )
    return split


def looks_held_out(name: str) -> bool:
    """Whether the name of a split or a file says validation or test, and not training.

    The words of the name are compared, so that "val-0001", "test[:10%]" and "ImageNet_VAL" are
    recognised, and "latest", "valley" or "train_test" are not.
    """
    words = set(re.findall("[a-z]+", _in_words(name)))
    return bool(words & _HELD_OUT_WORDS) and not words & _TRAINING_WORDS


def folder_looks_held_out(name: str) -> bool:
    """Whether the name of a folder says validation or test: it is, or ends in, such a word.

    Folders are named more freely than splits: "val", "val2017", "ImageNet-val" and "test_images"
    are recognised, "test_of_the_new_camera" is not.
    """
    words = _in_words(name)
    training = _TRAINING_WORDS.intersection(re.findall("[a-z]+", words))
    return not training and bool(_HELD_OUT_FOLDER.fullmatch(words))


def _in_words(name: str) -> str:
    """A name in lower case, its camel humps parted."""
    return re.sub("([a-z])([A-Z])", r"\1 \2", name).lower()


def refuse_held_out(owner: str, name: str, advice: str) -> None:
    """Refuse a split or a file that its name says is validation or test data.

    Args:
        owner: Whose name it is, as the message begins: "split 'val' of huggingface".
        name: Of the split or file.
        advice: What to give in its place.

    Raises:
        DataError: The name says so.
    """
    if looks_held_out(name):
        raise _named_as_held_out(owner, advice)


def refuse_held_out_folder(owner: str, folder: Path) -> None:
    """Refuse a folder that, by its own name or that of what a link leads to, is held out.

    A folder named "images" or the like is judged by the one around it.

    Raises:
        DataError: Its name says so.
    """
    for path in dict.fromkeys((Path(os.path.abspath(folder)), Path(os.path.realpath(folder)))):
        names = [path.name, path.parent.name] if path.name.lower() in _GENERIC else [path.name]
        if any(map(folder_looks_held_out, names)):
            raise _named_as_held_out(
                f"{owner}, {path},",
                "give the training folder, or rename this one if its images are the training set",
            )


def _named_as_held_out(owner: str, advice: str) -> DataError:
    """The error for what its name gives away."""
    return DataError(
        f"{owner} is named as validation or test data are; measures are taken on the images that "
        f"the networks were trained on, so that held-out accuracies stay unseen; {advice}"
    )
