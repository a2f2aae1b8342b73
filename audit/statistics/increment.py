"""Does a measure add anything to what is known? A test of the increment over controls."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float
from scipy import stats

from audit.statistics.result import (
    HELD_OUT,
    Statistic,
    Values,
    codes_of,
    hyperparameter_columns,
    numeric_column,
    paired,
    undefined,
)

#: Degrees of freedom that must be left after the controls for a test.
MIN_FREEDOM: Final = 5
#: A measure with less than this share of its rank variance left is determined by the controls.
MIN_LEFT: Final = 0.01
#: Designs with more indicator columns than this are not fitted.
MAX_COLUMNS: Final = 400

Columns = Float[np.ndarray, "n c"]


class Increment(NamedTuple):
    """The association that is left given controls.

    Attributes:
        association: Correlation of the remainders; NaN where nothing is left, or no test fits.
        p_value: Two-sided; 1 where the controls determine the measure, NaN where it cannot be
            told.
    """

    association: Statistic
    p_value: float


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
) -> Increment:
    """Association of measure and target given the hyperparameters (and the family).

    The design is fitted as finely as the table allows while at least half of its models are left
    as degrees of freedom: one level per whole setting (so that repeats alone are compared), else
    main effects with two-way interactions, else main effects.

    Args:
        table: One row per checkpoint.
        measure: The column of the measure.
        target: The column to predict.
        axes: Hyperparameter columns; by default all `hp.*` columns that vary.
        family: The column that names families, a further axis where it varies.
    """
    rows, reason = paired(table, measure, target)[2:]
    axes = design_axes(table, axes, family)
    if not reason and not axes:
        return Increment(undefined("no hyperparameter varies", int(rows.sum())), float("nan"))
    basis = np.full((len(table), 0), np.nan) if reason else design_basis(table[rows], axes)
    return increment(table, measure, target, basis, rows)


def design_axes(table: pd.DataFrame, axes: Sequence[str] | None, family: str) -> list[str]:
    """The hyperparameters that vary, and the family where it does."""
    found = hyperparameter_columns(table, axes)
    if family in table.columns and table[family].nunique(dropna=False) > 1:
        found.append(family)
    return found


def design_basis(known: pd.DataFrame, axes: Sequence[str]) -> Columns:
    """An orthonormal basis of the finest design that leaves half of the models free."""
    whole = _indicators(known, axes)
    if 2 * whole.shape[1] <= len(known):
        return np.asarray(whole / np.sqrt(whole.sum(axis=0)))
    main = np.hstack([_indicators(known, [axis]) for axis in axes])
    pairs = [_indicators(known, [a, b]) for i, a in enumerate(axes) for b in axes[i + 1 :]]
    if sum(columns.shape[1] for columns in pairs) <= MAX_COLUMNS:
        basis = orthonormal(np.hstack([main, *pairs]))
        if 2 * basis.shape[1] <= len(known):
            return basis
    return orthonormal(main) if main.shape[1] <= MAX_COLUMNS else np.eye(len(known))


def _indicators(table: pd.DataFrame, axes: Sequence[str]) -> Columns:
    codes = codes_of(table, axes)
    return np.asarray(codes[:, None] == np.arange(codes.max(initial=0) + 1), dtype=np.float64)


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
    x, y, _, reason = paired(table[rows], measure, target)
    n = len(x)
    if reason:
        return Increment(undefined(reason, n), float("nan"))
    freedom = n - basis.shape[1] - 1
    if freedom < MIN_FREEDOM:
        return Increment(undefined("too few models beyond the controls", n), float("nan"))
    ranks = np.column_stack([stats.rankdata(x), stats.rankdata(y)])
    ranks -= ranks.mean(axis=0)
    left = ranks - basis @ (basis.T @ ranks)
    variance, remainder = (ranks**2).sum(axis=0), (left**2).sum(axis=0)
    for i, name in enumerate(("measure", "target")):
        if remainder[i] <= MIN_LEFT * variance[i]:
            return Increment(undefined(f"the controls determine the {name}", n), 1.0)
    r = float(np.clip(left[:, 0] @ left[:, 1] / np.sqrt(remainder.prod()), -1, 1))
    t = r * np.sqrt(freedom / max(1 - r * r, 1e-300))
    return Increment(Statistic(r, "", n), float(2 * stats.t.sf(abs(t), freedom)))


def orthonormal(columns: Columns) -> Columns:
    """An orthonormal basis of the columns' span."""
    left, singular, _ = np.linalg.svd(columns, full_matrices=False)
    return np.asarray(left[:, singular > 1e-9 * singular.max(initial=0.0)])
