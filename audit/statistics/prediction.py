"""How well a measure predicts models it was not fitted on, and what picking by it costs."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from audit.statistics.rank import kendall
from audit.statistics.result import (
    HELD_OUT,
    Codes,
    Statistic,
    Values,
    codes_of,
    expected_sign,
    orientation,
    paired,
    undefined,
)


def cross_validated_r2(
    table: pd.DataFrame,
    measure: str,
    target: str = HELD_OUT,
    n_splits: int = 5,
    n_repeats: int = 10,
    seed: int = 0,
) -> Statistic:
    """R² of a straight line on models left out: 1 − Σ(y − ŷ)² / Σ(y − ȳ)², repeated.

    ŷ comes from the line, and ȳ from the mean, of the models not left out; R² is below 0 where
    the line does worse than the mean. Averaged over repeated random partitions.

    Args:
        table: One row per checkpoint.
        measure: The column of the measure.
        target: The column to predict.
        n_splits: Parts of a partition; at most the number of models.
        n_repeats: Partitions.
        seed: Of the partitions.

    Returns:
        R², at most 1; NaN as for `pearson`.
    """
    x, y, _, reason = paired(table, measure, target, finite=True)
    if reason:
        return undefined(reason, len(x))
    rng = np.random.default_rng(seed)
    n_splits = min(n_splits, len(x))
    values = []
    for _ in range(n_repeats):
        part = rng.permutation(len(x)) % n_splits
        values.append(_left_out_r2(x, y, part))
    return Statistic(float(np.mean(values)), "", len(x))


def leave_one_family_out_r2(
    table: pd.DataFrame, measure: str, target: str = HELD_OUT, family: str = "family"
) -> Statistic:
    """R² of a straight line on families left out, one after the other.

    Args:
        table: One row per checkpoint.
        measure: The column of the measure.
        target: The column to predict.
        family: The column that names families.

    Returns:
        R², at most 1, against the mean of the other families; NaN without two families, and as
        for `pearson`.
    """
    x, y, rows, reason = paired(table, measure, target, finite=True)
    if not reason and family not in table.columns:
        reason = f"no column {family!r}"
    if reason:
        return undefined(reason, len(x))
    codes = codes_of(table.loc[rows], [family])
    if codes.max() < 1:
        return undefined("fewer than two families", len(x))
    return Statistic(_left_out_r2(x, y, codes), "", len(x))


def _left_out_r2(x: Values, y: Values, part: Codes) -> float:
    """1 − squared error of the line over that of the mean, each fitted without the part."""
    errors = np.array([_squared_errors(x, y, part == code) for code in _parts(part)])
    line, mean = errors.sum(axis=0)
    return float(1 - line / mean) if mean > 0 else float("-inf")


def _parts(part: Codes) -> Iterator[int]:
    return iter(np.unique(part).tolist())


def _squared_errors(x: Values, y: Values, out: np.ndarray) -> tuple[float, float]:
    """Squared error on the rows left out: of the line, and of the mean."""
    x_in, y_in = x[~out], y[~out]
    center, mean = x_in.mean(), y_in.mean()
    scale = float(((x_in - center) ** 2).sum())
    slope = float(((x_in - center) * (y_in - mean)).sum()) / scale if scale > 0 else 0.0
    line = y[out] - (mean + slope * (x[out] - center))
    flat = y[out] - mean
    return float(line @ line), float(flat @ flat)


def top_k_regret(
    table: pd.DataFrame,
    measure: str,
    target: str = HELD_OUT,
    direction: str = "higher",
    k: int = 1,
) -> Statistic:
    """What picking by the measure costs: the best target minus the best among the first k.

    Models that the measure ties at the k-th place are taken with equal chance, and the regret is
    its expected value over those choices.

    Args:
        table: One row per checkpoint.
        measure: The column of the measure.
        target: The column to predict.
        direction: Which end of the measure is picked; "none" picks by the sign of τ observed,
            which flatters the measure.
        k: Models picked, of which the best is kept.

    Returns:
        Regret ≥ 0 in units of the target; NaN as for `kendall`, and for more picks than models.
    """
    x, y, _, reason = paired(table, measure, target)
    if not reason and k > len(x):
        reason = f"fewer than {k} models"
    if reason:
        return undefined(reason, len(x))
    claim = expected_sign(direction, target)
    if claim == 0:
        claim = 1 if kendall(table, measure, target).value >= 0 else -1
    sign = orientation(target)
    merit, y = claim * sign * x, sign * y
    edge = np.sort(merit)[::-1][k - 1]
    surely, maybe = y[merit > edge], np.sort(y[merit == edge])
    seats = k - len(surely)
    picked = _expected_best(maybe, seats, float(surely.max()) if len(surely) else -np.inf)
    return Statistic(float(y.max() - picked), "", len(x))


def _expected_best(values: Values, seats: int, floor: float) -> float:
    """Expected maximum of `seats` values drawn without replacement, and of the floor."""
    n = len(values)
    # Chance that the i-th smallest (from 0) is the largest drawn: C(i, seats − 1) / C(n, seats).
    chance = np.zeros(n)
    chance[n - 1] = seats / n
    for i in range(n - 2, seats - 2, -1):
        chance[i] = chance[i + 1] * (i + 2 - seats) / (i + 1)
    return float(chance @ np.maximum(values, floor))
