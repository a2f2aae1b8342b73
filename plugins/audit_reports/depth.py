"""What comes per layer, over depth, and what the measures say of themselves besides.

Which columns these are, in which order and unit, is what the measures declared (`by_depth`,
`order`, `unit`, `diagnostic`); the run record holds it. Old records declare nothing, and nothing is
drawn for them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import pandas as pd
from markupsafe import Markup

from audit_reports import panel
from audit_reports.series import Quantity, layer_names, quantities, short_names
from audit_reports.svg import Scale
from audit_reports.tables import Tables, natural_key
from audit_reports.wording import fixed, formatter, humanize, is_number, listing

#: Architectures and quantities drawn; the rest are named.
MOST_FAMILIES: Final = 6
MOST_QUANTITIES: Final = 4
#: Depths labelled on an axis.
MOST_TICKS: Final = 9

Row = tuple[str, str, Sequence[str]]


@dataclasses.dataclass(frozen=True)
class Charts:
    """The charts of one quantity.

    Attributes:
        name: Its identifier.
        summaries: What its measures say they are.
        variants: (variant such as the filtration, class of its colour).
        charts: (architecture, checkpoints in it, drawing).
    """

    name: str
    summaries: Sequence[str]
    variants: Sequence[tuple[str, str]]
    charts: Sequence[tuple[str, int, Markup]]


@dataclasses.dataclass(frozen=True)
class Depth:
    """The section as the template draws it.

    Attributes:
        quantities: In the declared order; empty if no measure comes per layer.
        left_out: Architectures that are not drawn, in words.
        more: Quantities that are not drawn, in words.
        families: (architecture, checkpoints), the columns of the tables.
        aggregates: Of the same measures, what stands for a whole network: (column, what it is,
            cells).
        diagnostics: What explains measures, and is neither judged nor ranked by: likewise.
    """

    quantities: Sequence[Charts]
    left_out: str
    more: str
    families: Sequence[tuple[str, int]]
    aggregates: Sequence[Row]
    diagnostics: Sequence[Row]


def depth(tables: Tables) -> Depth:
    """Lay out everything that comes per layer."""
    groups = _families(tables)
    drawn = dict(list(groups.items())[:MOST_FAMILIES])
    found = quantities(tables)
    charts = [_charts(tables, quantity, drawn) for quantity in found[:MOST_QUANTITIES]]
    return Depth(
        quantities=[each for each in charts if each.charts],
        left_out=listing([name for name in groups if name not in drawn], 12),
        more=listing([quantity.name for quantity in found[MOST_QUANTITIES:]], 12),
        families=[(name, len(members)) for name, members in drawn.items()],
        aggregates=_rows(tables, _aggregates(tables, found), drawn),
        diagnostics=_rows(tables, _diagnostics(tables), drawn),
    )


def _families(tables: Tables) -> dict[str, list[str]]:
    """Architecture → its checkpoints, the most frequent first."""
    groups: dict[str, list[str]] = {}
    for name in tables.checkpoints:
        groups.setdefault(tables.families.get(name, "all checkpoints"), []).append(name)
    return dict(sorted(groups.items(), key=lambda item: (-len(item[1]), natural_key(item[0]))))


def _charts(tables: Tables, quantity: Quantity, groups: Mapping[str, Sequence[str]]) -> Charts:
    """The charts of one quantity, on shared axes."""
    css = {variant: f"c{index % 6}" for index, variant in enumerate(quantity.variants)}
    layers = {family: _layers(tables, quantity, members) for family, members in groups.items()}
    series = {
        family: [
            line
            for variant, columns in quantity.variants.items()
            if (line := _line(tables, variant, columns, members, layers[family], css[variant]))
        ]
        for family, members in groups.items()
    }
    drawn = [line for group in series.values() for line in group]
    up = panel.y_scale(v for line in drawn for v in (*line.lower, *line.upper))
    charts = [
        (family, len(groups[family]), _chart(quantity, family, group, layers[family], up))
        for family, group in series.items()
        if group
    ]
    legend = [(variant or quantity.name, colour) for variant, colour in css.items()]
    return Charts(quantity.name, quantity.summaries, legend, charts)


def _layers(tables: Tables, quantity: Quantity, members: Sequence[str]) -> list[str]:
    """The names of the layers of a family, if they hold for every variant; else none."""
    named = [
        layer_names(tables, members, list(columns.values()))
        for columns in quantity.variants.values()
    ]
    return named[0] if all(names == named[0] for names in named) else []


def _line(
    tables: Tables,
    variant: str,
    columns: Mapping[int, str],
    members: Sequence[str],
    layers: Sequence[str],
    css: str,
) -> panel.Line | None:
    """Mean over checkpoints at each depth, and the range that holds the middle 80 %."""
    depths = list(columns)
    block = tables.wide.loc[list(members), list(columns.values())].to_numpy(dtype=float)
    known = np.flatnonzero(np.isfinite(block).any(axis=0))
    if not known.size:
        return None
    block = block[:, known]
    low, high = np.nanquantile(block, [0.1, 0.9], axis=0)
    at = [depths[index] for index in known]
    return panel.Line(
        name=variant,
        xs=[float(each) for each in at],
        middle=np.nanmean(block, axis=0).tolist(),
        lower=low.tolist(),
        upper=high.tolist(),
        css=css,
        places=[_place(each, layers) for each in at],
    )


def _place(at: int, layers: Sequence[str]) -> str:
    """A depth in words."""
    return layers[at - 1] if 0 < at <= len(layers) else f"layer {at}"


def _chart(
    quantity: Quantity,
    family: str,
    series: Sequence[panel.Line],
    layers: Sequence[str],
    up: Scale,
) -> Markup:
    """One architecture."""
    depths = sorted({int(at) for line in series for at in line.xs})
    across = panel.x_scale(depths)
    short = short_names(layers)
    labels = {at: short[at - 1] if 0 < at <= len(short) else str(at) for at in depths}
    every = -(-len(depths) // MOST_TICKS)
    ticks = [panel.Tick(at, labels[at], _place(at, layers)) for at in depths[::every]]
    unit = f" ({quantity.unit})" if quantity.unit else ""
    words = "; ".join(
        f"{line.name or quantity.name} from {fixed(line.middle[0])} at {line.places[0]} "
        f"to {fixed(line.middle[-1])} at {line.places[-1]}"
        for line in series
    )
    name = humanize(quantity.name)
    label = f"{name} by depth, {family}: {words}"
    return panel.lines(series, across, up, "layer, shallow to deep", name + unit, label, ticks)


def _aggregates(tables: Tables, found: Sequence[Quantity]) -> list[str]:
    """The columns of measures that come per layer, without the layers."""
    measures = dict.fromkeys(measure for quantity in found for measure in quantity.measures)
    return [
        column
        for measure in measures
        for column in map(str, tables.wide.columns)
        if tables.owner(column) == measure
        and not tables.part(column).get("by_depth")
        and not tables.measure(column).get("diagnostic")
    ]


def _diagnostics(tables: Tables) -> list[str]:
    """The columns of measures that only explain others."""
    return [
        column
        for column in map(str, tables.wide.columns)
        if tables.measure(column).get("diagnostic") and not tables.part(column).get("by_depth")
    ]


def _rows(tables: Tables, columns: Sequence[str], groups: Mapping[str, Sequence[str]]) -> list[Row]:
    """One row per column of the measures, one cell per architecture."""
    return [
        (
            column,
            tables.summary(column),
            [_spread(tables.wide.loc[list(members), column]) for members in groups.values()],
        )
        for column in columns
    ]


def _spread(values: pd.Series[Any]) -> str:
    """Mean and range in words."""
    known = [float(value) for value in values if is_number(value)]
    if not known:
        return fixed(None)
    if all(value.is_integer() for value in known):
        low, high = min(known), max(known)
        spread = f" ({fixed(low, 0)} to {fixed(high, 0)})" if low < high else ""
        return fixed(sum(known) / len(known), 1 if low < high else 0) + spread
    write = formatter([max(known, key=abs), 0.5] if max(map(abs, known)) < 100 else known)
    low, high = min(known), max(known)
    middle = write(sum(known) / len(known))
    return middle if low == high else f"{middle} ({write(low)} to {write(high)})"
