import numpy as np
import pandas as pd
import pytest
from scipy import stats

from audit.ranking.scores import (
    by_source,
    copy_groups,
    family_scores,
    kendall_columns,
    known_zoo,
    normal_scores,
    worth,
    zoo_scores,
)


def table(n=24, seed=0):
    rng = np.random.default_rng(seed)
    quality = rng.normal(size=n)
    return pd.DataFrame(
        {
            "checkpoint": [f"c{i}" for i in range(n)],
            "family": [f"f{i % 3}" for i in range(n)],
            "good": quality + 0.3 * rng.normal(size=n),
            "noise": rng.normal(size=n),
            "held_out_accuracy": 0.7 + 0.05 * quality,
        }
    )


def known(frame, measures=("good", "noise"), source="s"):
    scores = zoo_scores(frame, measures, "z", source)
    return known_zoo(scores, frame["held_out_accuracy"].to_numpy())


def test_normal_scores_are_those_of_van_der_waerden_and_ties_share():
    scores = normal_scores(np.array([3.0, 1.0, 1.0, np.nan]))
    assert scores == pytest.approx(stats.norm.ppf([5 / 6, 1 / 3, 1 / 3, 0.5]))


def test_scores_do_not_depend_on_the_scale_of_a_zoo():
    frame = table()
    scaled = frame.assign(good=np.exp(100 + 3 * frame["good"]))
    one, other = (zoo_scores(t, ["good"]) for t in (frame, scaled))
    assert np.array_equal(one.pooled, other.pooled)
    assert np.array_equal(one.inside, other.inside)


def test_family_scores_forget_what_a_family_has_in_common():
    values, families = np.array([1.0, 2.0, 101.0, 102.0]), np.array([0, 0, 1, 1])
    assert family_scores(values, families) == pytest.approx(stats.norm.ppf([0.25, 0.75] * 2))


def test_mixed_scores_of_one_family_are_those_of_the_zoo():
    alone = zoo_scores(table().drop(columns="family"), ["good"])
    assert np.allclose(alone.mixed(0.5), alone.pooled)
    each = zoo_scores(table().assign(family=range(24)), ["good"])
    assert np.allclose(each.mixed(0.5), 0.5 * each.pooled)


def test_a_missing_or_infinite_value_scores_0():
    frame = table()
    frame.loc[0, "good"] = np.inf
    frame.loc[1, "good"] = np.nan
    scores = zoo_scores(frame, ["good", "absent"])
    assert (scores.pooled[:2, 0] == 0).all()
    assert (scores.pooled[:, 1] == 0).all()


def test_kendall_columns_are_scipy_s():
    frame = table()
    frame["good"] = frame["good"].round(1)
    zoo = known(frame)
    columns = frame[["good", "noise"]].to_numpy()
    expected = [stats.kendalltau(c, frame["held_out_accuracy"]).statistic for c in columns.T]
    assert kendall_columns(columns, zoo) == pytest.approx(expected)
    assert kendall_columns(np.zeros((24, 1)), zoo).tolist() == [0.0]


def test_worth_is_half_over_all_pairs_and_half_within_families():
    frame = table()
    zoo = known(frame)
    score = frame[["good"]].to_numpy()
    within = kendall_columns(score, zoo, zoo.same)[0]
    assert worth(score, zoo)[0] == pytest.approx((kendall_columns(score, zoo)[0] + within) / 2)
    assert zoo.alone[0] == worth(zoo.scores.pooled, zoo)[0]


def test_sources_are_left_out_whole():
    zoos = [known(table(seed=i), source=source) for i, source in enumerate("aba")]
    folds = [([z.scores.source for z in rest], len(own)) for rest, own in by_source(zoos)]
    assert folds == [(["b"], 2), (["a", "a"], 1)]


def test_copies_are_grouped_whatever_their_sign():
    rng = np.random.default_rng(0)
    one, other = rng.normal(size=(2, 200))
    groups = copy_groups(np.column_stack([one, -one + 0.05 * other, other, np.zeros(200)]))
    assert groups[0] == groups[1]
    assert len(set(groups)) == 3
