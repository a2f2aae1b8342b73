"""The unit table of an output folder: written part by part, and the rows of it that are chosen."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from pandas.api.types import is_bool_dtype, is_numeric_dtype

from audit.errors import AuditError, DataError, unknown_name
from audit.files import open_plain, writing_atomically
from audit.folder.record import UNITS
from audit.parquet import check_rows, checked_metadata
from audit.shown import unquoted

#: Columns that a choice of units may be made by, and what they are called in a message.
CHOICES: Final[Mapping[str, str]] = {
    "checkpoint": "checkpoint",
    "filtration": "filtration",
    "layer": "layer",
    "unit": "unit",
    "class_name": "class",
}

#: Columns that hold words, few and often.
_WORDS: Final = ("checkpoint", "filtration", "layer", "class_name", "status")
#: Rows of which a part of the file consists at least, but for the last: some 40 MB in memory.
_ROWS_TOGETHER: Final = 500_000
#: Columns that hold numbers.
_NUMBERS: Final = ("unit", "effective_rate", "feature_entropy")
#: What pandas and pyarrow raise over a file that is no table, or a crafted one.
_UNREADABLE: Final = (
    *(OSError, ValueError, LookupError, TypeError, ArithmeticError, AttributeError),
    *(NotImplementedError, MemoryError),
)
_REMEDY: Final = "`genaudit measure` writes it anew"


def folder_units(folder: Path, **chosen: str | int | None) -> pd.DataFrame:
    """The unit table of an output folder, or the rows that are chosen.

    Args:
        folder: The output folder.
        **chosen: Column of `CHOICES` → its value; None chooses all.

    Raises:
        DataError: No unit was measured.
        ConfigError: A value that no row has.
    """
    path = folder / UNITS
    if not path.exists():
        raise DataError(f"{path} does not exist: no unit was measured; `genaudit measure` does it")
    name = chosen.get("checkpoint")
    table = read_units(path, None if name is None else str(name))
    return chosen_units(read_units(path) if table.empty else table, **chosen)


def write_units(tables: Iterable[pa.Table], path: Path) -> None:
    """Write unit tables below each other as Parquet; equal tables give equal bytes.

    They are taken one after another, so that memory does not grow with them. Words are categories,
    which keeps the file small.

    Args:
        tables: Of one schema, `audit.measuring.rows.UNIT_SCHEMA`; if there is none, the file is
            removed.
        path: The file.

    Raises:
        StoreError: It cannot be written.
    """
    parts = _parts(tables)
    first = next(parts, None)
    if first is None:
        path.unlink(missing_ok=True)
        return
    with (
        writing_atomically(path) as file,
        pq.ParquetWriter(file, first.schema, compression="zstd") as writer,
    ):
        for part in itertools.chain([first], parts):
            writer.write_table(part)


def _parts(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """Tables put together to parts of so many rows, each with one list of its words."""
    waiting: list[pa.Table] = []
    n_rows = 0
    for table in tables:
        waiting.append(table)
        n_rows += len(table)
        if n_rows >= _ROWS_TOGETHER:
            yield pa.concat_tables(waiting).unify_dictionaries().combine_chunks()
            waiting, n_rows = [], 0
    if waiting:
        yield pa.concat_tables(waiting).unify_dictionaries().combine_chunks()


def read_units(path: Path, checkpoint: str | None = None) -> pd.DataFrame:
    """A unit table; its words are categories in alphabetical order.

    Args:
        path: The file.
        checkpoint: The only one whose rows are kept, while the file is read part by part.

    Raises:
        DataError: It cannot be read, is no table, lacks a column, or has other than numbers where
            numbers are needed.
    """
    try:
        with open_plain(path) as file:
            metadata = checked_metadata(path, file, whole=checkpoint is None)
            file.seek(0)
            if checkpoint is None:
                table = pd.read_parquet(file)
            else:
                table = _rows_of(pq.ParquetFile(file, metadata=metadata), checkpoint, path)
    except AuditError:
        raise
    except _UNREADABLE as error:
        raise DataError(f"{path} cannot be read: {unquoted(error)}; {_REMEDY}") from error
    missing = [name for name in (*CHOICES, *_NUMBERS) if name not in table.columns]
    if missing:
        raise DataError(f"{path} lacks the columns {', '.join(missing)}; {_REMEDY}")
    for name in _NUMBERS:
        if not is_numeric_dtype(table[name]) or is_bool_dtype(table[name]):
            raise DataError(
                f"{path} needs numbers in column {name!r}, found {table[name].dtype}; {_REMEDY}"
            )
    for name in _WORDS:
        if isinstance(table.get(name, pd.Series()).dtype, pd.CategoricalDtype):
            words = sorted(table[name].cat.categories)
            table[name] = table[name].cat.set_categories(words)
    return table


def _rows_of(file: pq.ParquetFile, checkpoint: str, path: Path) -> pd.DataFrame:
    """The rows of one checkpoint; parts that say that they have none of it are not read."""
    parts = [file.schema_arrow.empty_table().to_pandas()]
    for number in range(file.num_row_groups):
        if _may_hold(file.metadata.row_group(number), checkpoint):
            part = file.read_row_group(number).to_pandas()
            parts.append(part[part["checkpoint"] == checkpoint])
            check_rows(sum(map(len, parts)), path)
    table: pd.DataFrame = pd.concat(parts, ignore_index=True)
    for name in _WORDS:
        if name in table:
            table[name] = table[name].astype("str").astype("category")
    return table


def _may_hold(group: Any, checkpoint: str) -> bool:
    """Whether a row group may have rows of a checkpoint, by what it says of its first column."""
    for number in range(group.num_columns):
        column = group.column(number)
        if column.path_in_schema == "checkpoint" and column.statistics is not None:
            known = column.statistics
            return bool(not known.has_min_max or known.min <= checkpoint <= known.max)
    return True


def chosen_units(table: pd.DataFrame, **chosen: str | int | None) -> pd.DataFrame:
    """The rows of a unit table that are chosen.

    Args:
        table: Of units.
        **chosen: Column of `CHOICES` → its value; None chooses all.

    Raises:
        ConfigError: A value that none of the rows has.
    """
    for column, value in chosen.items():
        if value is None:
            continue
        known = table[column].unique()
        if value not in set(known):
            words = [str(one) for one in known]
            some = ", ".join(words[:12]) + (" …" if len(words) > 12 else "")
            if column == "unit" and len(words):
                some = f"{min(known)} to {max(known)}"
            raise unknown_name(CHOICES[column], str(value), words, f"there are {some}")
        table = table[table[column] == value]
    return table
