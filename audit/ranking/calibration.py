"""Fitting a calibrator card on zoos of known accuracy, and ranking by one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
import pandas as pd
from scipy import stats
from sklearn.linear_model import Ridge

from audit.errors import DataError
from audit.ranking._regressors import Matrix, folds
from audit.ranking.cards import (
    Card,
    CardMeasure,
    CardZoo,
    Domain,
    check_versions,
    domain_of,
    normal_scores,
    order_scores,
)
from audit.ranking.estimator import GeneralizationRanker
from audit.ranking.order import ranking_frame
from audit.statistics.result import HELD_OUT, Values, codes_of, numeric_column

#: Confidences a card carries intervals for.
CONFIDENCES: Final = (0.5, 0.8, 0.9, 0.95)
_ALPHAS: Final = (1.0, 10.0, 100.0, 1000.0)
_MIN_MODELS: Final = 8


def fit_card(
    zoos: Mapping[str, pd.DataFrame],
    measures: Sequence[str],
    *,
    name: str,
    target: str = HELD_OUT,
    versions: Mapping[str, str] | None = None,
    description: str = "",
    seed: int = 0,
) -> Card:
    """Fit a card of kind "order" on zoos of known accuracy.

    Measures and target become normal scores of their ranks within each zoo; a ridge regression
    without intercept weighs the measures, its penalty chosen by the τ on what is left out: whole
    zoos where there are two or more, else families, else random fifths. Interval widths are
    conformal quantiles of the errors on what is left out: they cover a new zoo at the stated rate
    as far as it is like the zoos fitted on, and are themselves uncertain with few zoos.

    Args:
        zoos: A table per zoo, one row per checkpoint.
        measures: The measures to use.
        name: Of the card.
        target: The column to predict.
        versions: The version of each measure.
        description: For readers.
        seed: Of random folds.

    Raises:
        DataError: A zoo with fewer than 8 known accuracies, or a measure no zoo has.
    """
    tables = {zoo: _known(table, target, zoo) for zoo, table in zoos.items()}
    if not tables:
        raise DataError("a card needs at least one zoo")
    X = np.vstack([_scores(table, measures) for table in tables.values()])
    y = np.concatenate([normal_scores(numeric_column(t, target)) for t in tables.values()])
    zoo_of = np.repeat(np.arange(len(tables)), [len(t) for t in tables.values()])
    splits, held_out_by = _splits(list(tables.values()), zoo_of, seed)
    left_out = [_left_out_predictions(X, y, splits, alpha) for alpha in _ALPHAS]
    best = int(np.argmax([_mean_tau(p, y, zoo_of) for p in left_out]))
    predicted = left_out[best]
    coefficients = Ridge(_ALPHAS[best], fit_intercept=False).fit(X, y).coef_
    errors = np.sort(np.abs(y - predicted))
    return Card(
        name=name,
        kind="order",
        target=target,
        half_width={str(c): _conformal_quantile(errors, c) for c in CONFIDENCES},
        measures=[
            _card_measure(m, float(coefficient), list(tables.values()), versions or {})
            for m, coefficient in zip(measures, coefficients, strict=True)
        ],
        zoos=[
            CardZoo(name=zoo, n_models=len(t), kendall=_tau(predicted, y, zoo_of == i))
            for i, (zoo, t) in enumerate(tables.items())
        ],
        held_out_by=held_out_by,
        description=description,
    )


def _known(table: pd.DataFrame, target: str, zoo: str) -> pd.DataFrame:
    known = table.loc[np.isfinite(numeric_column(table, target))]
    if len(known) < _MIN_MODELS:
        raise DataError(
            f"zoo {zoo!r} needs {_MIN_MODELS} checkpoints with a known {target}; found {len(known)}"
        )
    return pd.DataFrame(known)


def _scores(table: pd.DataFrame, measures: Sequence[str]) -> Matrix:
    """Normal scores of the measures, 0 for those a zoo does not have."""
    return np.column_stack([normal_scores(column_or_gaps(table, m)) for m in measures])


def column_or_gaps(table: pd.DataFrame, measure: str) -> Values:
    """A measure with its infinite values as gaps; all gaps where a table does not have it."""
    if measure not in table.columns:
        return np.full(len(table), np.nan)
    values = numeric_column(table, measure)
    return np.where(np.isfinite(values), values, np.nan)


def _splits(
    tables: Sequence[pd.DataFrame], zoo_of: np.ndarray, seed: int
) -> tuple[list[tuple[np.ndarray, np.ndarray]], str]:
    """What is left out in turn: zoos, else families, else checkpoints."""
    if len(tables) > 1:
        return folds(len(zoo_of), zoo_of, len(tables), seed), "zoos"
    if "family" in tables[0].columns and tables[0]["family"].nunique() > 1:
        return folds(len(zoo_of), codes_of(tables[0], ["family"]), 10, seed), "families"
    return folds(len(zoo_of), None, 5, seed), "checkpoints"


def _left_out_predictions(
    X: Matrix, y: Values, splits: Sequence[tuple[np.ndarray, np.ndarray]], alpha: float
) -> Values:
    predicted = np.zeros(len(y))
    for train, test in splits:
        predicted[test] = Ridge(alpha, fit_intercept=False).fit(X[train], y[train]).predict(X[test])
    return predicted


def _mean_tau(predicted: Values, y: Values, zoo_of: np.ndarray) -> float:
    """Mean τ over zoos; a zoo without one counts 0."""
    return float(np.mean([_tau(predicted, y, zoo_of == i) or 0.0 for i in np.unique(zoo_of)]))


def _tau(predicted: Values, y: Values, rows: np.ndarray) -> float | None:
    if np.ptp(predicted[rows]) == 0 or np.ptp(y[rows]) == 0:
        return None
    return float(stats.kendalltau(predicted[rows], y[rows]).statistic)


def _conformal_quantile(errors: Values, confidence: float) -> float:
    """The ⌈(n + 1) confidence⌉-th least error; twice the largest where there is none."""
    place = int(np.ceil((len(errors) + 1) * confidence))
    value = errors[place - 1] if place <= len(errors) else 2 * errors[-1]
    return max(float(value), 1e-9)


def _card_measure(
    measure: str, coefficient: float, tables: Sequence[pd.DataFrame], versions: Mapping[str, str]
) -> CardMeasure:
    values = [numeric_column(t, measure) for t in tables if measure in t.columns]
    seen = np.concatenate(values) if values else np.empty(0)
    seen = seen[np.isfinite(seen)]
    if not len(seen):
        raise DataError(f"no zoo has a finite value of measure {measure!r}")
    return CardMeasure(
        name=measure,
        version=versions.get(measure, ""),
        coefficient=coefficient,
        lower=float(seen.min()),
        upper=float(seen.max()),
    )


def rank_by_card(
    table: pd.DataFrame,
    card: Card,
    checkpoints: Sequence[str],
    *,
    versions: Mapping[str, str] | None = None,
    confidence: float = 0.9,
    abstain: bool = False,
) -> tuple[pd.DataFrame, Domain]:
    """Rank checkpoints by a card, without any accuracy of theirs.

    Args:
        table: One row per checkpoint.
        card: The card.
        checkpoints: Names of the rows.
        versions: The version of each measure of the table; another than the card's is refused.
        confidence: Of the intervals.
        abstain: Outside the card's domain, say so and leave every checkpoint tied.

    Returns:
        The ranking (scores are normal scores for a card of kind "order", accuracies for one of
        kind "accuracy"), and how far the table lies outside the card's domain.

    Raises:
        DataError: The table has none of the card's measures, or another version of one.
    """
    check_versions(card, versions or {})
    domain = domain_of(card, table)
    names = [m.name for m in card.measures]
    if len(domain.missing) == len(names):
        raise DataError(
            f"card {card.name!r} needs {', '.join(names)}; the table has none of them with a value"
        )
    if card.kind == "order":
        score = order_scores(card, table)
        most = float(stats.norm.ppf(1 - 0.5 / len(table)))
        least = -most
    else:
        X = np.column_stack([column_or_gaps(table, m.name) for m in card.measures])
        score = GeneralizationRanker.from_card(card).predict(pd.DataFrame(X, columns=names))
        least, most = 0.0, 1.0
    width = card.width_at(confidence)
    lower, upper = np.clip(score - width, least, most), np.clip(score + width, least, most)
    if abstain and not domain.inside:
        lower, upper = np.full(len(score), least), np.full(len(score), most)
    frame = ranking_frame(checkpoints, score, np.minimum(lower, score), np.maximum(upper, score))
    return frame, domain
