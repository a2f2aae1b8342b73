"""Rank statistics see order only; every statistic sees neither row order nor a name."""

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audit import statistics

SETTINGS = settings(max_examples=6, deadline=None)
RANK_STATISTICS = {
    "kendall": statistics.kendall,
    "spearman": statistics.spearman,
    "weighted_kendall": statistics.weighted_kendall,
    "granulated_kendall": statistics.granulated_kendall,
    "cmi": statistics.cmi,
    "pgdl_score": statistics.pgdl_score_result,
    "sign_error": lambda table, m: statistics.sign_error(table, m).mean,
    "partial_kendall": lambda table, m: statistics.partial_kendall(table, m, controls=["z"]),
    "partial_spearman": lambda table, m: statistics.partial_spearman(table, m, controls=["z"]),
    "within_family_kendall": statistics.within_family_kendall,
    "top_k_regret": statistics.top_k_regret,
    "beyond_columns": lambda t, m: (
        statistics.increment_over_columns(t, m, controls=["z"]).association
    ),
    "beyond_design": lambda t, m: statistics.increment_over_design(t, m).association,
}
VALUE_STATISTICS = {
    "pearson": statistics.pearson,
    "leave_one_family_out_r2": statistics.leave_one_family_out_r2,
}
INCREASING = {
    "exp": np.exp,
    "cube": lambda v: v**3,
    "affine": lambda v: 1e-7 * v - 3,
    "to infinity": lambda v: np.where(v == v.max(), np.inf, v),
}


def zoo(seed):
    rng = np.random.default_rng(seed)
    table = pd.DataFrame(
        {"hp.a": np.arange(24) % 2, "hp.b": np.arange(24) // 2 % 3, "hp.c": np.arange(24) // 6 % 2}
    )
    table["family"] = np.arange(24) // 12
    table["m"] = rng.integers(-6, 7, 24) / 2.0
    table["z"] = rng.integers(-6, 7, 24) / 2.0
    table["held_out_accuracy"] = 0.5 + rng.integers(0, 20, 24) / 50
    table["train_accuracy"] = 1.0
    return table


def same(one, other):
    return (math.isnan(one) and math.isnan(other)) or one == pytest.approx(other, abs=1e-9)


@pytest.mark.parametrize("transform", INCREASING)
@pytest.mark.parametrize("name", RANK_STATISTICS)
@SETTINGS
@given(seed=st.integers(0, 10_000))
def test_increasing_transforms_leave_rank_statistics_unchanged(name, transform, seed):
    table, statistic = zoo(seed), RANK_STATISTICS[name]
    changed = table.assign(m=INCREASING[transform](table["m"].to_numpy()))
    assert same(statistic(table, "m").value, statistic(changed, "m").value)


@pytest.mark.parametrize("name", RANK_STATISTICS | VALUE_STATISTICS)
@SETTINGS
@given(seed=st.integers(0, 10_000))
def test_order_of_rows_changes_nothing(name, seed):
    table = zoo(seed)
    statistic = (RANK_STATISTICS | VALUE_STATISTICS)[name]
    shuffled = table.sample(frac=1, random_state=seed)
    assert same(statistic(table, "m").value, statistic(shuffled, "m").value)


@pytest.mark.parametrize("name", ["kendall", "spearman", "granulated_kendall", "pearson"])
@SETTINGS
@given(seed=st.integers(0, 10_000))
def test_turning_the_measure_round_turns_the_sign_round(name, seed):
    table, statistic = zoo(seed), getattr(statistics, name)
    turned = statistic(table.assign(m=-table["m"]), "m").value
    assert same(statistic(table, "m").value, -turned)


@pytest.mark.parametrize("name", ["cmi", "pgdl_score_result"])
@SETTINGS
@given(seed=st.integers(0, 10_000))
def test_conditional_information_is_blind_to_sign_without_ties(name, seed):
    table, statistic = zoo(seed), getattr(statistics, name)
    table["m"] = np.random.default_rng(seed).permutation(24).astype(float)
    turned = statistic(table.assign(m=-table["m"]), "m").value
    if name == "cmi":
        assert same(statistic(table, "m").value, turned)
    else:  # a model paired with itself counts as "−": nearly blind
        assert statistic(table, "m").value == pytest.approx(turned, abs=0.15)


@pytest.mark.parametrize("name", RANK_STATISTICS | VALUE_STATISTICS)
def test_rows_without_the_measure_are_as_if_absent(name):
    table = zoo(3)
    statistic = (RANK_STATISTICS | VALUE_STATISTICS)[name]
    gaps = table.assign(m=table["m"].where(np.arange(24) % 5 != 0))
    assert same(statistic(gaps, "m").value, statistic(gaps.dropna(subset=["m"]), "m").value)


def test_granulated_kendall_of_a_design_effect_is_shared_out_over_axes():
    """A measure that is one of three axes is right along it and silent along the others."""
    table = zoo(0)
    table["held_out_accuracy"] = 0.1 * table["hp.a"] + 0.01 * table["hp.b"] + 0.001 * table["hp.c"]
    table["m"] = table["hp.a"].astype(float)
    assert statistics.granulated_kendall(table, "m").value == pytest.approx(1 / 3)
