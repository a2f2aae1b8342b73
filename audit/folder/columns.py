"""Which measure a column of the wide table belongs to, its direction, and whether it is judged."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd


def measure_of(record: Mapping[str, Any], column: str) -> str:
    """The measure a column belongs to: the longest measure name it starts with, or ""."""
    parts = column.split(".")
    prefixes = (".".join(parts[:n]) for n in range(len(parts), 0, -1))
    return next((prefix for prefix in prefixes if prefix in record["measures"]), "")


def directions_of(record: Mapping[str, Any], wide: pd.DataFrame) -> dict[str, str]:
    """The declared direction of every column that belongs to a measure."""
    owners = {str(column): measure_of(record, str(column)) for column in wide.columns}
    return {
        column: record["measures"][owner]["direction"] for column, owner in owners.items() if owner
    }


def judged_columns(
    record: Mapping[str, Any], wide: pd.DataFrame
) -> tuple[list[str], dict[str, str]]:
    """Columns to judge, and those left out because they equal one that is: left out → kept."""
    columns = [
        column
        for column in sorted(
            directions_of(record, wide), key=lambda name: (".layer_" in name, name)
        )
        if not record["measures"][measure_of(record, column)].get("diagnostic")
    ]
    kept: list[str] = []
    equal: dict[str, str] = {}
    for column in columns:
        twin = next((other for other in kept if wide[other].equals(wide[column])), None)
        if twin is not None and measure_of(record, twin) == measure_of(record, column):
            equal[column] = twin
        else:
            kept.append(column)
    return sorted(kept), equal
