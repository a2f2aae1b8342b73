"""A measured number, or the reason why there is none."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

Status: TypeAlias = Literal["ok", "undefined", "unavailable", "failed"]


@dataclasses.dataclass(frozen=True, slots=True)
class Value:
    """A measured number, or the reason why there is none.

    Attributes:
        value: The number; NaN unless `status` is "ok".
        status: "ok"; "undefined" (the formula has no value here); "unavailable" (an input it
            needs was not given); "failed" (an error).
        reason: Why there is no number, in words a user can act on; empty when "ok".
    """

    value: float
    status: Status = "ok"
    reason: str = ""

    @classmethod
    def undefined(cls, reason: str) -> Value:
        """The formula has no value here."""
        return cls(math.nan, "undefined", reason)

    @classmethod
    def unavailable(cls, reason: str) -> Value:
        """Something the measure needs was not given, or this architecture does not have it."""
        return cls(math.nan, "unavailable", reason)

    @classmethod
    def of(cls, value: Value | float) -> Value:
        """Wrap a bare number; one that is not finite becomes "undefined"."""
        if isinstance(value, Value):
            return value
        given: Any = value  # of a plugin, which may return anything
        if isinstance(given, str | bytes | bytearray):
            raise TypeError(f"a number is needed, not {type(given).__name__}")
        number = float(given.detach() if hasattr(given, "detach") else given)
        if math.isfinite(number):
            return cls(number)
        return cls.undefined(f"the measure gave {number} and no reason")


Measured: TypeAlias = "Value | float | Mapping[str, Value | float]"
