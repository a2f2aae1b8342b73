"""The rows of a comparison: numbers of one pair of layers, and the verdicts over all pairs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import pandas as pd
from scipy.stats import false_discovery_control

from audit.statistics import holm
from audit.units.class_order import CLEAR_TAU, LEAST_CLASSES, class_agreement, would_find
from audit.units.distributions import LEAST_UNITS, unit_distances
from audit.units.layers import LayerUnits
from audit.units.matching import match_units, matched_by_chance
from audit.units.shared import LEAST_PAIRS, halves_of, shared_entropy

#: A shift, in standard deviations of the units, and a correlation, of which a verdict says whether
#: they would have been found.
CLEAR_SHIFT: Final = 0.5
CLEAR_CORRELATION: Final = 0.3

DIFFER: Final = "differ"
ALIKE: Final = "alike"
AGREE: Final = "agree"
OPPOSED: Final = "opposed"
NO_AGREEMENT: Final = "no agreement found"
SHARED: Final = "shared"
NO_SHARING: Final = "no sharing found"
CANNOT_TELL: Final = "cannot tell"

Row = dict[str, Any]


class Answers(NamedTuple):
    """What the units of one layer answered to the images that both networks were shown.

    Attributes:
        births: Shape (n, u), birth levels on all images.
        responses: Shape (m, u, p), mean activation at p places on m of the images.
        labels: Shape (n,), the class of each image.
        rows: Shape (m,), positions of those m images.
    """

    births: np.ndarray
    responses: np.ndarray
    labels: np.ndarray
    rows: np.ndarray


class Asked(NamedTuple):
    """How the questions are asked.

    Attributes:
        level: Of the tests, in (0, 1).
        least_rate: Effective rate, in [0, 1], from which on a unit has a number.
        n_permutations: Of the tests.
        seed: Of all that is drawn.
    """

    level: float
    least_rate: float
    n_permutations: int
    seed: int


def distance_rows(
    own: LayerUnits, other: LayerUnits, class_names: Sequence[str], asked: Asked
) -> tuple[Row, list[Row]]:
    """Distances of the units of two layers: over all classes, and class by class."""
    first, second = (layer.told(asked.least_rate) for layer in (own, other))
    found = unit_distances(first, second, asked.n_permutations, asked.seed, asked.level)
    counts = [np.isfinite(numbers).sum(axis=1) for numbers in (first, second)]
    means = [_means(numbers) for numbers in (first, second)]
    few = f"fewer than {LEAST_UNITS} units have a number in one network"
    equal = "all units have one number"
    whys = np.where(np.isnan(found.distance), few, np.where(found.spread > 0, "", equal))
    told = whys == ""
    rows = [
        {
            "class_name": name,
            "n_first": int(counts[0][c]),
            "n_second": int(counts[1][c]),
            "mean_first": means[0][c],
            "mean_second": means[1][c],
            "distance": found.distance[c],
            "spread": found.spread[c],
            "detectable": found.detectable[c],
            "p_value": found.p_value[c] if told[c] else np.nan,
            "reason": str(whys[c]),
        }
        for c, name in enumerate(class_names)
    ]
    row = {
        "n_classes": int(told.sum()),
        "mean_first": _mean(means[0][told]),
        "mean_second": _mean(means[1][told]),
        "distance": found.overall,
        "detectable": _mean(found.detectable[told] / found.spread[told]),
        "p_value": found.overall_p_value,
        "reason": "" if told.any() else f"in every class {' or '.join(sorted(set(whys)))}",
    }
    return row, rows


def order_row(own: LayerUnits, other: LayerUnits, asked: Asked) -> Row:
    """Whether two layers put the classes in one order."""
    means = [_means(layer.told(asked.least_rate)) for layer in (own, other)]
    counts, repeats = np.unique(own.n_images, return_counts=True)
    commonest = counts[len(counts) - 1 - int(repeats[::-1].argmax())]
    equal = own.n_images == commonest  # feature entropy depends on the number of images
    found = class_agreement(means[0][equal], means[1][equal], seed=asked.seed)
    why = ""
    if not np.isfinite(found.kendall):
        why = f"{found.n_classes} classes of {commonest} images have a number in both networks"
        why += f"; {LEAST_CLASSES} are needed" if found.n_classes < LEAST_CLASSES else ", all equal"
    return {
        "n_classes": found.n_classes,
        "kendall": found.kendall,
        "lower": found.lower,
        "upper": found.upper,
        "p_value": found.p_value,
        "reason": why,
    }


def matched_row(own: Answers, other: Answers, n_classes: int, asked: Asked) -> Row:
    """Whether units that respond alike share their status."""
    matching = match_units(own.responses, other.responses)
    chance = matched_by_chance(own.responses, other.responses, own.labels[own.rows], asked.seed)
    halves = [
        halves_of(answers.births[:, units], answers.labels, n_classes, asked.least_rate)
        for answers, units in ((own, matching.first), (other, matching.second))
    ]
    found = shared_entropy(halves[0], halves[1], asked.n_permutations, asked.seed)
    alike = _mean(matching.correlation)
    why = ""
    if found.n_classes == 0:
        why = f"no class has {LEAST_PAIRS} pairs of units with a number"
    elif not alike > chance.max():
        why = "units respond no more alike than to images exchanged within their class"
    elif not np.isfinite(found.ceiling):
        why = "a network's own units do not keep their order on other images"
    return {
        "n_pairs": found.n_pairs,
        "n_classes": found.n_classes,
        "alike": alike,
        "alike_by_chance": _mean(chance),
        "spearman": found.spearman,
        "lower": found.lower,
        "upper": found.upper,
        "ceiling": found.ceiling,
        "p_value": np.nan if why else found.p_value,
        "beyond_rate": found.beyond_rate,
        "beyond_rate_p_value": found.beyond_rate_p_value,
        "detectable": found.detectable,
        "reason": why,
    }


def judged(
    layers: pd.DataFrame,
    classes: pd.DataFrame,
    orders: pd.DataFrame,
    matched: pd.DataFrame,
    level: float,
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """The tables with adjusted p-values and verdicts.

    Args:
        layers: Rows of `distance_rows` over all classes: Holm over layers.
        classes: Those of single classes: Benjamini and Hochberg over layers and classes.
        orders: Rows of `order_row`: Holm over layers.
        matched: Rows of `matched_row`: Holm over layers.
        level: Of the tests, in (0, 1).
    """
    only = "only a shift of {:.2g} standard deviations would be found"
    layers = _with(
        layers, holm, level, DIFFER, ALIKE, _weak(layers["detectable"], CLEAR_SHIFT, only)
    )
    shifts = classes["detectable"] / classes["spread"].where(classes["spread"] > 0)
    weak = _weak(shifts, CLEAR_SHIFT, only)
    classes = _with(classes, _false_discoveries, level, DIFFER, ALIKE, weak)
    n_tests = max(1, int(orders["p_value"].notna().sum()))
    weak = [
        "" if would_find(CLEAR_TAU, n, level / n_tests) else f"{n} classes are too few for τ = 0.5"
        for n in orders["n_classes"]
    ]
    agreed = np.where(orders["kendall"] > 0, AGREE, OPPOSED)
    orders = _with(orders, holm, level, agreed, NO_AGREEMENT, weak)
    if not matched.empty:
        weak = _weak(matched["detectable"], CLEAR_CORRELATION, "only ρ = {:.2g} would be found")
        matched = _with(matched, holm, level, SHARED, NO_SHARING, weak)
    return layers, classes, orders, matched


def _weak(detectable: pd.Series[float], clear: float, words: str) -> list[str]:
    """Why a test that found nothing says nothing; "" where it would have found what is clear."""
    return ["" if found <= clear else words.format(found) for found in detectable]


def _with(
    frame: pd.DataFrame,
    adjust: Callable[[np.ndarray], np.ndarray],
    level: float,
    found: str | np.ndarray,
    not_found: str,
    weak: Sequence[str],
) -> pd.DataFrame:
    """A table with p_adjusted and verdict; the reason stays last."""
    adjusted = adjust(frame["p_value"].to_numpy(np.float64))
    untold, rejected = np.isnan(adjusted), adjusted <= level
    powerless = ~untold & ~rejected & (np.array(weak) != "")
    verdict = np.where(rejected, found, not_found)
    verdict = np.where(untold | powerless, CANNOT_TELL, verdict)
    why = np.where(powerless, np.array(weak), frame["reason"])
    frame = frame.drop(columns="reason")
    at = list(frame.columns).index("p_value") + 1
    frame.insert(at, "p_adjusted", adjusted)
    return frame.assign(verdict=verdict, reason=why)


def _false_discoveries(p_values: np.ndarray) -> np.ndarray:
    """Benjamini and Hochberg's adjustment; NaN stays NaN and is no test."""
    adjusted = np.full(len(p_values), np.nan)
    known = np.isfinite(p_values)
    if known.any():
        adjusted[known] = false_discovery_control(p_values[known])
    return adjusted


def _means(numbers: np.ndarray) -> np.ndarray:
    """Mean of each row; NaN is left out, and of a row of NaN alone the mean is NaN."""
    return np.array([_mean(row[np.isfinite(row)]) for row in numbers])


def _mean(numbers: np.ndarray) -> float:
    """Mean, NaN of none."""
    return float(numbers.mean()) if len(numbers) else np.nan
