"""JSON and TOML that others wrote: whatever is wrong with them is a `ValueError`.

Their own parsers raise other errors too: over brackets that are nested a thousand deep.
"""

from __future__ import annotations

import json
import tomllib
from typing import Any


def json_of(text: str | bytes) -> Any:
    """What JSON says.

    Raises:
        ValueError: It is none, is nested too deeply, or has an integer of thousands of digits.
    """
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def toml_of(text: str) -> dict[str, Any]:
    """What TOML says.

    Raises:
        ValueError: It is none, is nested too deeply, or has an integer of thousands of digits.
    """
    try:
        return tomllib.loads(text)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
