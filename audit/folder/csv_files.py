"""The one reader and the one writer of CSV files."""

from __future__ import annotations

import csv
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import pandas as pd

from audit.errors import DataError
from audit.files import write_atomically

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
            cells than its header has names, or lacks a column; the message says which.
    """
    where = f"{what} table {path}".lstrip()
    try:
        frame = _parse(path, text)
    except FileNotFoundError as error:
        raise DataError(f"{where} does not exist") from error
    except OSError as error:
        raise DataError(f"{where} cannot be read: {error}") from error
    except pd.errors.ParserWarning as error:
        raise DataError(f"{where} has rows with more cells than its header has names") from error
    except (ValueError, csv.Error) as error:
        raise DataError(f"{where} is not a UTF-8 CSV file: {error}") from error
    missing = [column for column in columns if column not in frame.columns]
    if missing:
        raise DataError(
            f"{where} lacks the columns {', '.join(missing)}; "
            f"it has {', '.join(map(str, frame.columns))}"
        )
    return frame


def _parse(path: Path, text: Sequence[str]) -> pd.DataFrame:
    """What pandas reads, where it would shift or drop cells an error."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", pd.errors.ParserWarning)
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
    return frame


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

    Raises:
        StoreError: It cannot be written.
    """
    write_atomically(path, csv_bytes(frame))


def csv_bytes(frame: pd.DataFrame) -> bytes:
    """What `write_csv` writes of a table."""
    # a bare carriage return would end a line for every reader, but is not quoted
    frame = frame.map(lambda value: value.replace("\r", " ") if isinstance(value, str) else value)
    text = frame.to_csv(index=False, lineterminator="\n")
    return text.encode("utf-8", "backslashreplace")  # paths that are not UTF-8
