"""Drawing: elements, scales and ticks. Colours and line widths live in the style sheet."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from markupsafe import Markup, escape

from audit_reports.wording import number


def element(tag: str, *children: Any, **attributes: Any) -> Markup:
    """One element, everything in it escaped; `_` in an attribute name stands for `-`.

    Example:
        >>> str(element("text", "<b>", x=1.25, text_anchor="end", css="axis"))
        '<text x="1.25" text-anchor="end" class="axis">&lt;b&gt;</text>'
    """
    words = [tag]
    for key, value in attributes.items():
        name = "class" if key == "css" else key.replace("_", "-")
        text = _short(value) if isinstance(value, float) else escape(value)
        words.append(f'{name}="{text}"')
    inside = "".join(map(escape, children))
    return Markup(f"<{' '.join(words)}" + (f">{inside}</{tag}>" if children else "/>"))


def join(parts: Iterable[Markup]) -> Markup:
    """Elements after one another."""
    return Markup("").join(parts)


def percent(share: float) -> str:
    """A share in [0, 1] as an SVG length: charts stretch with the page, letters do not."""
    return f"{_short(100 * share)}%"


@dataclasses.dataclass(frozen=True)
class Scale:
    """Maps a range of values to a range of positions, both ends included.

    Attributes:
        low: The value at `start`.
        high: The value at `stop`; greater than `low`.
        start: A position.
        stop: A position.
        logarithmic: Whether equal factors take equal room.
    """

    low: float
    high: float
    start: float = 0.0
    stop: float = 1.0
    logarithmic: bool = False

    @classmethod
    def around(
        cls,
        values: Iterable[float],
        start: float = 0.0,
        stop: float = 1.0,
        margin: float = 0.05,
        may_be_logarithmic: bool = False,
    ) -> Scale:
        """A scale that holds all finite values, with a margin on either side."""
        finite = np.asarray([value for value in values if math.isfinite(value)], dtype=float)
        if not finite.size:
            return cls(0.0, 1.0, start, stop)
        low, high = float(finite.min()), float(finite.max())
        if may_be_logarithmic and low > 0 and high / low > 100:
            room = (math.log10(high) - math.log10(low)) * margin
            return cls(low / 10**room, high * 10**room, start, stop, logarithmic=True)
        room = (high - low) * margin or abs(high) * margin or margin
        return cls(low - room, high + room, start, stop)

    def __call__(self, value: float) -> float:
        """The position of a value."""
        share = (self._line(value) - self._line(self.low)) / (
            self._line(self.high) - self._line(self.low)
        )
        return self.start + share * (self.stop - self.start)

    def ticks(self, most: int = 5) -> list[float]:
        """Round values inside the range."""
        if self.logarithmic:
            first, last = math.ceil(math.log10(self.low)), math.floor(math.log10(self.high))
            stride = max(1, math.ceil((last - first) / most))
            return [10.0**power for power in range(first, last + 1, stride)]
        step = _round_step((self.high - self.low) / most)
        indices = range(math.ceil(self.low / step), math.floor(self.high / step) + 1)
        return [index * step for index in indices]

    def _line(self, value: float) -> float:
        """The value on the axis on which this scale is linear."""
        return math.log10(value) if self.logarithmic else value


def tick_labels(ticks: Sequence[float]) -> list[str]:
    """Labels that all have as many decimals as the step between them needs."""
    if len(ticks) < 2:
        return [number(tick) for tick in ticks]
    step = abs(ticks[1] - ticks[0])
    largest = max(abs(tick) for tick in ticks)
    if largest >= 1e5 or largest < 1e-3 or max(ticks) / (min(map(abs, ticks)) or 1) > 99:
        return [number(tick, 3) for tick in ticks]
    decimals = max(0, -math.floor(math.log10(step) + 1e-9))
    return [
        f"{0.0 if abs(tick) < step / 9 else tick:.{decimals}f}".replace("-", "−") for tick in ticks
    ]


def _round_step(raw: float) -> float:
    """The next of 1, 2, 5 × a power of ten that is not smaller."""
    power = 10.0 ** math.floor(math.log10(raw))
    return next(power * step for step in (1, 2, 5, 10) if power * step >= raw * (1 - 1e-9))


def _short(value: float) -> str:
    """A coordinate with two decimals at most."""
    return f"{value:.2f}".rstrip("0").rstrip(".")
