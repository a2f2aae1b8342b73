"""What a statistic returns, and how a table becomes the pairs of numbers it is computed on.

A table holds one row per checkpoint: measure columns, `held_out_accuracy`, optional
`train_accuracy` and `generalization_gap`, hyperparameters in columns `hp.*`, optional `family`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int64

from audit.errors import DataError

#: A higher (lower) value of the measure predicts better generalization; "none" = nobody says.
Direction = Literal["higher", "lower", "none"]

HELD_OUT: Final = "held_out_accuracy"
TRAIN: Final = "train_accuracy"
GAP: Final = "generalization_gap"
HYPERPARAMETER_PREFIX: Final = "hp."

#: Below this many models no statistic of association is reported.
MIN_MODELS: Final = 3

Values = Float[np.ndarray, " n"]
Codes = Int64[np.ndarray, " n"]
Mask = Bool[np.ndarray, " n"]


@dataclass(frozen=True, slots=True)
class Statistic:
    """One number, or NaN and the reason why there is none.

    Attributes:
        value: The statistic; NaN when undefined.
        reason: Empty when defined, otherwise why not, starting with "undefined: ".
        n_models: Checkpoints the number rests on.
        n_pairs: Pairs of checkpoints compared; 0 where the statistic is not made of pairs.

    Example:
        >>> float(Statistic(0.5, n_models=4, n_pairs=6))
        0.5
    """

    value: float
    reason: str = ""
    n_models: int = 0
    n_pairs: int = 0

    def __float__(self) -> float:
        return self.value


def undefined(reason: str, n_models: int = 0, n_pairs: int = 0) -> Statistic:
    """A `Statistic` without a value."""
    return Statistic(math.nan, f"undefined: {reason}", n_models, n_pairs)


class Paired(NamedTuple):
    """The rows of a table on which both a measure and the target are known."""

    x: Values
    y: Values
    rows: Mask
    reason: str


def numeric_column(table: pd.DataFrame, column: str) -> Values:
    """A column as float64; anything that is not a number is NaN.

    Raises:
        DataError: The table has no such column, or has it twice.
    """
    if column not in table.columns:
        raise DataError(f"the table has no column {column!r}; it has {', '.join(map(str, table))}")
    place = table.columns.get_loc(column)
    if not isinstance(place, int):
        raise DataError(f"the table has several columns named {column!r}; keep one")
    series = table.iloc[:, place]
    if series.dtype == np.float64:
        return series.to_numpy()
    return np.asarray(pd.to_numeric(series, errors="coerce"), dtype=np.float64)


def target_values(table: pd.DataFrame, target: str) -> tuple[Values, str]:
    """The target column, deriving gap = train − held-out accuracy where it can be derived.

    Returns:
        The values, shape (n,), and a reason when there are none.
    """
    if target in table.columns:
        return numeric_column(table, target), ""
    if target == GAP:
        missing = [column for column in (TRAIN, HELD_OUT) if column not in table.columns]
        if missing:
            return np.full(len(table), np.nan), f"{GAP} needs {' and '.join(missing)}"
        gap = numeric_column(table, TRAIN) - numeric_column(table, HELD_OUT)
        return np.round(gap, 12), ""  # rounding of the subtraction must not break ties
    raise DataError(f"the table has no target column {target!r}")


def paired(table: pd.DataFrame, measure: str, target: str, *, finite: bool = False) -> Paired:
    """The pairs (measure, target) that exist, and why no association can be computed on them.

    Infinite values of a measure are its extremes: rank statistics use them as such. Statistics
    of values (Pearson, R²) ask for `finite` pairs and are undefined where one is infinite.
    """
    x = numeric_column(table, measure)
    y, reason = target_values(table, target)
    rows = ~np.isnan(x) & np.isfinite(y)
    x, y = x[rows], y[rows]
    if not reason:
        reason = why_undefined(x, y)
    if not reason and finite and not np.isfinite(x).all():
        reason = f"{int(np.isinf(x).sum())} infinite values of the measure"
    return Paired(x, y, rows, reason)


def why_undefined(x: Values, y: Values) -> str:
    """Why no association exists between two columns; empty when one does."""
    if len(x) < MIN_MODELS:
        return f"fewer than {MIN_MODELS} models"
    if np.all(y == y[0]):
        return "constant target"
    if np.all(x == x[0]):
        return "constant measure"
    return ""


def n_pairs(n_models: int) -> int:
    """Unordered pairs among n models."""
    return n_models * (n_models - 1) // 2


def orientation(target: str) -> int:
    """+1 where more of the target is better, −1 where less is (gaps, losses, errors)."""
    return -1 if target == GAP or target.endswith(("_gap", "_loss", "_error")) else 1


def expected_sign(direction: str, target: str) -> int:
    """The sign an association must have to agree with a declared direction; 0 when none is.

    Example:
        >>> expected_sign("higher", "generalization_gap")
        -1
    """
    signs = {"higher": 1, "lower": -1, "none": 0}
    if direction not in signs:
        raise DataError(f"a direction is 'higher', 'lower' or 'none'; found {direction!r}")
    return signs[direction] * orientation(target)


def hyperparameter_columns(table: pd.DataFrame, axes: Sequence[str] | None = None) -> list[str]:
    """The hyperparameter columns that vary: those named, else all `hp.*` columns.

    Raises:
        DataError: A named axis is not a column.
    """
    if axes is None:
        axes = [str(c) for c in table.columns if str(c).startswith(HYPERPARAMETER_PREFIX)]
    missing = [axis for axis in axes if axis not in table.columns]
    if missing:
        raise DataError(f"the table has no hyperparameter column {', '.join(map(repr, missing))}")
    return [axis for axis in axes if table[axis].nunique(dropna=False) > 1]


def codes_of(table: pd.DataFrame, columns: Sequence[str]) -> Codes:
    """One integer per distinct combination of values of the columns, from 0; all 0 for none."""
    code = np.zeros(len(table), dtype=np.int64)
    for column in columns:
        level = pd.factorize(table[column], use_na_sentinel=False)[0].astype(np.int64)
        code = np.unique(code * (level.max(initial=0) + 1) + level, return_inverse=True)[1]
    return code.astype(np.int64)
