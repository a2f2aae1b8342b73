"""JSON and TOML that others wrote: whatever is wrong with them is a `ValueError`.

Their own parsers raise other errors too: over brackets that are nested a thousand deep.
"""

from __future__ import annotations

import functools
import json
import tomllib
from collections.abc import Callable
from typing import Any


def json_of(text: str | bytes, keys_once: bool = False) -> Any:
    """What JSON says.

    Args:
        text: The JSON.
        keys_once: Whether a key that is there twice in one object, of which readers may take
            either value, is refused.

    Raises:
        ValueError: It is none, is nested too deeply, has an integer of thousands of digits, or a
            key twice.
    """
    loads: Callable[..., Any] = json.loads
    return _read(functools.partial(loads, object_pairs_hook=_once) if keys_once else loads, text)


def toml_of(text: str) -> dict[str, Any]:
    """What TOML says.

    Raises:
        ValueError: It is none, is nested too deeply, or has an integer of thousands of digits.
    """
    return dict(_read(tomllib.loads, text))


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The object of these keys and values."""
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in found if keys.count(key) > 1)
        raise ValueError(f"the key {twice[:200]!r} is there twice in one object")
    return found


def _read(loads: Callable[..., Any], text: str | bytes) -> Any:
    """What a parser makes of a text; depth is an error like any other."""
    try:
        return loads(text)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
