"""Datasets in the form of torch: `len(dataset)`, `dataset[index]` → (picture, label, …)."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np

from audit.data.images import start_no_program
from audit.data.pixels import image_from_array, pixel_digest, standard_mode
from audit.errors import ConfigError, DataError
from audit_datasets._in_memory import PictureSplit, numbered
from audit_datasets._labels import numbered_labels

#: Where datasets of torchvision and many others keep all labels, so that no image need be opened.
_LABELS: Final = ("targets", "labels", "_labels", "y")


def split_of(
    dataset: Any, owner: str, class_names: Sequence[str] | None = None, check: bool = True
) -> PictureSplit:
    """A split of a dataset in memory.

    Args:
        dataset: With a length, and items (picture, label, …): pictures of Pillow, arrays or
            tensors before normalisation.
        owner: What to call it in messages.
        class_names: By label; by default the dataset's `classes`, else the numbers.
        check: Whether to refuse one that gives another picture every time.

    Raises:
        ConfigError: It has no length or no items.
        DataError: It is empty, its labels are no classes, or its pictures change.
    """
    try:
        n = len(dataset)
    except TypeError as error:
        raise ConfigError(
            f"{owner} must have a length, len(dataset), and items, dataset[index]: (picture, "
            f"label); found a {type(dataset).__name__}"
        ) from error
    if n == 0:
        raise DataError(f"{owner} is empty")
    given = _labels_of(dataset, n, owner)
    known = class_names if class_names is not None else _classes_of(dataset, given)
    labels, names = numbered_labels(given, known, owner)
    split = PictureSplit(
        labels, names, _names_of(dataset, n), lambda index: _item(dataset, index, owner)[0]
    )
    if check:
        _refuse_changing(dataset, owner)
    return split


def parts_of(dataset: Any) -> list[Any]:
    """A dataset and those it wraps, such as that of a `Subset`, from the outside in."""
    found: list[Any] = []
    while dataset is not None and not any(dataset is one for one in found):
        found.append(dataset)
        dataset = getattr(dataset, "dataset", None)
    return found


def _item(dataset: Any, index: int, owner: str) -> Sequence[Any]:
    """One item: a picture, a label, and perhaps more."""
    start_no_program()  # the dataset decodes by itself
    item = dataset[index]
    if isinstance(item, tuple | list) and len(item) >= 2:
        return item
    raise DataError(
        f"{owner} must have items (picture, label); item {index} is {type(item).__name__}"
    )


def _labels_of(dataset: Any, n: int, owner: str) -> list[Any]:
    """The label of every item: from where datasets keep them, else item by item."""
    indices = getattr(dataset, "indices", None)
    inner = getattr(dataset, "dataset", None)
    if indices is not None and inner is not None and len(indices) == n:
        known = _kept_labels(inner, len(inner))
        if known is not None and not getattr(inner, "target_transform", None):
            return [known[int(index)] for index in indices]
    known = _kept_labels(dataset, n)
    if known is not None and not getattr(dataset, "target_transform", None):
        return known
    return [_scalar(_item(dataset, index, owner)[1], owner) for index in range(n)]


def _kept_labels(dataset: Any, n: int) -> list[Any] | None:
    """All labels where a dataset keeps them under a usual name, or None."""
    for name in _LABELS:
        values = getattr(dataset, name, None)
        if values is None or callable(values):
            continue
        plain = np.asarray(values.tolist() if hasattr(values, "tolist") else values)
        if plain.shape == (n,) and plain.dtype.kind in "iu":
            return [int(value) for value in plain]
    samples = getattr(dataset, "samples", None)
    if isinstance(samples, list) and len(samples) == n and len(samples[0]) == 2:
        return [sample[1] for sample in samples]
    return None


def _scalar(label: Any, owner: str) -> Any:
    """A label as a plain number or text."""
    numbers = getattr(label, "tolist", lambda: label)()
    value = numbers[0] if isinstance(numbers, list) and len(numbers) == 1 else numbers
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise DataError(f"{owner}: a label must be one whole number or name; found {label!r}")
    return value


def _classes_of(dataset: Any, labels: Sequence[Any]) -> tuple[str, ...] | None:
    """The names that a dataset gives its classes, where they can be its labels'."""
    for part in parts_of(dataset):
        names = getattr(part, "classes", None)
        if isinstance(names, list | tuple) and len(names) > 1:
            found = tuple("/".join(n) if isinstance(n, tuple | list) else str(n) for n in names)
            whole = all(isinstance(label, int) for label in labels)
            if len(set(found)) == len(found) and (not whole or max(labels) < len(found)):
                return found
    return None


def _names_of(dataset: Any, n: int) -> tuple[str, ...]:
    """Names of images: paths from the dataset's root where it lists files, else positions."""
    samples = getattr(dataset, "samples", None)
    root = getattr(dataset, "root", None)
    if root is None or not isinstance(samples, list) or len(samples) != n:
        return numbered(n)
    paths = [sample[0] for sample in samples if isinstance(sample[0], str | os.PathLike)]
    names = tuple(os.path.relpath(path, root).replace(os.sep, "/") for path in paths)
    return names if len(set(names)) == n else numbered(n)


def _refuse_changing(dataset: Any, owner: str) -> None:
    """Refuse a dataset whose first item is another picture when it is asked for again.

    One that cannot be read is met, and named, when the sample is drawn.
    """
    digests = set()
    for _ in range(3):
        try:
            digests.add(_digest(_item(dataset, 0, owner)[0]))
        except Exception:  # noqa: BLE001  the code of others may raise anything
            return
    if len(digests) > 1:
        raise DataError(
            f"{owner} gives another picture every time an item is asked for; remove random "
            "augmentation from its transform, so that every network is given the same images"
        )


def _digest(picture: Any) -> str:
    """Of a picture, array or tensor."""
    image = picture if hasattr(picture, "getbands") else image_from_array(picture)
    return pixel_digest(standard_mode(image))


def without_held_out(dataset: Any, owner: str, refuse: Callable[[str, str, str], None]) -> None:
    """Refuse a dataset that says of itself that it is no training split.

    Raises:
        DataError: Its `train` is false, or its `split` is named as held-out data are.
    """
    for part in parts_of(dataset):
        if getattr(part, "train", None) is False:
            raise DataError(
                f"{owner} says of itself that train is False: it is validation or test data; "
                "measures are taken on the images that the networks were trained on"
            )
        said = getattr(part, "split", None) or getattr(part, "_split", None)
        if isinstance(said, str):
            refuse(f"{owner}: its split, {said!r},", said, "give the training split")
