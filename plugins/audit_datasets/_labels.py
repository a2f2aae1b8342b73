"""Labels as files give them: numbers or names become positions in a list of class names."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from audit.errors import ConfigError, DataError, quoted


def numbered_labels(
    given: Sequence[Any], class_names: Sequence[str] | None, dataset: str
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Labels as positions, and the names of the classes.

    With class names, a label is one of them, or a whole number that counts them from 0. Without,
    whole numbers name themselves, up to the largest; other labels are names, sorted plainly.

    Args:
        given: Labels: numbers, or text.
        class_names: By label, or None where they are not known.
        dataset: Whose labels, for messages.

    Returns:
        Shape (n,), int64, and the names.

    Raises:
        DataError: A label is negative, or names no class.
    """
    texts = [str(label) for label in given]
    whole = all(re.fullmatch(r"[+-]?\d{1,18}", text) for text in texts)
    if class_names is not None and not (whole and not set(texts) <= set(class_names)):
        position = {name: at for at, name in enumerate(class_names)}
        unknown = sorted(set(texts) - set(position))
        if unknown:
            raise DataError(f"{dataset}: labels that are no class: {quoted(unknown)}")
        return np.array([position[text] for text in texts], dtype=np.int64), tuple(class_names)
    if not whole:
        names = tuple(sorted(set(texts)))
        position = {name: at for at, name in enumerate(names)}
        return np.array([position[text] for text in texts], dtype=np.int64), names
    labels = np.array([int(text) for text in texts], dtype=np.int64)
    low, high = (int(labels.min()), int(labels.max())) if len(labels) else (0, 0)
    known = tuple(class_names) if class_names is not None else tuple(map(str, range(high + 1)))
    if low < 0 or high >= len(known):
        hint = "; −1 is how test images without labels are published" if low == -1 else ""
        raise DataError(
            f"{dataset}: labels must be from 0 to {len(known) - 1}; found {low} to {high}{hint}"
        )
    return labels, known


def class_names_option(dataset: str, value: Any) -> tuple[str, ...] | None:
    """A list of class names, or None.

    Raises:
        ConfigError: It is no list of different names.
    """
    if value is None:
        return None
    listed = isinstance(value, Sequence | np.ndarray) and not isinstance(value, str | bytes)
    names = tuple(map(str, value)) if listed else ()
    if len(names) < 2 or len(set(names)) != len(names):
        raise ConfigError(
            f"{dataset}: class_names must be a list of different names, 2 or more, by label; "
            f"found {value!r}"
        )
    return names
