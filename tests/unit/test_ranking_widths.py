import numpy as np
import pytest

from audit.ranking.widths import conformal_quantile, gap, half_width, pair_slope


def test_the_quantile_is_the_next_above_and_the_greatest_where_there_is_none():
    values = np.arange(1.0, 10.0)
    assert conformal_quantile(values, 0.9) == 9
    assert conformal_quantile(values, 0.8) == 8
    assert conformal_quantile(values, 0.99) == 9


def test_one_hard_zoo_among_few_decides_the_width():
    easy, hard = np.full(40, 0.1), np.full(10, 2.0)
    assert half_width([easy, easy, hard], 0.9) == 2.0
    assert half_width([easy, easy, hard], 0.5) == 0.1


def test_widths_cover_new_zoos_of_the_same_kind():
    rng = np.random.default_rng(0)

    def errors(n_zoos):
        return [np.abs(rng.normal(size=40)) * rng.uniform(0.5, 2) for _ in range(n_zoos)]

    covered = [[np.mean(new <= half_width(errors(9), 0.9)) for new in errors(4)] for _ in range(50)]
    assert np.mean(covered) > 0.9
    assert np.mean(np.array(covered) >= 0.9) > 0.8


def test_pairs_beyond_the_gap_are_ordered_rightly_as_often_as_said():
    rng = np.random.default_rng(1)
    zoos = []
    for _ in range(30):
        score = rng.normal(size=60)
        zoos.append((score, score + rng.logistic(scale=0.3, size=60)))
    least = gap(zoos[:15], 0.9)
    right, n = 0, 0
    for score, accuracy in zoos[15:]:
        i, j = np.triu_indices(60, 1)
        apart = np.abs(score[i] - score[j]) > least
        right += np.sum(
            np.sign(score[i] - score[j])[apart] == np.sign(accuracy[i] - accuracy[j])[apart]
        )
        n += apart.sum()
    assert right / n > 0.95
    near = [np.abs(np.abs(s[i] - s[j]) - least) < 0.2 for s, _ in zoos]
    at_gap = [
        np.mean(np.sign(s[i] - s[j])[k] == np.sign(a[i] - a[j])[k])
        for (s, a), k in zip(zoos, near, strict=True)
    ]
    assert np.mean(at_gap) > 0.85


def test_scores_that_rank_backwards_have_no_slope():
    assert pair_slope([(np.arange(5.0), -np.arange(5.0))]) == pytest.approx(0.0, abs=1e-3)
    assert pair_slope([(np.zeros(5), np.arange(5.0))]) == 0.0
