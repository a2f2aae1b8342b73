"""Which columns are series over the layers of a network, as their measures declare it."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from audit_reports.tables import Tables, natural_key
from audit_reports.wording import is_number

#: Where a measure stands that does not say.
_LAST: Final = 100
_NUMBER: Final = re.compile(r"(\d+)$")
#: Letters of a layer's name beside an axis, and how many make the common beginning go.
MOST_LETTERS: Final = 14


@dataclasses.dataclass(frozen=True)
class Quantity:
    """What is drawn in one chart: the variants of a measure, such as one per filtration.

    Attributes:
        name: Its identifier.
        unit: Of its numbers; empty for plain numbers.
        summaries: What its measures say they are.
        measures: The measures, in the order of `variants`.
        variants: Variant → depth, from 1 → column.
    """

    name: str
    unit: str
    summaries: Sequence[str]
    measures: Sequence[str]
    variants: Mapping[str, Mapping[int, str]]


def quantities(tables: Tables) -> list[Quantity]:
    """Every series over layers, in the declared order; none where nothing was declared."""
    groups: dict[str, dict[str, list[str]]] = {}
    for column in map(str, tables.wide.columns):
        part = tables.part(column)
        if part.get("by_depth"):
            name = _quantity(tables, tables.owner(column), str(part["name"]))
            groups.setdefault(name, {}).setdefault(tables.owner(column), []).append(column)
    found = []
    for name, columns in groups.items():
        measures = sorted(columns, key=natural_key)
        entries = [tables.measure(measure) for measure in measures]
        summaries = [str(entry.get("summary") or "") for entry in entries]
        quantity = Quantity(
            name=name,
            unit=str(entries[0].get("unit") or ""),
            summaries=[text for text in dict.fromkeys(summaries) if text],
            measures=measures,
            variants={m.partition(".")[2]: _by_depth(columns[m]) for m in measures},
        )
        found.append((min(map(_place, entries)), natural_key(name), quantity))
    return [quantity for *_, quantity in sorted(found, key=lambda item: item[:2])]


def layer_names(tables: Tables, members: Sequence[str], columns: Sequence[str]) -> list[str]:
    """The layers behind a series, from shallow to deep.

    Args:
        tables: The audit.
        members: Checkpoints.
        columns: Of the series.

    Returns:
        Full names; none unless all these checkpoints have the same layers, each with a row in
        the series, whether it has a number or not.
    """
    wanted, rows = set(members), tables.measures
    found = {
        tuple(str(layer.get("layer")) for layer in entry.get("layers") or [])
        for entry in tables.entries("checkpoints")
        if str(entry.get("checkpoint")) in wanted
    }
    n_rows = rows[rows["checkpoint"].isin(wanted) & rows["measure"].isin(list(columns))]
    counts = set(n_rows.groupby("checkpoint").size())
    names = list(next(iter(found))) if len(found) == 1 else []
    return names if counts == {len(names)} else []


def short_names(names: Sequence[str]) -> list[str]:
    """Names of layers, short enough for an axis; none if they would not differ.

    Example:
        >>> short_names(["stages.0.act", "stages.1.act"])
        ['stages.0', 'stages.1']
    """
    paths = [name.split(".") for name in names]
    while len(names) > 1 and _share(paths, -1):
        paths = [path[:-1] for path in paths]
    while _share(paths, 0) and max(len(".".join(path)) for path in paths) > MOST_LETTERS:
        paths = [path[1:] for path in paths]
    short = [".".join(path) for path in paths]
    short = [t if len(t) <= MOST_LETTERS else f"…{t[1 - MOST_LETTERS :]}" for t in short]
    return short if len(set(short)) == len(short) else []


def _share(paths: Sequence[Sequence[str]], end: int) -> bool:
    """Whether all paths have the same word at an end, and others besides."""
    return all(len(path) > 1 for path in paths) and len({path[end] for path in paths}) == 1


def _quantity(tables: Tables, measure: str, pattern: str) -> str:
    """What a series is filed under: the measure without its variant, and which of its series."""
    stem = measure.partition(".")[0]
    parts = tables.measure(measure)["parts"]
    several = sum(bool(part.get("by_depth")) for part in parts if isinstance(part, Mapping)) > 1
    return f"{stem}.{pattern.strip('*_.')}" if several else stem


def _by_depth(columns: Sequence[str]) -> dict[int, str]:
    """Depth → column: by the number a column ends with, else by its place."""
    numbers = [_NUMBER.search(column) for column in columns]
    depths = [int(number[1]) for number in numbers if number]
    if len(set(depths)) < len(columns):
        depths = list(range(1, len(columns) + 1))
    return dict(sorted(zip(depths, columns, strict=True)))


def _place(entry: Mapping[str, Any]) -> float:
    """The declared order."""
    order = entry.get("order")
    return float(order) if is_number(order) else _LAST
