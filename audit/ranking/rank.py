"""The ranking of a whole table: fitted where accuracies are known, else by a card or by votes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal, NamedTuple

import numpy as np
import pandas as pd

from audit.errors import DataError
from audit.plugin.names import split_names
from audit.ranking.calibration import rank_by_card
from audit.ranking.cards import Card, check_versions, domain_of
from audit.ranking.fitted import MIN_KNOWN, MIN_KNOWN_WITH_CARD, rank_fitted, usable
from audit.ranking.zero_shot import checkpoint_names, rank_by_directions
from audit.statistics.result import HELD_OUT, numeric_column

ZERO_SHOT: Final = "zero-shot by declared directions"
BY_CARD: Final = "zero-shot by card"
#: A card that nobody asked for ranks where the table's measures carry this share of its weight.
LEAST_SHARE: Final = 0.5


class Ranking(NamedTuple):
    """A ranking and how it came about.

    Attributes:
        table: Columns predicted_rank, checkpoint, score, lower, upper, tied_with; best first.
        about: `mode`, `score_is` (what the score means), `measures`, `confidence`, `notes`, and
            in fitted mode `model`, `n_known`, `kendall`, `kendall_lower`, `kendall_upper` (of
            predictions by rankers that never saw the checkpoint) and `coverage`, each NaN where
            fewer than 8 are known; fitted from a card also `card`, `card_correlation` (of its
            scores with accuracy here, as far as is known) and `inside_domain`.
    """

    table: pd.DataFrame
    about: dict[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """The ranking as plain JSON values; NaN becomes null.

        Returns:
            The keys of `about`, and `ranking`: a list, best first, of objects with
            `predicted_rank` (1 = best), `checkpoint`, `score`, `lower`, `upper` and `tied_with`
            (a list of names).
        """
        rows = [
            {**row, "tied_with": split_names(row["tied_with"])}
            for row in self.table.to_dict("records")
        ]
        return {**_plain(self.about), "ranking": _plain(rows)}


def _plain(value: Any) -> Any:
    """The value with numbers JSON can carry."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, bool | np.bool_):
        return bool(value)
    if isinstance(value, int | np.integer):
        return int(value)
    if isinstance(value, float | np.floating):
        return float(value) if np.isfinite(value) else None
    return value


def rank_table(
    table: pd.DataFrame,
    target: str = HELD_OUT,
    directions: Mapping[str, str] | None = None,
    *,
    measures: Sequence[str] | None = None,
    owners: Mapping[str, str] | None = None,
    card: Card | None = None,
    prior: Card | None = None,
    versions: Mapping[str, str] | None = None,
    abstain: bool = False,
    leave_out: Literal["families", "checkpoints"] = "families",
    confidence: float = 0.9,
    seed: int = 0,
) -> Ranking:
    """Rank every checkpoint of a table.

    With `card`, the card ranks, and no accuracy of the table is looked at. Otherwise, with 8 or
    more known accuracies, or 3 or more and a `prior`, a `GeneralizationRanker` is fitted: each
    known checkpoint is predicted by a ranker that never saw its accuracy (nor, of 8 or more and
    where there is a column `family`, any of its family, unless told otherwise), each other one by
    a ranker fitted on all known ones. With fewer, the prior ranks alone where the table has the
    measures of half its weight or more, in its versions; else the declared directions of the
    measures vote.

    Args:
        table: One row per checkpoint, column `checkpoint` or the index names it.
        target: The accuracy to predict; the column may be absent or hold gaps.
        directions: "higher", "lower" or "none" per measure.
        measures: Columns to use; by default those with an entry in `directions`.
        owners: The measure that each column belongs to, for the votes: a measure has one vote,
            however many columns it has.
        card: A calibrator card to rank by.
        prior: A calibrator card that a fitted ranker starts from, and that ranks alone where
            accuracies are too few. One that does not suit the table (other versions, none of its
            measures) is left out, and the notes say so.
        versions: The version of each measure, held against the card's.
        abstain: Outside the card's domain, say so and leave every checkpoint tied.
        leave_out: What folds leave out where there are families: whole families, as for
            checkpoints of families nobody has seen (wide intervals), or single checkpoints, as
            for checkpoints of the families in the table.
        confidence: Of the intervals.
        seed: Of folds and resamples.

    Raises:
        DataError: No measure can be used.
    """
    if card is not None:
        return _by_card(table, card, versions, confidence, abstain)
    directions = dict(directions or {})
    measures = [m for m in (measures or directions) if m in table.columns]
    known = np.zeros(len(table), dtype=bool)
    if target in table.columns:
        known = np.isfinite(numeric_column(table, target))
    notes: list[str] = []
    X = np.column_stack([numeric_column(table, m) for m in measures] or [np.empty((len(table), 0))])
    unmeasured = np.isnan(X).all(axis=1)
    if unmeasured.any():
        names = np.asarray(checkpoint_names(table))[unmeasured]
        notes.append(f"not ranked, no measure could be taken: {', '.join(names)}")
    table, X, known = table[~unmeasured], X[~unmeasured], known[~unmeasured]
    start = usable(prior, table, versions, notes) if known.any() else None
    least = MIN_KNOWN_WITH_CARD if start else MIN_KNOWN
    if known.sum() >= least and X.shape[1]:
        by_family = leave_out == "families" and "family" in table.columns
        return Ranking(
            *rank_fitted(table, measures, target, start, by_family, confidence, seed, notes)
        )
    if known.any():
        notes.append(f"{known.sum()} known accuracies are too few to fit: {least} needed")
    if prior is not None:
        why_not = _why_not(prior, table, versions or {})
        if not why_not:
            found = _by_card(table, prior, versions, confidence, abstain)
            found.about["notes"][:0] = notes
            return found
        if start is not None or not known.any():  # else the notes say it already
            notes.append(why_not)
    votes = {m: directions.get(m, "none") for m in measures}
    ranking = rank_by_directions(table, votes, owners=owners, confidence=confidence, seed=seed)
    voters = [m for m, direction in votes.items() if direction != "none"]
    about = {
        "mode": ZERO_SHOT,
        "score_is": "mean normalised rank in the declared directions, 1 = best",
        "measures": voters,
        "confidence": confidence,
        "notes": notes,
    }
    return Ranking(ranking, about)


def _why_not(card: Card, table: pd.DataFrame, versions: Mapping[str, str]) -> str:
    """Why a card that nobody asked for does not rank a table; empty when it does."""
    share = domain_of(card, table).share
    if share < LEAST_SHARE:
        return (
            f"card {card.name!r} does not rank: the table's measures carry {share:.0%} of its "
            f"weight, {LEAST_SHARE:.0%} needed"
        )
    try:
        check_versions(card, versions)
    except DataError as error:
        return str(error)
    return ""


def _by_card(
    table: pd.DataFrame,
    card: Card,
    versions: Mapping[str, str] | None,
    confidence: float,
    abstain: bool,
) -> Ranking:
    """Rank by a card."""
    ranking, domain = rank_by_card(
        table,
        card,
        checkpoint_names(table),
        versions=versions,
        confidence=confidence,
        abstain=abstain,
    )
    abstained = abstain and not domain.inside
    notes = [] if domain.inside else [str(domain)]
    if abstained:
        notes.append("abstained: every checkpoint is left tied")
    score_is = {
        "order": f"expected normal score of {card.target} within the zoo",
        "accuracy": f"predicted {card.target}",
    }
    about = {
        "mode": f"{BY_CARD} {card.name!r}",
        "score_is": score_is[card.kind],
        "measures": [m.name for m in card.measures],
        "confidence": confidence,
        "gap": None if abstained else card.gap_at(confidence),
        "inside_domain": domain.inside,
        "outside_by": domain.excess,
        "missing": domain.missing,
        "abstained": abstained,
        "fitted_on": [zoo.model_dump() for zoo in card.zoos],
        "notes": notes,
    }
    return Ranking(ranking, about)
