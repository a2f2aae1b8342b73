"""Units from the most stable to the least: within a class, and over the classes of a layer.

Always within one layer of one network: larger maps have more levels, so that feature entropies of
layers with maps of different sizes do not compare.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

import numpy as np
from scipy import stats

from audit.errors import ConfigError, DataError, unknown_name
from audit.topology.intervals import LEAST_BIRTHS
from audit.topology.units import OK, STATUS_NAMES

if TYPE_CHECKING:
    import pandas as pd

By: TypeAlias = Literal["class", "layer"]
#: A unit born on a smaller share of the images is not ranked, unless another is asked for.
LEAST_RATE: Final = 0.1
#: What a unit table of several networks tells them apart by.
_NETWORK: Final = ("checkpoint", "filtration")
_NEEDED: Final = ("layer", "unit", "class_name", "effective_rate", "feature_entropy", "status")


def rank_units(
    table: pd.DataFrame,
    by: By = "class",
    least_rate: float = LEAST_RATE,
    confidence: float = 0.95,
    least_births: int = LEAST_BIRTHS,
) -> pd.DataFrame:
    """Rank the units of every layer by feature entropy, the lowest first.

    Left out, with the reason: units that are dead, constant, never born or redundant, and units
    that are born so seldom that their number says little. (One birth alone has entropy 0.)

    Args:
        table: As `audit.unit_table` returns it or `units.parquet` holds it, of one network or
            several.
        by: "class": within each class, by feature entropy. "layer": over the classes of a layer, by
            the mean of a unit's percentiles in its classes, so that classes in which all units
            have high numbers do not weigh more.
        least_rate: Effective rate, in [0, 1], from which on a unit is ranked.
        confidence: Of the interval of the mean percentile, in (0, 1).
        least_births: Images with a birth from which on a unit is ranked, where the table says how
            many images there are.

    Returns:
        Sorted by network, layer, class and rank; units without a rank last, with why in `unranked`.

        - by "class": the columns of the table, rank (from 1; equal numbers share the mean of their
          ranks), n_ranked, and where the table has intervals rank_lower and rank_upper: between
          them lies the rank unless a unit's interval is wrong (1 + the units whose interval lies
          below, and likewise from above).
        - by "layer": one row per unit: rank, n_ranked, percentile in [0, 1] (0: always the most
          stable) with lower and upper (Student's t over classes; NaN for fewer than two),
          feature_entropy and effective_rate (means over the classes it is ranked in), n_classes.
          A unit is ranked that is so in at least half of the classes.

    Raises:
        ConfigError: An unknown `by`, or a share outside its range.
        DataError: A column is missing, or there are no rows.

    Example:
        >>> import pandas as pd
        >>> table = pd.DataFrame({"layer": "a", "unit": [0, 1, 2], "class_name": "cat",
        ...     "effective_rate": [1.0, 1.0, 0.0], "feature_entropy": [2.0, 1.0, float("nan")],
        ...     "status": ["ok", "ok", "never_born"]})
        >>> rank_units(table)[["unit", "rank", "unranked"]].values.tolist()
        [[1, 1.0, ''], [0, 2.0, ''], [2, nan, 'never born']]
    """
    import pandas as pd

    if by not in ("class", "layer"):
        raise unknown_name("ranking of units", by, ["class", "layer"], "known: class, layer")
    for name, share, least in (("least_rate", least_rate, True), ("confidence", confidence, False)):
        if not (0 <= share <= 1 if least else 0 < share < 1):
            raise ConfigError(f"{name} must lie between 0 and 1; found {share}")
    missing = [name for name in _NEEDED if name not in table]
    if missing:
        raise DataError(f"a unit table has columns {', '.join(_NEEDED)}; missing: {missing}")
    if table.empty:
        raise DataError("the unit table has no rows")
    ranked = [
        _within_class(group.assign(unranked=_reasons(group, least_rate, least_births)))
        for _, group in _groups(table, "class_name")
    ]
    if by == "layer":
        whole = pd.concat(ranked)
        ranked = [_over_classes(group, confidence) for _, group in _groups(whole)]
    return pd.concat(ranked, ignore_index=True)


def _groups(table: pd.DataFrame, *more: str) -> Iterator[tuple[Hashable, pd.DataFrame]]:
    """The table layer by layer, in its order; and further apart."""
    names = [name for name in _NETWORK if name in table] + ["layer", *more]
    yield from table.groupby(names, sort=False, observed=True)


def _reasons(group: pd.DataFrame, least_rate: float, least_births: int) -> np.ndarray:
    """Why each row is not ranked; "" where it is."""
    status = group["status"].astype(str).to_numpy()
    rate = group["effective_rate"].to_numpy(np.float64)
    why = np.where(status == STATUS_NAMES[OK], "", np.char.replace(status.astype(str), "_", " "))
    if "repeats" in group:
        again = status == "redundant"
        units = group["repeats"].to_numpy()[again]
        why = why.astype(object)
        why[again] = [f"repeats unit {unit}" for unit in units]
    seldom = (why == "") & ~(rate >= least_rate)
    words = np.array([f"born on {share:.1%} of the images" for share in rate], object)
    why = np.where(seldom, words, why.astype(object))
    if "n_images" in group:
        births = np.rint(np.nan_to_num(rate) * group["n_images"].to_numpy())
        few = (why == "") & (births < least_births)
        why = np.where(few, [f"born on {n:.0f} images" for n in births], why)
    return np.asarray(why)


def _within_class(group: pd.DataFrame) -> pd.DataFrame:
    """One layer and class in order of rank."""
    told = group["unranked"].to_numpy() == ""
    rank = np.full(len(group), np.nan)
    rank[told] = stats.rankdata(group["feature_entropy"].to_numpy(np.float64)[told])
    columns: dict[str, Any] = {"rank": rank, "n_ranked": int(told.sum())}
    if {"lower", "upper"} <= set(group):
        ends = group.loc[told, ["lower", "upper"]].to_numpy(np.float64)
        columns["rank_lower"], columns["rank_upper"] = np.full((2, len(group)), np.nan)
        columns["rank_lower"][told], columns["rank_upper"][told] = _possible_ranks(*ends.T)
    ordered = group.assign(**columns).sort_values("rank", kind="stable", na_position="last")
    return ordered.drop(columns="unranked").assign(unranked=ordered["unranked"])


def _possible_ranks(lower: np.ndarray, upper: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Least and largest rank that intervals allow; those without one may be anywhere."""
    lower, upper = np.nan_to_num(lower, nan=-np.inf), np.nan_to_num(upper, nan=np.inf)
    below = np.searchsorted(np.sort(upper), lower, "left")
    above = len(upper) - np.searchsorted(np.sort(lower), upper, "right")
    return 1.0 + below, 1.0 * len(upper) - above


def _over_classes(group: pd.DataFrame, confidence: float) -> pd.DataFrame:
    """One layer in order of mean percentile."""
    import pandas as pd

    n_classes = group["class_name"].nunique()
    told = group[group["unranked"] == ""]
    percentile = (told["rank"] - 0.5) / told["n_ranked"]
    by_unit = told.assign(percentile=percentile).groupby("unit", sort=True)
    found = by_unit[["percentile", "feature_entropy", "effective_rate"]].mean()
    found["n_classes"] = by_unit.size()
    error = by_unit["percentile"].std() / np.sqrt(found["n_classes"])
    t = stats.t.ppf((1 + confidence) / 2, np.maximum(found["n_classes"] - 1, 1))
    found["lower"] = (found["percentile"] - t * error).clip(lower=0)
    found["upper"] = (found["percentile"] + t * error).clip(upper=1)
    units = pd.Index(np.sort(group["unit"].unique()), name="unit")
    found = found.reindex(units)
    found["n_classes"] = found["n_classes"].fillna(0).astype(int)
    enough = (2 * found["n_classes"] >= n_classes).to_numpy()
    found.loc[~enough, ["percentile", "lower", "upper"]] = np.nan
    found["rank"] = found["percentile"].rank()
    found["n_ranked"] = int(enough.sum())
    commonest = group[group["unranked"] != ""].groupby("unit")["status"].agg(_commonest)
    why = [
        "" if kept else f"ranked in {n} of {n_classes} classes; {commonest[unit]} in others"
        for unit, n, kept in zip(found.index, found["n_classes"], enough, strict=True)
    ]
    found = found.assign(unranked=why).reset_index()
    for name in ("layer", *reversed(_NETWORK)):
        if name in group:
            found.insert(0, name, group[name].iloc[0])
    columns = ["rank", "n_ranked", "percentile", "lower", "upper"]
    columns += ["feature_entropy", "effective_rate", "n_classes", "unranked"]
    first = [name for name in found if name not in columns]
    return found[[*first, *columns]].sort_values("rank", kind="stable", na_position="last")


def _commonest(states: pd.Series[Any]) -> str:
    """The state a unit is in most often where it is not ranked, in words."""
    state = str(states.astype(str).mode().iloc[0])
    return "seldom born" if state == STATUS_NAMES[OK] else state.replace("_", " ")


def class_concordance(
    table: pd.DataFrame, least_rate: float = LEAST_RATE, n_permutations: int = 999, seed: int = 0
) -> pd.DataFrame:
    """Whether the classes of a layer put its units in one order: Kendall's W.

    W = 12 Σ (R − mean R)² / (m² (k³ − k) − m Σ T), R the sum of a unit's ranks over the m classes,
    over the k units that are ranked in all of them, T = Σ (t³ − t) over the ties of a class. 1: one
    order in all classes, so that stable is what a unit is; 1 / m on average by chance: stable is
    what a unit is for a class. p by permuting the units within every class.

    Args:
        table: As `rank_units` takes it.
        least_rate: Likewise.
        n_permutations: Of the test; p is at least 1 / (1 + n_permutations).
        seed: Of the permutations.

    Returns:
        One row per layer: n_units (k), n_classes (m), concordance (W in [0, 1]), by_chance (mean W
        of the permutations), p_value; NaN for fewer than three units or two classes.

    Source:
        Kendall & Babington Smith, The problem of m rankings, 1939; ties as Siegel & Castellan 1988.
    """
    import pandas as pd

    rows = []
    ranked = rank_units(table, "class", least_rate)
    for _, group in _groups(ranked[ranked["unranked"] == ""]):
        wide = group.pivot(index="unit", columns="class_name", values="feature_entropy").dropna()
        row: dict[str, Any] = {name: group[name].iloc[0] for name in _NETWORK if name in group}
        row |= {"layer": group["layer"].iloc[0], "n_units": len(wide), "n_classes": wide.shape[1]}
        row |= _concordance(wide.to_numpy(np.float64), n_permutations, seed)
        rows.append(row)
    columns = ["layer", "n_units", "n_classes", "concordance", "by_chance", "p_value"]
    first = [name for name in _NETWORK if name in table]
    return pd.DataFrame(rows, columns=[*first, *columns])


def _concordance(numbers: np.ndarray, n_permutations: int, seed: int) -> dict[str, float]:
    """Kendall's W of (units, classes), its mean under permutation, and p."""
    k, m = numbers.shape
    ranks = stats.rankdata(numbers, axis=0)
    ties = sum(float((n**3 - n).sum()) for n in _tie_sizes(numbers))
    scale = m**2 * (k**3 - k) - m * ties
    if k < 3 or m < 2 or scale <= 0:
        return dict.fromkeys(("concordance", "by_chance", "p_value"), np.nan)

    def concordance(ranks: np.ndarray) -> float:
        total = ranks.sum(axis=1)
        return float(12 * ((total - total.mean()) ** 2).sum() / scale)

    generator = np.random.default_rng(seed)
    observed = concordance(ranks)
    permuted = (generator.permuted(ranks, axis=0) for _ in range(n_permutations))
    draws = np.array([concordance(one) for one in permuted])
    exceeding = 1 + int((draws >= observed - 1e-12).sum())
    return {
        "concordance": observed,
        "by_chance": float(draws.mean()),
        "p_value": exceeding / (1 + n_permutations),
    }


def _tie_sizes(numbers: np.ndarray) -> Iterator[np.ndarray]:
    """How many units share each number, class by class."""
    for column in numbers.T:
        yield np.unique(column, return_counts=True)[1].astype(np.float64)
