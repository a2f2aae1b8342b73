"""timm's dataset factory, `timm.data.create_dataset`, behind the split guard.

The factory opens the validation split unless told otherwise, gives the test images of CIFAR and
MNIST for any split that it does not know, and takes the whole root where a split's folder is
missing. Here the training split is asked for by name, and each of the three is refused.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np

from audit.data.split_guard import refuse_held_out_folder
from audit.errors import ConfigError, DataError
from audit.plugin import DatasetEntry, ImageSplit, Split
from audit_datasets._options import folder_option, import_optional, refuse_unknown, table_option
from audit_datasets._torch_like import split_of
from audit_datasets.class_map import read_class_map
from audit_datasets.image_folder import FilesSplit

OPTIONS = ("dataset", "root", "split", "class_map", "args")
LOCATIONS = ("root", "class_map")
TRAINING: Final = ("train", "training")
HELD_OUT: Final = ("validation", "val", "valid", "eval", "evaluation", "test")
_ELSEWHERE: Final = {"hfds": "huggingface", "hfids": "huggingface", "wds": "webdataset"}
_CHOSEN: Final = (
    *("name", "root", "split", "search_split", "download", "is_training", "class_map", "transform"),
    *("load_bytes", "input_img_mode", "trust_remote_code"),
)


def open_split(split: Split, options: Mapping[str, Any]) -> ImageSplit:
    """The images that timm's factory opens for training.

    Args:
        split: "train", or "held_out": the validation split.
        options: `dataset`, as the factory names it: "" or "folder" for a folder, "torch/cifar10"
            and the like; `root`; `split`, "train" or "training"; `class_map`, a text file with one
            class name per line; `args`, a table passed on to the reader.

    Raises:
        ConfigError: An unknown option, a value that cannot be used, or a form that another dataset
            reads.
        DataError: The split is no training split, its folder is missing, or nothing can be read.
    """
    refuse_unknown("timm", options, OPTIONS)
    name = options.get("dataset", "")
    if not isinstance(name, str):
        raise ConfigError(f"timm: dataset must be a string such as 'torch/cifar10'; found {name!r}")
    prefix = name.partition("/")[0].lower() if "/" in name else ""
    if prefix in _ELSEWHERE:
        raise ConfigError(
            f"timm: {name!r} is read by the dataset {_ELSEWHERE[prefix]!r}; name that"
        )
    if prefix not in ("", "torch"):
        raise ConfigError(f"timm: {name!r} cannot be read here; folders and torch/… can")
    args = table_option("timm", options, "args")
    fixed = sorted(set(args) & set(_CHOSEN))
    if fixed:
        raise ConfigError(
            f"timm: args.{fixed[0]} is not for you to choose; see the options of timm"
        )
    chosen = _split_name(split, options.get("split"))
    root = folder_option("timm", "root", options.get("root"), "the dataset's folder")
    if prefix == "torch" and not name.lower().endswith("folder"):
        return _open(name, root, chosen, args, None)
    return _open(name, _split_folder(root, chosen, split), chosen, args, options.get("class_map"))


def _split_name(split: Split, given: Any) -> str:
    """The split to ask for: one that the factory knows as what it is."""
    known = TRAINING if split == "train" else HELD_OUT
    if given is None:
        return known[0]
    if given not in known:
        raise DataError(
            f"timm: split must be one of {', '.join(known)}; found {given!r}, for which timm's "
            "factory would open validation or test images, or all of the root"
        )
    return str(given)


def _split_folder(root: Path, chosen: str, split: Split) -> Path:
    """The folder of a split: below the root, or the root itself where its name says so."""
    synonyms: tuple[str, ...] = TRAINING if split == "train" else HELD_OUT
    for name in (chosen, *synonyms):
        if (root / name).is_dir():
            return root / name
    if root.name.lower() in synonyms:
        if split == "train":
            refuse_held_out_folder("the root of timm", root)
        return root
    raise DataError(
        f"timm: the root {root} has no folder {chosen!r}, and timm's factory would take the whole "
        "root in its place; give the folder of the split itself, or use image_folder"
    )


def _open(name: str, root: Path, split: str, args: Mapping[str, Any], class_map: Any) -> ImageSplit:
    """What the factory opens, as a split of images."""
    create_dataset = import_optional("timm", "timm.data", "timm").create_dataset
    if class_map is not None:
        names = read_class_map(Path(class_map).expanduser())
        args = {**args, "class_map": {one: label for label, one in enumerate(names)}}
    try:
        dataset = create_dataset(
            name, root=str(root), split=split, search_split=False, download=False, **args
        )
    except Exception as error:
        raise DataError(
            f"timm: {name or 'the folder'!r} cannot be read from {root}: {type(error).__name__}: "
            f"{error}; nothing is downloaded here"
        ) from error
    samples = getattr(getattr(dataset, "reader", None), "samples", None)
    class_to_idx = getattr(getattr(dataset, "reader", None), "class_to_idx", None)
    if not isinstance(samples, list) or not isinstance(class_to_idx, Mapping):
        return split_of(dataset, f"{name} of timm")
    paths = [Path(path).relative_to(root).as_posix() for path, _ in samples]
    labels = np.array([label for _, label in samples], dtype=np.int64)
    classes = sorted(class_to_idx, key=lambda one: class_to_idx[one])
    return FilesSplit(root, paths, labels, classes, {})


def adopt(given: Any) -> Mapping[str, Any] | None:
    """Options for the arguments of timm's `train.py`, as its `args.yaml` keeps them."""
    root = getattr(given, "data_dir", None) or getattr(given, "data", None)
    if not isinstance(given, argparse.Namespace) or not root:
        return None
    options = {"root": root, "dataset": getattr(given, "dataset", None) or ""}
    for option, argument in (("split", "train_split"), ("class_map", "class_map")):
        if getattr(given, argument, None):
            options[option] = getattr(given, argument)
    return options


DATASETS = (
    DatasetEntry(
        name="timm",
        summary="what timm's dataset factory opens for training, behind the split guard",
        version="1",
        open=open_split,
        adopt=adopt,
        options=OPTIONS,
        locations=LOCATIONS,
    ),
)
