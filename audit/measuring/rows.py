"""What a measure returned, checked, and its rows of the measures table."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from audit.errors import MeasureError
from audit.measuring.subject import Subject
from audit.plugin import Measured, MeasureEntry, Value
from audit.store import Entry


def checked_values(measured: Measured) -> dict[str, Value]:
    """Suffix → number of what a measure returned, checked.

    Raises:
        MeasureError: It is no number, nor a mapping of names to numbers.
    """
    parts = measured if isinstance(measured, Mapping) else {"": measured}
    if not parts:
        raise MeasureError("the measure returned no number")
    found: dict[str, Value] = {}
    for suffix, part in parts.items():
        try:
            value = Value.of(part)
            number = float(value.value)
        except (TypeError, ValueError) as error:
            what = f"{type(part).__name__} for {suffix!r}" if suffix else type(part).__name__
            raise MeasureError(f"the measure returned {what}, not a number") from error
        if value.status != "ok":
            found[str(suffix)] = dataclasses.replace(value, value=math.nan)
        else:
            found[str(suffix)] = Value.of(number)
    return found


def measure_rows(subject: Subject, entry: MeasureEntry, found: Entry) -> list[dict[str, Any]]:
    """Rows of the measures table from what the store holds of one measure."""
    rows = []
    for suffix, (number, status, reason) in found.meta["values"].items():
        rows.append(
            {
                "checkpoint": subject.name,
                "measure": f"{entry.name}.{suffix}" if suffix else entry.name,
                "version": entry.version,
                "value": math.nan if number is None else number,
                "status": status,
                "reason": reason,
                "seconds": found.meta["seconds"],
            }
        )
    return rows
