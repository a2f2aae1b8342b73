"""Folders of images with a class-map file that says which folder is which class, as timm has it.

The file has one class name per line, in the order of labels. An image's class is the name of the
folder it lies in, at any depth, as in timm's folder reader; images of folders that the file does
not name are passed over and counted.
"""

from __future__ import annotations

import collections
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any, Final

import numpy as np

from audit.data.split_guard import refuse_held_out_folder
from audit.errors import ConfigError, DataError, quoted
from audit.files import plain_text
from audit.plugin import DatasetEntry, Split
from audit_datasets._options import folder_option, path_option, refuse_unknown
from audit_datasets._walk import ClassFolders
from audit_datasets.image_folder import EXTENSIONS, FilesSplit, read_extensions

OPTIONS = ("root", "class_map", "extensions")
LOCATIONS = ("root", "class_map")
_WHAT: Final = "a text file with one class name per line"


def open_split(split: Split, options: Mapping[str, Any]) -> FilesSplit:
    """The images below a root, labelled by a class-map file.

    Args:
        split: "train".
        options: `root`, a folder of images at any depth; `class_map`, the file; `extensions` of
            images, default: the formats torchvision reads.

    Raises:
        ConfigError: An unknown option, a value that cannot be used, or "held_out".
        DataError: A path is missing, the root is named as validation or test data are, the file
            cannot be read as a list of names, or no image lies in a folder that it names.
    """
    refuse_unknown("class_map", options, OPTIONS)
    if split != "train":
        raise ConfigError(
            "class_map is a training set and has no held-out split; give held-out images in "
            '[held_out].images, such as { name = "image_folder", root = "val" }'
        )
    root = folder_option("class_map", "root", options.get("root"), "the folder of images")
    refuse_held_out_folder("the root of class_map", root)
    extensions = read_extensions("class_map", options.get("extensions", EXTENSIONS))
    names = read_class_map(path_option("class_map", "class_map", options.get("class_map"), _WHAT))
    folders = ClassFolders(root.parent, only=root.name)
    position = {name: label for label, name in enumerate(names)}
    skipped: collections.Counter[str] = collections.Counter()
    paths: list[str] = []
    labels: list[int] = []
    for path in folders.images(root.name, extensions):
        within = PurePosixPath(path).relative_to(root.name)
        label = position.get(within.parent.name)
        if label is None:
            skipped[f"in a folder without class: {within.parent.name or '.'}"] += 1
        else:
            paths.append(str(within))
            labels.append(label)
    if not paths:
        raise DataError(
            f"no image below {root} lies in a folder that the class map names; it names "
            f"{quoted(names)}, and the images lie in {quoted(skipped)}"
        )
    skipped.update(folders.skipped)
    return FilesSplit(root, paths, np.array(labels, dtype=np.int64), names, skipped)


def read_class_map(path: Path) -> tuple[str, ...]:
    """The class names of a file, by label.

    Raises:
        DataError: It is no text, or does not name two different classes.
    """
    try:
        lines = plain_text(path).rstrip().splitlines()
    except (OSError, ValueError) as error:
        raise DataError(f"class map {path} cannot be read as text: {error}") from error
    names = tuple(line.strip() for line in lines)
    if "" in names:
        raise DataError(
            f"class map {path} has an empty line, {names.index('') + 1}, which timm would count as "
            "a class; remove it if the networks were trained without"
        )
    twice = [name for name, count in collections.Counter(names).items() if count > 1]
    if twice or len(names) < 2:
        found = f"found {quoted(twice)} twice" if twice else f"found {len(names)}"
        raise DataError(f"class map {path} must name different classes, 2 or more; {found}")
    return names


DATASETS = (
    DatasetEntry(
        name="class_map",
        summary="folders of images, and a file that says which folder is which class",
        version="1",
        open=open_split,
        options=OPTIONS,
        locations=LOCATIONS,
    ),
)
