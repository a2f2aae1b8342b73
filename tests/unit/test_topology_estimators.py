"""Estimators of entropy against their formulas and published numbers, and the bootstrap on them."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import digamma

from audit.arrays import NO_BIRTH
from audit.errors import ConfigError
from audit.topology.entropy import feature_entropy
from audit.topology.intervals import (
    bootstrap_interval,
    draw_within_classes,
    interval_of_errors,
    resampled_errors,
)

#: Individuals of each of 26 species of spiders under girdled trees, as in the R package iNEXT.
SPIDERS = [46, 22, 17, 15, 15, 9, 8, 6, 6, 4, 2, 2, 2, 2, *[1] * 12]


def entropy(counts, estimator):
    levels = np.repeat(np.arange(1, len(counts) + 1), counts)
    return float(feature_entropy(levels, estimator=estimator).birth_entropy)


def grassberger(counts):
    """G(n) of Grassberger 2003, with digamma written out."""
    n = sum(counts)

    def g(k):
        return digamma(k) + 0.5 * (-1) ** k * (digamma((k + 1) / 2) - digamma(k / 2))

    return math.log(n) - sum(k * g(k) for k in counts) / n


def chao_wang_jost(counts):
    """Chao, Wang & Jost 2013, the second sum by its tail, term by term."""
    n, once, twice = sum(counts), counts.count(1), counts.count(2)
    seen = sum(k / n * math.fsum(1 / r for r in range(k, n)) for k in counts)
    if once == 0:
        return seen
    share = 2 * twice / ((n - 1) * once + 2 * twice) if twice else 2 / ((n - 1) * (once - 1) + 2)
    tail = math.fsum((1 - share) ** (r - n + 1) / r for r in range(n, n + int(45 / share)))
    return seen + once / n * tail


COUNTS = st.lists(st.integers(1, 12), min_size=1, max_size=12)


@settings(deadline=None, max_examples=60)
@given(COUNTS)
def test_grassberger_is_the_published_formula(counts):
    assert entropy(counts, "grassberger") == pytest.approx(grassberger(counts), rel=1e-9, abs=1e-12)


@settings(deadline=None, max_examples=25)
@given(COUNTS)
def test_chao_wang_jost_is_the_published_formula(counts):
    expected = chao_wang_jost(counts)
    assert entropy(counts, "chao-wang-jost") == pytest.approx(expected, rel=1e-9, abs=1e-12)


def test_grassberger_begins_as_published():
    # G(1) = −γ − log 2 and G(2) = 2 − γ − log 2
    assert entropy([1], "grassberger") == pytest.approx(np.euler_gamma + math.log(2))
    expected = math.log(2) - (2 - np.euler_gamma - math.log(2))
    assert entropy([2], "grassberger") == pytest.approx(expected)


def test_chao_wang_jost_of_spiders_is_what_inext_gives():
    assert math.exp(entropy(SPIDERS, "plug-in")) == pytest.approx(12.060, abs=5e-4)
    assert math.exp(entropy(SPIDERS, "chao-wang-jost")) == pytest.approx(13.826, abs=5e-4)


@pytest.mark.parametrize("n", [1, 2, 3, 10, 1000])
def test_chao_wang_jost_of_equal_births_is_exactly_zero(n):
    assert entropy([n], "chao-wang-jost") == 0


def test_chao_wang_jost_of_births_that_all_differ_is_finite():
    # nothing repeats: f₂ = 0 and A = 2 / ((n − 1)² + 2), so that for two births A = 2/3
    assert entropy([1, 1], "chao-wang-jost") == pytest.approx(
        1 + 3 * (-math.log(2 / 3) - 1 / 3), rel=1e-12
    )
    assert entropy([1] * 50, "chao-wang-jost") == pytest.approx(chao_wang_jost([1] * 50))


def test_chao_wang_jost_keeps_its_digits_where_few_levels_are_new():
    # A = 0.45: the published difference is of the order of 1e-14 and is multiplied by 1e12
    counts = [1] + [2] * 20 + [9]
    assert entropy(counts, "chao-wang-jost") == pytest.approx(chao_wang_jost(counts), rel=1e-12)


@pytest.mark.parametrize("counts", [[1] * 400, [1] * 150 + [2] * 25, [1] * 3 + [2] * 30 + [200]])
def test_chao_wang_jost_holds_for_hundreds_of_images(counts):
    # scipy's hypergeometric function, by which the tail might be had, is NaN from 170 births on
    assert entropy(counts, "chao-wang-jost") == pytest.approx(chao_wang_jost(counts), rel=1e-11)


@pytest.mark.parametrize("estimator", ["plug-in", "chao-shen", "chao-wang-jost"])
def test_resamples_that_are_counted_are_those_that_are_sorted(estimator):
    generator = np.random.default_rng(0)
    births = generator.integers(1, 9, (30, 5))
    births[generator.random(births.shape) < 0.3] = NO_BIRTH
    labels = np.arange(30) % 3
    resamples = draw_within_classes(labels, 4, np.random.default_rng(1))
    found = resampled_errors(births, resamples, estimator)
    for r in range(4):
        errors = []
        for rows, drawn in zip(resamples.rows, resamples.drawn, strict=True):
            one = feature_entropy(births[rows][drawn[r]], estimator=estimator).feature_entropy
            errors.append(one - feature_entropy(births[rows]).feature_entropy)
        assert found[r] == pytest.approx(np.nanmean(errors), rel=1e-12)


def test_blocks_of_units_do_not_change_the_resamples(monkeypatch):
    births = np.random.default_rng(2).integers(1, 9, (20, 11))
    resamples = draw_within_classes(np.zeros(20, int), 3, np.random.default_rng(1))
    whole = resampled_errors(births, resamples)
    monkeypatch.setattr("audit.topology._resamples._CELLS_AT_A_TIME", 20)
    np.testing.assert_allclose(resampled_errors(births, resamples), whole, rtol=1e-12)


def test_errors_of_units_never_born_are_undefined():
    births = np.full((6, 2), NO_BIRTH)
    resamples = draw_within_classes(np.zeros(6, int), 3, np.random.default_rng(1))
    errors = resampled_errors(births, resamples)
    assert np.isnan(errors).all()
    assert np.isnan(interval_of_errors(1.0, errors)).all()


@pytest.mark.parametrize("estimator", ["plug-in", "chao-wang-jost"])
def test_the_interval_of_a_mean_covers_the_truth_about_as_often_as_it_says(estimator):
    generator = np.random.default_rng(6)
    p = np.array([0.4, 0.3, 0.2, 0.1])
    truth, hits = -np.sum(p * np.log(p)), 0
    for _ in range(60):
        births = generator.choice([2, 3, 4, 5], (100, 8), p=p)
        resamples = draw_within_classes(np.zeros(100, int), 60, generator)
        mean = float(feature_entropy(births, estimator=estimator).feature_entropy.mean())
        interval = interval_of_errors(mean, resampled_errors(births, resamples, estimator), 0.9)
        hits += interval.lower <= truth <= interval.upper
    assert 0.75 < hits / 60 <= 1


def test_intervals_of_corrected_estimates_are_not_corrected_twice():
    generator = np.random.default_rng(7)
    p = 0.85 ** np.arange(50)
    births = generator.choice(50, (30, 200), p=p / p.sum()) + 1
    truth = -np.sum(p / p.sum() * np.log(p / p.sum()))
    interval = bootstrap_interval(births, estimator="chao-wang-jost", n_resamples=60)
    middle = float((interval.lower + interval.upper).mean() / 2)
    assert middle == pytest.approx(truth, abs=0.15)


def test_unknown_estimators_are_refused_by_the_bootstrap_too():
    resamples = draw_within_classes(np.zeros(2, int), 1, np.random.default_rng(0))
    with pytest.raises(ConfigError) as caught:
        resampled_errors(np.ones((2, 1), int), resamples, "nsb")
    assert str(caught.value) == (
        "unknown entropy estimator 'nsb'; known: plug-in, miller-madow, chao-shen, grassberger, "
        "chao-wang-jost"
    )
