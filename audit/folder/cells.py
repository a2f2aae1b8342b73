"""The cells of a table file as they are written, each with the line it stands in.

Spreadsheets write CSV in more ways than one: with a byte order mark, with semicolons or tabs
between cells where the decimal mark is a comma, with empty rows and columns at the end.
"""

from __future__ import annotations

import contextlib
import csv
import io
import sys
from pathlib import Path
from typing import Final, NamedTuple

from audit.errors import DataError, column_names
from audit.files import MOST_IN_TABLE, plain_bytes
from audit.shown import undefused

#: What separates cells, the likeliest first, and what a sentence calls it.
_SEPARATORS: Final = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}
#: Columns of a table that a person writes; each hyperparameter is set against all others.
MOST_COLUMNS: Final = 2000


class Cells(NamedTuple):
    """A table file as text.

    Attributes:
        header: The names of the columns, spaces around them removed; "" for a column without one.
        rows: One list per row that holds anything, as long as the header.
        lines: The line of the file that each row starts in, from 1.
        notes: What was made of an unusual form, one sentence each.
    """

    header: list[str]
    rows: list[list[str]]
    lines: list[int]
    notes: list[str]


def read_cells(path: Path, where: str) -> Cells:
    """Read a file of separated cells in UTF-8.

    Args:
        path: The file.
        where: What messages call it.

    Raises:
        DataError: It does not exist, cannot be read, is no such file, is empty or has no rows, has
            more than 2,000 columns, or a row has more cells than the header has names.
    """
    text = _text(path, where)
    separator, notes = _separator(text)
    records = _records(text, separator, where)
    if not records:
        raise DataError(f"{where} is empty: it needs a header and a row per checkpoint")
    (_, header), *body = records
    header = [name.strip() for name in header]
    if len(header) > MOST_COLUMNS:
        raise DataError(f"{where} has {len(header):,} columns; {MOST_COLUMNS:,} are read at most")
    rows, lines = [], []
    for line, row in body:
        rows.append(_fitted(row, len(header), f"{where} has rows with more cells", line, separator))
        lines.append(line)
        if len(row) < len(header):
            notes.append(f"line {line} has fewer cells than the header: the rest is taken as empty")
    if not rows:
        raise DataError(
            f"{where} has a header, but no rows: its columns are {column_names(header)}; it "
            "needs a row per checkpoint"
        )
    header = [undefused(name) for name in header]
    rows = [[undefused(cell) for cell in row] for row in rows]
    kept = [i for i, name in enumerate(header) if name or any(row[i].strip() for row in rows)]
    rows = [[row[i] for i in kept] for row in rows]
    return Cells([header[i] for i in kept], rows, lines, notes)


def _text(path: Path, where: str) -> str:
    """The whole file, without a byte order mark."""
    try:
        piped = path.is_relative_to("/dev/fd")  # what a shell makes of <(…)
        content = path.read_bytes() if piped else plain_bytes(path, MOST_IN_TABLE)
    except FileNotFoundError as error:
        raise DataError(f"{where} does not exist") from error
    except OSError as error:
        raise DataError(f"{where} cannot be read: {error}") from error
    hint = "; save it as CSV UTF-8"
    if content.startswith(b"PK\x03\x04"):
        raise DataError(f"{where} is not a UTF-8 CSV file: it is a workbook or an archive{hint}")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{where} is not a UTF-8 CSV file: {error}{hint}") from error


def _separator(text: str) -> tuple[str, list[str]]:
    """What separates the cells, told from the first line."""
    first = text.lstrip("\r\n").split("\n", 1)[0].strip("\r")
    if first.lower().startswith("sep=") and len(first) == 5 and first[4] not in '"\r ':
        return first[4], []
    for separator, called in _SEPARATORS.items():
        names: list[str] = []
        with contextlib.suppress(csv.Error):  # reading the whole says where
            names = next(csv.reader([first], delimiter=separator), [])
        if len([name for name in names if name.strip()]) > 1:
            by = [] if separator == "," else [f"its cells are separated by {called}s"]
            return separator, by
    return ",", []


def _records(text: str, separator: str, where: str) -> list[tuple[int, list[str]]]:
    """The rows that hold anything, each with the line it starts in."""
    before = csv.field_size_limit(sys.maxsize)
    found: list[tuple[int, list[str]]] = []
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    line = 1
    try:
        for row in reader:
            if any(cell.strip() for cell in row) and not _says_separator(row, line):
                found.append((line, row))
            line = reader.line_num + 1
    except csv.Error as error:
        raise DataError(f"{where} is not a UTF-8 CSV file: line {line}: {error}") from error
    finally:
        csv.field_size_limit(before)
    return found


def _says_separator(row: list[str], line: int) -> bool:
    """Whether this is the line "sep=;" that some spreadsheets put first."""
    return line == 1 and row[0].lower().startswith("sep=") and not any(row[1:])


def _fitted(row: list[str], width: int, what: str, line: int, separator: str) -> list[str]:
    """A row as long as the header."""
    if len(row) > width:
        hint = ""
        if separator == ",":
            hint = "; quote cells that hold a comma, or export with semicolons between cells"
        raise DataError(
            f"{what} than its header has names: line {line} has {len(row)}, the header "
            f"{width}{hint}"
        )
    return [*row, *[""] * (width - len(row))]
