"""The tables of an output folder, which may come from a stranger: read, and held to a form.

What a column holds decides how pandas reads it: one cell of text turns a column of numbers into
text. A form says which columns there must be, which hold numbers, and which name a row.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
from pandas.api.types import is_bool_dtype, is_numeric_dtype

from audit.errors import DataError
from audit.folder.csv_files import read_csv
from audit.shown import bounded, one_line
from audit.statistics.result import HELD_OUT, TRAIN


@dataclasses.dataclass(frozen=True)
class TableForm:
    """What a table must hold.

    Attributes:
        what: What messages call it.
        columns: Those it must have.
        key: Those that together name a row, each row once.
        numbers: Those whose cells are finite numbers or empty, where the table has them.
        bounds: Those whose cells may be infinite as well.
        shares: Those of `numbers` that lie in [0, 1].
        remedy: What to do about a table that does not fit.
    """

    what: str
    columns: tuple[str, ...]
    key: tuple[str, ...]
    numbers: tuple[str, ...] = ()
    bounds: tuple[str, ...] = ()
    shares: tuple[str, ...] = ()
    remedy: str = "`genaudit run` writes it anew"


#: `ranking.csv`; the interval of a score is without an end where nothing bounds it.
RANKING_FORM: Final = TableForm(
    what="ranking",
    columns=("predicted_rank", "checkpoint", "score", "lower", "upper", "tied_with"),
    key=("checkpoint",),
    numbers=("predicted_rank", "score"),
    bounds=("lower", "upper"),
    remedy="`genaudit rank` writes it anew once it is removed",
)
#: `correlations.csv`.
CORRELATIONS_FORM: Final = TableForm(
    what="correlations",
    columns=("measure", "target", "n_models", "kendall", "kendall_lower", "kendall_upper"),
    key=("measure", "target"),
    numbers=(
        *("n_models", "kendall", "kendall_lower", "kendall_upper"),
        *("spearman", "pearson"),
    ),
    remedy="`genaudit correlate` writes it anew once it is removed",
)
#: `accuracies.csv`.
ACCURACIES_FORM: Final = TableForm(
    what="accuracies",
    columns=("checkpoint", HELD_OUT),
    key=("checkpoint",),
    numbers=(HELD_OUT, TRAIN, "n_held_out"),
    shares=(HELD_OUT, TRAIN),
    remedy="`genaudit correlate` writes it anew",
)


def read_table(path: Path, form: TableForm) -> pd.DataFrame:
    """Read a table, and hold it to its form.

    Returns:
        The table, with numbers in the columns that hold numbers.

    Raises:
        DataError: It cannot be read, or does not fit; the message says where and what was found.
    """
    frame = read_csv(path, form.what, form.columns)
    where = f"{form.what} table {path}"
    for column in (*form.numbers, *form.bounds):
        if column in frame.columns:
            values = _numbers(frame[column], where, form.remedy)
            wrong = np.isinf(values) & (column not in form.bounds)
            if column in form.shares:
                wrong |= (values < 0) | (values > 1)
            expected = "numbers in [0, 1]" if column in form.shares else "finite numbers"
            _refuse(frame[column], wrong, where, expected, form.remedy)
            if not is_numeric_dtype(frame[column]):
                frame[column] = values
    twice = frame.duplicated(list(form.key))
    if twice.any():
        row = frame.loc[twice, list(form.key)].iloc[0]
        named = ", ".join(f"{column} {_cell(row[column])}" for column in form.key)
        raise DataError(f"{where} has two rows for {named}; {form.remedy}")
    return frame


def optional_table(path: Path, form: TableForm) -> pd.DataFrame | None:
    """A table if its stage was run.

    Raises:
        DataError: It is there, and cannot be read or does not fit.
    """
    return read_table(path, form) if path.exists() else None


def _numbers(cells: pd.Series[Any], where: str, remedy: str) -> np.ndarray:
    """A column as float64, empty cells as NaN."""
    if is_bool_dtype(cells):
        _refuse(cells, np.ones(len(cells), dtype=bool), where, "numbers", remedy)
    if is_numeric_dtype(cells):
        return cells.to_numpy(np.float64)
    values = pd.to_numeric(cells, errors="coerce")
    _refuse(cells, (values.isna() & cells.notna()).to_numpy(), where, "numbers", remedy)
    return values.to_numpy(np.float64)


def _refuse(
    cells: pd.Series[Any], wrong: np.ndarray, where: str, expected: str, remedy: str
) -> None:
    """Refuse the first of the cells that are wrong, if any is."""
    rows = np.flatnonzero(wrong)
    if len(rows):
        row = int(rows[0])
        raise DataError(
            f"{where} needs {expected} in column {cells.name!r}, found {_cell(cells.iloc[row])} "
            f"in row {row + 1}; {remedy}"
        )


def _cell(value: Any) -> str:
    """A cell in a message."""
    return bounded(one_line(repr(value) if isinstance(value, str) else str(value)), 100)
