"""The boundary where what others' code raises becomes a value: one row, or one reducer, fails."""

from __future__ import annotations

import logging
import traceback
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


def forget_locals(error: Exception) -> Exception:
    """The same exception without what its frames hold: batches must not outlive the pass."""
    seen: set[int] = set()
    pending: list[BaseException | None] = [error]
    while pending:
        one = pending.pop()
        if one is not None and id(one) not in seen:
            seen.add(id(one))
            traceback.clear_frames(one.__traceback__)
            pending += [one.__cause__, one.__context__]
    return error
