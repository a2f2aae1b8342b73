"""Confidence intervals of single units' feature entropy."""

import numpy as np
import pytest

from audit.errors import ConfigError
from audit.topology.intervals import LEAST_BIRTHS, unit_interval


def sample(generator, n_levels, n_images, rate, n_units=300):
    """Births of units of one distribution, and their true feature entropy."""
    p = np.exp(-(((np.arange(n_levels) - n_levels / 2) / (n_levels / 4)) ** 2) / 2)
    p /= p.sum()
    births = generator.choice(n_levels, (n_images, n_units), p=p) + 2
    births[generator.random(births.shape) > rate] = -1
    return births, -(p * np.log(p)).sum() / rate


@pytest.mark.parametrize(
    ("n_levels", "n_images", "rate"), [(8, 100, 1.0), (20, 100, 0.2), (20, 50, 0.5), (40, 100, 0.5)]
)
def test_interval_covers_the_truth_about_as_often_as_it_says(n_levels, n_images, rate):
    births, truth = sample(np.random.default_rng(1), n_levels, n_images, rate)
    lower, upper = unit_interval(births)
    assert np.isfinite(lower).mean() > 0.95
    share = np.mean((lower <= truth) & (truth <= upper))
    assert 0.89 < share < 0.985


def test_interval_of_births_at_one_level_ends_at_a_level_that_was_missed():
    births = np.full((50, 2), 7)
    births[:25, 1] = -1
    lower, upper = unit_interval(births, confidence=0.95)
    assert (lower == 0).all()
    for n_born, rate, end in zip((50, 25), (1.0, 0.5), upper, strict=True):
        p = 1 - 0.05 ** (1 / n_born)
        assert (1 - p) ** n_born == pytest.approx(0.05)
        assert end == pytest.approx((-p * np.log(p) - (1 - p) * np.log(1 - p)) / rate)


def test_interval_of_few_births_is_not_told():
    births = np.full((60, 3), -1)
    births[:, 0] = np.arange(60) % 9 + 2
    births[: LEAST_BIRTHS - 1, 1] = births[:LEAST_BIRTHS, 2] = 4
    lower, upper = unit_interval(births)
    np.testing.assert_array_equal(np.isnan(lower), [False, True, False])
    np.testing.assert_array_equal(np.isnan(upper), [False, True, False])
    assert (lower[[0, 2]] <= upper[[0, 2]]).all()


def test_interval_is_repeatable_and_checked():
    births, _ = sample(np.random.default_rng(2), 8, 30, 1.0, 4)
    np.testing.assert_array_equal(unit_interval(births, seed=3), unit_interval(births, seed=3))
    with pytest.raises(ConfigError, match=r"^confidence must lie between 0 and 1; found 95$"):
        unit_interval(births, confidence=95)


@pytest.mark.parametrize("estimator", ["plug-in", "grassberger", "chao-wang-jost"])
def test_an_interval_of_equal_births_begins_at_zero_and_ends_after_it(estimator):
    """Grassberger's estimate of ten equal births and more is below 0."""
    births = np.full((29, 1), 4)
    for confidence in (0.3, 0.9):
        found = unit_interval(births, estimator, confidence)
        assert found.lower == 0
        assert found.upper >= 0
