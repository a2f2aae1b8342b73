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
        reasons: (measure, status, reason, number of checkpoints, their names).
        n_reasons_hidden: Reasons left out.
    """

    columns: Sequence[tuple[str, str]]
    rows: Sequence[tuple[str, Sequence[Cell]]]
    n_hidden: int
    spread: Sequence[tuple[str, int, Sequence[str]]]
    reasons: Sequence[tuple[str, str, str, int, str]]
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
        (name, [_cell(value, write[column], missing.get((name, column))) for column, value in zip(columns, values, strict=True)])
        for name, values in zip(names, wide.loc[names].to_numpy(dtype=float).tolist(), strict=True)
    ]  # fmt: skip
    reasons = grouped_reasons(tables.problems)
    return Everything(
        columns=[(column, str(tables.measure(column).get("summary") or "")) for column in columns],
        rows=rows,
        n_hidden=n_hidden,
        spread=_spread(wide) if n_hidden else [],
        reasons=reasons[:MOST_REASONS],
        n_reasons_hidden=max(0, len(reasons) - MOST_REASONS),
    )


def grouped_reasons(problems: pd.DataFrame) -> list[tuple[str, str, str, int, str]]:
    """Reasons with the checkpoints that share them, by measure."""
    rows = problems.assign(
        status=problems["status"].fillna("missing").astype(str),
        reason=problems["reason"].fillna("").astype(str),
    )
    found = []
    for keys, group in rows.groupby(["measure", "status", "reason"], sort=False):
        names = [str(name) for name in group["checkpoint"]]
        measure, status, reason = (str(key) for key in keys)
        words = reason or "no reason was recorded"
        found.append((measure, status, words, len(names), listing(names, MOST_NAMES)))
    return sorted(found, key=lambda row: (natural_key(row[0]), -row[3], row[2]))


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
