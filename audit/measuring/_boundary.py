"""The boundary where what others' code raises becomes a value: one row, or one reducer, fails."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
_log = logging.getLogger("genaudit.measuring")


def attempt(step: Callable[[], T]) -> tuple[T | None, Exception | None]:
    """A step's result, or its exception."""
    try:
        return step(), None
    except Exception as error:  # noqa: BLE001  networks and plugins may raise anything
        _log.debug("a step failed", exc_info=True)
        return None, error
