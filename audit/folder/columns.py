"""What `run.json` says of measures: which one a column belongs to, and whether it is judged."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import pandas as pd

from audit.plugin import MeasureEntry, Part
from audit.plugin.parts import owner_of, part_named, suffix_of


def describe_measure(entry: MeasureEntry) -> dict[str, Any]:
    """What `run.json` says of a measure, but for the plugin that brought it."""
    return {
        "version": entry.version,
        "direction": entry.direction,
        "invariance": entry.invariance,
        "varies_with": list(entry.varies_with),
        "cost": entry.cost,
        "formula": entry.formula,
        "claim": entry.claim,
        "weakness": entry.weakness,
        "summary": entry.summary,
        "source": entry.source,
        "unit": entry.unit,
        "parts": [dataclasses.asdict(part) for part in entry.parts],
        "baseline": entry.baseline,
        "control": entry.control,
        "called": entry.words,
        "diagnostic": entry.diagnostic,
        "order": entry.order,
    }


def measure_of(record: Mapping[str, Any], column: str) -> str:
    """The measure a column belongs to (see `audit.plugin.parts`), or ""."""
    return owner_of(column, record["measures"])


def part_of(record: Mapping[str, Any], column: str) -> Part | None:
    """What was declared of a column: of a measure itself, or of one of its parts; else None.

    Records of older runs declare no parts.
    """
    owner = measure_of(record, column)
    if not owner:
        return None
    entry = record["measures"][owner]
    suffix = suffix_of(column, owner)
    if suffix:
        return part_named(suffix, [_declared(each) for each in entry.get("parts", ())])
    return Part(
        name="",
        summary=entry.get("summary", ""),
        direction=entry["direction"],
        judged=not entry.get("diagnostic"),
    )


def _declared(part: Mapping[str, Any]) -> Part:
    """A part as it was declared; what later versions say of it besides is not needed."""
    known = {
        field.name: part[field.name] for field in dataclasses.fields(Part) if field.name in part
    }
    return Part(**{"summary": "", **known})


def directions_of(record: Mapping[str, Any], wide: pd.DataFrame) -> dict[str, str]:
    """The declared direction of every column that belongs to a measure; "none" if undeclared."""
    found: dict[str, str] = {}
    for column in map(str, wide.columns):
        if measure_of(record, column):
            part = part_of(record, column)
            found[column] = part.direction if part else "none"
    return found


def directed_columns(record: Mapping[str, Any], wide: pd.DataFrame) -> list[str]:
    """The judged columns that declare a direction: those that rank."""
    directions = directions_of(record, wide)
    return [c for c in judged_columns(record, wide)[0] if directions[c] != "none"]


def judged_columns(
    record: Mapping[str, Any], wide: pd.DataFrame
) -> tuple[list[str], dict[str, str]]:
    """Columns to judge, and those left out because they equal one that is: left out → kept.

    Judged are the measures that are not diagnostic, and those of their parts that say so.
    """
    parts = {column: part_of(record, column) for column in sorted(map(str, wide.columns))}
    kept: list[str] = []
    equal: dict[str, str] = {}
    for column in (column for column, part in parts.items() if part and part.judged):
        owner = measure_of(record, column)
        of_owner = (other for other in kept if measure_of(record, other) == owner)
        twin = next((other for other in of_owner if wide[other].equals(wide[column])), None)
        if twin is not None:
            equal[column] = twin
        else:
            kept.append(column)
    return kept, equal
