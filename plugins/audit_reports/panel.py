"""Small charts of two quantities, drawn on a canvas of fixed size: scatter, heat and lines."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterable, Sequence

import numpy as np
from markupsafe import Markup

from audit_reports.svg import Scale, element, join, tick_labels
from audit_reports.wording import number

WIDTH, HEIGHT = 340, 240
LEFT, RIGHT, TOP, BOTTOM = 48, 10, 10, 38

#: Width of a letter of an axis, and the slope of labels that find no room beside each other.
LETTER, SLOPE = 6.5, 38

#: More points than this are drawn as counts in cells.
MOST_POINTS = 400
CELLS = (34, 24)


@dataclasses.dataclass(frozen=True)
class Point:
    """A mark of a scatter plot.

    Attributes:
        x: Position.
        y: Position.
        title: What a pointer resting on it is told.
        css: Classes that colour it.
        shape: 0 circle, 1 square, 2 triangle, 3 diamond.
    """

    x: float
    y: float
    title: str
    css: str = ""
    shape: int = 0


@dataclasses.dataclass(frozen=True)
class Line:
    """A series: its middle and a band around it, from left to right.

    Attributes:
        name: For the pointer.
        xs: Positions, ascending.
        middle: Values.
        lower: Lower edge of the band.
        upper: Upper edge of the band.
        css: Class that colours it.
        places: Each position in words, for the pointer.
    """

    name: str
    xs: Sequence[float]
    middle: Sequence[float]
    lower: Sequence[float]
    upper: Sequence[float]
    css: str
    places: Sequence[str]


@dataclasses.dataclass(frozen=True)
class Tick:
    """A labelled position on the axis across.

    Attributes:
        at: Position.
        label: What stands there.
        title: What a pointer resting on it is told.
    """

    at: float
    label: str
    title: str


def x_scale(values: Iterable[float], *, may_be_logarithmic: bool = False) -> Scale:
    """A scale across the canvas."""
    return Scale.around(values, LEFT, WIDTH - RIGHT, may_be_logarithmic=may_be_logarithmic)


def y_scale(values: Iterable[float]) -> Scale:
    """A scale up the canvas."""
    return Scale.around(values, HEIGHT - BOTTOM, TOP)


def scatter(
    points: Sequence[Point], x: Scale, y: Scale, x_label: str, y_label: str, label: str
) -> Markup:
    """A scatter plot; of very many points, their counts per cell.

    Args:
        points: The marks.
        x: Scale across.
        y: Scale upwards.
        x_label: Below the axis.
        y_label: Beside the axis.
        label: The chart in words, for those who do not see it.
    """
    if len(points) > MOST_POINTS:
        marks = _heat(points, x, y)
    else:
        marks = join(_mark(point, x(point.x), y(point.y)) for point in points)
    return _canvas(marks, x, y, x_label, y_label, label)


def lines(
    series: Sequence[Line],
    x: Scale,
    y: Scale,
    x_label: str,
    y_label: str,
    label: str,
    x_ticks: Sequence[Tick],
) -> Markup:
    """Lines with bands over labelled positions; see `scatter` for the other arguments."""
    parts = []
    for line in series:
        edge = [*zip(line.xs, line.upper, strict=True)]
        edge += reversed([*zip(line.xs, line.lower, strict=True)])
        parts.append(element("polygon", points=_path(edge, x, y), css=f"spread {line.css}"))
    for line in series:
        middle = [*zip(line.xs, line.middle, strict=True)]
        parts.append(element("polyline", points=_path(middle, x, y), css=f"series {line.css}"))
        parts += [
            element(
                "circle", element("title", f"{line.name} {place}: {number(value, 3)}".strip()),
                cx=x(at), cy=y(value), r=3, css=f"knot {line.css}",
            )
            for (at, value), place in zip(middle, line.places, strict=True)
        ]  # fmt: skip
    return _canvas(join(parts), x, y, x_label, y_label, label, x_ticks)


def _path(points: Iterable[tuple[float, float]], x: Scale, y: Scale) -> str:
    """Positions as SVG wants them."""
    return " ".join(f"{x(left):.1f},{y(up):.1f}" for left, up in points)


def _mark(point: Point, left: float, top: float) -> Markup:
    """One mark of a scatter plot."""
    title = element("title", point.title)
    css = f"point {point.css}".strip()
    if point.shape % 4 == 0:
        return element("circle", title, cx=round(left, 1), cy=round(top, 1), r=4, css=css)
    corners = {
        1: ((-3.5, -3.5), (3.5, -3.5), (3.5, 3.5), (-3.5, 3.5)),
        2: ((0, -4.8), (4.4, 3.6), (-4.4, 3.6)),
        3: ((0, -5), (5, 0), (0, 5), (-5, 0)),
    }[point.shape % 4]
    path = " ".join(f"{left + dx:.1f},{top + dy:.1f}" for dx, dy in corners)
    return element("polygon", title, points=path, css=css)


def _heat(points: Sequence[Point], x: Scale, y: Scale) -> Markup:
    """Counts per cell; the darker, the more."""
    lefts = [x(point.x) for point in points]
    tops = [y(point.y) for point in points]
    room = [[LEFT, WIDTH - RIGHT], [TOP, HEIGHT - BOTTOM]]
    counts, columns, rows = np.histogram2d(lefts, tops, bins=CELLS, range=room)
    strength = np.log1p(counts) / np.log1p(counts.max())
    return join(
        element(
            "rect", element("title", f"{int(counts[i, j])} checkpoints"),
            x=float(columns[i]), y=float(rows[j]),
            width=float(columns[i + 1] - columns[i]), height=float(rows[j + 1] - rows[j]),
            fill_opacity=round(0.15 + 0.85 * float(strength[i, j]), 2), css="cell",
        )
        for i, j in zip(*np.nonzero(counts), strict=True)
    )  # fmt: skip


def _canvas(
    marks: Markup,
    x: Scale,
    y: Scale,
    x_label: str,
    y_label: str,
    label: str,
    x_ticks: Sequence[Tick] | None = None,
) -> Markup:
    """Grid, axes, labels, and the marks on top."""
    if x_ticks is None:
        round_values = x.ticks(4)
        labels = tick_labels(round_values)
        x_ticks = [Tick(at, text, "") for at, text in zip(round_values, labels, strict=True)]
    across, hanging = _ticks_across(x_ticks, x)
    floor, right = HEIGHT - BOTTOM, WIDTH - RIGHT
    parts = []
    ticks = y.ticks(4)
    for tick, text in zip(ticks, tick_labels(ticks), strict=True):
        up = y(tick)
        parts.append(element("line", x1=LEFT, x2=right, y1=up, y2=up, css="grid"))
        parts.append(element("text", text, x=LEFT - 6, y=up + 4, text_anchor="end", css="axis"))
    parts += across
    middle = (TOP + floor) / 2
    parts.append(element("line", x1=LEFT, x2=right, y1=floor, y2=floor, css="frame"))
    parts.append(
        element(
            "text",
            x_label,
            x=(LEFT + right) / 2,
            y=HEIGHT + hanging - 5,
            text_anchor="middle",
            css="name",
        )
    )
    parts.append(
        element(
            "text", y_label, x=12, y=middle, text_anchor="middle", css="name",
            transform=f"rotate(-90 12 {middle:g})",
        )
    )  # fmt: skip
    return element(
        "svg", *parts, marks, css="panel", viewBox=f"0 0 {WIDTH} {HEIGHT + hanging}", role="img",
        aria_label=label,
    )  # fmt: skip


def _ticks_across(ticks: Sequence[Tick], x: Scale) -> tuple[list[Markup], int]:
    """Grid lines and labels of the axis across, and how much further down sloping labels hang."""
    floor = HEIGHT - BOTTOM
    places = [x(tick.at) for tick in ticks]
    room = min((b - a for a, b in itertools.pairwise(places)), default=WIDTH)
    longest = max((len(tick.label) for tick in ticks), default=0) * LETTER
    at_the_edge = 2 * (WIDTH + 4 - max(places, default=0.0))
    slopes = longest > min(room, at_the_edge)
    parts = []
    for tick, at in zip(ticks, places, strict=True):
        parts.append(element("line", x1=at, x2=at, y1=TOP, y2=floor, css="grid"))
        inside = [element("title", tick.title)] if tick.title else []
        turned: dict[str, str] = {}
        if slopes:
            turned["transform"] = f"rotate(-{SLOPE} {at:.1f} {floor + 13})"
        anchor = "end" if slopes else "middle"
        parts.append(
            element(
                "text", *inside, tick.label, x=at, y=floor + (13 if slopes else 15),
                text_anchor=anchor, css="axis", **turned,
            )
        )  # fmt: skip
    hanging = math.ceil(longest * math.sin(math.radians(SLOPE))) if slopes else 0
    return parts, hanging
