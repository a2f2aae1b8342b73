"""Does a measure add anything to what is known? A test of the increment over controls."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
import pandas as pd
from scipy import stats

from audit.statistics.grid import Columns, Designs, orthonormal
from audit.statistics.result import (
    GAP,
    HELD_OUT,
    Statistic,
    Values,
    numeric_column,
    paired,
    target_values,
    undefined,
    why_undefined,
)

#: Degrees of freedom that must be left after the controls for a test.
MIN_FREEDOM: Final = 5
#: A measure with less than this share of its rank variance left is determined by the controls.
MIN_LEFT: Final = 0.01
DETERMINED: Final = "the controls determine the"
#: Images that each held-out accuracy was taken on.
N_HELD_OUT_COLUMN: Final = "n_held_out"


class Increment(NamedTuple):
    """The association that is left given controls.

    Attributes:
        association: Correlation of the remainders; NaN where nothing is left, or no test fits.
        p_value: Two-sided; 1 where the controls determine the measure, NaN where it cannot be
            told, as where they determine the target.
        freedom: Degrees of freedom of the test; 0 where there is none.
        reliability: Share of what the controls leave of the target that is not the noise of
            counting correct answers on the held-out images; 1 where their number is unknown.
    """

    association: Statistic
    p_value: float
    freedom: int = 0
    reliability: float = 1.0


def increment_over_columns(
    table: pd.DataFrame, measure: str, target: str = HELD_OUT, controls: Sequence[str] = ()
) -> Increment:
    """Association of measure and target given numeric controls (baselines).

    Ranks of measure and target are fitted by ranks of the controls and their squares; the
    remainders are correlated, t = r √(f / (1 − r²)) with f degrees of freedom left.

    Args:
        table: One row per checkpoint.
        measure: The column of the measure.
        target: The column to predict.
        controls: Numeric columns; the measure itself and absent columns are skipped.
    """
    names = [c for c in controls if c not in (measure, target) and c in table.columns]
    x, _, rows, reason = paired(table, measure, target)
    if reason:
        return Increment(undefined(reason, len(x)), float("nan"))
    for name in names:
        rows = rows & ~np.isnan(numeric_column(table, name))
    columns = [np.ones((int(rows.sum()), 1))]
    for name in names:
        control = numeric_column(table, name)[rows]
        if len(control) and not np.all(control == control[0]):
            columns.append(_curve(control))
    if len(columns) == 1:
        return Increment(undefined("no control varies", int(rows.sum())), float("nan"))
    return increment(table, measure, target, orthonormal(np.hstack(columns)), rows)


def increment_over_design(
    table: pd.DataFrame,
    measure: str,
    target: str = HELD_OUT,
    axes: Sequence[str] | None = None,
    family: str = "family",
    *,
    designs: Designs | None = None,
) -> Increment:
    """Association of measure and target given the hyperparameters (and the family).

    The design is fitted as finely as the table allows (see `Design.basis`).

    Args:
        table: One row per checkpoint.
        measure: The column of the measure.
        target: The column to predict.
        axes: Hyperparameter columns; by default all `hp.*` columns that vary.
        family: The column that names families, a further factor where it varies.
        designs: Designs worked out before for this table, to save time.
    """
    rows, reason = paired(table, measure, target)[2:]
    n = int(rows.sum())
    if reason:
        return Increment(undefined(reason, n), float("nan"))
    design = (designs or Designs(table, axes, family)).of(rows)
    if not design.factors:
        return Increment(undefined("no hyperparameter varies", n), float("nan"))
    return increment(table, measure, target, design.basis, rows)


def _curve(column: Values) -> Columns:
    """Standardised ranks of a control that varies, and their squares."""
    ranks = stats.rankdata(column)
    ranks = (ranks - ranks.mean()) / ranks.std()
    return np.column_stack([ranks, ranks**2])


def increment(
    table: pd.DataFrame, measure: str, target: str, basis: Columns, rows: np.ndarray
) -> Increment:
    """Correlate what a basis of controls leaves of the ranks of measure and target.

    Args:
        table: One row per checkpoint.
        measure: The column of the measure.
        target: The column to predict.
        basis: Orthonormal columns, one row per row of the table selected by `rows`; the constant
            lies in their span.
        rows: The rows of the table to use: measure, target and controls are known there.
    """
    x = numeric_column(table, measure)[rows]
    y = target_values(table, target)[0][rows]
    n, reason = len(x), why_undefined(x, y)
    if reason:
        return Increment(undefined(reason, n), float("nan"))
    freedom = n - basis.shape[1] - 1
    if freedom < MIN_FREEDOM:
        return Increment(undefined("too few models beyond the controls", n), float("nan"))
    ranks = np.column_stack([stats.rankdata(x), stats.rankdata(y)])
    ranks -= ranks.mean(axis=0)
    left = ranks - basis @ (basis.T @ ranks)
    variance, remainder = (ranks**2).sum(axis=0), (left**2).sum(axis=0)
    for i, name, p_value in ((0, "measure", 1.0), (1, "target", float("nan"))):
        if remainder[i] <= MIN_LEFT * variance[i]:
            return Increment(undefined(f"{DETERMINED} {name}", n), p_value)
    r = float(np.clip(left[:, 0] @ left[:, 1] / np.sqrt(remainder.prod()), -1, 1))
    t = r * np.sqrt(freedom / max(1 - r * r, 1e-300))
    p_value = float(2 * stats.t.sf(abs(t), freedom))
    return Increment(
        Statistic(r, "", n), p_value, freedom, _reliability(table, target, basis, rows)
    )


def _reliability(table: pd.DataFrame, target: str, basis: Columns, rows: np.ndarray) -> float:
    """Share of what the controls leave of the target's variance that is not counting noise.

    An accuracy a on m images has variance a (1 − a) / m from the choice of images alone.
    """
    if HELD_OUT not in table.columns or N_HELD_OUT_COLUMN not in table.columns:
        return 1.0
    accuracy = numeric_column(table, HELD_OUT)[rows]
    m = numeric_column(table, N_HELD_OUT_COLUMN)[rows]
    known = np.isfinite(accuracy) & (m >= 1)
    if target not in (HELD_OUT, GAP) or not known.any():
        return 1.0
    noise = float(np.mean(accuracy[known] * (1 - accuracy[known]) / m[known]))
    y = target_values(table, target)[0][rows]
    left = y - basis @ (basis.T @ y)
    variance = float(left @ left) / (len(y) - basis.shape[1])
    return float(np.clip(1 - noise / variance, 0, 1)) if variance > 0 else 0.0
