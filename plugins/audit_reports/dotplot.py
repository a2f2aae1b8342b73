"""Rows of a dot with its interval, on one shared axis.

Every row is a drawing of its own beside (or, on a narrow screen, below) its label, with positions
in percent: the chart takes the room there is, its letters keep their size, and long names are cut
by the style sheet, not by us.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from markupsafe import Markup

from audit_reports.svg import Scale, element, join, percent, tick_labels
from audit_reports.wording import fixed, interval, is_number

HEIGHT = 22
MOST_LETTERS = 52


@dataclasses.dataclass(frozen=True)
class Dot:
    """One row.

    Attributes:
        label: What the row is about, as the reader knows it.
        prefix: Stands before the label, such as a rank.
        value: Where the dot is; NaN for none.
        lower: Where the interval begins; NaN for none.
        upper: Where it ends; NaN for none.
        css: Class of the marks: "strong", "weak", "baseline".
        truth: A second mark, such as what was later found to be true; NaN for none.
        separated: Whether a line divides the row from the one above.
    """

    label: str
    value: float
    lower: float
    upper: float
    css: str = "strong"
    prefix: str = ""
    truth: float = float("nan")
    separated: bool = False


@dataclasses.dataclass(frozen=True)
class DotPlot:
    """A chart as a template draws it: rows of (dot, drawing), and an axis."""

    rows: Sequence[tuple[Dot, Markup]]
    axis: Markup

    @property
    def label_width(self) -> int:
        """Room for labels, in characters."""
        return min(MOST_LETTERS, max(len(dot.label) for dot, _ in self.rows) + 1)


def dot_plot(
    dots: Sequence[Dot],
    band: tuple[float, float] | None = None,
    reference: float | None = None,
    limits: tuple[float, float] | None = None,
) -> DotPlot:
    """Draw rows on a shared axis.

    Args:
        dots: From top to bottom.
        band: A range shaded behind all rows.
        reference: A value marked by a line, such as zero.
        limits: Bounds the axis never exceeds, such as (−1, 1) of a correlation.
    """
    values = [v for dot in dots for v in (dot.value, dot.lower, dot.upper, dot.truth)]
    if reference is not None:
        values.append(reference)
    scale = Scale.around((float(v) for v in values if is_number(v)), margin=0.04)
    if limits:
        scale = dataclasses.replace(
            scale, low=max(scale.low, limits[0] - 0.02), high=min(scale.high, limits[1] + 0.02)
        )
    backdrop = _backdrop(scale, band, reference)
    return DotPlot([(dot, _row(dot, scale, backdrop)) for dot in dots], _axis(scale))


def describe(dot: Dot) -> str:
    """A row in words."""
    words = [fixed(dot.value) if is_number(dot.value) else "no value"]
    if span := interval(dot.lower, dot.upper):
        words.append(f"interval {span}")
    if is_number(dot.truth):
        words.append(f"held-out {fixed(dot.truth)}")
    return ", ".join(words)


def _backdrop(scale: Scale, band: tuple[float, float] | None, reference: float | None) -> Markup:
    """What is behind every row: band, grid and reference line."""
    parts = []
    if band and is_number(band[0]) and is_number(band[1]):
        left, right = (min(1.0, max(0.0, scale(edge))) for edge in band)
        parts.append(
            element("rect", x=percent(left), width=percent(right - left), height=HEIGHT, css="band")
        )
    parts += [_upright(scale(tick), "grid") for tick in scale.ticks(10)]
    if reference is not None:
        parts.append(_upright(scale(reference), "reference"))
    return join(parts)


def _upright(share: float, css: str) -> Markup:
    """A line through the whole row."""
    x = percent(share)
    return element("line", x1=x, x2=x, y1=0, y2=HEIGHT, css=css)


def _row(dot: Dot, scale: Scale, backdrop: Markup) -> Markup:
    """The drawing of one row."""
    middle = HEIGHT // 2
    words = describe(dot)
    parts = [element("title", f"{dot.label}: {words}"), backdrop]
    if is_number(dot.lower) and is_number(dot.upper):
        ends = [percent(min(1.0, max(0.0, scale(edge)))) for edge in (dot.lower, dot.upper)]
        parts.append(element("line", x1=ends[0], x2=ends[1], y1=middle, y2=middle, css="whisker"))
    if is_number(dot.truth):
        parts.append(element("circle", cx=percent(scale(dot.truth)), cy=middle, r=3.5, css="truth"))
    if is_number(dot.value):
        parts.append(element("circle", cx=percent(scale(dot.value)), cy=middle, r=4.5, css="dot"))
    attributes = {"css": f"row {dot.css}", "height": HEIGHT, "width": "100%", "role": "img"}
    return element("svg", *parts, **attributes, aria_label=words)


def _axis(scale: Scale) -> Markup:
    """Ticks and their labels."""
    ticks = scale.ticks(10)
    parts = []
    for tick, label in zip(ticks, tick_labels(ticks), strict=True):
        share = scale(tick)
        x = percent(share)
        parts.append(element("line", x1=x, x2=x, y1=0, y2=4, css="tick"))
        parts.append(element("text", label, x=x, y=16, text_anchor="middle", css="axis"))
    return element("svg", *parts, css="row", height=HEIGHT, width="100%", aria_hidden="true")
