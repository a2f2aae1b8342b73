"""What a measure gives, checked: numbers or reasons, by part."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any, Final, get_args

import numpy as np

from audit.errors import PluginError, UnavailableError
from audit.plugin import MeasureEntry, Status, TrainView, Value

_PART: Final = re.compile(r"[a-z0-9]+(_[a-z0-9]+)*(\.[a-z0-9]+(_[a-z0-9]+)*)*")


def column(entry: MeasureEntry, part: str) -> str:
    """Name of a part in the measures table."""
    return f"{entry.name}.{part}" if part else entry.name


def values_of(entry: MeasureEntry, view: TrainView) -> dict[str, Value]:
    """The parts of a measure, each a finite number or a reason."""
    try:
        measured = entry.compute(view)
    except UnavailableError as error:
        measured = Value.unavailable(str(error))
    parts = measured if isinstance(measured, Mapping) else {"": measured}
    if not parts:
        raise PluginError(f"measure {entry.name!r} must give at least one part; it gave none")
    for part, value in parts.items():
        problem = _problem(part, value)
        if problem:
            raise PluginError(f"measure {entry.name!r}: {problem}")
    return {part: Value.of(value) for part, value in parts.items()}


def _problem(part: object, value: Any) -> str:
    """What is wrong with one part, or ""."""
    if not isinstance(part, str) or (part and not _PART.fullmatch(part)):
        return f"a part must be named by lower-case words joined by '_'; found {part!r}"
    if not isinstance(value, Value):
        if isinstance(value, bool) or not isinstance(value, int | float | np.number):
            return f"part {part!r} must be a number or a Value; found {type(value).__name__}"
        if not math.isfinite(value):
            return f"part {part!r} is {value}: give Value.undefined with the reason"
        return ""
    if value.status not in get_args(Status):
        return f"part {part!r} must have a status of {get_args(Status)}; found {value.status!r}"
    if value.status == "ok" and not math.isfinite(value.value):
        return f'part {part!r} is {value.value} with status "ok"'
    if value.status != "ok" and (not value.reason.strip() or not math.isnan(value.value)):
        return f"part {part!r} has no number, so it must be NaN with a reason; found {value}"
    return ""


def same(a: Value, b: Value, rtol: float) -> bool:
    """Whether two values are one."""
    if a.status != b.status:
        return False
    return a.status != "ok" or math.isclose(a.value, b.value, rel_tol=rtol, abs_tol=rtol * 1e-3)
