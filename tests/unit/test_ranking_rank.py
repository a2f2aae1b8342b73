import json
import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audit.errors import ConfigError, DataError
from audit.ranking import (
    RANKING_COLUMNS,
    GeneralizationRanker,
    better_than,
    fit_card,
    kendall_scorer,
    learning_curve,
    rank_by_directions,
    rank_intervals,
    rank_networks,
    rank_table,
    ranking_frame,
    select,
)

DIRECTIONS = {"a": "higher", "b": "lower", "c": "higher", "noise": "none"}


def zoo(n=40, seed=0):
    rng = np.random.default_rng(seed)
    quality = rng.normal(size=n)
    table = pd.DataFrame(
        {m: s * quality + 0.2 * rng.normal(size=n) for m, s in (("a", 1), ("b", -1), ("c", 1))}
    )
    table["noise"] = rng.normal(size=n)
    table["held_out_accuracy"] = 0.8 + 0.03 * quality
    table["checkpoint"] = [f"c{i}" for i in range(n)]
    return table


def test_rank_is_one_plus_the_number_of_certainly_better_models():
    lower, upper = np.array([5.0, 3.0, 0.0, 0.0]), np.array([9.0, 6.0, 4.0, 1.0])
    assert rank_intervals(lower, upper).tolist() == [1, 1, 2, 3]


def test_ranking_frame_names_those_that_cannot_be_told_apart():
    frame = ranking_frame(
        ["x", "y", "z"], np.array([1.0, 7, 4]), np.array([0.0, 5, 3]), np.array([4.0, 9, 6])
    )
    assert tuple(frame.columns) == RANKING_COLUMNS
    assert frame["checkpoint"].tolist() == ["y", "z", "x"]
    assert frame["predicted_rank"].tolist() == [1, 1, 2]
    assert frame["tied_with"].tolist() == ["z", "y;x", "z"]


def test_known_accuracies_rank_by_rankers_that_never_saw_the_checkpoint():
    table = zoo()
    table.loc[:4, "held_out_accuracy"] = np.nan
    ranking = rank_table(table, directions=DIRECTIONS)
    assert ranking.about["mode"] == "fitted, cross-validated"
    assert ranking.about["n_known"] == 35
    assert ranking.about["kendall"] > 0.7
    assert ranking.about["coverage"] >= 0.8
    assert len(ranking.table) == 40
    assert (ranking.table["lower"] <= ranking.table["score"]).all()
    assert (ranking.table["score"] <= ranking.table["upper"]).all()


def test_a_checkpoint_is_predicted_the_same_whatever_its_own_accuracy():
    table = zoo()
    changed = table.copy()
    changed.loc[7, "held_out_accuracy"] = 0.1
    scores = [
        rank_table(t, directions=DIRECTIONS).table.set_index("checkpoint")["score"]
        for t in (table, changed)
    ]
    assert scores[0]["c7"] == scores[1]["c7"]
    assert (scores[0].sort_index() != scores[1].sort_index()).sum() > 20


def test_nothing_to_learn_looks_like_nothing():
    """Measures of noise: no τ far from 0, although a mean of the others is anti-correlated."""
    table = zoo(60)
    rng = np.random.default_rng(5)
    for measure in DIRECTIONS:
        table[measure] = rng.normal(size=60)
    about = rank_table(table, directions=DIRECTIONS).about
    assert math.isnan(about["kendall"]) or about["kendall_lower"] < 0 < about["kendall_upper"]


def test_without_accuracies_the_declared_directions_vote():
    table = zoo()
    accuracy = table.pop("held_out_accuracy")
    ranking = rank_table(table, directions=DIRECTIONS)
    assert ranking.about["mode"] == "zero-shot by declared directions"
    assert ranking.about["measures"] == ["a", "b", "c"]
    scores = ranking.table.set_index("checkpoint").loc[table["checkpoint"], "score"]
    assert np.corrcoef(scores, accuracy)[0, 1] > 0.95


def test_few_accuracies_are_said_to_be_too_few():
    table = zoo()
    table.loc[5:, "held_out_accuracy"] = np.nan
    about = rank_table(table, directions=DIRECTIONS).about
    assert about["notes"] == ["5 known accuracies are too few to fit: 8 needed"]


def test_unmeasured_checkpoints_are_named_and_not_ranked():
    table = zoo()
    table.loc[3, list(DIRECTIONS)] = np.nan
    table.loc[4, "a"] = np.inf
    ranking = rank_table(table, directions=DIRECTIONS)
    assert "c3" not in set(ranking.table["checkpoint"])
    assert ranking.about["notes"] == [
        "not ranked, no measure could be taken: c3",
        "1 infinite values of measures taken as unavailable",
    ]


def test_fewer_than_three_voters_leave_everything_tied():
    frame = rank_by_directions(zoo(), {"a": "higher", "b": "lower"})
    assert (frame["predicted_rank"] == 1).all()
    assert (frame["lower"] == 0).all()
    assert (frame["upper"] == 1).all()


def test_columns_of_one_measure_have_one_vote_together():
    table = zoo(6)
    table["a2"] = table["a"]
    table["a3"] = table["a"]
    once = rank_by_directions(table, DIRECTIONS)
    directions = DIRECTIONS | {"a2": "higher", "a3": "higher"}
    owners = dict.fromkeys(("a", "a2", "a3"), "a")
    thrice = rank_by_directions(table, directions, owners=owners)
    pd.testing.assert_frame_equal(once, thrice)


def test_near_copies_have_one_vote_together():
    table = zoo(12, seed=3)
    rng = np.random.default_rng(0)
    for name in ("c", "d", "e"):
        table[name] = rng.normal(size=12)
    votes = dict.fromkeys("acde", "higher")
    table["a2"] = table["a"] + 1e-6 * rng.normal(size=12)
    once = rank_by_directions(table, votes)
    pd.testing.assert_frame_equal(rank_by_directions(table, votes | {"a2": "higher"}), once)


def card_of(measures=("a", "b"), n=3):
    zoos = {f"z{seed}": zoo(30, seed) for seed in range(n)}
    versions = dict.fromkeys(measures, "1")
    return fit_card(zoos, measures, name="usual", versions=versions)


def test_without_accuracies_a_card_ranks_where_the_table_has_most_of_its_measures():
    table, card = zoo().drop(columns="held_out_accuracy"), card_of()
    by_card = rank_table(table, directions=DIRECTIONS, prior=card)
    assert by_card.about["mode"] == "zero-shot by card 'usual'"
    pd.testing.assert_frame_equal(by_card.table, rank_table(table, card=card).table)
    votes = rank_table(table[["checkpoint", "c"]], directions=DIRECTIONS, prior=card)
    assert votes.about["mode"] == "zero-shot by declared directions"
    assert votes.about["notes"] == [
        "card 'usual' does not rank: the table's measures carry 0% of its weight, 50% needed"
    ]
    newer = rank_table(table, directions=DIRECTIONS, prior=card, versions={"a": "2"})
    assert newer.about["mode"] == "zero-shot by declared directions"
    assert newer.about["notes"] == [
        "card 'usual' was fitted on a version 1; the table holds version 2: measure again, or use "
        "another card"
    ]


def test_known_accuracies_go_before_the_card():
    about = rank_table(zoo(), directions=DIRECTIONS, prior=card_of()).about
    assert about["mode"] == "fitted on 40 known accuracies from card 'usual'"


def test_one_network_under_two_names_is_ranked_once_and_tied():
    table = zoo(12).drop(columns="held_out_accuracy")
    twice = pd.concat([table, table.iloc[[4, 4]].assign(checkpoint=["x", "y"])])
    codes = np.array([*range(12), 4, 4])
    found = rank_networks(twice, codes, card=card_of())
    rows = found.table.set_index("checkpoint")
    assert rows.loc[["c4", "x", "y"], "score"].nunique() == 1
    assert {"x", "y"} <= set(rows.loc["c4", "tied_with"].split(";"))
    alone = rank_table(table, card=card_of()).table.set_index("checkpoint")["score"]
    assert rows["score"].drop(["x", "y"]).sort_index().equals(alone.sort_index())
    assert found.about["notes"] == [
        "the same network under several names is ranked once, and tied: x is c4, y is c4"
    ]
    different = rank_networks(table, np.arange(12), card=card_of())
    pd.testing.assert_frame_equal(different.table, rank_table(table, card=card_of()).table)


def test_constant_measures_do_not_vote_and_no_vote_is_an_error():
    table = zoo().assign(a=1.0)
    with pytest.raises(DataError) as error:
        rank_by_directions(table, {"a": "higher", "noise": "none"})
    assert str(error.value) == (
        "ranking without held-out accuracies needs a measure with direction 'higher' or 'lower' "
        "that differs between checkpoints; found none: measure more, or give held-out accuracies"
    )


def test_same_seed_same_bytes():
    tables = [rank_table(zoo(), directions=DIRECTIONS, seed=3).table.to_csv() for _ in range(2)]
    assert tables[0] == tables[1]


def test_a_ranking_is_plain_json():
    ranking = rank_table(zoo(12).drop(columns="held_out_accuracy"), directions=DIRECTIONS)
    plain = json.loads(json.dumps(ranking.to_dict(), allow_nan=False))
    assert plain["mode"] == "zero-shot by declared directions"
    best = plain["ranking"][0]
    assert list(best) == list(RANKING_COLUMNS)
    assert best["predicted_rank"] == 1
    assert ";".join(best["tied_with"]) == ranking.table["tied_with"][0]


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 3)), min_size=1, max_size=12))
@settings(max_examples=40, deadline=None)
def test_ranks_and_ties_follow_from_the_intervals(ends):
    lower = np.array([float(low) for low, _ in ends])
    upper = np.array([float(low + width) for low, width in ends])
    names = [f"n{i}" for i in range(len(ends))]
    frame = ranking_frame(names, (lower + upper) / 2, lower, upper).set_index("checkpoint")
    for i, one in enumerate(names):
        better = [j for j in range(len(ends)) if lower[j] > upper[i]]
        assert frame.loc[one, "predicted_rank"] == 1 + len(better)
        tied = set(filter(None, frame.loc[one, "tied_with"].split(";")))
        assert tied == {
            names[j]
            for j in range(len(ends))
            if j != i and lower[j] <= upper[i] and lower[i] <= upper[j]
        }
    assert frame["predicted_rank"].is_monotonic_increasing


def test_families_are_left_out_whole():
    table = zoo().assign(family=[f"f{i % 4}" for i in range(40)])
    assert rank_table(table, directions=DIRECTIONS).about["left_out"] == "families"
    ranking = rank_table(table, directions=DIRECTIONS, leave_out="checkpoints")
    assert ranking.about["left_out"] == "checkpoints"


def test_too_few_checkpoints_bound_nothing():
    table = zoo(9)
    ranker = GeneralizationRanker().fit(table[["a", "b"]], table["held_out_accuracy"])
    assert np.isinf(ranker.predict_interval(table[["a", "b"]])).all()
    assert (ranker.rank(table[["a", "b"]])["predicted_rank"] == 1).all()


def test_ranker_beats_the_mean_and_adds_up_its_attributions():
    table = zoo(60)
    X, y = table[["a", "b", "noise"]], table["held_out_accuracy"]
    ranker = GeneralizationRanker(models=("mean", "ridge")).fit(X, y)
    assert ranker.chosen_ == "ridge"
    added = ranker.attributions(X)
    assert list(added) == ["a", "b", "noise"]
    total = added.sum(axis=1) + ranker.model_.intercept
    assert total.to_numpy() == pytest.approx(ranker.predict(X))
    assert added["noise"].abs().mean() < added["a"].abs().mean()


def test_conformal_intervals_cover_new_checkpoints():
    covered = []
    for seed in range(6):
        table = zoo(120, seed)
        known, new = table[:60], table[60:]
        ranker = GeneralizationRanker(models=("mean", "ridge"), random_state=seed)
        ranker.fit(known[["a", "b"]], known["held_out_accuracy"])
        lower, upper = ranker.predict_interval(new[["a", "b"]]).T
        covered += list((lower <= new["held_out_accuracy"]) & (new["held_out_accuracy"] <= upper))
    assert 0.85 <= np.mean(covered) <= 0.97


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"models": ("tree",)},
         "models must be among mean, ridge, elastic_net, kernel_ridge; found ['tree']"),
        ({"confidence": 1.0}, "confidence must lie between 0 and 1; found 1.0"),
    ],
)  # fmt: skip
def test_wrong_options_are_told(arguments, message):
    with pytest.raises(ConfigError) as error:
        GeneralizationRanker(**arguments).fit(np.zeros((5, 1)), np.arange(5.0))
    assert str(error.value) == message


def test_learning_curve_rises():
    table = zoo(60)
    ranker = GeneralizationRanker(models=("mean", "ridge"))
    X, y = table[["a", "b", "noise"]], table["held_out_accuracy"]
    curve = learning_curve(ranker, X, y, sizes=[4, 40], n_repeats=5)
    assert curve["n_known"].tolist() == [4, 40]
    assert curve["kendall"].iloc[1] > 0.7
    with pytest.raises(DataError, match="a learning curve needs 9 checkpoints"):
        learning_curve(ranker, X[:8], y[:8])


def test_select_gate_and_scorer():
    ranking = ranking_frame(
        ["x", "y", "z"], np.array([1.0, 7, 6]), np.array([0.0, 5, 3]), np.array([4.0, 9, 7])
    )
    assert select(ranking) == ["y"]
    assert select(ranking, 2) == ["y", "z"]
    assert select(ranking, 1, with_ties=True) == ["y", "z"]
    assert better_than(ranking, "x") == ["y"]
    names, score = ["x", "y", "z"], np.array([1.0, 7, 6])
    by_gap = ranking_frame(names, score, score - 9, score + 9, gap=2.0)
    assert better_than(by_gap, "x") == ["y", "z"]
    assert by_gap["predicted_rank"].tolist() == [1, 1, 3]
    assert by_gap["tied_with"].tolist() == ["z", "y", ""]
    assert better_than(ranking, "y") == []
    with pytest.raises(ConfigError, match="unknown checkpoint 'w'"):
        better_than(ranking, "w")
    table = zoo()
    ranker = GeneralizationRanker(models=("ridge",)).fit(table[["a"]], table["held_out_accuracy"])
    assert kendall_scorer(ranker, table[["a"]], table["held_out_accuracy"]) > 0.7
    assert math.isnan(kendall_scorer(ranker, table[["a"]][:2], [0.1, 0.2]))
