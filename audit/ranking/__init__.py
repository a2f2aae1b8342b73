"""Ranking checkpoints: fitted on known accuracies, or zero-shot."""

from __future__ import annotations

from audit.ranking.estimator import GeneralizationRanker
from audit.ranking.order import RANKING_COLUMNS, rank_intervals, ranking_frame
from audit.ranking.table import Ranking, rank_table
from audit.ranking.zero_shot import rank_by_directions

__all__ = [
    "GeneralizationRanker",
    "RANKING_COLUMNS",
    "Ranking",
    "rank_by_directions",
    "rank_intervals",
    "rank_table",
    "ranking_frame",
]
