"""Each statistic of the evaluation, a small function on a table of checkpoints.

A table has one row per checkpoint: measure columns, `held_out_accuracy`, optional
`train_accuracy`, `generalization_gap`, `family`, and hyperparameters in columns `hp.*`. Undefined
is NaN with a reason, never 0; every result says how many models and pairs it rests on.
"""

from __future__ import annotations

from audit.statistics.design import (
    cmi,
    conditional_information,
    granulated_kendall,
    pgdl_score,
    pgdl_score_result,
)
from audit.statistics.environments import Contradiction, SignError, contradictions, sign_error
from audit.statistics.grid import Design, Designs, design_axes
from audit.statistics.increment import Increment, increment_over_columns, increment_over_design
from audit.statistics.partial import partial_kendall, partial_spearman, within_family_kendall
from audit.statistics.prediction import cross_validated_r2, leave_one_family_out_r2, top_k_regret
from audit.statistics.rank import kendall, pearson, spearman, weighted_kendall
from audit.statistics.resampling import (
    MIN_FAMILIES,
    Draws,
    Weights,
    bootstrap_weights,
    holm,
    interval,
    kendall_draws,
    kendall_p_value,
    kendall_p_values,
    pearson_draws,
    rank_draws,
    spearman_draws,
    weighted_ranks,
)
from audit.statistics.result import Direction, Statistic

__all__ = [
    "Direction",
    "Statistic",
    "kendall",
    "weighted_kendall",
    "spearman",
    "pearson",
    "granulated_kendall",
    "cmi",
    "pgdl_score",
    "pgdl_score_result",
    "conditional_information",
    "Design",
    "Designs",
    "SignError",
    "sign_error",
    "Contradiction",
    "contradictions",
    "partial_kendall",
    "partial_spearman",
    "within_family_kendall",
    "Increment",
    "design_axes",
    "increment_over_columns",
    "increment_over_design",
    "cross_validated_r2",
    "leave_one_family_out_r2",
    "top_k_regret",
    "Draws",
    "Weights",
    "MIN_FAMILIES",
    "bootstrap_weights",
    "kendall_draws",
    "spearman_draws",
    "pearson_draws",
    "rank_draws",
    "weighted_ranks",
    "interval",
    "kendall_p_value",
    "kendall_p_values",
    "holm",
]
