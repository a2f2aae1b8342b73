import itertools

import numpy as np
import pytest

from audit.errors import DataError
from audit.topology.profile import centre_of_depth, half_depth
from audit.topology.spread import within_class_share


def test_within_class_share_is_one_by_chance_exactly():
    numbers = np.array([[1.0], [1.0], [2.0], [5.0], [7.0]])
    labels = np.array([0, 0, 1, 1, 1])
    shares = [
        within_class_share(numbers, labels[list(order)])[0]
        for order in itertools.permutations(range(5))
    ]
    assert np.mean(shares) == pytest.approx(1, rel=1e-9)


def test_within_class_share_leaves_out_images_without_a_number():
    numbers = np.array([[1.0], [np.nan], [2.0], [3.0], [4.0], [np.nan]])
    labels = np.array([0, 0, 0, 1, 1, 2])
    assert within_class_share(numbers, labels) == pytest.approx([0.3])


def test_within_class_share_without_two_numbers_that_differ_is_undefined():
    labels = np.array([0, 0, 1, 1])
    equal, none = np.ones((4, 1)), np.full((4, 1), np.nan)
    alone = np.array([[1.0], [np.nan], [2.0], [np.nan]])
    for numbers in (equal, none, alone):
        assert np.isnan(within_class_share(numbers, labels)).all()


def test_depths_by_hand():
    assert half_depth(np.array([0, 0.25, 0.25, 1])) == pytest.approx(7 / 9)
    assert half_depth(np.array([-0.1, 0.4])) == pytest.approx(0.3 / 0.5)
    assert half_depth(np.array([0.3, 0.1, 0.4])) == 0
    assert centre_of_depth(np.array([0, 0.25, 0.25, 1])) == pytest.approx(5 / 6)
    assert np.isnan([half_depth(np.array([1.0, 0.0])), half_depth(np.array([1.0]))]).all()
    assert np.isnan([centre_of_depth(np.array([0.0, -1.0])), centre_of_depth(np.ones(1))]).all()


@pytest.mark.parametrize("function", [half_depth, centre_of_depth])
def test_a_profile_must_be_finite(function):
    with pytest.raises(DataError) as error:
        function(np.array([1.0, np.nan]))
    assert str(error.value) == "a profile must be a row of finite numbers; found [1.0, nan]"
