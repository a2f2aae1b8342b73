"""The measures table: one tidy row per (checkpoint, measure), and its wide form."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import pandas as pd

from audit.errors import DataError
from audit.files import write_atomically

#: Columns of `measures.csv`.
COLUMNS: Final = ("checkpoint", "measure", "version", "value", "status", "reason", "seconds")

#: Stands in `measure` for a checkpoint that could not be audited at all.
ALL_MEASURES: Final = "all"

#: Columns that hold text whatever it looks like: a checkpoint may be named "NA" or "001".
TEXT: Final = ("checkpoint", "measure", "version", "reason", "tied_with")

#: Cells of other columns that hold nothing.
NO_VALUE: Final = ("", "NA", "N/A", "#N/A", "<NA>", "NaN", "nan", "-nan", "NULL", "null", "None")

#: Before 3.1, pandas read some numbers one bit off unless told otherwise; since, it warns if told.
_EXACT: Final[dict[str, Any]] = (
    {"float_precision": "round_trip"}
    if tuple(map(int, pd.__version__.split(".")[:2])) < (3, 1)
    else {}
)


def measures_frame(rows: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """The tidy table, sorted by checkpoint and measure.

    Raises:
        DataError: Two rows for one (checkpoint, measure).
    """
    frame = pd.DataFrame(list(rows), columns=list(COLUMNS))
    frame = frame.astype({"value": "float64", "seconds": "float64"})
    frame = frame.sort_values(["checkpoint", "measure"], kind="stable", ignore_index=True)
    twice = frame.duplicated(["checkpoint", "measure"])
    if twice.any():
        row = frame[twice].iloc[0]
        raise DataError(f"two rows for checkpoint {row.checkpoint!r}, measure {row.measure!r}")
    return frame


def wide_frame(measures: pd.DataFrame, held_out: pd.DataFrame | None = None) -> pd.DataFrame:
    """One row per audited checkpoint, one column per measure.

    Args:
        measures: The tidy table.
        held_out: Columns checkpoint, held_out_accuracy, optional train_accuracy, family, hp.*;
            its train_accuracy, if any, goes before the measured one.

    Returns:
        Column checkpoint, measures in alphabetical order, then the columns of `held_out`. A
        number that does not exist is NaN. Checkpoints that failed as a whole are left out.
    """
    audited = measures[measures["measure"] != ALL_MEASURES]
    wide = audited.pivot(index="checkpoint", columns="measure", values="value").reset_index()
    wide.columns.name = None
    if held_out is None or held_out.empty:
        return wide
    wide = wide.drop(columns=[c for c in held_out.columns if c != "checkpoint" and c in wide])
    return wide.merge(held_out, on="checkpoint", how="left")


def read_measures(path: Path) -> pd.DataFrame:
    """Read a `measures.csv`.

    Raises:
        DataError: It cannot be read, or lacks a column; the message says which.
    """
    return read_csv(path, "measures", COLUMNS)


def read_csv(
    path: Path, what: str, columns: Sequence[str], text: Sequence[str] = TEXT
) -> pd.DataFrame:
    """Read a CSV that has at least these columns; those in `text` are kept as they are written.

    Raises:
        DataError: It cannot be read, or lacks a column; the message says which.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)
            # not the index: rows with a field too many would shift by one column
            header = pd.read_csv(path, nrows=0, index_col=False).columns
            frame: pd.DataFrame = pd.read_csv(
                path,
                index_col=False,
                dtype=dict.fromkeys(text, str),
                keep_default_na=False,
                na_values={column: NO_VALUE for column in header if column not in text},
                **_EXACT,
            )
    except FileNotFoundError as error:
        raise DataError(f"{what} table {path} does not exist") from error
    except pd.errors.ParserWarning as error:
        raise DataError(
            f"{what} table {path} cannot be read: a row has more fields than the header"
        ) from error
    except (OSError, ValueError) as error:
        raise DataError(f"{what} table {path} cannot be read: {error}") from error
    missing = [column for column in columns if column not in frame.columns]
    if missing:
        raise DataError(
            f"{what} table {path} lacks the columns {', '.join(missing)}; "
            f"it has {', '.join(map(str, frame.columns))}"
        )
    return frame


def write_csv(frame: pd.DataFrame, path: Path) -> None:
    """Write a table; equal tables give equal bytes.

    Raises:
        StoreError: It cannot be written.
    """
    # a bare carriage return would end a line for every reader, but is not quoted
    frame = frame.map(lambda value: value.replace("\r", " ") if isinstance(value, str) else value)
    write_atomically(path, frame.to_csv(index=False, lineterminator="\n").encode())


def write_parquet(frame: pd.DataFrame, path: Path) -> None:
    """Write a table as Parquet; equal tables give equal bytes.

    Raises:
        StoreError: It cannot be written.
    """
    buffer = io.BytesIO()
    frame.to_parquet(buffer, index=False, compression="zstd")
    write_atomically(path, buffer.getvalue())
