"""Ranking checkpoints: fitted on known accuracies, by a card, or by declared directions."""

from __future__ import annotations

from audit.ranking.calibration import fit_card, rank_by_card
from audit.ranking.cards import (
    Card,
    CardMeasure,
    CardZoo,
    Domain,
    domain_of,
    load_card,
    save_card,
    shipped_cards,
)
from audit.ranking.copies import rank_networks
from audit.ranking.estimator import GeneralizationRanker
from audit.ranking.learning import learning_curve
from audit.ranking.order import RANKING_COLUMNS, rank_intervals, ranking_frame
from audit.ranking.rank import Ranking, rank_table
from audit.ranking.selection import better_than, kendall_scorer, select
from audit.ranking.zero_shot import rank_by_directions

__all__ = [
    "GeneralizationRanker",
    "Ranking",
    "rank_table",
    "rank_networks",
    "rank_by_directions",
    "rank_by_card",
    "Card",
    "CardMeasure",
    "CardZoo",
    "Domain",
    "domain_of",
    "fit_card",
    "load_card",
    "save_card",
    "shipped_cards",
    "select",
    "better_than",
    "kendall_scorer",
    "learning_curve",
    "RANKING_COLUMNS",
    "rank_intervals",
    "ranking_frame",
]
