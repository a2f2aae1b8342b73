"""JSON and TOML that others wrote: whatever is wrong with them is a `ValueError`.

Their own parsers raise other errors too: over brackets that are nested a thousand deep.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable
from typing import Any


def json_of(text: str | bytes) -> Any:
    """What JSON says.

    Raises:
        ValueError: It is none, is nested too deeply, or has an integer of thousands of digits.
    """
    return _read(json.loads, text)


def toml_of(text: str) -> dict[str, Any]:
    """What TOML says.

    Raises:
        ValueError: It is none, is nested too deeply, or has an integer of thousands of digits.
    """
    return dict(_read(tomllib.loads, text))


def _read(loads: Callable[..., Any], text: str | bytes) -> Any:
    """What a parser makes of a text; depth is an error like any other."""
    try:
        return loads(text)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
