"""All measures of all checkpoints, and every number that does not exist, with the reason."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Final

import pandas as pd

from audit_reports.tables import Tables, natural_key
from audit_reports.wording import formatter, is_number, listing, sort_key

#: Checkpoints in the wide table; the rest are in measures.csv.
MOST_ROWS: Final = 120
#: Reasons listed; the rest are in measures.csv.
MOST_REASONS: Final = 150
#: Names listed per reason.
MOST_NAMES: Final = 6


@dataclasses.dataclass(frozen=True)
class Cell:
    """A number, or why there is none.

    Attributes:
        text: As written.
        key: To sort by; empty if there is no number.
        status: "ok", "undefined", "unavailable", "failed" or "missing".
        reason: In words; empty when "ok".
    """

    text: str
    key: str
    status: str = "ok"
    reason: str = ""


@dataclasses.dataclass(frozen=True)
class Everything:
    """The section as the template draws it.

    Attributes:
        columns: (measure, its summary).
        rows: (checkpoint, cells).
        n_hidden: Checkpoints left out of the table.
        spread: Per measure: (measure, n, lowest, quartiles…, highest), when rows are left out.
        reasons: (measures, status, reason, number of checkpoints, which).
        n_reasons_hidden: Reasons left out.
    """

    columns: Sequence[tuple[str, str]]
    rows: Sequence[tuple[str, Sequence[Cell]]]
    n_hidden: int
    spread: Sequence[tuple[str, int, Sequence[str]]]
    reasons: Sequence[tuple[Sequence[str], str, str, int, str]]
    n_reasons_hidden: int


def everything(tables: Tables) -> Everything:
    """Lay out the wide table."""
    wide = tables.wide
    columns = [str(column) for column in wide.columns]
    names = list(wide.index[:MOST_ROWS])
    n_hidden = len(wide) - len(names)
    missing = _missing(tables, set(names))
    write = {column: formatter(wide[column]) for column in columns}
    rows = [
        (
            name,
            [
                _cell(value, write[column], missing.get((name, column)))
                for column, value in zip(columns, values, strict=True)
            ],
        )
        for name, values in zip(names, wide.loc[names].to_numpy(dtype=float).tolist(), strict=True)
    ]
    reasons = grouped_reasons(tables)
    return Everything(
        columns=[(column, tables.summary(column)) for column in columns],
        rows=rows,
        n_hidden=n_hidden,
        spread=_spread(wide) if n_hidden else [],
        reasons=reasons[:MOST_REASONS],
        n_reasons_hidden=max(0, len(reasons) - MOST_REASONS),
    )


def grouped_reasons(tables: Tables) -> list[tuple[list[str], str, str, int, str]]:
    """Reasons, each with the measures and the checkpoints it holds for."""
    problems = tables.problems
    rows = problems.assign(reason=problems["reason"].fillna("").astype(str))
    groups: dict[tuple[str, str, tuple[str, ...]], list[str]] = {}
    for keys, group in rows.groupby(["measure", "status", "reason"], sort=False):
        measure, status, reason = (str(key) for key in keys)
        names = tuple(sorted(map(str, group["checkpoint"])))
        groups.setdefault((status, reason, names), []).append(measure)
    found = [
        (
            sorted(measures, key=natural_key),
            status,
            reason or "no reason was recorded",
            len(names),
            _who(tables, names),
        )
        for (status, reason, names), measures in groups.items()
    ]
    return sorted(found, key=lambda row: (natural_key(row[0][0]), -row[3], row[2]))


def _who(tables: Tables, names: Sequence[str]) -> str:
    """Checkpoints in words: all, whole architectures, or by name."""
    if len(names) == len(tables.checkpoints) and len(names) > 1:
        return f"all {len(names)}"
    families = {tables.families.get(name, "") for name in names}
    whole = [name for name in tables.checkpoints if tables.families.get(name) in families]
    if "" not in families and len(whole) == len(names) > 1:
        return f"all {len(names)} of {', '.join(sorted(families, key=natural_key))}"
    return f"{len(names)}: {listing(names, MOST_NAMES)}"


def _missing(tables: Tables, names: set[Any]) -> Mapping[tuple[str, str], tuple[str, str]]:
    """(checkpoint, measure) → (status, reason)."""
    rows = tables.problems[tables.problems["checkpoint"].isin(names)]
    reasons = rows["reason"].fillna("")
    keys = zip(rows["checkpoint"], rows["measure"], strict=True)
    values = zip(rows["status"].astype(str), reasons.astype(str), strict=True)
    return dict(zip(keys, values, strict=True))


def _cell(value: float, write: Any, missing: tuple[str, str] | None) -> Cell:
    """One cell."""
    if is_number(value):
        return Cell(write(value), sort_key(value))
    status, reason = missing or ("missing", "no row for this checkpoint")
    return Cell(write(value), "", status, reason or "no reason was recorded")


def _spread(wide: pd.DataFrame) -> list[tuple[str, int, list[str]]]:
    """Quartiles of every measure over all checkpoints."""
    found = []
    for column in wide.columns:
        known = wide[column].dropna()
        write = formatter(known)
        marks = known.quantile([0, 0.25, 0.5, 0.75, 1]).tolist()
        found.append((str(column), len(known), [write(mark) for mark in marks]))
    return found
