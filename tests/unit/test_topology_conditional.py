import itertools
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audit.errors import DataError
from audit.topology.conditional import conditional_information, quantile_codes
from audit.topology.information import birth_bins, birth_class_information


def plain_conditional(codes, strata, labels):
    """H(code, s) + H(class, s) − H(code, class, s) − H(s) of one unit, from counts."""

    def entropy(*columns):
        shares = np.array(list(Counter(zip(*columns, strict=True)).values())) / len(labels)
        return -(shares * np.log(shares)).sum()

    codes, strata, labels = (part.tolist() for part in (codes, strata, labels))
    return (
        entropy(codes, strata)
        + entropy(labels, strata)
        - entropy(codes, labels, strata)
        - entropy(strata)
    )


def by_all_permutations(codes, strata, labels):
    """Its mean over every permutation of the codes within strata."""
    places = [np.flatnonzero(strata == s) for s in np.unique(strata)]
    values = []
    for orders in itertools.product(*(itertools.permutations(place) for place in places)):
        moved = codes.copy()
        for place, order in zip(places, orders, strict=True):
            moved[place] = codes[list(order)]
        values.append(plain_conditional(moved, strata, labels))
    return np.mean(values)


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 10**6))
def test_conditional_information_and_its_chance_are_exact(seed):
    draws = np.random.default_rng(seed)
    codes, labels = draws.integers(0, 3, (7, 2)), draws.integers(0, 3, 7)
    strata = np.repeat([[0], [1]], [4, 3], axis=0).repeat(2, axis=1)  # 4! · 3! permutations
    found = conditional_information(codes, strata, labels)
    for unit in range(2):
        parts = codes[:, unit], strata[:, unit], labels
        assert found.mutual_information[unit] == pytest.approx(plain_conditional(*parts), abs=1e-12)
        assert found.expected_by_chance[unit] == pytest.approx(
            by_all_permutations(*parts), abs=1e-12
        )


def test_a_single_stratum_gives_the_usual_information():
    draws = np.random.default_rng(0)
    births, labels = draws.integers(1, 30, (300, 9)), draws.integers(0, 5, 300)
    births[draws.random(births.shape) < 0.2] = -1
    ours = conditional_information(birth_bins(births, 6), np.zeros_like(births), labels)
    usual = birth_class_information(births, labels, 5, n_bins=6)
    for mine, theirs in zip(ours, usual[:3], strict=True):
        assert mine == pytest.approx(theirs, rel=1e-9, abs=1e-12)


def test_units_are_worked_on_in_blocks_without_a_trace(monkeypatch):
    draws = np.random.default_rng(1)
    codes, strata = draws.integers(0, 4, (60, 7)), draws.integers(0, 5, (60, 7))
    labels = draws.integers(0, 3, 60)
    whole = conditional_information(codes, strata, labels)
    monkeypatch.setattr("audit.topology.conditional._CELLS_AT_A_TIME", 1)
    for part, all_at_once in zip(
        conditional_information(codes, strata, labels), whole, strict=True
    ):
        assert part == pytest.approx(all_at_once, rel=1e-12, abs=1e-15)


def test_noise_within_strata_tells_nothing_on_average():
    draws = np.random.default_rng(2)
    labels = np.arange(300) % 6
    strata = np.repeat((labels // 2)[:, None], 200, axis=1)  # strata that know the class
    codes = draws.integers(0, 7, (300, 200))
    found = conditional_information(codes, strata, labels)
    assert abs(found.information.mean()) < 0.002
    assert found.expected_by_chance.mean() > 0.02


def test_what_the_strata_say_alone_is_not_counted():
    labels = np.repeat([0, 1], 20)
    code = labels[:, None]
    assert conditional_information(code, code, labels).information == [0]
    told = conditional_information(code, 0 * code, labels).mutual_information
    assert told == pytest.approx([np.log(2)])


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(-4, 4), min_size=1, max_size=30), st.integers(1, 6))
def test_quantile_codes_know_the_order_alone(values, n_bins):
    column = np.array(values, float)[:, None]
    codes = quantile_codes(column, n_bins)
    assert np.array_equal(codes, quantile_codes(np.exp(column) * 3, n_bins))
    assert 0 <= codes.min() <= codes.max() < n_bins
    order = np.argsort(column[:, 0], kind="stable")
    assert (np.diff(codes[order, 0]) >= 0).all()
    if len(set(values)) == len(values):
        counts = np.bincount(codes[:, 0], minlength=n_bins)
        assert counts.max() - counts.min() <= 1


@pytest.mark.parametrize(
    ("codes", "strata", "labels", "message"),
    [
        (
            np.zeros((3, 2), int),
            np.zeros((3, 1), int),
            [0, 1, 0],
            "codes and strata must have one shape (images, units) and labels (images,); found "
            "(3, 2), (3, 1) and (3,)",
        ),
        (
            np.zeros((0, 2), int),
            np.zeros((0, 2), int),
            [],
            "information on the class needs at least one image; found none",
        ),
        (
            -np.ones((2, 1), int),
            np.zeros((2, 1), int),
            [0, 1],
            "codes, strata and labels must be integers from 0 on",
        ),
    ],
)
def test_conditional_information_refuses_what_does_not_fit(codes, strata, labels, message):
    with pytest.raises(DataError) as error:
        conditional_information(codes, strata, np.array(labels))
    assert str(error.value) == message
