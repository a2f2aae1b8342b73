"""A folder with one folder of images per class: root/class name/any depth/image.

The convention of torchvision's `ImageFolder`: class folders sorted by name are the labels 0, 1, ….
Folders and files whose name starts with "." are ignored, as are files without an image extension
(counted in `ignored`). Symbolic links are followed, never in a circle.
"""

from __future__ import annotations

import collections
import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from audit.data.images import decode_image
from audit.errors import ConfigError, DataError
from audit.plugin import ImageSplit, Split
from audit_datasets.options import refuse_unknown

if TYPE_CHECKING:
    from PIL import Image

OPTIONS = ("root", "extensions", "held_out_root")
LOCATIONS = ("root", "held_out_root")
EXTENSIONS = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")
SPLIT_FOLDERS = frozenset(
    ("train", "training", "val", "valid", "validation", "test", "testing", "eval", "held_out")
)


class FolderSplit(ImageSplit):
    """The images below a root, read when asked for.

    Attributes:
        ignored: Extension → number of files that are not images by extension.

    Args:
        root: The folder of class folders.
        classes: Class name → its images' paths relative to the root.
        ignored: See above.
    """

    def __init__(
        self, root: Path, classes: Mapping[str, Sequence[str]], ignored: Mapping[str, int]
    ) -> None:
        self.class_names = tuple(_readable_name(name) for name in classes)
        self.ignored = dict(ignored)
        self._paths = [root / path for paths in classes.values() for path in paths]
        self.sample_ids = tuple(
            _readable_name(path) for paths in classes.values() for path in paths
        )
        counts = [len(paths) for paths in classes.values()]
        self.labels = np.repeat(np.arange(len(counts), dtype=np.int64), counts)

    def digest(self, index: int) -> str:
        """SHA-256 of the file.

        Raises:
            DataError: It cannot be read.
        """
        try:
            with self._paths[index].open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise DataError(f"image {self._paths[index]} cannot be read: {error}") from error

    def stamp(self, index: int) -> str:
        """Size, times of change and identity of the file."""
        try:
            found = self._paths[index].stat()
        except OSError as error:
            raise DataError(f"image {self._paths[index]} cannot be read: {error}") from error
        times = f"{found.st_mtime_ns}-{found.st_ctime_ns}"
        return f"{found.st_size}-{times}-{found.st_dev}-{found.st_ino}"

    def load(self, index: int) -> Image.Image:
        """Decode one image.

        Raises:
            DataError: See `audit.data.images.decode_image`.
        """
        return decode_image(self._paths[index])


def open_split(split: Split, options: Mapping[str, Any]) -> FolderSplit:
    """The images of one split on disk.

    Args:
        split: "train", or "held_out" where the options name a folder for it.
        options: `root`, the folder of class folders; `extensions`, those of images, in either
            case, default: the formats torchvision reads; `held_out_root`, a second folder with
            the same class folders, which "train" never looks at.

    Raises:
        ConfigError: An unknown option, a value that cannot be used, or "held_out" without a
            `held_out_root`.
        DataError: A folder is missing, holds splits instead of classes, has fewer than two
            classes or an empty one, or the two folders differ in their classes.
    """
    refuse_unknown("image_folder", options, OPTIONS)
    if split != "train" and options.get("held_out_root") is None:
        raise ConfigError(
            "image_folder is a training set and has no held-out split; "
            "give held-out accuracies in [held_out].table"
        )
    extensions = _extensions(options.get("extensions", EXTENSIONS))
    root = _root("root", options.get("root"))
    if split == "train":
        return _read(root, _classes(root), extensions)
    held_out = _root("held_out_root", options["held_out_root"])
    names, found = _classes(root), _classes(held_out)
    if names != found:
        raise DataError(_other_classes(root, held_out, names, found))
    return _read(held_out, found, extensions)


def _read(root: Path, folders: Sequence[str], extensions: tuple[str, ...]) -> FolderSplit:
    """The images below the class folders of a root."""
    ignored: collections.Counter[str] = collections.Counter()
    classes = {name: _images(root, name, extensions, ignored) for name in folders}
    if not all(classes.values()):
        raise DataError(_empty_classes(root, classes, ignored))
    return FolderSplit(root, classes, ignored)


def _classes(root: Path) -> list[str]:
    """The class folders of a root: two or more, and no splits."""
    folders = _class_folders(root)
    _refuse_splits(root, folders)
    if len(folders) < 2:
        named = ": " + ", ".join(folders) if folders else ""
        raise DataError(
            f"{root} must hold one folder of images per class, at least 2; "
            f"found {len(folders)}{named}"
        )
    return folders


def _other_classes(root: Path, held_out: Path, names: Sequence[str], found: Sequence[str]) -> str:
    """How the class folders of the two roots differ."""
    message = f"the held-out folder {held_out} must hold the class folders of {root}"
    missing = [_readable_name(name) for name in names if name not in found]
    extra = [_readable_name(name) for name in found if name not in names]
    if missing:
        message += f"; missing: {', '.join(missing)}"
    if extra:
        message += f"; not in training: {', '.join(extra)}"
    return message


def _root(option: str, value: Any) -> Path:
    """The folder an option names, or why it cannot be used."""
    if not isinstance(value, str | os.PathLike) or not str(value):
        raise ConfigError(
            f"image_folder needs the option {option}: the folder that holds one folder of images "
            f"per class; found {value!r}"
        )
    root = Path(value).expanduser()
    if not root.is_dir():
        found = "it is not a folder" if root.exists() else "it does not exist"
        raise DataError(f"the {option} of image_folder must be a folder, but {root}: {found}")
    return root


def _extensions(value: Any) -> tuple[str, ...]:
    """Extensions with a dot, in lower case."""
    if isinstance(value, str) or not isinstance(value, Sequence) or not value:
        raise ConfigError(f"image_folder: extensions must be a list of strings; found {value!r}")
    if not all(isinstance(extension, str) and extension.strip(".") for extension in value):
        raise ConfigError(f"image_folder: extensions must be a list of strings; found {value!r}")
    return tuple("." + extension.lower().lstrip(".") for extension in value)


def _class_folders(folder: Path) -> list[str]:
    """Names of the folders in a folder that are not hidden, sorted."""
    try:
        with os.scandir(folder) as entries:
            return sorted(e.name for e in entries if e.is_dir() and not e.name.startswith("."))
    except OSError as error:
        raise DataError(f"folder {folder} cannot be read: {error}") from error


def _refuse_splits(root: Path, folders: Sequence[str]) -> None:
    """Refuse a root whose folders are splits: their parts would be taken for classes."""
    splits = [
        name for name in folders if name.lower() in SPLIT_FOLDERS and _class_folders(root / name)
    ]
    if splits:
        training = next((name for name in splits if name.lower().startswith("train")), splits[0])
        raise DataError(
            f"{root} holds splits ({', '.join(splits)}), not classes; choose the training split: "
            f'root = "{root / training}"'
        )


def _images(
    root: Path, name: str, extensions: tuple[str, ...], ignored: collections.Counter[str]
) -> list[str]:
    """Paths of one class's images relative to the root, sorted; other files are counted."""
    found: list[str] = []
    for path in _files(root / name, ()):
        suffix = path.suffix.lower()
        if suffix in extensions:
            found.append(path.relative_to(root).as_posix())
        else:
            ignored[suffix] += 1
    return sorted(found)


def _files(folder: Path, above: tuple[tuple[int, int], ...]) -> Iterator[Path]:
    """Files below a folder that are not hidden; links that lead back up are not followed."""
    try:
        identity = folder.stat()
        here = (identity.st_dev, identity.st_ino)
        if here in above:
            return
        with os.scandir(folder) as found:
            entries = sorted(found, key=lambda entry: entry.name)
    except OSError as error:
        raise DataError(f"folder {folder} cannot be read: {error}") from error
    for entry in entries:
        if entry.name.startswith("."):
            continue
        if entry.is_dir():
            yield from _files(folder / entry.name, (*above, here))
        else:
            yield folder / entry.name


def _empty_classes(
    root: Path, classes: Mapping[str, Sequence[str]], ignored: Mapping[str, int]
) -> str:
    """Which classes have no image, with all the counts."""
    empty = [name for name, paths in classes.items() if not paths]
    counts = ", ".join(f"{name}: {len(paths)}" for name, paths in classes.items())
    message = (
        f"every class folder of {root} must hold an image, but {', '.join(empty)} "
        f"{'has' if len(empty) == 1 else 'have'} none; images per class: {counts}"
    )
    if ignored:
        others = ", ".join(f"{n} × {kind or 'no extension'}" for kind, n in sorted(ignored.items()))
        message += f"; ignored files: {others}"
    return message + "; fill or remove the empty folders"


def _readable_name(name: str) -> str:
    """The name as text: bytes that are not UTF-8 are written as escapes."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")
