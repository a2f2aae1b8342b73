import numpy as np
import pytest
from scipy import optimize
from test_ranking_scores import table

from audit.ranking.scores import known_zoo, zoo_scores
from audit.ranking.weighing import (
    GRID,
    Settings,
    choose,
    combined,
    left_out,
    moments,
    nonnegative,
    weigh,
)

MEASURES = ("good", "noise")


def zoos(n=4, measures=MEASURES):
    found = []
    for seed in range(n):
        frame = table(seed=seed)
        frame["bad"] = -frame["good"]
        scores = zoo_scores(frame, measures, f"z{seed}", f"s{seed // 2}")
        found.append(known_zoo(scores, frame["held_out_accuracy"].to_numpy()))
    return found


def test_nonnegative_weights_are_scipy_s():
    rng = np.random.default_rng(1)
    X, y = rng.normal(size=(30, 5)), rng.normal(size=30)
    expected, _ = optimize.nnls(X, y)
    assert nonnegative(X.T @ X, X.T @ y) == pytest.approx(expected, abs=1e-6)


def test_sources_weigh_the_same_in_the_moments():
    one, two, *_ = zoos()
    twice = [one, two._replace(scores=two.scores._replace(source="other"))]
    assert moments([*twice, twice[1]], 0.0)[1] == pytest.approx(moments(twice, 0.0)[1])


def test_weights_keep_the_sign_that_a_measure_alone_has():
    weights = weigh(zoos(measures=("good", "bad", "noise")), Settings(0.1, 0.0)).coefficients
    assert weights[0] > 0.2
    assert weights[1] < -0.2


def test_a_great_penalty_leaves_the_best_measure_alone():
    weights = weigh(zoos(measures=("noise", "good")), Settings(1e9, 0.0)).coefficients
    assert weights.tolist() == [0.0, 1.0]


def test_a_penalty_takes_chance_out():
    weights = weigh(zoos(measures=("good", "noise")), Settings(0.2, 0.0)).coefficients
    assert weights[0] > 0.3
    assert weights[1] == 0.0


def test_settings_come_from_the_zoos_given_alone():
    some = zoos()
    assert choose(some) in GRID
    assert choose(some[:2]) == GRID[len(GRID) // 2]  # one source: nothing to leave out


def test_a_zoo_left_out_does_not_move_its_own_scores():
    some = zoos()
    changed = [*some[:-1], known_zoo(some[-1].scores, some[-1].accuracy[::-1])]
    before, after = ({z.scores.name: s for z, s in left_out(group)} for group in (some, changed))
    assert np.array_equal(before["z3"], after["z3"])
    assert not np.array_equal(before["z0"], after["z0"])


def test_the_weight_of_what_is_missing_goes_to_its_group_then_to_all():
    scores = np.array([[1.0, 3.0, 5.0]] * 3)
    known = np.array([[True, True, True], [False, True, True], [False, False, True]])
    weights, groups = np.array([1.0, 1.0, -2.0]), np.array([0, 0, 1])
    found = combined(scores * known, known, weights, groups)
    assert found == pytest.approx([1 + 3 - 10, 2 * 3 - 10, -20])
    assert combined(scores * 0, known & False, weights, groups).tolist() == [0, 0, 0]
