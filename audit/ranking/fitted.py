"""The ranking of a table some of whose accuracies are known, by rankers fitted on those."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import pandas as pd
from sklearn.base import clone

from audit.errors import DataError
from audit.ranking._regressors import Folds, Matrix, folds
from audit.ranking.cards import Card, check_versions, domain_of, order_scores
from audit.ranking.estimator import GeneralizationRanker
from audit.ranking.order import ranking_frame
from audit.ranking.zero_shot import checkpoint_names
from audit.statistics import bootstrap_weights, interval
from audit.statistics.partial import within_draws
from audit.statistics.result import HELD_OUT, Codes, Values, codes_of, numeric_column

#: With fewer known accuracies than this no ranker is fitted unless from a card, and none is
#: judged by them.
MIN_KNOWN: Final = 8
#: With fewer than this none is fitted from a card either: of two, leaving one out leaves one.
MIN_KNOWN_WITH_CARD: Final = 3
FITTED: Final = "fitted, cross-validated"


class Known(NamedTuple):
    """A table and what is known of it.

    Attributes:
        table: One row per checkpoint.
        X: The measures to use.
        y: The accuracies, NaN where not known.
        card: What the ranker starts from, if anything.
        groups: Families, where folds leave out whole ones.
    """

    table: pd.DataFrame
    X: pd.DataFrame
    y: Values
    card: Card | None
    groups: Codes | None

    def fit(self, ranker: GeneralizationRanker, rows: np.ndarray) -> GeneralizationRanker:
        """Fit on the accuracies of some rows; a card sees the measures of all."""
        groups = None if self.groups is None else self.groups[rows]
        if self.card is None:
            return ranker.fit(self.X.iloc[rows].to_numpy(), self.y[rows], groups)
        y = np.full(len(self.y), np.nan)
        y[rows] = self.y[rows]
        with_family, with_size = (c in self.table.columns for c in ("family", "n_held_out"))
        return ranker.fit(
            self.X,
            y,
            self.groups,
            families=codes_of(self.table, ["family"]) if with_family else None,
            n_held_out=numeric_column(self.table, "n_held_out") if with_size else None,
        )


def usable(
    card: Card | None, table: pd.DataFrame, versions: Mapping[str, str] | None, notes: list[str]
) -> Card | None:
    """The card if a ranker can start from it; else None, and why in the notes."""
    if card is None:
        return None
    try:
        check_versions(card, versions or {})
    except DataError as error:
        notes.append(f"not started from a card: {error}")
        return None
    found = [m.name for m in card.measures if m.name in table.columns]
    if not found or (card.kind == "order" and np.ptp(order_scores(card, table)) == 0):
        notes.append(
            f"not started from card {card.name!r}: the table has {len(found)} of its "
            f"{len(card.measures)} measures, which tell no checkpoint from another"
        )
        return None
    return card


def rank_fitted(
    table: pd.DataFrame,
    measures: Sequence[str],
    target: str,
    card: Card | None,
    by_family: bool,
    confidence: float,
    seed: int,
    notes: list[str],
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Rank by predicted accuracy: the ranking, and how it came about.

    Every checkpoint whose accuracy is known is predicted by a ranker that never saw it, the
    others by one fitted on all that are known.
    """
    y = numeric_column(table, target)
    rows = np.flatnonzero(np.isfinite(y))
    y = np.where(np.isfinite(y), y, np.nan)
    few = len(rows) < MIN_KNOWN
    groups = codes_of(table, ["family"]) if by_family and not few else None
    if groups is not None and len(np.unique(groups[rows])) < 2:
        groups = None
    X = _measured(table, measures, card)
    if infinite := int(np.isinf(X.to_numpy()).sum()):
        notes.append(f"{infinite} infinite values of measures taken as unavailable")
    known = Known(table, X.replace([np.inf, -np.inf], np.nan), y, card, groups)
    ranker = GeneralizationRanker(confidence=confidence, random_state=seed, card=card)
    of_rows = None if groups is None else groups[rows]
    splits = folds(len(rows), of_rows, len(rows) if few else ranker.cv, seed)
    ranker, ends = _predictions(ranker, known, rows, splits)
    about = {
        "mode": FITTED,
        "score_is": f"predicted {target}, by a ranker that never saw the checkpoint",
        "measures": list(known.X),
        "confidence": confidence,
        "model": ranker.chosen_,
        "n_known": len(rows),
        "left_out": "checkpoints" if groups is None else "families",
        **_judged(ends, y, rows, splits, seed),
        "notes": notes,
    }
    if card is not None:
        about |= _of_card(card, ranker, table, len(rows), notes)
    if target == HELD_OUT:  # an accuracy: beyond [0, 1] there is none
        ends = np.clip(ends, 0, 1)
    return ranking_frame(checkpoint_names(table), *ends.T), about


def _measured(table: pd.DataFrame, measures: Sequence[str], card: Card | None) -> pd.DataFrame:
    """The measures to use, and those of the card that the table has."""
    of_card = [] if card is None else [m.name for m in card.measures if m.name in table.columns]
    return pd.DataFrame({m: numeric_column(table, m) for m in dict.fromkeys([*measures, *of_card])})


def _predictions(
    ranker: GeneralizationRanker, known: Known, rows: np.ndarray, splits: Folds
) -> tuple[GeneralizationRanker, Matrix]:
    """The ranker fitted on all rows, and every checkpoint's prediction, lower and upper end."""
    ends = np.empty((len(known.y), 3))
    X = known.X if known.card is not None else known.X.to_numpy()
    unknown = np.setdiff1d(np.arange(len(known.y)), rows)
    left_out = [(rows[train], rows[test]) for train, test in splits]
    for train, test in [*left_out, (rows, unknown)]:
        fitted = known.fit(clone(ranker), train)
        if len(test):
            of_test = X.iloc[test] if isinstance(X, pd.DataFrame) else X[test]
            ends[test] = np.column_stack(
                [fitted.predict(of_test), fitted.predict_interval(of_test)]
            )
    return fitted, ends


def _of_card(
    card: Card, ranker: GeneralizationRanker, table: pd.DataFrame, n_known: int, notes: list[str]
) -> dict[str, Any]:
    """What is to be said of a ranker that started from a card."""
    domain = domain_of(card, table)
    if n_known < MIN_KNOWN:  # with more, they say what the card is worth here
        notes.append(
            f"{n_known} known accuracies are too few to judge the ranker by: {MIN_KNOWN} needed"
        )
        if not domain.inside:
            notes.append(str(domain))
    return {
        "mode": f"fitted on {n_known} known accuracies from card {card.name!r}",
        "card": card.name,
        "card_correlation": ranker.card_correlation_,
        "inside_domain": domain.inside,
    }


def _judged(
    ends: Matrix, y: Values, rows: np.ndarray, splits: Folds, seed: int
) -> dict[str, float]:
    """Coverage, and τ-b between predictions and accuracies with its bootstrap interval.

    NaN where undefined, or where fewer than 8 accuracies are known. Only checkpoints of the same
    fold are compared: they were predicted by the same ranker. Across folds even a ranker that
    predicts the mean of what it saw looks anti-correlated.
    """
    names = ("coverage", "kendall", "kendall_lower", "kendall_upper")
    if len(rows) < MIN_KNOWN:
        return dict.fromkeys(names, float("nan"))
    fold = np.zeros(len(rows), dtype=np.int64)
    for number, (_, test) in enumerate(splits):
        fold[test] = number
    score, lower, upper = ends[rows].T
    covered = float(np.mean((lower <= y[rows]) & (y[rows] <= upper)))
    value = float(within_draws(score, y[rows], fold, np.ones((len(rows), 1)))[0])
    draws = within_draws(score, y[rows], fold, bootstrap_weights(len(rows), 1000, seed))
    return dict(zip(names, (covered, value, *interval(draws)), strict=True))
