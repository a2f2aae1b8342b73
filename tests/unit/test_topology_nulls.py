"""Feature entropy against shuffled maps and random units."""

import numpy as np
import pytest
import torch

from audit.arrays import NO_BIRTH
from audit.errors import DataError
from audit.topology import LayerBirths, birth_levels
from audit.topology.entropy import feature_entropy
from audit.topology.nulls import (
    LEVEL,
    against_each_random,
    against_labels,
    against_random_units,
    against_shuffled,
    shuffled_births,
)
from audit.topology.shuffled import SHUFFLES, ShuffledBirths, chosen_images


def generator(purpose=""):
    return np.random.default_rng(list(purpose.encode()))


@pytest.mark.parametrize("filtration", ["clique", "cubical"])
def test_shuffled_births_are_those_of_maps_shuffled_by_hand(filtration):
    maps = np.random.default_rng(0).normal(size=(3, 6, 6)).astype(np.float32)
    orders = np.stack([np.random.default_rng(k).permutation(36) for k in range(2)])
    expected = [
        birth_levels(np.stack([m.ravel()[order].reshape(6, 6) for m in maps]), filtration)
        for order in orders
    ]
    np.testing.assert_array_equal(shuffled_births(maps, orders, filtration), expected)
    tensor = torch.from_numpy(maps)
    np.testing.assert_array_equal(shuffled_births(tensor, orders, filtration), expected)


@pytest.mark.parametrize("filtration", ["clique", "cubical"])
def test_white_noise_is_about_as_alike_as_chance(filtration):
    random = np.random.default_rng(1)
    maps = random.normal(size=(30, 150, 8, 8)).astype(np.float32)
    orders = [np.stack([random.permutation(64) for _ in range(8)]) for _ in maps]
    pairs = zip(maps, orders, strict=True)
    shuffled = np.stack([shuffled_births(m, o, filtration) for m, o in pairs], axis=1)
    births, labels = birth_levels(maps, filtration), np.zeros(30, int)
    z = against_shuffled(births, shuffled, labels, 1, generator()).z
    assert abs(z.mean()) < 0.35
    assert 0.75 < z.std() < 1.3
    assert (z < LEVEL).mean() < 0.12


def test_a_common_pattern_lies_far_below_chance():
    random = np.random.default_rng(2)
    births = np.full((20, 1), 7)
    shuffled = random.integers(2, 30, (8, 20, 1))
    found = against_shuffled(births, shuffled, np.zeros(20, int), 1, generator())
    assert found.feature_entropy == 0
    assert found.z < -10
    expected = feature_entropy(shuffled, axis=1).feature_entropy.mean()
    assert found.null_mean == pytest.approx(expected, abs=0.1)


def test_z_is_the_formula_on_the_mean_and_deviation_of_draws():
    random = np.random.default_rng(3)
    births, shuffled = random.integers(2, 9, (12, 4)), random.integers(2, 9, (4, 12, 4))
    found = against_shuffled(births, shuffled, np.zeros(12, int), 1, generator(), n_rounds=200)
    choices = random.integers(0, 4, (3000, 12))
    draws = [feature_entropy(shuffled[choice, np.arange(12)]).feature_entropy for choice in choices]
    sd = np.std(draws, axis=0) * np.sqrt(4 / 3)
    np.testing.assert_allclose(found.null_mean[0], np.mean(draws, axis=0), rtol=0.01)
    np.testing.assert_allclose(found.null_sd[0], sd, rtol=0.12)
    z = (found.feature_entropy - found.null_mean) / found.null_sd / np.sqrt(5 / 4)
    np.testing.assert_allclose(found.z, z, rtol=1e-12)


def test_pairs_without_births_or_variation_have_no_z():
    births = np.array([[NO_BIRTH, 3, 3]] * 4)
    shuffled = np.random.default_rng(4).integers(2, 9, (2, 4, 3))
    shuffled[:, :, 1] = 5
    shuffled[:, :, 2] = NO_BIRTH
    found = against_shuffled(births, shuffled, np.zeros(4, int), 2, generator())
    assert np.isnan(found.z).all()
    np.testing.assert_array_equal(np.isnan(found.feature_entropy[0]), [True, False, False])


def test_the_number_of_a_class_does_not_change_its_z():
    random = np.random.default_rng(5)
    births, shuffled = random.integers(2, 9, (20, 3)), random.integers(2, 9, (8, 20, 3))
    labels = np.arange(20) % 2
    one = against_shuffled(births, shuffled, labels, 2, generator()).z
    np.testing.assert_array_equal(
        against_shuffled(births, shuffled, 1 - labels, 2, generator()).z, one[::-1]
    )


def test_random_units_by_hand():
    trained, random = np.array([1.0, 2.0, np.nan]), np.array([2.0, 4.0, 3.0])
    assert against_random_units(trained, random) == pytest.approx((1.5 - 3.0) / 1.0)
    assert np.isnan(against_random_units(trained, np.array([2.0, 2.0])))
    assert np.isnan(against_random_units(trained, np.array([2.0, np.nan])))
    assert np.isnan(against_random_units(np.array([np.nan]), random))


def test_shuffles_of_an_image_do_not_depend_on_batches():
    maps = np.random.default_rng(6).normal(size=(6, 2, 5, 5)).astype(np.float32)
    labels = np.arange(6) % 2
    layer = LayerBirths("layer", 5, 5, birth_levels(maps, "cubical"), np.zeros((6, 2)), 0.0)

    def scores(batches):
        shuffled = ShuffledBirths(labels, "cubical", generator)
        for rows in batches:
            shuffled.add("layer", np.array(rows), torch.from_numpy(maps[rows]))
        return shuffled.scores(layer, 2).z

    one, other = scores([[0, 1, 2, 3, 4, 5]]), scores([[0], [1, 2], [3, 4, 5]])
    np.testing.assert_array_equal(one, other)


def test_only_chosen_images_are_shuffled_and_squares_only_under_clique():
    labels = np.arange(60) % 3
    shuffled = ShuffledBirths(labels, "clique", generator, most=6)
    maps = torch.rand(60, 2, 5, 5, generator=torch.Generator().manual_seed(0))
    shuffled.add("square", np.arange(60), maps)
    shuffled.add("oblong", np.arange(60), maps[..., :4])
    assert shuffled._births["square"].shape == (SHUFFLES, 6, 2)
    assert (shuffled._births["square"] != 0).all()
    layer = LayerBirths("oblong", 5, 4, np.ones((60, 2), int), np.zeros((60, 2)), 0.0)
    with pytest.raises(DataError, match=r"^no maps of layer 'oblong' were given$"):
        shuffled.scores(layer, 3)


def test_chosen_images_are_spread_over_classes():
    assert chosen_images(np.array([2, 0, 1])).tolist() == [0, 1, 2]
    labels = np.arange(3000) % 10
    rows = chosen_images(labels)
    assert np.bincount(labels[rows]).tolist() == [50] * 10
    many = np.arange(30_000) % 1000
    rows = chosen_images(many)
    assert np.unique(many[rows], return_counts=True)[1].tolist() == [25] * 20
    few = chosen_images(np.array([0] * 700 + [1]))
    assert few[-1] == 700
    assert len(few) == 251


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: shuffled_births(np.zeros((2, 3, 3)), np.zeros((1, 8), int)),
            "maps must have shape (units, height, width) and permutations (draws, height * width); "
            "found (2, 3, 3) and (1, 8)",
        ),
        (
            lambda: against_shuffled(
                np.ones((3, 2), int), np.ones((1, 3, 2), int), np.zeros(3, int), 1, generator()
            ),
            "shuffled births must have shape (shuffles, images, units) with two shuffles at least; "
            "found (1, 3, 2) for births of shape (3, 2)",
        ),
    ],
)
def test_nulls_refuse_what_does_not_fit(call, message):
    with pytest.raises(DataError) as caught:
        call()
    assert str(caught.value) == message


def test_labels_null_is_the_formula_on_draws_of_as_many_images():
    random = np.random.default_rng(5)
    births, labels = random.integers(2, 9, (30, 4)), np.repeat([0, 1, 3], [5, 10, 15])
    found = against_labels(births, labels, 4, generator(), n_draws=400)
    draws = [
        feature_entropy(births[random.permutation(30)[:10]]).feature_entropy for _ in range(4000)
    ]
    np.testing.assert_allclose(found.null_mean[1], np.mean(draws, axis=0), rtol=0.02)
    np.testing.assert_allclose(found.null_sd[1], np.std(draws, axis=0), rtol=0.15)
    z = (found.feature_entropy - found.null_mean) / found.null_sd / np.sqrt(1 + 1 / 400)
    np.testing.assert_allclose(found.z, z)
    assert np.isnan(found.z[2]).all()


def test_labels_without_a_pattern_of_their_own_are_at_chance():
    random = np.random.default_rng(6)
    births, labels = random.poisson(6, (200, 300)) + 2, np.repeat(np.arange(4), 50)
    z = against_labels(births, labels, 4, generator()).z
    assert abs(z.mean()) < 0.1
    assert (z < LEVEL).mean() == pytest.approx(0.05, abs=0.02)


def test_a_pattern_that_every_image_shows_is_no_class_s_own():
    births = np.repeat(np.arange(2, 12), 8)[:, None]
    labels = np.arange(80) % 4
    assert abs(against_labels(births, labels, 4, generator()).z).max() < 3
    own = np.where(labels == 2, 4, births[:, 0])[:, None]
    assert against_labels(own, labels, 4, generator()).z[2] < -5
    assert np.isnan(against_labels(births, np.zeros(80, int), 1, generator()).z).all()


def test_each_unit_is_set_against_random_units_of_its_class():
    trained = np.array([[1.0, 2.0], [1.0, np.nan], [3.0, 3.0]])
    random = np.array([[2.0, 4.0, np.nan], [5.0, 6.0, 7.0], [2.0, np.nan, np.nan]])
    expected = [[-2 / np.sqrt(2), -1 / np.sqrt(2)], [-5, np.nan], [np.nan, np.nan]]
    np.testing.assert_allclose(against_each_random(trained, random), expected)
