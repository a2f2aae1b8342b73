"""Images as arrays: in a file of numpy, or in memory.

The file is an `.npz` with `images` of shape (n, height, width), (n, height, width, c) or
(n, c, height, width), `labels` of shape (n,), and optionally `class_names` and `sample_ids`. It is
read without pickle. What values mean: `audit.data.pixels.image_from_array`.
"""

from __future__ import annotations

import functools
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np

from audit.data.split_guard import refuse_held_out
from audit.errors import ConfigError, DataError
from audit.plugin import DatasetEntry, Split
from audit_datasets._in_memory import PictureSplit, numbered
from audit_datasets._labels import class_names_option, numbered_labels
from audit_datasets._options import path_option, refuse_unknown

OPTIONS = ("path", "images", "labels", "class_names")
LOCATIONS = ("path", "images", "labels")
_WHAT: Final = "an .npz file with the arrays images and labels"


def open_split(split: Split, options: Mapping[str, Any]) -> PictureSplit:
    """The images of a file, or of arrays in memory.

    Args:
        split: "train".
        options: `path` of the file; or `images` and `labels`, arrays, from Python; `class_names`,
            by label.

    Raises:
        ConfigError: An unknown option, a value that cannot be used, or "held_out".
        DataError: The arrays cannot be read or do not fit, or the file is named as validation or
            test data are.
    """
    refuse_unknown("arrays", options, OPTIONS)
    if split != "train":
        raise ConfigError(
            "arrays is a training set and has no held-out split; give held-out images in "
            '[held_out].images, such as { name = "arrays", path = "held_out.npz" }'
        )
    if options.get("images") is None:
        path = path_option("arrays", "path", options.get("path"), _WHAT)
        refuse_held_out(f"the path of arrays, {path},", path.stem, "give the training set's file")
    return open_held_out(options)


def open_held_out(options: Mapping[str, Any]) -> PictureSplit:
    """Arrays whatever the file's name; see `open_split`."""
    refuse_unknown("arrays", options, OPTIONS)
    if options.get("images") is not None:
        arrays = {name: options.get(name) for name in ("images", "labels", "class_names")}
    else:
        path = path_option("arrays", "path", options.get("path"), _WHAT)
        arrays = _read(path, path.stat().st_mtime_ns) | (
            {"class_names": options["class_names"]} if "class_names" in options else {}
        )
    images, labels = arrays.get("images"), arrays.get("labels")
    if images is None or labels is None:
        missing = "images" if images is None else "labels"
        raise DataError(f"arrays: images and labels are needed; {missing} is missing")
    images, labels = _plain(images), np.asarray(_plain(labels))
    if images.ndim not in (3, 4) or labels.shape != images.shape[:1] or not len(labels):
        raise DataError(
            "arrays: images of shape (n, height, width) or with channels and labels of shape (n,) "
            f"are needed, n at least 1; found {images.shape} and {labels.shape}"
        )
    names = class_names_option("arrays", arrays.get("class_names"))
    numbers, names = numbered_labels(labels.tolist(), names, "arrays")
    ids = arrays.get("sample_ids")
    sample_ids = numbered(len(labels)) if ids is None else tuple(map(str, ids))
    return PictureSplit(numbers, names, sample_ids, lambda index: images[index])


def _plain(values: Any) -> np.ndarray:
    """An array, or a tensor as one."""
    detached = values.detach().cpu().numpy() if hasattr(values, "detach") else values
    return np.asarray(detached)


@functools.lru_cache(maxsize=2)
def _read(path: Path, changed: int) -> dict[str, Any]:
    """The arrays of a file; kept, as every checkpoint asks for them.

    Raises:
        DataError: It is damaged, or holds what only pickle could read.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            if not isinstance(file, np.lib.npyio.NpzFile):
                raise DataError(f"{path} holds one array; {_WHAT} is needed")
            known = ("images", "labels", "class_names", "sample_ids")
            return {name: file[name] for name in known if name in file.files}
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"arrays {path} cannot be read without pickle: {error}") from error


def adopt(given: Any) -> Mapping[str, Any] | None:
    """Options for a pair (images, labels) of arrays or tensors."""
    if (
        isinstance(given, tuple)
        and len(given) == 2
        and all(hasattr(part, "shape") for part in given)
    ):
        return {"images": given[0], "labels": given[1]}
    return None


DATASETS = (
    DatasetEntry(
        name="arrays",
        summary="images and labels as arrays: an .npz file, or from Python",
        version="1",
        open=open_split,
        open_held_out=open_held_out,
        adopt=adopt,
        options=OPTIONS,
        locations=LOCATIONS,
    ),
)
