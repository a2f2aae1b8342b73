"""What entropies of births must obey on any births whatever."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from audit.arrays import NO_BIRTH
from audit.topology.entropy import feature_entropy, feature_entropy_by_class
from audit.topology.information import birth_class_information

LEVELS = st.just(NO_BIRTH) | st.integers(1, 6)
births_of_units = arrays(
    np.int32, array_shapes(min_dims=2, max_dims=2, max_side=30), elements=LEVELS
)
estimators = st.sampled_from(["plug-in", "miller-madow", "chao-shen"])


def holds(**drawn):
    """A property of what is drawn; no deadline, as other work may share the processor."""
    return lambda test: settings(deadline=None)(given(**drawn)(test))


@holds(births=births_of_units, estimator=estimators)
def test_fields_are_in_range_and_nan_only_without_a_birth(births, estimator):
    result = feature_entropy(births, 0, estimator)
    born = (births != NO_BIRTH).sum(axis=0)
    np.testing.assert_array_equal(result.effective_rate, born / len(births))
    np.testing.assert_array_equal(np.isnan(result.feature_entropy), born == 0)
    np.testing.assert_array_equal(np.isnan(result.birth_entropy), born == 0)
    some = born > 0
    assert (result.birth_entropy[some] >= 0).all()
    assert (result.feature_entropy[some] >= result.birth_entropy[some]).all()


@holds(births=births_of_units)
def test_plug_in_entropy_is_at_most_the_logarithm_of_the_births(births):
    result = feature_entropy(births)
    born = (births != NO_BIRTH).sum(axis=0)
    some = born > 0
    assert (result.birth_entropy[some] <= np.log(born[some]) + 1e-12).all()


@holds(births=births_of_units, estimator=estimators, data=st.data())
def test_the_order_of_images_and_the_names_of_levels_change_nothing(births, estimator, data):
    order = data.draw(st.permutations(range(len(births))))
    renamed = np.where(births == NO_BIRTH, NO_BIRTH, 5 * births + 3)
    original = feature_entropy(births, 0, estimator)
    for other in (births[order], renamed):
        for a, b in zip(original, feature_entropy(other, 0, estimator), strict=True):
            np.testing.assert_array_equal(a, b)


@holds(births=births_of_units)
def test_repeating_every_image_leaves_the_plug_in_entropy(births):
    once, twice = feature_entropy(births), feature_entropy(np.repeat(births, 2, axis=0))
    np.testing.assert_allclose(twice.feature_entropy, once.feature_entropy, rtol=1e-12)


@holds(births=births_of_units, estimator=estimators)
def test_one_class_is_the_whole(births, estimator):
    by_class = feature_entropy_by_class(births, np.zeros(len(births), int), 1, estimator)
    for a, b in zip(by_class, feature_entropy(births, 0, estimator), strict=True):
        np.testing.assert_array_equal(a[0], b)


@holds(
    births=births_of_units, n_classes=st.integers(1, 4), n_bins=st.integers(1, 7), data=st.data()
)
def test_information_is_bounded_and_blind_to_names(births, n_classes, n_bins, data):
    n = len(births)
    classes = st.integers(0, n_classes - 1)
    labels = np.array(data.draw(st.lists(classes, min_size=n, max_size=n)))
    result = birth_class_information(births, labels, n_classes, n_bins)
    assert (result.mutual_information >= -1e-12).all()
    assert (result.expected_by_chance >= -1e-12).all()
    limit = np.log(np.minimum(result.n_bins_used, n_classes))
    assert (result.mutual_information <= limit + 1e-12).all()
    assert (result.information[result.n_bins_used == 1] == 0).all()
    renamed = birth_class_information(births, n_classes - 1 - labels, n_classes, n_bins)
    np.testing.assert_allclose(renamed.information, result.information, atol=1e-12)
