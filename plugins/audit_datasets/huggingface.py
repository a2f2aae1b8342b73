"""Hugging Face datasets on disk: folders of `save_to_disk`, and parquet files. Never downloads.

Images are decoded from their bytes by the policy of `audit.data`, with EXIF orientation applied, as
the package `datasets` does for training. Parquet is read without that package, a row group at once.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from audit.data.split_guard import refuse_held_out, refuse_held_out_folder
from audit.errors import ConfigError, DataError, quoted
from audit.files import plain_bytes
from audit.notations import json_of
from audit.parquet import check_rows
from audit.plugin import DatasetEntry, ImageSplit, Split
from audit_datasets._in_memory import BytesSplit, numbered
from audit_datasets._labels import class_names_option, numbered_labels
from audit_datasets._options import import_optional, path_option, refuse_unknown, text_option
from audit_datasets._parquet import labels_of, open_parquet, parquet_files

OPTIONS = ("root", "object", "split", "image", "label", "class_names")
LOCATIONS = ("root", "object")
_WHAT: Final = "a folder that save_to_disk wrote, or parquet files"


def open_split(split: Split, options: Mapping[str, Any]) -> ImageSplit:
    """The training split of a dataset on disk.

    Args:
        split: "train", or "held_out" where the options name its split.
        options: `root`, a folder that `save_to_disk` wrote, a parquet file, or a folder of them;
            or `object`, a `datasets.Dataset` from Python; `split`, by default "train"; `image` and
            `label`, the columns, by default "image" and "label"; `class_names` by label, by
            default those of the column's `ClassLabel`.

    Raises:
        ConfigError: An unknown option, a value that cannot be used, `datasets` is missing, or
            "held_out".
        DataError: The data cannot be read, or the split is or is named as validation or test data.
    """
    refuse_unknown("huggingface", options, OPTIONS)
    if split != "train":
        raise ConfigError(
            "huggingface opens a training split; give held-out images in [held_out].images, such "
            'as { name = "huggingface", root = "data", split = "test" }'
        )
    chosen = text_option("huggingface", options, "split", "train")
    refuse_held_out(f"split {chosen!r} of huggingface", chosen, "give the training split")
    if options.get("object") is None:
        root = path_option("huggingface", "root", options.get("root"), _WHAT)
        if root.is_dir():
            refuse_held_out_folder("the root of huggingface", root)
        else:
            refuse_held_out(f"file {root}", root.stem, "give the training files")
    return _open(options, chosen, training=True)


def open_held_out(options: Mapping[str, Any]) -> ImageSplit:
    """A split by its name, whichever it is, by default "test"; see `open_split`."""
    refuse_unknown("huggingface", options, OPTIONS)
    return _open(options, text_option("huggingface", options, "split", "test"), training=False)


def _open(options: Mapping[str, Any], chosen: str, training: bool) -> ImageSplit:
    """A split, from memory, parquet or a saved folder."""
    if options.get("object") is not None:
        return _from_dataset(_one(options["object"], chosen, training), options, None)
    root = path_option("huggingface", "root", options.get("root"), _WHAT)
    saved = any((root / name).is_file() for name in ("dataset_dict.json", "state.json"))
    if root.is_dir() and saved:
        datasets = import_optional("huggingface", "datasets", "huggingface")
        try:
            found = datasets.load_from_disk(str(root))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(f"huggingface: {root} cannot be read: {error}") from error
        return _from_dataset(_one(found, chosen, training), options, root)
    return _from_parquet(parquet_files(root, chosen, training, _WHAT), options, root)


def _one(found: Any, chosen: str, training: bool) -> Any:
    """The dataset of one split, of several or alone."""
    if isinstance(found, Mapping):
        if chosen not in found:
            raise DataError(f"huggingface: there is no split {chosen!r}; found {quoted(found)}")
        return found[chosen]
    said = str(found.split) if getattr(found, "split", None) is not None else ""
    if training and said:
        refuse_held_out(f"the dataset, of split {said!r},", said, "give the training split")
    return found


def _columns(options: Mapping[str, Any], known: Sequence[str]) -> tuple[str, str]:
    """The columns of images and labels."""
    image = text_option("huggingface", options, "image", "image")
    label = text_option("huggingface", options, "label", "label")
    missing = [column for column in (image, label) if column not in known]
    if missing:
        raise DataError(
            f"huggingface: the columns {quoted([image, label])} are needed; found {quoted(known)}; "
            "the options image and label name others"
        )
    return image, label


def _from_dataset(dataset: Any, options: Mapping[str, Any], root: Path | None) -> ImageSplit:
    """A split of a `datasets.Dataset`, from memory or below a folder."""
    datasets = import_optional("huggingface", "datasets", "huggingface")
    image, label = _columns(options, dataset.column_names)
    if not isinstance(dataset.features[image], datasets.Image):
        raise DataError(
            f"huggingface: column {image!r} must hold images; it holds {dataset.features[image]}"
        )
    pictures = dataset.with_format(None).select_columns([image])
    pictures = pictures.cast_column(image, datasets.Image(decode=False))
    names = class_names_option("huggingface", options.get("class_names"))
    names = names or tuple(getattr(dataset.features[label], "names", None) or ()) or None
    labels = dataset.with_format(None)[label]
    return _split(list(labels), names, lambda index: pictures[index][image], root)


def _split(
    given: Sequence[Any],
    names: tuple[str, ...] | None,
    cell: Callable[[int], Any],
    root: Path | None,
) -> BytesSplit:
    """A split of labels and cells, each a mapping of the image's bytes or its path.

    What lies on disk may be a stranger's: it names no file outside of its folder, the root.
    """
    if any(label is None for label in given):
        raise DataError(
            "huggingface: a label is missing; the training split has one for each image"
        )
    labels, classes = numbered_labels(given, names, "huggingface")

    def read(index: int) -> bytes:
        found = cell(index) or {}
        content, path = found.get("bytes"), found.get("path")
        if content is not None:
            return bytes(content)
        if path is None:
            raise DataError(f"image {index:07d} has neither bytes nor a path")
        return plain_bytes(Path(path) if root is None else _below(root, path, index), None)

    return BytesSplit(labels, classes, numbered(len(labels)), read, upright=True)


def _below(root: Path, path: str, index: int) -> Path:
    """The file that a cell names, in the folder of the data."""
    folder = (root if root.is_dir() else root.parent).resolve()
    found = (folder / path).resolve()
    if not found.is_relative_to(folder):
        raise DataError(
            f"image {index:07d} is said to be {path!r}, which lies outside of {folder}; put the "
            "images into the data itself"
        )
    return found


def _from_parquet(files: Sequence[Path], options: Mapping[str, Any], root: Path) -> ImageSplit:
    """A split of parquet files as `datasets` writes them."""
    from pyarrow import ArrowException

    try:
        asked = [text_option("huggingface", options, name, name) for name in ("image", "label")]
        repeated = [*asked, f"{asked[0]}.bytes"]
        tables = [open_parquet(path, repeated) for path in files]
        image, label = _columns(options, tables[0].schema_arrow.names)
        check_rows(sum(table.metadata.num_rows for table in tables), files[0])
        columns = [labels_of(table.read([label]).column(label)) for table in tables]
    except (OSError, ArrowException, MemoryError) as error:
        raise DataError(f"huggingface: parquet cannot be read: {error or 'no memory'}") from error
    sizes = [t.metadata.row_group(k).num_rows for t in tables for k in range(t.num_row_groups)]
    places = [(t, k) for t in tables for k in range(t.num_row_groups)]
    starts = np.concatenate([[0], np.cumsum(sizes)])

    @functools.lru_cache(maxsize=4)
    def group(number: int) -> Any:
        table, position = places[number]
        return table.read_row_group(position, [image]).column(image)

    def cell(index: int) -> Any:
        number = int(np.searchsorted(starts, index, side="right")) - 1
        value = group(number)[index - int(starts[number])].as_py()
        return {"bytes": value} if isinstance(value, bytes) else value

    names = class_names_option("huggingface", options.get("class_names"))
    names = names or _names_in_schema(tables[0].schema_arrow.metadata, label)
    return _split([one for column in columns for one in column], names, cell, root)


def _names_in_schema(metadata: Mapping[bytes, bytes] | None, label: str) -> tuple[str, ...] | None:
    """The names of a `ClassLabel` as `datasets` writes them into a file's schema, or None."""
    try:
        content = json_of((metadata or {})[b"huggingface"])
        names = content["info"]["features"][label]["names"]
    except (KeyError, ValueError, TypeError):
        return None
    return tuple(map(str, names)) if isinstance(names, list) and names else None


def adopt(given: Any) -> Mapping[str, Any] | None:
    """Options for a `datasets.Dataset` or a `DatasetDict`."""
    kinds = ("Dataset", "DatasetDict")
    home = type(given).__module__.partition(".")[0]
    return {"object": given} if home == "datasets" and type(given).__name__ in kinds else None


DATASETS = (
    DatasetEntry(
        name="huggingface",
        summary="a Hugging Face dataset on disk: save_to_disk, or parquet",
        version="1",
        open=open_split,
        open_held_out=open_held_out,
        adopt=adopt,
        options=OPTIONS,
        locations=LOCATIONS,
    ),
)
