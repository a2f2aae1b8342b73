"""Fitting a calibrator card on zoos of known accuracy, and ranking by one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import numpy as np
import pandas as pd
from scipy import stats

from audit.errors import DataError
from audit.ranking._regressors import folds
from audit.ranking.cards import (
    Card,
    CardMeasure,
    CardZoo,
    Domain,
    check_versions,
    domain_of,
    order_scores,
)
from audit.ranking.estimator import GeneralizationRanker
from audit.ranking.order import ranking_frame
from audit.ranking.scores import (
    KnownZoo,
    ZooScores,
    column_or_gaps,
    copy_groups,
    known_zoo,
    pairs_of,
    zoo_scores,
)
from audit.ranking.weighing import choose, left_out, weigh
from audit.ranking.widths import gap, half_width
from audit.statistics.result import HELD_OUT, Values, numeric_column

#: Confidences a card carries intervals for.
CONFIDENCES: Final = (0.5, 0.8, 0.9, 0.95)
#: Of the pairs called apart; at ½ every pair is.
GAP_CONFIDENCES: Final = (0.8, 0.9, 0.95)
#: The confidence that coverage is reported for.
REPORTED: Final = 0.9
_MIN_MODELS: Final = 8
_MIN_FAMILY: Final = 6


class Judged(NamedTuple):
    """A zoo with its scores by weights that never saw its source (or, alone, its part).

    Attributes:
        zoo: The zoo.
        score: Expected normal scores of the accuracies.
    """

    zoo: KnownZoo
    score: Values

    @property
    def errors(self) -> Values:
        """Absolute errors of the expected normal scores."""
        return np.asarray(np.abs(self.zoo.target - self.score))


def fit_card(
    zoos: Mapping[str, pd.DataFrame],
    measures: Sequence[str],
    *,
    name: str,
    target: str = HELD_OUT,
    versions: Mapping[str, str] | None = None,
    sources: Mapping[str, str] | None = None,
    description: str = "",
    seed: int = 0,
) -> Card:
    """Fit a card of kind "order" on zoos of known accuracy.

    Measures and target become normal scores of their ranks within each zoo and within each
    family; measures keep one sign and are drawn towards equal votes (see `weighing`). How
    strongly, and how much the family counts, is what ranks best on sources left out. Scores,
    widths of intervals and gaps of the card come from zoos whose source was left out of all of
    that (see `widths`); with one zoo, from families or else random fifths of it left out.

    Args:
        zoos: A table per zoo, one row per checkpoint; `family` where there are families.
        measures: The measures to use.
        name: Of the card.
        target: The column to predict.
        versions: The version of each measure.
        sources: The data source of each zoo; by default each is a source of its own.
        description: For readers.
        seed: Of random folds.

    Raises:
        DataError: A zoo with fewer than 8 known accuracies, or a measure no zoo has.
    """
    if not zoos:
        raise DataError("a card needs at least one zoo")
    tables = {zoo: _known(table, target, zoo) for zoo, table in zoos.items()}
    known = [
        known_zoo(
            zoo_scores(table, measures, zoo, (sources or {}).get(zoo, zoo)),
            numeric_column(table, target),
        )
        for zoo, table in tables.items()
    ]
    weights = weigh(known, choose(known))
    judged, scale, held_out_by = judge(known, seed)
    groups = copy_groups(np.vstack([zoo.scores.pooled for zoo in known]))
    return Card(
        name=name,
        kind="order",
        target=target,
        half_width={str(c): width_of(judged, c) for c in CONFIDENCES},
        gap={str(c): gap_of(judged, c) for c in GAP_CONFIDENCES},
        within=weights.within,
        measures=_card_measures(
            measures, scale * weights.coefficients, groups, list(tables.values()), versions or {}
        ),
        zoos=[_card_zoo(one, judged) for one in judged],
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


def judge(zoos: Sequence[KnownZoo], seed: int = 0) -> tuple[list[Judged], float, str]:
    """What cards do on what they have not seen.

    Returns:
        Every zoo with its scores, the factor that made them expected normal scores, and what was
        left out: "sources", "zoos", "families" or "checkpoints".
    """
    n_sources = len({zoo.scores.source for zoo in zoos})
    if len(zoos) == 1:
        found, held_out_by = _parts_left_out(zoos[0], seed)
    elif n_sources == 1:
        apart = [z._replace(scores=z.scores._replace(source=z.scores.name)) for z in zoos]
        found, held_out_by = list(left_out(apart)), "zoos"
    else:
        found = list(left_out(zoos))
        held_out_by = "sources" if n_sources < len(zoos) else "zoos"
    scale = _scale(found)
    return [Judged(zoo, scale * score) for zoo, score in found], scale, held_out_by


def _parts_left_out(zoo: KnownZoo, seed: int) -> tuple[list[tuple[KnownZoo, Values]], str]:
    """One zoo with its scores by weights fitted without the family, else without a random fifth."""
    families = zoo.scores.families
    groups = families if len(np.unique(families)) > 1 else None
    score = np.zeros(len(zoo.accuracy))
    for train, test in folds(len(score), groups, 10 if groups is not None else 5, seed):
        rest = [known_zoo(_rows(zoo.scores, train), zoo.accuracy[train])]
        score[test] = weigh(rest, choose(rest)).score(_rows(zoo.scores, test))
    return [(zoo, score)], "checkpoints" if groups is None else "families"


def _rows(scores: ZooScores, rows: np.ndarray) -> ZooScores:
    """Some of the checkpoints, with their scores among all of them."""
    return scores._replace(
        pooled=scores.pooled[rows], inside=scores.inside[rows], families=scores.families[rows]
    )


def _scale(found: Sequence[tuple[KnownZoo, Values]]) -> float:
    """The factor that makes scores expected normal scores: a regression through the origin."""
    product = sum(float(np.mean(zoo.target * score)) for zoo, score in found)
    square = sum(float(np.mean(score**2)) for _, score in found)
    return product / square if product > 0 and square > 0 else 1.0


def _tau(score: Values, accuracy: Values) -> float | None:
    if np.ptp(score) == 0 or np.ptp(accuracy) == 0:
        return None
    return float(stats.kendalltau(score, accuracy).statistic)


def least_within(score: Values, zoo: KnownZoo) -> float | None:
    """The least τ within a family of 6 checkpoints or more; None where there is none."""
    families = zoo.scores.families
    rows = (families == family for family in np.unique(families))
    taus = [_tau(score[r], zoo.accuracy[r]) for r in rows if r.sum() >= _MIN_FAMILY]
    known = [tau for tau in taus if tau is not None]
    return min(known) if known else None


def _card_zoo(one: Judged, judged: Sequence[Judged]) -> CardZoo:
    """What a card knows of a zoo; widths come from the other sources, where there are any."""
    zoo, source = one.zoo.scores, one.zoo.scores.source
    others = [other for other in judged if other.zoo.scores.source != source]
    others = others or [other for other in judged if other is not one]
    told: dict[str, float] = {}
    if others:
        told["coverage"] = float(np.mean(one.errors <= width_of(others, REPORTED)))
        told |= pairs_apart(one, gap_of(others, REPORTED))
    return CardZoo(
        name=zoo.name,
        source=source,
        n_models=len(one.score),
        kendall=_tau(one.score, one.zoo.accuracy),
        kendall_within=least_within(one.score, one.zoo),
        **told,
    )


def width_of(judged: Sequence[Judged], confidence: float) -> float:
    """Half width of intervals for a zoo unlike these, from their errors."""
    return half_width([one.errors for one in judged], confidence)


def gap_of(judged: Sequence[Judged], confidence: float) -> float:
    """Gap for a zoo unlike these, never more than two half widths."""
    found = gap([(one.score, one.zoo.accuracy) for one in judged], confidence)
    return min(found, 2 * width_of(judged, confidence))


def pairs_apart(one: Judged, least: float) -> dict[str, float]:
    """Share of a zoo's pairs that a gap tells apart, and share of those that are right."""
    i, j = pairs_of(len(one.score))
    difference = one.score[i] - one.score[j]
    apart = (np.abs(difference) > least) & (one.zoo.sign != 0)
    found = {"apart": float(apart.mean())}
    if apart.any():
        found["right"] = float(np.mean(np.sign(difference[apart]) == one.zoo.sign[apart]))
    return found


def _card_measures(
    names: Sequence[str],
    coefficients: Values,
    groups: np.ndarray,
    tables: Sequence[pd.DataFrame],
    versions: Mapping[str, str],
) -> list[CardMeasure]:
    """The measures that have a weight (all, where none has), near copies in one group."""
    weighty = [int(i) for i in np.flatnonzero(coefficients)]
    shared = np.bincount(groups[weighty], minlength=groups.max() + 1) > 1
    found = []
    for i in weighty or range(len(names)):
        lower, upper = _range(names[i], tables)
        found.append(
            CardMeasure(
                name=names[i],
                version=versions.get(names[i], ""),
                coefficient=float(coefficients[i]),
                group=f"group {groups[i]}" if shared[groups[i]] else "",
                lower=lower,
                upper=upper,
            )
        )
    return found


def _range(measure: str, tables: Sequence[pd.DataFrame]) -> tuple[float, float]:
    """Least and greatest value among the checkpoints fitted on."""
    seen = np.concatenate([column_or_gaps(table, measure) for table in tables])
    seen = seen[~np.isnan(seen)]
    if not len(seen):
        raise DataError(f"no zoo has a finite value of measure {measure!r}")
    return float(seen.min()), float(seen.max())


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
        most = max(float(stats.norm.ppf(1 - 0.5 / len(table))), float(np.abs(score).max()))
        least = -most
    else:
        X = np.column_stack([column_or_gaps(table, m.name) for m in card.measures])
        score = GeneralizationRanker.from_card(card).predict(pd.DataFrame(X, columns=names))
        least, most = 0.0, 1.0
    width = card.width_at(confidence)
    lower, upper = np.clip(score - width, least, most), np.clip(score + width, least, most)
    gap = card.gap_at(confidence)
    if abstain and not domain.inside:
        lower, upper, gap = np.full(len(score), least), np.full(len(score), most), None
    lower, upper = np.minimum(lower, score), np.maximum(upper, score)
    return ranking_frame(checkpoints, score, lower, upper, gap), domain
