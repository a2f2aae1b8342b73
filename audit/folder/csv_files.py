"""The one reader and the one writer of CSV files."""

from __future__ import annotations

import csv
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import pandas as pd
from pandas.api.types import is_numeric_dtype

from audit.errors import DataError, column_names
from audit.files import open_plain, write_atomically
from audit.shown import defused, undefused, unquoted

#: Columns that hold text whatever it looks like: a checkpoint may be named "NA" or "001".
TEXT: Final = ("checkpoint", "measure", "version", "reason", "tied_with", "doubt")
#: Cells of other columns that hold nothing.
NO_VALUE: Final = ("", "NA", "N/A", "#N/A", "<NA>", "NaN", "nan", "-nan", "NULL", "null", "None")
_BEFORE_3_1: Final = tuple(map(int, pd.__version__.split(".")[:2])) < (3, 1)
#: Before 3.1, pandas read some numbers one bit off unless told otherwise; since, it warns if told.
_EXACT: Final[dict[str, Any]] = {"float_precision": "round_trip"} if _BEFORE_3_1 else {}


def read_csv(
    path: Path, what: str, columns: Sequence[str] = (), text: Sequence[str] = TEXT
) -> pd.DataFrame:
    """Read a CSV that has at least these columns.

    Args:
        path: The file, in UTF-8.
        what: What messages call it, such as "held-out": "held-out table PATH …".
        columns: Columns that it must have.
        text: Columns kept as they are written; empty cells of theirs are empty text. Elsewhere
            what says "no value" (`NO_VALUE`) is NaN, and numbers are read to the last bit.

    Raises:
        DataError: It does not exist or cannot be read, is no CSV in UTF-8, has rows with more
            cells than its header has names, names a column twice, or lacks one; the message says
            which.
    """
    where = f"{what} table {path}".lstrip()
    try:
        with open_plain(path):  # a pipe or a device may never end
            frame = _parse(path, text)
    except FileNotFoundError as error:
        raise DataError(f"{where} does not exist") from error
    except OSError as error:
        raise DataError(f"{where} cannot be read: {error}") from error
    except pd.errors.ParserWarning as error:
        raise DataError(f"{where} has rows with more cells than its header has names") from error
    except (ValueError, csv.Error) as error:
        raise DataError(f"{where} is not a UTF-8 CSV file: {unquoted(error)}") from error
    missing = [column for column in columns if column not in frame.columns]
    if missing:
        raise DataError(
            f"{where} lacks the columns {', '.join(missing)}; it has {column_names(frame.columns)}"
        )
    return frame


def _parse(path: Path, text: Sequence[str]) -> pd.DataFrame:
    """What pandas reads, where it would shift or drop cells an error."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", pd.errors.ParserWarning)
        _check_names(path)
        # not the index: rows with a cell too many would shift by one column
        header = pd.read_csv(path, nrows=0, index_col=False).columns
        frame: pd.DataFrame = pd.read_csv(
            path,
            index_col=False,
            dtype=dict.fromkeys(text, str),
            keep_default_na=False,
            na_values={column: NO_VALUE for column in header if column not in text},
            **_EXACT,
        )
        if _BEFORE_3_1:
            _check_ends(path, len(header))
    for column, kind in frame.dtypes.items():
        if not is_numeric_dtype(kind):
            frame[column] = frame[column].map(_undefused, na_action="ignore")
    return frame.rename(columns=undefused)


def _undefused(value: Any) -> Any:
    """A cell as it was before it was written; a column may hold endless integers beside text."""
    return undefused(value) if isinstance(value, str) else value


def _cell(value: Any) -> Any:
    """A cell as it is written."""
    return defused(value.replace("\r", " ")) if isinstance(value, str) else value


def _check_names(path: Path) -> None:
    """Refuse a header that names a column twice: pandas would rename the second."""
    first = pd.read_csv(path, nrows=1, header=None, dtype=str, keep_default_na=False)
    names = [str(name) for name in first.iloc[0]] if len(first) else []
    twice = sorted({name for name in names if name and names.count(name) > 1})
    if twice:
        shown = ", ".join(name[:100] for name in twice[:10])
        raise ValueError(f"its header names a column twice: {shown}")


def _check_ends(path: Path, n_columns: int) -> None:
    """Refuse a row that ends in empty fields too many; before 3.1 pandas dropped them unseen."""
    before = csv.field_size_limit(sys.maxsize)  # as pandas, which knows none
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            if any(len(row) > n_columns for row in csv.reader(file)):
                raise pd.errors.ParserWarning
    finally:
        csv.field_size_limit(before)


def write_csv(frame: pd.DataFrame, path: Path) -> None:
    """Write a table; equal tables give equal bytes.

    Text that a spreadsheet would take for a formula has an apostrophe before it, which `read_csv`
    and `audit.folder.cells` take away again.

    Raises:
        StoreError: It cannot be written.
    """
    write_atomically(path, csv_bytes(frame))


def csv_bytes(frame: pd.DataFrame) -> bytes:
    """What `write_csv` writes of a table."""
    # a bare carriage return would end a line for every reader, but is not quoted
    frame = frame.map(_cell).rename(columns=_cell)
    text = frame.to_csv(index=False, lineterminator="\n")
    return text.encode("utf-8", "backslashreplace")  # paths that are not UTF-8
