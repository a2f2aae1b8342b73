import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import rankdata, spearmanr

from audit.errors import DataError
from audit.topology.agreement import agreement, birth_ranks


@pytest.mark.parametrize("kind", [np.int16, np.int32, np.int64])
def test_never_born_ranks_after_every_level(kind):
    births = np.array([[9, 1], [-1, -1], [2, -1], [9, 3]], kind)
    ranks = [[2.5, 1], [4, 3.5], [1, 3.5], [2.5, 2]]
    assert birth_ranks(births).tolist() == ranks
    assert birth_ranks(births, among=births).tolist() == ranks
    assert birth_ranks(np.array([[5, 2]], kind), among=births).tolist() == [[1.5, 1.5]]


def test_agreement_is_spearmans_rho_where_ranks_are_compared():
    draws = np.random.default_rng(0)
    first, second = draws.normal(size=(2, 40, 3))
    x, y = rankdata(first, axis=0), rankdata(second, axis=0)
    found = agreement(x, y, np.arange(40), np.arange(40) % 4)
    expected = [spearmanr(first[:, u], second[:, u]).statistic for u in range(3)]
    assert found.same == pytest.approx(expected, rel=1e-9)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6))
def test_others_average_over_the_other_images_of_the_class(seed):
    draws = np.random.default_rng(seed)
    x, rows = draws.normal(size=(12, 2)), np.array([0, 3, 4, 7, 11])
    y, labels = draws.normal(size=(5, 2)), np.repeat([0, 1, 2], 4)
    found = agreement(x, y, rows, labels)
    for unit in range(2):
        a, b = x[:, unit], y[:, unit]
        a = (a - a[rows].mean()) / a[rows].std()
        b = (b - b.mean()) / b.std()
        null = [
            np.mean([a[j] * b[k] for j in range(12) if j != i and labels[j] == labels[i]])
            for k, i in enumerate(rows)
        ]
        assert found.others[unit] == pytest.approx(np.mean(null), rel=1e-9, abs=1e-12)


def test_images_drawn_anew_within_their_class_agree_as_others_do():
    draws = np.random.default_rng(1)
    labels = np.repeat(np.arange(5), 20)
    x, y = (labels[:, None] + draws.normal(size=(100, 300)) for _ in range(2))
    found = agreement(x, y, np.arange(100), labels)
    assert found.same.mean() > 0.5
    assert (found.same - found.others).mean() == pytest.approx(0, abs=0.01)


def test_a_series_of_one_value_has_no_agreement():
    x = np.array([[1.0, 5.0], [2.0, 5.0], [3.0, 5.0]])
    found = agreement(x, x, np.arange(3), np.zeros(3, int))
    assert found.same[0] == pytest.approx(1)
    assert found.others[0] == pytest.approx(-1 / 2)
    assert np.isnan([found.same[1], found.others[1]]).all()


def test_agreement_refuses_what_does_not_fit():
    x = np.zeros((3, 2))
    with pytest.raises(DataError) as error:
        agreement(x, x[:2], np.arange(3), np.zeros(3, int))
    assert str(error.value) == (
        "series must have shapes (n, units) and (m, units), with labels (n,) and rows (m,); found "
        "(3, 2), (2, 2), (3,) and (3,)"
    )
    with pytest.raises(DataError) as error:
        agreement(x, x, np.arange(3), np.array([4, 4, 7]))
    assert str(error.value) == "every image needs another of its class; class 7 has one"
