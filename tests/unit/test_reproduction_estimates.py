"""Means over networks, tests by signs, and separations."""

import numpy as np
import pytest
from scipy import stats

from audit.reproduction.estimates import (
    auc,
    kendall,
    mean_over_networks,
    resampled,
    separation,
    sign_flip_p_value,
)


def test_the_interval_of_a_mean_is_student_s():
    values = [0.2, 0.5, 0.3, 0.4]
    found = mean_over_networks(values)
    known = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert (found.lower, found.upper) == pytest.approx(known)
    assert found.value == pytest.approx(0.35)


def test_networks_without_a_number_are_left_out():
    assert mean_over_networks([np.nan, 0.5, 0.7]).n == 2
    nothing = mean_over_networks([np.nan])
    assert nothing.n == 0
    assert np.isnan(nothing.value)


def test_one_network_has_no_interval_over_networks():
    found = mean_over_networks([0.5])
    assert found.value == 0.5
    assert np.isnan([found.lower, found.upper, found.p_value]).all()


@pytest.mark.parametrize("n", [3, 5, 7])
def test_signs_that_all_agree_are_as_unlikely_as_can_be(n):
    assert sign_flip_p_value(np.arange(1.0, n + 1)) == pytest.approx(2.0**-n)


def test_the_reference_is_what_no_effect_would_be():
    assert mean_over_networks([0.6] * 5, reference=0.5).p_value == pytest.approx(1 / 32)
    assert mean_over_networks([0.4] * 5, reference=0.5).p_value == pytest.approx(1)


def test_signs_are_flipped_with_a_known_error_probability():
    rng = np.random.default_rng(0)
    p_values = [sign_flip_p_value(rng.normal(size=6)) for _ in range(200)]
    assert np.mean(np.array(p_values) < 0.05) < 0.09


def test_auc_is_the_chance_of_the_larger_number():
    low, high = np.array([1.0, 2, np.nan]), np.array([2.0, 3])
    assert auc(low, high) == 0.875
    assert auc(high, low) == 0.125
    assert separation(high, low) == 0.875
    assert np.isnan(auc(low[2:], high))


def test_kendall_needs_three_pairs_that_vary():
    assert kendall([1, 2, 3, np.nan], [3, 2, 1, 0]) == -1
    assert np.isnan(kendall([1, 2, np.nan], [1, 2, 3]))
    assert np.isnan(kendall([1, 1, 1], [1, 2, 3]))


def test_resampled_intervals_hold_the_statistic_and_say_where_there_is_none():
    values = np.random.default_rng(0).normal(size=50)
    lower, upper = resampled((values,), np.mean)
    assert lower < values.mean() < upper
    assert upper - lower == pytest.approx(4 * values.std() / np.sqrt(50), rel=0.2)
    assert np.isnan(resampled((values,), lambda drawn: np.nan)).all()
