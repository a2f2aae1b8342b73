import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from audit import statistics

ZOOS = json.loads((Path(__file__).parents[1] / "golden" / "pgdl_scores.json").read_text())


@pytest.mark.parametrize("number", range(len(ZOOS)))
def test_pgdl_score_equals_the_official_scorer(number):
    table = pd.DataFrame(ZOOS[number]["rows"])
    score = statistics.pgdl_score(table, "measure")
    assert isinstance(score, float)
    assert score == pytest.approx(ZOOS[number]["pgdl_score"], abs=1e-9)


@pytest.mark.parametrize("number", range(len(ZOOS)))
def test_pgdl_score_derives_the_gap(number):
    table = pd.DataFrame(ZOOS[number]["rows"]).drop(columns="generalization_gap")
    table["train_accuracy"] = 1.0
    score = statistics.pgdl_score(table, "measure")
    assert score == pytest.approx(ZOOS[number]["pgdl_score"], abs=1e-9)


def test_derived_gaps_tie_where_accuracies_say_so():
    """0.9 − 0.7 and 0.8 − 0.6 differ by rounding only."""
    table = pd.DataFrame({"train_accuracy": [0.9, 0.8, 0.7], "held_out_accuracy": [0.7, 0.6, 0.1]})
    table["m"] = [1.0, 2.0, 3.0]
    assert statistics.kendall(table, "m", "generalization_gap").value == pytest.approx(
        2 / math.sqrt(3 * 2)
    )


def test_pgdl_score_differs_from_the_papers_cmi():
    table = pd.DataFrame(ZOOS[3]["rows"])
    assert statistics.pgdl_score(table, "measure") == pytest.approx(0.30304, abs=1e-5)
    assert statistics.cmi(table, "measure").value == pytest.approx(0.07936, abs=1e-5)


def test_both_conditional_informations_are_one_for_the_gap_itself():
    table = pd.DataFrame(ZOOS[4]["rows"])
    table["measure"] = table["generalization_gap"]
    assert statistics.cmi(table, "measure").value == pytest.approx(1)
    assert statistics.pgdl_score(table, "measure") == pytest.approx(1, abs=1e-9)


def test_a_factorial_grid_too_large_for_one_count_gives_the_same_informations(monkeypatch):
    from audit.statistics import design

    table = pd.DataFrame(ZOOS[4]["rows"])
    whole = statistics.conditional_information(table, "measure")
    monkeypatch.setattr(design, "_MAX_COUNTS", 0)
    assert statistics.conditional_information(table, "measure") == whole


def zoo(n=12, **columns):
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"m": rng.normal(size=n), "held_out_accuracy": rng.random(n)})
    return table.assign(**columns)


@pytest.mark.parametrize(
    ("table", "reason"),
    [
        (zoo(2), "undefined: fewer than 3 models"),
        (zoo(5, m=[1, 2, np.nan, np.nan, np.nan]), "undefined: fewer than 3 models"),
        (zoo(5, m=1.0), "undefined: constant measure"),
        (zoo(5, m=np.inf), "undefined: constant measure"),
        (zoo(5, held_out_accuracy=0.5), "undefined: constant target"),
        (zoo(5, m=np.nan), "undefined: fewer than 3 models"),
    ],
)
@pytest.mark.parametrize(
    "name",
    ["kendall", "weighted_kendall", "spearman", "pearson", "granulated_kendall", "top_k_regret",
     "partial_kendall", "partial_spearman", "within_family_kendall", "cross_validated_r2",
     "leave_one_family_out_r2"],
)  # fmt: skip
def test_undefined_statistics_are_nan_with_the_reason(name, table, reason):
    result = getattr(statistics, name)(table, "m")
    assert math.isnan(result.value)
    assert math.isnan(float(result))
    assert result.reason == reason


@pytest.mark.parametrize(
    ("compute", "reason"),
    [
        (lambda t: statistics.pearson(t.assign(m=[np.inf, *t["m"][1:]]), "m"),
         "undefined: 1 infinite values of the measure"),
        (lambda t: statistics.cmi(t, "m"), "undefined: generalization_gap needs train_accuracy"),
        (lambda t: statistics.pgdl_score_result(t.assign(train_accuracy=1.0), "m"),
         "undefined: fewer than two hyperparameters vary"),
        (lambda t: statistics.granulated_kendall(t, "m"), "undefined: no matched groups"),
        (lambda t: statistics.sign_error(t, "m").max,
         "undefined: no two hyperparameter settings differ in one value"),
        (lambda t: statistics.sign_error(
            t.assign(**{"hp.a": np.arange(12) % 2}), "m", n_held_out=1).mean,
         "undefined: the held-out images cannot tell any pair apart"),
        (lambda t: statistics.partial_kendall(t, "m"), "undefined: no control varies"),
        (lambda t: statistics.partial_kendall(t.assign(z=2 * t["m"]), "m", controls=["z"]),
         "undefined: the controls determine the measure"),
        (lambda t: statistics.partial_spearman(t[:3].assign(z=t["m"]), "m", controls=["z"]),
         "undefined: fewer than 4 models have all controls"),
        (lambda t: statistics.within_family_kendall(t, "m"), "undefined: no column 'family'"),
        (lambda t: statistics.within_family_kendall(t.assign(family=np.arange(12)), "m"),
         "undefined: no family has two models that differ"),
        (lambda t: statistics.leave_one_family_out_r2(t.assign(family="a"), "m"),
         "undefined: fewer than two families"),
        (lambda t: statistics.top_k_regret(t, "m", k=13), "undefined: fewer than 13 models"),
        (lambda t: statistics.increment_over_design(t, "m").association,
         "undefined: no hyperparameter varies"),
        (lambda t: statistics.increment_over_columns(
            t.assign(z=2 * t["m"]), "m", controls=["z"]).association,
         "undefined: the controls determine the measure"),
    ],
)  # fmt: skip
def test_each_statistic_says_why_it_is_undefined(compute, reason):
    result = compute(zoo())
    assert math.isnan(result.value)
    assert result.reason == reason


def test_declared_matched_groups_replace_a_grid():
    table = pd.DataFrame(
        {"m": [1, 2, 2, 1], "held_out_accuracy": [0.1, 0.2, 0.3, 0.4], "pair": ["a", "a", "b", "b"]}
    )
    result = statistics.granulated_kendall(table, "m", matched="pair")
    assert (result.value, result.n_pairs) == (0.0, 2)


def test_r2_of_an_exact_line_is_one_and_of_noise_is_not_positive():
    table = zoo(40)
    assert statistics.cross_validated_r2(table, "m").value < 0.05
    table["held_out_accuracy"] = 0.5 + 0.01 * table["m"]
    table["family"] = np.arange(40) // 10
    assert statistics.cross_validated_r2(table, "m").value == pytest.approx(1)
    assert statistics.leave_one_family_out_r2(table, "m").value == pytest.approx(1)


def test_permutation_p_value_agrees_with_the_exact_one():
    table = zoo(9)
    x, y = table["m"].to_numpy(), table["held_out_accuracy"].to_numpy()
    from scipy import stats

    exact = stats.kendalltau(x, y, method="exact").pvalue
    assert statistics.kendall_p_value(x, y, 20_000) == pytest.approx(exact, abs=0.01)


def test_families_are_drawn_together():
    family = np.repeat(np.arange(6), 4)
    weights = statistics.bootstrap_weights(24, 50, 0, family)
    assert weights.shape == (24, 50)
    by_family = weights.reshape(6, 4, 50)
    assert (by_family == by_family[:, :1]).all()
    assert (by_family[:, 0].sum(axis=0) == 6).all()


def test_contradictions_name_the_axes_on_each_side():
    grid = np.array([(a, b, s) for a in range(4) for b in range(4) for s in range(3)])
    table = pd.DataFrame(grid, columns=["hp.a", "hp.b", "hp.seed"])
    table["m"] = table["hp.a"] - table["hp.b"]
    table["held_out_accuracy"] = (1 + table["hp.a"] + table["hp.b"]) / 10
    assert statistics.contradictions(table, "m") == (["hp.a"], ["hp.b"])
