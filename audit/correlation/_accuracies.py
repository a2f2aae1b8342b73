"""Accuracies as shares: what is percent is divided, and what may be either is refused."""

from __future__ import annotations

import re
from typing import Any, Final

import numpy as np
import pandas as pd

from audit.correlation._sheet import Sheet
from audit.errors import DataError

_PERCENT_NAME: Final = re.compile(r"%|percent|pct", re.IGNORECASE)


def shares(
    sheet: Sheet, column: str, names: pd.Series[Any] | None = None, *, percent: bool = True
) -> pd.Series[float]:
    """A column of accuracies as floats in [0, 1], empty cells as NaN.

    A column with a value above 1 is in percent; one that also has a value above 0 and up to 1 may
    be either, and is refused.

    Args:
        sheet: The table; what was done is added to its notes.
        column: Its column.
        names: The checkpoints, for messages.
        percent: Whether percent is taken and divided, or refused.

    Raises:
        DataError: A cell is no number or lies outside, or shares and percent are mixed.
    """
    cells = sheet.table[column]
    values = pd.to_numeric(cells, errors="coerce").astype(float)

    def found(row: int) -> str:
        cell = cells.iloc[row]
        said = f"{cell!r}" if isinstance(cell, str) else f"{cell}"
        called = "" if names is None else f" for {names.iloc[row]!r}"
        return f"{said}{called} ({sheet.places[row]})"

    wanted = f"{sheet.where} needs {column} in [0, 1]" + (" or in percent" if percent else "")
    wrong = np.flatnonzero(
        ((values.isna() & cells.notna()) | (values < 0) | (values > 100)).to_numpy()
    )
    if len(wrong):
        raise DataError(f"{wanted}; found {found(int(wrong[0]))}")
    above = np.flatnonzero((values > 1).to_numpy())
    if not len(above):
        if column in sheet.percents:
            sheet.notes.append(f"{column} is in percent: divided by 100")
        elif _PERCENT_NAME.search(column):
            sheet.notes.append(f"{column} has no value above 1: taken for shares in [0, 1]")
        return values
    within = np.flatnonzero(((values > 0) & (values <= 1)).to_numpy())
    if column in sheet.percents:
        raise DataError(f"{wanted}; found {found(int(above[0]))}, which is above 100 %")
    if len(within):
        raise DataError(
            f"{wanted}, all cells alike; found {found(int(within[0]))} and {found(int(above[0]))}: "
            "is the first a share or a percentage? Write all in one of the two"
        )
    if not percent:
        raise DataError(
            f"{wanted}; found {found(int(above[0]))}; these look like percent: divide them by 100"
        )
    sheet.notes.append(f"{column} is in percent: divided by 100")
    return values / 100
