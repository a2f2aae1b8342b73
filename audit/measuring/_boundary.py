"""The boundary where what others' code raises becomes a value: one row, or one reducer, fails."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable
from typing import TypeVar

from audit.errors import MeasureError, Termination, in_words

T = TypeVar("T")
_log = logging.getLogger("genaudit.measuring")


def attempt(step: Callable[[], T]) -> tuple[T | None, Exception | None]:
    """A step's result, or its exception.

    What would end the process, such as `SystemExit`, is a failure of the step; but for Ctrl-C and
    the system's own request to end.
    """
    try:
        return step(), None
    except (KeyboardInterrupt, Termination):
        raise
    except BaseException as error:  # noqa: BLE001  networks and plugins may raise anything
        _log.debug("a step failed", exc_info=True)
        return None, told(error)


def told(error: BaseException) -> Exception:
    """The same error, if it is an ordinary one that can be put into words; else one that is."""
    try:
        str(error)
    except Exception:  # noqa: BLE001  an exception is a class like any other
        return MeasureError(f"it raised {in_words(error)}")
    return error if isinstance(error, Exception) else MeasureError(f"it raised {in_words(error)}")


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
