"""Which output of a network's head means which class.

A training set has an order of its classes, and a network was trained with one; the two need not be
the same. timm sorts class folders naturally and without regard to case (1, 2, … 10; ant, Bee,
cat), torchvision's `ImageFolder` by code points (1, 10, 2; Bee, ant, cat).
"""

from __future__ import annotations

import collections
import difflib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from audit.arrays import Labels
from audit.errors import ConfigError, quoted
from audit.files import plain_text
from audit.notations import json_of

DATASET, NATURAL, PLAIN, CHECKPOINT = "dataset", "natural", "plain", "checkpoint"

#: The words that `class_order` may be; anything else is the path of a file.
ORDER_WORDS: Final = (DATASET, NATURAL, PLAIN, CHECKPOINT)

_MOST_NAMED: Final = 10
#: Of a number in a name that count for its place: Python reads no integer without end.
_MOST_DIGITS: Final = 4000
_DIGITS: Final = re.compile(r"(\d+)")
_INDEXED: Final = re.compile(r"(.*[^\s,;])[\s,;]+(\d{1,9})")


def natural_order(names: Sequence[str]) -> tuple[str, ...]:
    """Names as timm sorts class folders: runs of digits as numbers, letters without case.

    Names that differ in case alone, which timm leaves in any order, are sorted by code points.

    Example:
        >>> natural_order(["cat", "10", "ant", "2", "Bee"])
        ('2', '10', 'ant', 'Bee', 'cat')
    """

    def key(name: str) -> tuple[list[Any], str]:
        parts = _DIGITS.split(name.lower())
        return [int(part[:_MOST_DIGITS]) if part.isdecimal() else part for part in parts], name

    return tuple(sorted(names, key=key))


def plain_order(names: Sequence[str]) -> tuple[str, ...]:
    """Names by code points, as torchvision's `ImageFolder` sorts class folders.

    Example:
        >>> plain_order(["cat", "10", "ant", "2", "Bee"])
        ('10', '2', 'Bee', 'ant', 'cat')
    """
    return tuple(sorted(names))


def differs(names: Sequence[str]) -> bool:
    """Whether a network may well have been trained with another order of these classes.

    So it is where the training set has them in one of the two usual orders, and the other is not
    the same. A training set with an order of its own is meant to be used with that.
    """
    natural, plain = natural_order(names), plain_order(names)
    return natural != plain and tuple(names) in (natural, plain)


def named_order(word: str, names: Sequence[str]) -> tuple[str, ...]:
    """The order that "dataset", "natural" or "plain" stands for."""
    if word == DATASET:
        return tuple(names)
    return natural_order(names) if word == NATURAL else plain_order(names)


def checked_order(given: Sequence[str], names: Sequence[str], where: str) -> tuple[str, ...]:
    """An order that names each class of the training set once.

    Args:
        given: Names in the order of the head's outputs.
        names: Of the training set.
        where: What messages call it, such as "class_order in [dataset]".

    Raises:
        ConfigError: Names are unknown, missing or given twice; the message lists them, the unknown
            ones with the nearest of the training set's.
    """
    counts, known = collections.Counter(given), set(names)
    twice = [name for name, count in counts.items() if count > 1]
    unknown = [name for name in counts if name not in known]
    missing = [name for name in names if name not in counts]
    if not (twice or unknown or missing):
        return tuple(given)
    problems = []
    if unknown:
        problems.append(f"unknown: {_with_nearest(unknown, missing or list(names))}")
    if missing:
        problems.append(f"missing: {quoted(missing, _MOST_NAMED)}")
    if twice:
        problems.append(f"given twice: {quoted(twice, _MOST_NAMED)}")
    raise ConfigError(
        f"{where} must name each of the {len(names)} classes of the training set once; "
        f"it has {len(given)} names; " + "; ".join(problems)
    )


def _with_nearest(unknown: Sequence[str], candidates: Sequence[str]) -> str:
    """Unknown names, each with the nearest one that would have been right."""
    shown = []
    for name in unknown[:_MOST_NAMED]:
        near = difflib.get_close_matches(name, candidates, n=1, cutoff=0.6)
        shown.append(f"{name!r} (did you mean {near[0]!r}?)" if near else repr(name))
    rest = len(unknown) - len(shown)
    return ", ".join(shown) + (f" and {rest} more" if rest else "")


def read_class_map(path: Path, names: Sequence[str], where: str) -> tuple[str, ...]:
    """The order that a class-map file gives.

    One name on each line in the order of the head's outputs, as timm's `class_map.txt` has it; or
    "name index" on each line; or JSON: a list of names, {name: index} or {index: name}.

    Args:
        path: The file, in UTF-8.
        names: Of the training set.
        where: What messages call the setting.

    Raises:
        ConfigError: It cannot be read, or does not name each class once.
    """
    try:
        text = plain_text(path)
    except (OSError, ValueError) as error:
        reason = (error.strerror or error) if isinstance(error, OSError) else "it is not UTF-8 text"
        raise ConfigError(
            f"{where}: the class map {path} cannot be read: {reason}; write one class name per "
            "line, in the order of the network's outputs"
        ) from error
    where = f"{where} (from {path})"
    if text.lstrip().startswith(("{", "[")):
        return checked_order(_from_json(text, where), names, where)
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if lines and not any(
        name in text for name in names
    ):  # something else, whose lines are not to be told
        raise ConfigError(
            f"{where} must name the {len(names)} classes of the training set, one on each line; "
            f"it has none of {quoted(names, _MOST_NAMED)}"
        )
    if set(lines) != set(names):
        found = [_INDEXED.fullmatch(line) for line in lines]
        pairs = [(match[1], int(match[2])) for match in found if match]
        if lines and len(pairs) == len(lines):
            return checked_order(_by_index(pairs, where), names, where)
    return checked_order(lines, names, where)


def _from_json(text: str, where: str) -> list[str]:
    """The names of a class map in JSON, in order."""
    try:
        found = json_of(text)
    except ValueError as error:
        raise ConfigError(f"{where} is not valid JSON: {error}") from error
    names = ordered_names(found)
    if names is None:
        raise ConfigError(
            f"{where} must be a list of names, or map each name to its index from 0; "
            f"found a {type(found).__name__}"
        )
    return names


def _by_index(pairs: Sequence[tuple[str, int]], where: str) -> list[str]:
    """Names by their indices."""
    if sorted(index for _, index in pairs) != list(range(len(pairs))):
        raise ConfigError(
            f"{where} must number its {len(pairs)} classes 0 to {len(pairs) - 1}, each once; "
            f"found {', '.join(map(str, sorted({index for _, index in pairs})[:_MOST_NAMED]))}"
        )
    return [name for name, _ in sorted(pairs, key=lambda pair: pair[1])]


def ordered_names(found: Any) -> list[str] | None:
    """Class names in order from a list of names, {name: index} or {index: name}; else None."""
    if isinstance(found, list | tuple):
        return list(found) if found and all(isinstance(name, str) for name in found) else None
    if not isinstance(found, Mapping) or not found:
        return None
    for pairs in (
        [(name, index) for name, index in found.items()],
        [(name, index) for index, name in found.items()],
    ):
        numbers = [_number(index) for _, index in pairs]
        if all(isinstance(name, str) for name, _ in pairs) and None not in numbers:
            by_index = {int(number or 0): name for number, (name, _) in zip(numbers, pairs)}  # noqa: B905
            if sorted(by_index) == list(range(len(pairs))):
                return [by_index[index] for index in range(len(pairs))]
    return None


def _number(value: Any) -> int | None:
    """A whole number, also as JSON writes it for a key."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    return int(value) if isinstance(value, str) and value.isdecimal() else None


def labels_in(order: Sequence[str], names: Sequence[str], labels: Labels) -> Labels:
    """Labels of a training set as positions in another order of its classes.

    Args:
        order: Names in the order of the head's outputs; empty: as the training set has them.
        names: Of the training set; the position is the label.
        labels: Shape (n,), in the training set's order.

    Returns:
        Shape (n,), a copy.
    """
    if not order or tuple(order) == tuple(names):
        return np.array(labels)
    place = {name: index for index, name in enumerate(order)}
    to_head = np.array([place[name] for name in names], dtype=labels.dtype)
    moved: Labels = to_head[labels]
    return moved
