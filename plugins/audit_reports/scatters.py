"""Held-out accuracy against the measures that matter, one small chart each."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Final

from markupsafe import Markup

from audit_reports import colours, panel
from audit_reports.belief import strongest
from audit_reports.series import quantities
from audit_reports.svg import Scale
from audit_reports.tables import Tables
from audit_reports.wording import fixed, interval, number

#: Strongest measures shown, one per family of columns, and charts in all.
MOST_STRONGEST: Final = 4
MOST_CHARTS: Final = 9


@dataclasses.dataclass(frozen=True)
class Scatter:
    """One chart.

    Attributes:
        measure: Its identifier.
        tau: τ with its interval, in words; empty if undefined.
        drawing: The chart.
        n_missing: Checkpoints of known accuracy for which the measure has no number.
        logarithmic: Whether the axis is.
    """

    measure: str
    tau: str
    drawing: Markup
    n_missing: int
    logarithmic: bool


@dataclasses.dataclass(frozen=True)
class Scatters:
    """The section as the template draws it.

    Attributes:
        charts: In reading order; empty without held-out accuracies.
        axes: Ways to colour them.
        n_points: Checkpoints whose accuracy is known.
        aggregated: Whether counts are drawn, not checkpoints.
        shaped: Levels of the first axis, when marks differ in shape too.
        always: What is drawn however weak it is, in words.
    """

    charts: Sequence[Scatter]
    axes: Sequence[colours.Axis]
    n_points: int
    aggregated: bool
    shaped: bool
    always: Sequence[str]


def scatters(tables: Tables) -> Scatters:
    """Draw accuracy against each chosen measure."""
    accuracy = tables.accuracy
    names = [name for name in tables.checkpoints if name in accuracy.index]
    axes = colours.axes(tables)
    shaped = 1 < len(axes[0].levels) <= 4
    taus = {row[0]: row for row in strongest(tables)}
    up = panel.y_scale(float(accuracy[name]) for name in names)
    charts = []
    for measure in chosen(tables) if len(names) > 1 else []:
        row = taus.get(measure)
        span = interval(row[2], row[3], 2) if row else ""
        tau = f"τ = {fixed(row[1], 2)}" + (f" ({span})" if span else "") if row else ""
        charts.append(_chart(tables, measure, names, axes, up, shaped, tau))
    return Scatters(
        charts=charts,
        axes=axes,
        n_points=len(names),
        aggregated=len(names) > panel.MOST_POINTS,
        shaped=shaped,
        always=[tables.called(name) for name in _always(tables)],
    )


def _always(tables: Tables) -> list[str]:
    """The variants of the quantity that comes first over depth, and the cheapest control."""
    columns = set(map(str, tables.wide.columns))
    first = next((q.measures for q in quantities(tables)), [])
    return [name for name in (*first, *tables.controls[:1]) if name in columns]


def chosen(tables: Tables) -> list[str]:
    """The strongest measures (one column of each), and those that are always drawn."""
    columns = [str(column) for column in tables.wide.columns]
    found: list[str] = []
    seen: set[str] = set()
    for measure, *_ in strongest(tables):
        stem = measure.split(".")[0]
        if len(found) < MOST_STRONGEST and measure in columns and stem not in seen:
            found.append(measure)
            seen.add(stem)
    found += _always(tables)
    if not found:
        found = columns
    return [c for c in dict.fromkeys(found) if tables.wide[c].notna().any()][:MOST_CHARTS]


def _chart(
    tables: Tables,
    measure: str,
    names: Sequence[str],
    axes: Sequence[colours.Axis],
    up: Scale,
    shaped: bool,
    tau: str,
) -> Scatter:
    """One chart."""
    column = tables.wide[measure].to_dict()
    truths = tables.accuracy.to_dict()
    values = {name: float(column[name]) for name in names if math.isfinite(column[name])}
    across = panel.x_scale(values.values(), may_be_logarithmic=True)
    points = []
    for name, value in values.items():
        truth = float(truths[name])
        css = " ".join(f"a{i}-{axis.css.get(name, 'none')}" for i, axis in enumerate(axes))
        shape = axes[0].position.get(name, 0) if shaped else 0
        title = f"{name}: {number(value)}, held-out {fixed(truth)}"
        points.append(panel.Point(value, truth, title, css, shape))
    words = f"Held-out accuracy against {measure} for {len(points)} checkpoints. {tau}"
    drawing = panel.scatter(points, across, up, measure, "held-out accuracy", words.strip())
    return Scatter(measure, tau, drawing, len(names) - len(points), across.logarithmic)
