"""The one reader of tables that people bring: held-out tables, foreign tables and data frames.

It knows where every row stands in the file, so that messages can say so. What is unambiguous is
put right and noted; what is ambiguous is refused.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd

from audit.correlation._numbers import (
    NOTHING,
    Number,
    decide,
    read_number,
    sure_marks,
    tidied,
)
from audit.errors import DataError, quoted
from audit.folder.cells import read_cells
from audit.folder.csv_files import NO_VALUE
from audit.statistics.result import HYPERPARAMETER_PREFIX

#: What a column without a name is called here, by its place.
NAMELESS: Final = "column {} (without a name)"
_INTEGER: Final = re.compile(r"[+-]?\d{1,18}")
_TRUTH: Final = {"true": True, "false": False}


@dataclass
class Sheet:
    """A table, and where each of its rows comes from.

    Attributes:
        where: What messages call the table.
        table: The rows.
        places: Where each row stands, in words: "line 3" of a file, "row 2" of a data frame.
        notes: What was put right or left out, one sentence each.
        strays: Column of numbers → the row number and text of a cell that is none.
        percents: Columns whose cells all end in "%"; they were divided by 100.
    """

    where: str
    table: pd.DataFrame
    places: list[str]
    notes: list[str] = field(default_factory=list)
    strays: dict[str, tuple[int, str]] = field(default_factory=dict)
    percents: set[str] = field(default_factory=set)

    def keep(self, rows: Sequence[int]) -> None:
        """Keep these rows, in this order."""
        number = {row: i for i, row in enumerate(rows)}
        self.strays = {c: (number[i], t) for c, (i, t) in self.strays.items() if i in number}
        self.table = self.table.iloc[list(rows)].reset_index(drop=True)
        self.places = [self.places[row] for row in rows]

    def of(self, rows: Iterable[int], most: int = 5) -> str:
        """The places of some rows, the first few when there are many."""
        places = [self.places[row] for row in rows]
        more = f" and {len(places) - most} more" if len(places) > most else ""
        return ", ".join(places[:most]) + more


def read_sheet(source: str | Path | pd.DataFrame, what: str) -> Sheet:
    """A file's cells as text, or a copy of a data frame; names of columns are checked.

    Args:
        source: A file of separated cells, or a data frame.
        what: What messages call it, such as "held-out"; may be empty.

    Raises:
        DataError: It cannot be read, is empty, has no rows, or columns of one name.
    """
    if isinstance(source, pd.DataFrame):
        where = f"the {what} table".replace("  ", " ")
        table = source.copy().reset_index(drop=True)
        names = [str(name).strip() for name in table.columns]
        places = [f"row {i + 1}" for i in range(len(table))]
        sheet = Sheet(where, table, places)
    else:
        where = f"{what} table {source}" if what else str(source)
        cells = read_cells(Path(source), where)
        names = cells.header
        sheet = Sheet(
            where,
            pd.DataFrame(cells.rows, columns=range(len(names)), dtype=object),
            [f"line {line}" for line in cells.lines],
            cells.notes,
        )
    twice = sorted({name for name in names if name and names.count(name) > 1})
    if twice:
        raise DataError(
            f"{where} has columns of the same name: {quoted(twice)}; keep one each, or rename them"
        )
    sheet.table.columns = pd.Index(
        [name or NAMELESS.format(i + 1) for i, name in enumerate(names)], dtype=object
    )
    return sheet


def type_columns(sheet: Sheet, text: Collection[str], levels: Collection[str] = ()) -> None:
    """Turn cells into numbers and truth values, column by column.

    Args:
        sheet: Changed in place.
        text: Columns kept as they are written; empty cells of theirs are empty text.
        levels: Columns whose values are only told apart, as the `hp.*` columns are: numbers there
            are numbers only if a program would read them so.

    Raises:
        DataError: A cell can be read as two numbers, or a column mixes percent signs with none.
    """
    read: dict[str, list[Number | None]] = {}
    known: dict[str, list[str | None]] = {}
    for column in sheet.table.columns:
        cells = _texts(sheet.table[column])
        if cells is None:
            continue
        if column in text:
            sheet.table[column] = pd.Series([c or "" for c in cells], dtype=object)
            continue
        known[column] = [None if c is None or c.strip() in NO_VALUE else c for c in cells]
        is_level = column in levels or column.startswith(HYPERPARAMETER_PREFIX)
        if not is_level:
            known[column] = [
                None if c is None or tidied(c).lower() in NOTHING else c for c in known[column]
            ]
        read[column] = [None if c is None else read_number(c) for c in known[column]]
        if is_level and any(n is not None and not n.plain for n in read[column]):
            read[column] = [None] * len(cells)
    marks = {c: sure_marks(n) for c, n in read.items()}
    for column, numbers in read.items():
        elsewhere = set().union(*marks.values()) if marks else set()
        sheet.table[column] = _typed(sheet, column, known[column], numbers, elsewhere)


def _texts(column: pd.Series[Any]) -> list[str | None] | None:
    """The cells as text, None for missing ones; None if the column does not hold text."""
    if column.dtype != object and not pd.api.types.is_string_dtype(column.dtype):
        return None
    cells = column.tolist()
    if not any(isinstance(cell, str) for cell in cells):
        return None
    allowed = (str, int, float, np.integer, np.floating)
    missing = [cell is None or cell is pd.NA or cell != cell for cell in cells]
    if not all(m or isinstance(c, allowed) for c, m in zip(cells, missing, strict=True)):
        return None
    return [None if m else str(c) for c, m in zip(cells, missing, strict=True)]


def _typed(
    sheet: Sheet,
    column: str,
    cells: Sequence[str | None],
    numbers: Sequence[Number | None],
    elsewhere: set[str],
) -> pd.Series[Any]:
    """A column as numbers where its cells are numbers, else as truth values or text."""
    filled = [i for i, cell in enumerate(cells) if cell is not None]
    found = [i for i in filled if numbers[i] is not None]
    as_text = pd.Series([np.nan if c is None else c for c in cells], dtype=object)
    if len(found) < len(filled):
        if len(filled) == len(cells) and all(str(c).lower() in _TRUTH for c in cells):
            return pd.Series([_TRUTH[str(c).lower()] for c in cells], dtype=bool)
        if 2 * len(found) > len(filled):
            stray = next(i for i in filled if numbers[i] is None)
            sheet.strays[column] = (stray, str(cells[stray]))
        return as_text
    mark, unclear = decide(numbers, elsewhere)
    if unclear is not None:
        number = numbers[unclear]
        assert number is not None
        raise DataError(
            f"{sheet.where}: {cells[unclear]!r} in column {column}, {sheet.places[unclear]}, can "
            f"be {number.dot:.15g} or {number.comma:.15g}; write numbers with a decimal point and "
            "nothing between thousands"
        )
    _note_writing(sheet, column, cells, numbers, mark)
    if len(found) == len(cells) and all(_INTEGER.fullmatch(str(c)) for c in cells):
        return pd.Series([int(str(c)) for c in cells], dtype=np.int64)
    values = [np.nan if n is None else n.value(mark) for n in numbers]
    return pd.Series(values, dtype=np.float64)


def _note_writing(
    sheet: Sheet,
    column: str,
    cells: Sequence[str | None],
    numbers: Sequence[Number | None],
    mark: str,
) -> None:
    """Say which cells were written so that a program would not have read them."""
    filled = [i for i, number in enumerate(numbers) if number is not None]
    percent = [i for i in filled if numbers[i].percent]  # type: ignore[union-attr]
    if percent and len(percent) < len(filled):
        other = next(i for i in filled if i not in set(percent))
        raise DataError(
            f"{sheet.where}: column {column} has {cells[percent[0]]!r} in "
            f"{sheet.places[percent[0]]} and {cells[other]!r} in {sheet.places[other]}; write all "
            "of its cells with a percent sign, or none"
        )
    if percent:
        sheet.percents.add(column)
    strange = [i for i in filled if not numbers[i].plain]  # type: ignore[union-attr]
    if strange:
        first = strange[0]
        more = f" and {len(strange) - 1} more cells" if len(strange) > 1 else ""
        value = numbers[first].value(mark)  # type: ignore[union-attr]
        sheet.notes.append(
            f"{column}: {cells[first]!r} ({sheet.places[first]}{more}) was read as {value:.15g}"
        )
