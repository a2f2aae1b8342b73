"""Feature entropy and birth-class information against hand-worked numbers and scikit-learn."""

import numpy as np
import pytest
from sklearn.metrics import mutual_info_score
from sklearn.metrics.cluster import expected_mutual_information

from audit.arrays import NO_BIRTH
from audit.errors import ConfigError, DataError
from audit.topology.entropy import feature_entropy, feature_entropy_by_class
from audit.topology.information import birth_class_information
from audit.topology.intervals import bootstrap_interval

ESTIMATORS = ["plug-in", "miller-madow", "chao-shen"]
NEVER = NO_BIRTH


def test_feature_entropy_by_hand():
    births = np.array([[3, 3, NEVER], [3, 5, NEVER], [4, NEVER, NEVER], [4, NEVER, NEVER]])
    result = feature_entropy(births)
    np.testing.assert_allclose(result.birth_entropy, [np.log(2), np.log(2), np.nan], rtol=1e-12)
    np.testing.assert_array_equal(result.effective_rate, [1, 0.5, 0])
    np.testing.assert_allclose(
        result.feature_entropy, [np.log(2), 2 * np.log(2), np.nan], rtol=1e-12
    )
    np.testing.assert_array_equal(result.n_images, [4, 4, 4])


def test_feature_entropy_of_uneven_counts_by_hand():
    births = np.array([2, 2, 2, 7, NEVER])
    entropy = -(0.75 * np.log(0.75) + 0.25 * np.log(0.25))
    result = feature_entropy(births)
    np.testing.assert_allclose(result.birth_entropy, entropy, rtol=1e-12)
    np.testing.assert_allclose(result.feature_entropy, entropy / 0.8, rtol=1e-12)
    assert result.feature_entropy.shape == ()


def test_miller_madow_adds_its_correction():
    births = np.array([2, 2, 2, 7, 9, NEVER])
    plug_in = feature_entropy(births).birth_entropy
    corrected = feature_entropy(births, estimator="miller-madow").birth_entropy
    np.testing.assert_allclose(corrected, plug_in + 2 / 10, rtol=1e-12)


def test_chao_shen_by_the_published_formula():
    counts = np.array([3, 2, 1, 1])
    births = np.repeat([4, 8, 15, 16], counts)
    n = counts.sum()
    p = (1 - 2 / n) * counts / n
    expected = -np.sum(p * np.log(p) / (1 - (1 - p) ** n))
    result = feature_entropy(births, estimator="chao-shen")
    np.testing.assert_allclose(result.birth_entropy, expected, rtol=1e-12)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_equal_births_have_entropy_exactly_zero(estimator):
    for n in (1, 2, 3, 7, 100):
        result = feature_entropy(np.full((n, 2), 5), estimator=estimator)
        assert (result.feature_entropy == 0).all()
        assert not np.signbit(result.feature_entropy).any()


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_a_unit_never_born_has_no_entropy(estimator):
    result = feature_entropy(np.full((9, 1), NEVER), estimator=estimator)
    assert np.isnan(result.feature_entropy).all()
    assert np.isnan(result.birth_entropy).all()
    assert (result.effective_rate == 0).all()


def test_no_images_gives_nan_and_a_count_of_zero():
    result = feature_entropy(np.empty((0, 3), np.int32))
    for field in result[:3]:
        np.testing.assert_array_equal(field, [np.nan] * 3)
    np.testing.assert_array_equal(result.n_images, [0, 0, 0])


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_every_axis_gives_the_same_numbers(estimator):
    births = np.random.default_rng(0).integers(-1, 5, (6, 4, 30))
    births[births == 0] = NEVER
    last = feature_entropy(births, -1, estimator)
    first = feature_entropy(np.moveaxis(births, -1, 0), 0, estimator)
    middle = feature_entropy(births.swapaxes(1, 2), 1, estimator)
    for a, b, c in zip(last, first, middle, strict=True):
        np.testing.assert_array_equal(a, b)
        np.testing.assert_array_equal(a, c)


def test_chunks_of_groups_do_not_change_the_numbers(monkeypatch):
    births = np.random.default_rng(1).integers(1, 9, (50, 40))
    whole = feature_entropy(births, estimator="chao-shen")
    monkeypatch.setattr("audit.topology.entropy._ENTRIES_PER_CHUNK", 300)
    for a, b in zip(whole, feature_entropy(births, estimator="chao-shen"), strict=True):
        np.testing.assert_array_equal(a, b)


def test_corrected_estimators_are_less_biased_when_images_are_few():
    generator = np.random.default_rng(2)
    p = np.arange(51, 0, -1) / np.arange(51, 0, -1).sum()
    truth = -np.sum(p * np.log(p))
    births = generator.choice(np.arange(2, 53), (40, 2000), p=p)
    bias = {
        name: abs(feature_entropy(births, estimator=name).birth_entropy.mean() - truth)
        for name in ESTIMATORS
    }
    assert bias["chao-shen"] < bias["miller-madow"] < bias["plug-in"]
    assert bias["chao-shen"] < 0.1 * bias["plug-in"]


def test_by_class_equals_each_class_alone():
    generator = np.random.default_rng(3)
    births, labels = generator.integers(1, 6, (60, 7)), generator.integers(0, 4, 60)
    labels[labels == 2] = 1  # class 2 has no images
    result = feature_entropy_by_class(births, labels, 4, "miller-madow")
    assert result.feature_entropy.shape == (4, 7)
    for c in (0, 1, 3):
        alone = feature_entropy(births[labels == c], estimator="miller-madow")
        for whole, part in zip(result, alone, strict=True):
            np.testing.assert_array_equal(whole[c], part)
    assert np.isnan(result.feature_entropy[2]).all()
    assert (result.n_images[2] == 0).all()


def test_information_equals_scikit_learn():
    generator = np.random.default_rng(4)
    labels = generator.integers(0, 5, 83)
    births = generator.integers(1, 40, (83, 30)) + 8 * labels[:, None] * generator.integers(
        0, 2, 30
    )
    births[generator.random(births.shape) < 0.2] = NEVER
    result = birth_class_information(births, labels, 5, n_bins=6)
    for unit, levels in enumerate(births.T):
        born = np.sort(levels[levels != NEVER])
        edges = [born[int(np.ceil(k * len(born) / 6)) - 1] for k in range(1, 6)]
        bins = np.where(levels == NEVER, 6, np.searchsorted(edges, levels, side="left"))
        table = np.array(
            [[np.sum((bins == b) & (labels == c)) for c in range(5)] for b in range(7)]
        )
        np.testing.assert_allclose(
            result.mutual_information[unit], mutual_info_score(labels, bins), rtol=1e-9
        )
        np.testing.assert_allclose(
            result.expected_by_chance[unit],
            expected_mutual_information(table[table.sum(1) > 0], 83),
            rtol=1e-9,
        )
        assert result.n_bins_used[unit] == (table.sum(1) > 0).sum()
    np.testing.assert_array_equal(
        result.information, result.mutual_information - result.expected_by_chance
    )


def test_expected_information_holds_for_many_images_and_uneven_classes():
    generator = np.random.default_rng(14)
    labels = np.sort(generator.choice(4, 1500, p=[0.9, 0.05, 0.04, 0.01]))
    births = generator.integers(2, 52, (1500, 2))
    births[generator.random(1500) < 0.97, 1] = NEVER
    result = birth_class_information(births, labels, 4, n_bins=1)
    levels = births[:, 1] != NEVER
    table = np.array([[np.sum((levels == b) & (labels == c)) for c in range(4)] for b in (0, 1)])
    np.testing.assert_allclose(
        result.expected_by_chance, [0, expected_mutual_information(table, 1500)], rtol=1e-9
    )


def test_expected_information_is_the_mean_over_permutations():
    generator = np.random.default_rng(5)
    labels = generator.integers(0, 3, 30)
    births = generator.integers(1, 10, (30, 4))
    births[:5] = NEVER
    exact = birth_class_information(births, labels, 3).expected_by_chance
    sampled = np.mean(
        [
            birth_class_information(births, generator.permutation(labels), 3).mutual_information
            for _ in range(2000)
        ],
        axis=0,
    )
    np.testing.assert_allclose(sampled, exact, rtol=0.03)


def test_information_of_dead_constant_and_telling_units():
    labels = np.repeat([0, 1], 10)
    births = np.column_stack([np.full(20, NEVER), np.full(20, 4), np.where(labels, 9, NEVER)])
    result = birth_class_information(births, labels, 2)
    np.testing.assert_array_equal(result.information[:2], [0, 0])
    np.testing.assert_array_equal(result.effective_rate, [0, 1, 0.5])
    np.testing.assert_array_equal(result.n_bins_used, [1, 1, 2])
    np.testing.assert_allclose(result.mutual_information[2], np.log(2), rtol=1e-12)
    assert 0 < result.expected_by_chance[2] < 0.1


@pytest.mark.parametrize("kind", [np.int16, np.int32, np.int64])
def test_information_does_not_depend_on_the_width_of_integers(kind):
    generator = np.random.default_rng(0)
    births = generator.integers(2, 60, (200, 5))
    births[generator.random(births.shape) < 0.4] = NO_BIRTH
    labels = generator.integers(0, 4, 200)
    wide = birth_class_information(births, labels, 4)
    narrow = birth_class_information(births.astype(kind), labels, 4)
    assert (wide.n_bins_used == 7).all()
    for ours, theirs in zip(wide, narrow, strict=True):
        assert np.array_equal(ours, theirs)


def test_information_with_one_class_is_zero():
    result = birth_class_information(np.arange(12).reshape(12, 1), np.zeros(12, int), 1)
    assert result.information == 0


def test_bootstrap_interval_covers_the_truth_about_as_often_as_it_says():
    generator = np.random.default_rng(6)
    p = np.array([0.4, 0.3, 0.2, 0.1])
    births = generator.choice([2, 3, 4, 5], (100, 400), p=p)
    truth = -np.sum(p * np.log(p))
    interval = bootstrap_interval(births, confidence=0.9, n_resamples=200)
    share = np.mean((interval.lower <= truth) & (truth <= interval.upper))
    assert 0.82 < share < 0.97


def test_bootstrap_interval_is_repeatable_and_undefined_where_the_entropy_is():
    births = np.random.default_rng(7).integers(1, 5, (20, 3))
    births[:, 1] = NEVER
    first, second = (bootstrap_interval(births, n_resamples=20, seed=8) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(np.isnan(first.lower), [False, True, False])
    assert (bootstrap_interval(births, n_resamples=20, seed=9).lower[0] != first.lower[0]).all()


def test_bootstrap_interval_without_images_is_undefined():
    interval = bootstrap_interval(np.empty((0, 2), int), n_resamples=3)
    assert np.isnan(interval.lower).all()
    assert np.isnan(interval.upper).all()


REFUSED = [
    (
        lambda: feature_entropy(np.ones((2, 2), int), estimator="plugin"),
        ConfigError,
        "unknown entropy estimator 'plugin'; did you mean 'plug-in'? "
        "known: plug-in, miller-madow, chao-shen, grassberger, chao-wang-jost",
    ),
    (
        lambda: feature_entropy(np.ones((2, 2))),
        DataError,
        "birth levels must be integers; found dtype float64",
    ),
    (
        lambda: feature_entropy(np.int32(3)),
        DataError,
        "birth levels need an axis of images; found a single number",
    ),
    (
        lambda: feature_entropy(np.ones((2, 2), int), axis=2),
        DataError,
        "axis 2 is out of range for birth levels of shape (2, 2)",
    ),
    (
        lambda: feature_entropy_by_class(np.ones((3, 2), int), np.zeros(2, int), 1),
        DataError,
        "birth levels must have shape (images, units) and labels (images,); found (3, 2) and (2,)",
    ),
    (
        lambda: feature_entropy_by_class(np.ones((2, 2), int), np.zeros(2), 1),
        DataError,
        "labels must be integers; found dtype float64",
    ),
    (
        lambda: birth_class_information(np.ones((2, 2), int), np.array([0, 3]), 3),
        DataError,
        "labels must lie in 0 … 2; found 0 … 3",
    ),
    (
        lambda: birth_class_information(np.ones((0, 2), int), np.zeros(0, int), 3),
        DataError,
        "birth-class information needs at least one image; found none",
    ),
    (
        lambda: birth_class_information(np.ones((2, 2), int), np.zeros(2, int), 3, n_bins=0),
        ConfigError,
        "n_bins must be at least 1; found 0",
    ),
    (
        lambda: bootstrap_interval(np.ones((2, 2), int), confidence=1.0),
        ConfigError,
        "confidence must lie between 0 and 1; found 1.0",
    ),
    (
        lambda: bootstrap_interval(np.ones((2, 2), int), n_resamples=0),
        ConfigError,
        "n_resamples must be at least 1; found 0",
    ),
]


@pytest.mark.parametrize(("call", "kind", "message"), REFUSED, ids=[case[2] for case in REFUSED])
def test_refusals_say_what_was_found(call, kind, message):
    with pytest.raises(kind) as caught:
        call()
    assert str(caught.value) == message
