"""The unit table of an output folder, and the rows of it that are chosen."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import pandas as pd
from pandas.api.types import is_bool_dtype, is_numeric_dtype

from audit.errors import AuditError, DataError, unknown_name
from audit.files import open_plain
from audit.folder.record import UNITS
from audit.parquet import checked_metadata
from audit.shown import unquoted

#: Columns that a choice of units may be made by, and what they are called in a message.
CHOICES: Final[Mapping[str, str]] = {
    "checkpoint": "checkpoint",
    "filtration": "filtration",
    "layer": "layer",
    "unit": "unit",
    "class_name": "class",
}

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
    return chosen_units(read_units(path), **chosen)


def read_units(path: Path) -> pd.DataFrame:
    """A unit table.

    Raises:
        DataError: It cannot be read, is no table, lacks a column, or has other than numbers where
            numbers are needed.
    """
    try:
        with open_plain(path) as file:
            checked_metadata(path, file)
            file.seek(0)
            table = pd.read_parquet(file)
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
    return table


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
