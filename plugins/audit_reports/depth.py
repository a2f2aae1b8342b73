"""Feature entropy and its companions over depth, and units that never respond."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import pandas as pd
from markupsafe import Markup

from audit_reports import panel
from audit_reports.svg import Scale
from audit_reports.tables import Tables, natural_key
from audit_reports.wording import fixed, formatter, humanize, is_number, listing

#: Architectures and quantities drawn; the rest are named.
MOST_FAMILIES: Final = 6
MOST_QUANTITIES: Final = 4
#: Depths labelled on an axis.
MOST_TICKS: Final = 9

_LAYER: Final = re.compile(r"(?P<base>.+)\.layer_(?P<depth>\d+)$")
_COUNTS: Final = re.compile(r"(^|\.)unit_counts\.")
Row = tuple[str, Sequence[str]]

_UNITS: Final = {
    "feature_entropy": "nats",
    "birth_entropy": "nats",
    "birth_class_information": "nats",
    "effective_rate": "share of images",
}
_FIRST: Final = ("feature_entropy", "effective_rate", "birth_class_information")


@dataclasses.dataclass(frozen=True)
class Quantity:
    """The charts of one quantity.

    Attributes:
        name: Its identifier.
        variants: (variant such as the filtration, class of its colour).
        charts: (architecture, checkpoints in it, drawing).
    """

    name: str
    variants: Sequence[tuple[str, str]]
    charts: Sequence[tuple[str, int, Markup]]


@dataclasses.dataclass(frozen=True)
class Depth:
    """The section as the template draws it.

    Attributes:
        quantities: In reading order; empty if no measure comes per layer.
        left_out: Architectures that are not drawn, in words.
        families: (architecture, checkpoints), the columns of the tables.
        counts: Counts of units: (measure, cells).
        entropies: Aggregates over layers: (measure, cells).
    """

    quantities: Sequence[Quantity]
    left_out: str
    families: Sequence[tuple[str, int]]
    counts: Sequence[Row]
    entropies: Sequence[Row]


def depth(tables: Tables) -> Depth:
    """Lay out everything that comes per layer."""
    groups = _families(tables)
    drawn = dict(list(groups.items())[:MOST_FAMILIES])
    found: dict[str, dict[str, dict[int, str]]] = {}
    for column in map(str, tables.wide.columns):
        if match := _LAYER.match(column):
            name, _, variant = match["base"].partition(".")
            variants = found.setdefault(name, {})
            variants.setdefault(variant, {})[int(match["depth"])] = column
    found.pop("unit_counts", None)
    order = sorted(found, key=lambda n: (_FIRST.index(n) if n in _FIRST else len(_FIRST), n))
    quantities = [_quantity(tables, name, found[name], drawn) for name in order[:MOST_QUANTITIES]]
    return Depth(
        quantities=[quantity for quantity in quantities if quantity.charts],
        left_out=listing([name for name in groups if name not in drawn], 12),
        families=[(name, len(members)) for name, members in drawn.items()],
        counts=_counts(tables, drawn),
        entropies=_entropies(tables, drawn),
    )


def _families(tables: Tables) -> dict[str, list[str]]:
    """Architecture → its checkpoints, the most frequent first."""
    groups: dict[str, list[str]] = {}
    for name in tables.checkpoints:
        groups.setdefault(tables.families.get(name, "all checkpoints"), []).append(name)
    return dict(sorted(groups.items(), key=lambda item: (-len(item[1]), natural_key(item[0]))))


def _quantity(
    tables: Tables,
    name: str,
    variants: Mapping[str, Mapping[int, str]],
    groups: Mapping[str, Sequence[str]],
) -> Quantity:
    """The charts of one quantity, on shared axes."""
    css = {variant: f"c{index % 6}" for index, variant in enumerate(sorted(variants))}
    series = {
        family: [
            line
            for variant in sorted(variants)
            if (line := _line(tables, variant, variants[variant], members, css[variant]))
        ]
        for family, members in groups.items()
    }
    drawn = [line for group in series.values() for line in group]
    up = panel.y_scale(v for line in drawn for v in (*line.lower, *line.upper))
    charts = [
        (family, len(groups[family]), _chart(name, family, group, up))
        for family, group in series.items()
        if group
    ]
    legend = [(variant or name, css[variant]) for variant in sorted(variants)]
    return Quantity(name, legend, charts)


def _line(
    tables: Tables, variant: str, columns: Mapping[int, str], members: Sequence[str], css: str
) -> panel.Line | None:
    """Mean over checkpoints at each depth, and the range that holds the middle 80 %."""
    depths = sorted(columns)
    block = tables.wide.loc[list(members), [columns[at] for at in depths]].to_numpy(dtype=float)
    known = np.flatnonzero(np.isfinite(block).any(axis=0))
    if not known.size:
        return None
    block = block[:, known]
    low, high = np.nanquantile(block, [0.1, 0.9], axis=0)
    return panel.Line(
        name=variant,
        xs=[float(depths[index]) for index in known],
        middle=np.nanmean(block, axis=0).tolist(),
        lower=low.tolist(),
        upper=high.tolist(),
        css=css,
    )


def _chart(name: str, family: str, series: Sequence[panel.Line], up: Scale) -> Markup:
    """One architecture."""
    depths = sorted({at for line in series for at in line.xs})
    across = panel.x_scale(depths)
    every = -(-len(depths) // MOST_TICKS)
    unit = f" ({_UNITS[name]})" if name in _UNITS else ""
    words = "; ".join(
        f"{line.name or name} from {fixed(line.middle[0])} at layer {line.xs[0]:g} "
        f"to {fixed(line.middle[-1])} at layer {line.xs[-1]:g}"
        for line in series
    )
    label = f"{humanize(name)} by depth, {family}: {words}"
    return panel.lines(
        series, across, up, "layer, shallow to deep", humanize(name) + unit, label, depths[::every]
    )


def _counts(tables: Tables, groups: Mapping[str, Sequence[str]]) -> list[Row]:
    """Per architecture, the mean and the range of each count of units."""
    columns = [
        c for c in map(str, tables.wide.columns) if _COUNTS.search(c) and not _LAYER.match(c)
    ]
    return _rows(tables, columns, groups)


def _entropies(tables: Tables, groups: Mapping[str, Sequence[str]]) -> list[Row]:
    """Per architecture, the mean and the range of each aggregate over layers."""
    columns = [
        column
        for name in _FIRST
        for column in map(str, tables.wide.columns)
        if column.split(".")[0] == name and not _LAYER.match(column)
    ]
    return _rows(tables, columns, groups)


def _rows(tables: Tables, columns: Sequence[str], groups: Mapping[str, Sequence[str]]) -> list[Row]:
    """One row per column of the measures, one cell per architecture."""
    return [
        (column, [_spread(tables.wide.loc[list(members), column]) for members in groups.values()])
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
