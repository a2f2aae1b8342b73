"""Is a measure right everywhere? Sign errors over environments that differ in one setting."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
import pandas as pd
from scipy import stats

from audit.errors import DataError
from audit.statistics.design import group_taus
from audit.statistics.grid import Designs, MatchedPairs
from audit.statistics.resampling import holm
from audit.statistics.result import (
    HELD_OUT,
    Statistic,
    Values,
    expected_sign,
    orientation,
    paired,
    undefined,
)

#: Held-out images assumed where nobody says: the test sets of the paper.
N_HELD_OUT: Final = 10_000
#: Pairs whose weight is below this are taken for noise, as in the paper.
_MIN_WEIGHT: Final = 0.5


class SignError(NamedTuple):
    """Robust sign-error over environments.

    Attributes:
        mean: Mean error over environments.
        p90: 90th percentile.
        max: Error in the worst environment.
        n_environments: Environments whose pairs can be told apart.
    """

    mean: Statistic
    p90: Statistic
    max: Statistic
    n_environments: int


def sign_error(
    table: pd.DataFrame,
    measure: str,
    target: str = HELD_OUT,
    direction: str = "higher",
    axes: Sequence[str] | None = None,
    n_held_out: int | None = None,
    *,
    designs: Designs | None = None,
) -> SignError:
    """Share of pairs ordered wrongly, per environment: mean, 90th percentile and maximum.

    An environment is a pair of hyperparameter settings that differ in one value; its pairs are
    the pairs of models with these settings. Its error is Σ w·e / Σ w, e = 1 where the pair is
    ordered wrongly, ½ where the measure ties, and w = (p² − ½)₊ with
    p = (1 − 2 exp(−n (Δ/2)²·2))₊: pairs whose targets n held-out images cannot tell apart are
    weighted down to nothing. Environments left without weight are left out.

    Args:
        table: One row per checkpoint.
        measure: The column of the measure.
        target: The column to predict, a share in [0, 1].
        direction: What the measure claims; "none" takes the claim that fits the table best
            (the sign of τ), which flatters it.
        axes: Hyperparameter columns; by default all `hp.*` columns that vary.
        n_held_out: Held-out images; by default the median of column `n_held_out`, else 10,000.
        designs: Designs worked out before for this table, to save time.

    Returns:
        The three statistics in [0, 1]; NaN where no two settings differ in one value, where no
        pair can be told apart, and as for `kendall`.

    Source: Dziugaite et al. (2020), "In search of robust measures of generalization", §3–4, with
    their Hoeffding weights; their filter on effective sample size is not applied.
    """
    x, y, rows, reason = paired(table, measure, target)
    design = (designs or Designs(table, axes)).of(rows)
    first, second = np.empty((2, 0), dtype=np.int64) if reason else _neighbours(design.matched)
    if not reason and not len(first):
        reason = "no two hyperparameter settings differ in one value"
    if reason:
        missing = undefined(reason, len(x))
        return SignError(missing, missing, missing, 0)
    claim = expected_sign(direction, target) or _observed_sign(x, y)
    weight = hoeffding_weight(y[first] - y[second], n_held_out or _n_held_out(design.known))
    told = weight > 0
    first, second, weight = first[told], second[told], weight[told]
    if not len(first):
        missing = undefined("the held-out images cannot tell any pair apart", len(x))
        return SignError(missing, missing, missing, 0)
    x = stats.rankdata(x)  # infinite values are extremes
    agreement = claim * np.sign(x[first] - x[second]) * np.sign(y[first] - y[second])
    ends = np.sort([design.settings[first], design.settings[second]], axis=0)
    environment = np.unique(ends[0] * (ends.max() + 1) + ends[1], return_inverse=True)[1]
    total = np.bincount(environment, weight)
    errors = np.bincount(environment, weight * (1 - agreement) / 2) / total
    summaries = (errors.mean(), np.percentile(errors, 90), errors.max())
    mean, p90, worst = (Statistic(float(s), "", len(x), len(first)) for s in summaries)
    return SignError(mean, p90, worst, len(errors))


def _neighbours(matched: Sequence[MatchedPairs]) -> np.ndarray:
    """The pairs of models whose settings differ in exactly one value, shape (2, pairs)."""
    found = [np.stack([p.first[p.differs], p.second[p.differs]]) for p in matched]
    return np.hstack([np.empty((2, 0), dtype=np.int64), *found])


def _observed_sign(x: Values, y: Values) -> int:
    return 1 if stats.kendalltau(x, y).statistic >= 0 else -1


def _n_held_out(table: pd.DataFrame) -> int:
    if "n_held_out" not in table.columns:
        return N_HELD_OUT
    median = pd.to_numeric(table["n_held_out"], errors="coerce").median()
    if not median >= 1:
        raise DataError("column 'n_held_out' must hold numbers of held-out images, 1 or more")
    return int(median)


def hoeffding_weight(difference: Values, n_held_out: int) -> Values:
    """(p² − ½)₊, p = (1 − 2 exp(−n Δ²/2))₊ bounding the chance that the order is not luck.

    Example:
        >>> hoeffding_weight(np.array([0.0, 0.1]), 10_000).round(3).tolist()
        [0.0, 0.5]
    """
    p = np.maximum(0.0, 1 - 2 * np.exp(-2 * n_held_out * (difference / 2) ** 2))
    return np.asarray(np.maximum(p**2 - _MIN_WEIGHT, 0.0))


class Contradiction(NamedTuple):
    """Axes along which a measure is significantly right, and significantly wrong."""

    with_target: list[str]
    against_target: list[str]


def contradictions(
    table: pd.DataFrame,
    measure: str,
    target: str = HELD_OUT,
    axes: Sequence[str] | None = None,
    alpha: float = 0.05,
    *,
    designs: Designs | None = None,
) -> Contradiction:
    """The hyperparameter axes along which a measure rises, and falls, with better models.

    Along each axis every matched group gives one sign, that of its τ; a two-sided sign test over
    the groups (which share no model) with Holm's correction over axes. A measure that has axes
    in both lists contradicts itself: no direction is right in all environments.

    Args:
        table: One row per checkpoint.
        measure: The column of the measure.
        target: The column to predict.
        axes: Hyperparameter columns; by default all `hp.*` columns that vary.
        alpha: Chance of naming any axis wrongly.
        designs: Designs worked out before for this table, to save time.
    """
    x, y, rows, reason = paired(table, measure, target)
    if reason:
        return Contradiction([], [])
    names, signs, p_values = [], [], []
    for pairs in (designs or Designs(table, axes)).of(rows).matched:
        taus = np.sign(group_taus(x, y, pairs))
        right, wrong = int((taus > 0).sum()), int((taus < 0).sum())
        if right + wrong:
            names.append(pairs.axis)
            signs.append(orientation(target) * (right - wrong))
            p_values.append(float(stats.binomtest(right, right + wrong).pvalue))
    adjusted = holm(np.array(p_values))
    found = [(n, s) for n, s, p in zip(names, signs, adjusted, strict=True) if p < alpha]
    return Contradiction([n for n, s in found if s > 0], [n for n, s in found if s < 0])
