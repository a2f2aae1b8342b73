"""What several zoos say together, where zoos of one data source are not independent."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float
from numpy.typing import ArrayLike
from scipy import stats

from audit.statistics import holm, interval

CONFIDENCE: Final = 0.95
N_DRAWS: Final = 2000
SEED: Final = 0

#: Fewer sources than this have no interval.
MIN_SOURCES: Final = 3

Matrix = Float[np.ndarray, "c z"]


class Pooled(NamedTuple):
    """A mean over data sources.

    Attributes:
        mean: Mean over sources of the mean over each source's zoos.
        lower: Of Student's 95% interval over sources.
        upper: Likewise.
        n_sources: Sources it rests on.
        n_zoos: Zoos it rests on.
        p_value: Two-sided, of Student's test over sources against 0.
    """

    mean: float
    lower: float
    upper: float
    n_sources: int
    n_zoos: int
    p_value: float


def pooled(values: ArrayLike, sources: Sequence[str], errors: ArrayLike | None = None) -> Pooled:
    """Mean over sources with Student's interval; zoos without a value are left out.

    Each source counts once, whatever its number of zoos. The standard error is that of the means
    over sources, s / √k, and never less than what the zoos' own standard errors leave, so that
    sources that agree by chance do not make an interval narrow. It is an interval for the mean
    over sources like these, and needs at least two.

    Args:
        values: One per zoo; NaN where there is none.
        sources: The data source of each zoo.
        errors: Standard error of each value from the sampling of checkpoints, where known.

    Source: Hartung & Knapp (2001) with equal weights, and the ad hoc bound of Knapp & Hartung
    (2003).
    """
    means, own = _by_source(values, sources, errors)
    n_zoos = int((~np.isnan(np.asarray(values, dtype=float))).sum())
    n = len(means)
    mean = float(means.mean()) if n else math.nan
    if n < MIN_SOURCES:
        return Pooled(mean, math.nan, math.nan, n, n_zoos, math.nan)
    error = max(float(means.std(ddof=1) / math.sqrt(n)), math.sqrt(own.sum()) / n)
    half = float(stats.t.ppf((1 + CONFIDENCE) / 2, n - 1)) * error
    p_value = float(2 * stats.t.sf(abs(mean) / error, n - 1)) if error else math.nan
    return Pooled(mean, mean - half, mean + half, n, n_zoos, p_value)


def _by_source(
    values: ArrayLike, sources: Sequence[str], errors: ArrayLike | None = None
) -> tuple[Float[np.ndarray, " s"], Float[np.ndarray, " s"]]:
    """Mean of each source's zoos, and its sampling variance (0 where errors are not known)."""
    x = np.asarray(values, dtype=float)
    variance = np.zeros(len(x)) if errors is None else np.nan_to_num(np.square(errors))
    known = ~np.isnan(x)
    if not known.any():
        return np.empty(0), np.empty(0)
    code = np.unique(np.asarray(sources)[known], return_inverse=True)[1]
    size = np.bincount(code)
    return np.bincount(code, x[known]) / size, np.bincount(code, variance[known]) / size**2


def predicted(
    values: ArrayLike, sources: Sequence[str], errors: ArrayLike | None = None
) -> tuple[float, float]:
    """Student's 95% prediction interval for a zoo of a source not seen.

    Source: Higgins, Thompson & Spiegelhalter (2009), "A re-evaluation of random-effects
    meta-analysis", J. Royal Statistical Society A 172(1), with equal weights.
    """
    means, own = _by_source(values, sources, errors)
    n = len(means)
    if n < MIN_SOURCES:
        return math.nan, math.nan
    variance = max(float(means.var(ddof=1)), float(own.mean()))
    half = stats.t.ppf((1 + CONFIDENCE) / 2, n - 1) * math.sqrt(variance * (1 + 1 / n))
    return max(-1.0, float(means.mean() - half)), min(1.0, float(means.mean() + half))


def bootstrapped(values: Matrix, sources: Sequence[str]) -> Float[np.ndarray, "c 2"]:
    """Percentile intervals of means over sources, sources and then their zoos drawn again.

    Args:
        values: Shape (columns, zoos), NaN where there is none.
        sources: The data source of each zoo.

    Returns:
        Lower and upper ends, shape (columns, 2).
    """
    rng = np.random.default_rng(SEED)
    names = sorted(set(sources))
    members = [np.flatnonzero(np.array(sources) == name) for name in names]
    weights = np.zeros((len(sources), N_DRAWS))
    for draw in range(N_DRAWS):
        for chosen in rng.integers(0, len(names), len(names)):
            zoos = rng.choice(members[chosen], len(members[chosen]))
            np.add.at(weights[:, draw], zoos, 1 / len(zoos))
    present = ~np.isnan(values)
    total = present @ weights
    with np.errstate(invalid="ignore", divide="ignore"):
        draws = np.where(total > 0, np.nan_to_num(values) @ weights / total, np.nan)
    return np.array([interval(row, CONFIDENCE) for row in draws]).reshape(-1, 2)


class Agreement(NamedTuple):
    """In how many zoos an association has the sign of its mean.

    Attributes:
        k: Zoos with that sign.
        n: Zoos with a sign.
        p_value: Two-sided binomial, as if zoos were independent.
    """

    k: int
    n: int
    p_value: float


def agreement(values: ArrayLike, mean: float) -> Agreement:
    """Count the zoos whose association has the sign of the mean over sources."""
    signs = np.sign(np.asarray(values, dtype=float))
    signs = signs[np.abs(signs) > 0]
    if not len(signs) or math.isnan(mean):
        return Agreement(0, 0, math.nan)
    k = int((signs == np.sign(mean)).sum())
    return Agreement(k, len(signs), float(stats.binomtest(k, len(signs)).pvalue))


class Heterogeneity(NamedTuple):
    """How much zoos differ beyond what few checkpoints explain.

    Attributes:
        spread: Standard deviation between zoos that is left, 0 or more.
        share: I², the share of the variance between zoos that is not sampling noise.
        p_value: Of Cochran's Q against equal associations.
    """

    spread: float
    share: float
    p_value: float


def heterogeneity(values: ArrayLike, errors: ArrayLike) -> Heterogeneity:
    """Cochran's Q, I² and the spread between zoos, weighted by inverse variances.

    Args:
        values: One association per zoo.
        errors: Its standard error.

    Source: DerSimonian & Laird (1986); Higgins & Thompson (2002) for I².
    """
    x, error = np.asarray(values, dtype=float), np.asarray(errors, dtype=float)
    known = ~np.isnan(x) & (error > 0)
    x, weight = x[known], 1 / error[known] ** 2
    freedom = len(x) - 1
    if freedom < 1:
        return Heterogeneity(math.nan, math.nan, math.nan)
    q = float(weight @ (x - weight @ x / weight.sum()) ** 2)
    scale = float(weight.sum() - (weight**2).sum() / weight.sum())
    spread = math.sqrt(max(0.0, (q - freedom) / scale))
    share = max(0.0, (q - freedom) / q) if q > 0 else 0.0
    return Heterogeneity(spread, share, float(stats.chi2.sf(q, freedom)))


def pool_rows(rows: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
    """One row per column of measures: each statistic pooled over sources.

    Args:
        rows: One per zoo and column, of one audit.
        names: The statistics to pool; for `kendall`, all that is known of its pooling.

    Returns:
        `column`, `measure`, `judged`, `direction`, `n_zoos`, `n_sources`, `coverage` (the least
        share of a zoo's checkpoints that have a value); per statistic its mean
        and Student's interval; for τ the bootstrap interval, the prediction interval, the sign
        in zoos, the zoo where it is worst, p-values with Holm's correction over the columns that
        are judged, and the heterogeneity.
    """
    source_of = rows.groupby("zoo")["source"].first()
    zoos = list(source_of.index)
    sources = [str(name) for name in source_of]
    groups = rows.groupby("column", sort=True)
    about = groups.agg(measure=("measure", "first"), judged=("judged", "max"))
    about["direction"] = groups["direction"].first()
    wide = {name: _wide(rows, name, about.index, zoos) for name in names}
    errors = {name: _errors(rows, name, about.index, zoos) for name in names}
    ends = bootstrapped(wide["kendall"], sources)
    counts = np.nan_to_num(_wide(rows, "n_models", about.index, zoos))
    coverage = (counts / np.maximum(counts.max(axis=0), 1)).min(axis=1)
    found = []
    for place, column in enumerate(about.index):
        row: dict[str, Any] = {"column": column}
        for name in names:
            one = pooled(wide[name][place], sources, errors[name][place])
            row |= {name: one.mean, f"{name}_lower": one.lower, f"{name}_upper": one.upper}
        row |= _of_tau(wide["kendall"][place], errors["kendall"][place], sources, zoos)
        row["bootstrap_lower"], row["bootstrap_upper"] = ends[place]
        row["coverage"] = coverage[place]
        found.append(row)
    frame = about.reset_index().merge(pd.DataFrame(found), on="column")
    for name in ("sign_p", "source_p"):
        p_values = np.where(frame["judged"], frame[name], np.nan).astype(float)
        frame[f"{name}_holm"] = holm(p_values)
    return frame


def _wide(rows: pd.DataFrame, name: str, columns: pd.Index[Any], zoos: Sequence[str]) -> Matrix:
    """A statistic as a matrix, columns × zoos."""
    if name not in rows.columns:
        return np.full((len(columns), len(zoos)), np.nan)
    table = rows.pivot(index="column", columns="zoo", values=name)
    return table.reindex(index=columns, columns=list(zoos)).to_numpy(dtype=float)


def _errors(rows: pd.DataFrame, name: str, columns: pd.Index[Any], zoos: Sequence[str]) -> Matrix:
    """Standard errors of a statistic, from its intervals."""
    lower, upper = (_wide(rows, f"{name}_{end}", columns, zoos) for end in ("lower", "upper"))
    return np.asarray((upper - lower) / (2 * stats.norm.ppf((1 + CONFIDENCE) / 2)))


def _of_tau(
    values: Float[np.ndarray, " z"],
    errors: Float[np.ndarray, " z"],
    sources: Sequence[str],
    zoos: Sequence[str],
) -> dict[str, Any]:
    """What is known of a column's τ beside its mean."""
    one = pooled(values, sources, errors)
    signs = agreement(values, one.mean)
    differ = heterogeneity(values, errors)
    low, high = predicted(values, sources, errors)
    row: dict[str, Any] = {"n_zoos": one.n_zoos, "n_sources": one.n_sources}
    row |= {"predicted_lower": low, "predicted_upper": high, "source_p": one.p_value}
    row |= {"n_agree": signs.k, "n_signs": signs.n, "sign_p": signs.p_value}
    row |= {"spread": differ.spread, "i2": differ.share, "q_p": differ.p_value}
    if one.n_zoos:
        turned = values * (np.sign(one.mean) or 1)
        worst = int(np.nanargmin(turned))
        row |= {"worst_zoo": zoos[worst], "worst_kendall": float(values[worst])}
    return row
