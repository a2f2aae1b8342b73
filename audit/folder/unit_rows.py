"""The unit table of an output folder: written part by part, and the rows of it that are chosen."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

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
#: Columns that hold whole numbers, and others that hold numbers.
_WHOLE: Final = ("unit", "n_images")
_NUMBERS: Final = ("effective_rate", "birth_entropy", "feature_entropy")
#: Columns without which a table is not read.
_NEEDED: Final = (*CHOICES, "effective_rate", "feature_entropy")
#: Rows of which a part of the file consists at least, but for the last: some 40 MB in memory.
_ROWS_TOGETHER: Final = 500_000
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
        DataError: It cannot be read, is no table, lacks a column or has it twice, or has something
            else in one than words or numbers.
    """
    try:
        with open_plain(path) as opened:
            metadata = checked_metadata(path, opened, whole=checkpoint is None)
            opened.seek(0)
            columns = _sound_columns(metadata.schema.to_arrow_schema(), path)
            # a word is kept once, however many rows have it
            words = [name for name in columns if name in _WORDS]
            file = pq.ParquetFile(opened, metadata=metadata, read_dictionary=words)
            if checkpoint is None:
                found = _plain(file.read(columns))
            else:
                found = _rows_of(file, columns, checkpoint, path)
            table: pd.DataFrame = found.to_pandas()
    except AuditError:
        raise
    except _UNREADABLE as error:
        raise DataError(f"{path} cannot be read: {unquoted(error)}; {_REMEDY}") from error
    for name in columns:
        if name not in _NUMBERS and found[name].null_count + table[name].isna().sum():
            raise DataError(f"{path} has rows without a value in column {name!r}; {_REMEDY}")
        if name in _WORDS:
            words = sorted(table[name].cat.remove_unused_categories().cat.categories)
            table[name] = table[name].cat.set_categories(words)
    return table


def _sound_columns(schema: pa.Schema, path: Path) -> list[str]:
    """The columns of a unit table that a file has, in its order; others are not read.

    Raises:
        DataError: It lacks one, has one twice, or has one of another kind.
    """
    missing = [name for name in _NEEDED if name not in schema.names]
    if missing:
        raise DataError(f"{path} lacks the columns {', '.join(missing)}; {_REMEDY}")
    known = [name for name in schema.names if name in (*_WORDS, *_WHOLE, *_NUMBERS)]
    for name in known:
        if known.count(name) > 1:
            raise DataError(f"{path} has the column {name!r} twice; {_REMEDY}")
        kind = schema.field(name).type
        if name in _WORDS:
            of = kind.value_type if pa.types.is_dictionary(kind) else kind
            sound, needed = pa.types.is_string(of) or pa.types.is_large_string(of), "words"
        elif name in _WHOLE:
            sound, needed = pa.types.is_integer(kind), "whole numbers"
        else:
            sound, needed = pa.types.is_floating(kind) or pa.types.is_integer(kind), "numbers"
        if not sound:
            raise DataError(f"{path} needs {needed} in column {name!r}, found {kind}; {_REMEDY}")
    return known


def _plain(table: pa.Table) -> pa.Table:
    """The same in the types of a unit table, without what the file says to pandas."""
    found = {}
    for name in table.column_names:
        column = table[name]
        if name in _WORDS:
            words = pa.dictionary(pa.int32(), pa.string())
            encoded = pa.types.is_dictionary(column.type)
            found[name] = (column if encoded else column.dictionary_encode()).cast(words)
        else:
            found[name] = column.cast(pa.int32() if name in _WHOLE else pa.float64())
    return pa.table(found).unify_dictionaries()


def _rows_of(file: pq.ParquetFile, columns: list[str], checkpoint: str, path: Path) -> pa.Table:
    """The rows of one checkpoint; parts that say that they have none of it are not read."""
    parts = [_plain(file.schema_arrow.empty_table().select(columns))]
    for number in range(file.num_row_groups):
        if _may_hold(file.metadata.row_group(number), checkpoint):
            part = _plain(file.read_row_group(number, columns))
            parts.append(part.filter(pc.equal(part["checkpoint"].cast(pa.string()), checkpoint)))
            check_rows(sum(map(len, parts)), path)
    return pa.concat_tables(parts).unify_dictionaries()


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
