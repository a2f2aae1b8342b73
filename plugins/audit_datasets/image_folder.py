"""A folder with one folder of images per class: root/class name/any depth/image.

The convention of torchvision's `ImageFolder`: class folders sorted by name are the labels 0, 1, ….
What is passed over (hidden names, other endings, links that would put an image into two classes) is
counted in `skipped`. With a class-map file the folders may lie anyhow (`audit_datasets.class_map`).
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from audit.data.images import decode_image
from audit.data.split_guard import refuse_held_out_folder
from audit.errors import ConfigError, DataError
from audit.files import open_plain
from audit.plugin import DatasetEntry, ImageSplit, Split
from audit_datasets._options import folder_option, refuse_unknown
from audit_datasets._walk import ClassFolders, folders_in

if TYPE_CHECKING:
    from PIL import Image

OPTIONS = ("root", "extensions", "held_out_root")
LOCATIONS = ("root", "held_out_root")
EXTENSIONS = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")
SPLIT_FOLDERS = frozenset(
    ("train", "training", "val", "valid", "validation", "test", "testing", "eval", "held_out")
)


class FilesSplit(ImageSplit):
    """Image files on disk, read when asked for.

    Args:
        root: The folder that paths start from.
        paths: Of each image, relative to the root.
        labels: Of each image.
        class_names: By label.
        skipped: What was passed over → how many.
    """

    def __init__(
        self,
        root: Path,
        paths: Sequence[str],
        labels: np.ndarray,
        class_names: Sequence[str],
        skipped: Mapping[str, int],
    ) -> None:
        self.class_names = tuple(map(readable_name, class_names))
        self.sample_ids = tuple(map(readable_name, paths))
        self.labels = labels
        self.skipped = dict(skipped)
        self._root, self._paths = root, paths

    def path(self, index: int) -> Path:
        """Where an image lies."""
        return self._root / self._paths[index]

    def digest(self, index: int) -> str:
        """SHA-256 of the file.

        Raises:
            DataError: It cannot be read.
        """
        try:
            with open_plain(self.path(index)) as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise DataError(f"image {self.path(index)} cannot be read: {error}") from error

    def stamp(self, index: int) -> str:
        """Size, times of change and identity of the file."""
        try:
            found = self.path(index).stat()
        except OSError as error:
            raise DataError(f"image {self.path(index)} cannot be read: {error}") from error
        times = f"{found.st_mtime_ns}-{found.st_ctime_ns}"
        return f"{found.st_size}-{times}-{found.st_dev}-{found.st_ino}"

    def load(self, index: int) -> Image.Image:
        """Decode one image.

        Raises:
            DataError: See `audit.data.images.decode_image`.
        """
        return decode_image(self.path(index))


def open_split(split: Split, options: Mapping[str, Any]) -> FilesSplit:
    """The images of one split on disk.

    Args:
        split: "train", or "held_out" where the options name a folder for it.
        options: `root`, the folder of class folders; `extensions`, those of images, in either
            case, default: the formats torchvision reads; `held_out_root`, a second folder with
            the same class folders, which "train" never looks at.

    Raises:
        ConfigError: An unknown option, a value that cannot be used, or "held_out" without a
            `held_out_root`.
        DataError: A folder is missing, holds splits instead of classes, is named as validation or
            test data are, has fewer than two classes or an empty one, or the two folders differ in
            their classes.
    """
    refuse_unknown("image_folder", options, OPTIONS)
    if split != "train" and options.get("held_out_root") is None:
        raise ConfigError(
            "image_folder is a training set and has no held-out split; "
            "give held-out accuracies in [held_out].table"
        )
    extensions = read_extensions("image_folder", options.get("extensions", EXTENSIONS))
    root = _root("root", options.get("root"))
    if split == "train":
        refuse_held_out_folder("the root of image_folder", root)
        return _read(root, _classes(root), extensions)
    held_out = _root("held_out_root", options["held_out_root"])
    folders, found = _classes(root), _classes(held_out)
    if folders.names != found.names:
        raise DataError(_other_classes(root, held_out, folders.names, found.names))
    return _read(held_out, found, extensions)


def open_held_out(options: Mapping[str, Any]) -> FilesSplit:
    """A folder of held-out images, of which only the content counts: classes may be any or none.

    Args:
        options: `root`, a folder of images at any depth; `extensions`.

    Raises:
        ConfigError: An unknown option, or a value that cannot be used.
        DataError: The folder is missing or holds no image.
    """
    refuse_unknown("image_folder", options, OPTIONS)
    extensions = read_extensions("image_folder", options.get("extensions", EXTENSIONS))
    root = _root("root", options.get("root"))
    folders = ClassFolders(root.parent, only=root.name)
    paths = folders.images(root.name, extensions)
    if not paths:
        raise DataError(f"held-out folder {root} holds no image of {', '.join(extensions)}")
    labels = np.zeros(len(paths), dtype=np.int64)
    return FilesSplit(root.parent, paths, labels, ("held out",), folders.skipped)


def _read(root: Path, folders: ClassFolders, extensions: tuple[str, ...]) -> FilesSplit:
    """The images below the class folders of a root."""
    classes = {name: folders.images(name, extensions) for name in folders.names}
    if not all(classes.values()):
        raise DataError(_empty_classes(root, classes, folders.skipped))
    counts = [len(paths) for paths in classes.values()]
    labels = np.repeat(np.arange(len(counts), dtype=np.int64), counts)
    paths = [path for found in classes.values() for path in found]
    return FilesSplit(root, paths, labels, folders.names, folders.skipped)


def _classes(root: Path) -> ClassFolders:
    """The class folders of a root: two or more, and no splits."""
    folders = ClassFolders(root)
    _refuse_splits(root, folders.names)
    if len(folders.names) < 2:
        named = ": " + ", ".join(folders.names) if folders.names else ""
        raise DataError(
            f"{root} must hold one folder of images per class, at least 2; "
            f"found {len(folders.names)}{named}"
        )
    return folders


def _other_classes(root: Path, held_out: Path, names: Sequence[str], found: Sequence[str]) -> str:
    """How the class folders of the two roots differ."""
    message = f"the held-out folder {held_out} must hold the class folders of {root}"
    missing = [readable_name(name) for name in names if name not in found]
    extra = [readable_name(name) for name in found if name not in names]
    if missing:
        message += f"; missing: {', '.join(missing)}"
    if extra:
        message += f"; not in training: {', '.join(extra)}"
    return message


def _root(option: str, value: Any) -> Path:
    """The folder an option names, or why it cannot be used."""
    return folder_option(
        "image_folder", option, value, "the folder that holds one folder of images per class"
    )


def read_extensions(dataset: str, value: Any) -> tuple[str, ...]:
    """Extensions with a dot, in lower case."""
    if isinstance(value, str) or not isinstance(value, Sequence) or not value:
        raise ConfigError(f"{dataset}: extensions must be a list of strings; found {value!r}")
    if not all(isinstance(extension, str) and extension.strip(".") for extension in value):
        raise ConfigError(f"{dataset}: extensions must be a list of strings; found {value!r}")
    return tuple("." + extension.lower().lstrip(".") for extension in value)


def _refuse_splits(root: Path, folders: Sequence[str]) -> None:
    """Refuse a root whose folders are splits: their parts would be taken for classes."""
    splits = [name for name in folders if name.lower() in SPLIT_FOLDERS and folders_in(root / name)]
    if splits:
        training = next((name for name in splits if name.lower().startswith("train")), splits[0])
        raise DataError(
            f"{root} holds splits ({', '.join(splits)}), not classes; choose the training split: "
            f'root = "{root / training}"'
        )


def _empty_classes(
    root: Path, classes: Mapping[str, Sequence[str]], skipped: Mapping[str, int]
) -> str:
    """Which classes have no image, with all the counts."""
    empty = [name for name, paths in classes.items() if not paths]
    counts = ", ".join(f"{name}: {len(paths)}" for name, paths in classes.items())
    message = (
        f"every class folder of {root} must hold an image, but {', '.join(empty)} "
        f"{'has' if len(empty) == 1 else 'have'} none; images per class: {counts}"
    )
    if skipped:
        others = ", ".join(f"{n} × {kind}" for kind, n in sorted(skipped.items()))
        message += f"; passed over: {others}"
    return message + "; fill or remove the empty folders"


def readable_name(name: str) -> str:
    """The name as text: bytes that are not UTF-8 are written as escapes."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


DATASETS = (
    DatasetEntry(
        name="image_folder",
        summary="a folder with one folder of images per class",
        version="2",
        open=open_split,
        open_held_out=open_held_out,
        options=OPTIONS,
        locations=LOCATIONS,
    ),
)
