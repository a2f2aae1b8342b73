import numpy as np
import pytest
import torch
from sklearn.metrics import davies_bouldin_score, silhouette_score
from torch import nn

from audit.conformance import ArrayView
from audit.errors import UnavailableError
from audit_measures import neural_collapse as collapse
from audit_measures import separability


class Head(nn.Module):
    """Two pixels are the features; a linear layer makes scores of them, times a factor."""

    def __init__(self, weight, bias=None, factor=1.0):
        super().__init__()
        weight = torch.as_tensor(weight, dtype=torch.float64)
        self.fc = nn.Linear(weight.shape[1], len(weight), dtype=torch.float64)
        self.fc.weight.data = weight
        self.fc.bias.data = torch.zeros(len(weight), dtype=torch.float64) if bias is None else bias
        self.factor = factor

    def forward(self, images):
        return self.fc(images.flatten(1)) * self.factor


def view_of(features, labels, weight=None, factor=1.0):
    """A view whose features are given, and whose scores are linear in them."""
    features = np.asarray(features, float).reshape(len(labels), -1)
    n_classes = int(np.max(labels)) + 1
    if weight is None:
        weight = np.ones((n_classes, features.shape[1]))
    images = torch.from_numpy(features)[:, :, None, None]
    return ArrayView(Head(weight, factor=factor), images, labels)


def blobs(n=60, d=5, c=3, apart=2.0, seed=0):
    random = np.random.default_rng(seed)
    labels = np.arange(n) % c
    features = random.normal(size=(n, d)) + apart * random.normal(size=(c, d))[labels]
    return features.astype(np.float32), labels


def test_nc1_by_hand():
    value = collapse.within_class_variability(view_of([-2, 0, 0, 2], [0, 0, 1, 1]))
    assert value == pytest.approx(0.5)


def test_nc1_of_perfect_collapse_is_zero():
    labels = np.array([0, 0, 1, 1, 2, 2])
    assert collapse.within_class_variability(view_of(np.eye(3)[labels], labels)) == 0


def test_nc1_is_the_public_formula():
    features, labels = blobs()
    means = np.stack([features[labels == k].mean(0, dtype=float) for k in range(3)])
    within = features - means[labels]
    between = means - means.mean(0)
    scatter, spread = within.T @ within / len(features), between.T @ between / 3
    expected = np.trace(scatter @ np.linalg.pinv(spread, rcond=1e-10)) / 3
    value = collapse.within_class_variability(view_of(features, labels))
    assert value == pytest.approx(expected, rel=1e-9)


def test_nc1_of_classes_with_one_mean_is_undefined():
    features = [[0, 1], [0, -1], [1, 0], [-1, 0], [5, 1], [5, -1]]
    value = collapse.within_class_variability(view_of(features, [0, 0, 1, 1, 2, 2]))
    assert value.reason == (
        "the means of 3 classes differ in 1 directions of 2: some classes cannot be told apart by "
        "their means"
    )


def test_nc1_of_single_images_is_undefined():
    value = collapse.within_class_variability(view_of([1, 2, 4], [0, 1, 2]))
    assert value.reason == "every class has a single image: nothing varies within classes"


def test_nc2_of_a_simplex_is_zero():
    labels = np.arange(8) % 4
    found = collapse.simplex_distance(view_of(np.eye(4)[labels], labels))
    assert found == pytest.approx({"": 0, "equinorm": 0, "equiangle": 0}, abs=1e-7)


def test_nc2_by_hand():
    found = collapse.simplex_distance(view_of([[1, 0], [0, 1], [-1, -1]], [0, 1, 2]))
    cosines = np.array([0, -(0.5**0.5), -(0.5**0.5)])
    lengths = np.array([1, 1, 2**0.5])
    assert found == pytest.approx(
        {
            "": np.abs(cosines + 0.5).mean(),
            "equinorm": lengths.std() / lengths.mean(),
            "equiangle": cosines.std(),
        }
    )


def test_nc2_without_angles_is_undefined():
    value = collapse.simplex_distance(view_of([1, 2], [0, 1]))
    assert value.reason == "the centred means of two classes are opposite and equally long"
    value = collapse.simplex_distance(view_of([1, 2, 3], [0, 1, 2]))
    assert value.reason == "the mean of a class is the mean of all classes, without direction"


def test_nc3_of_weights_that_are_the_class_means_is_zero():
    labels = np.arange(6) % 3
    weight = 7 * (np.eye(3) - 1 / 3)
    found = collapse.self_duality_distance(view_of(np.eye(3)[labels], labels, weight))
    assert found == pytest.approx(0, abs=1e-7)


def test_nc3_of_opposite_weights_is_two_and_of_orthogonal_ones_the_root_of_two():
    labels, features = [0, 1], [[1, 0], [-1, 0]]
    opposite = collapse.self_duality_distance(view_of(features, labels, [[-3, 0], [3, 0]]))
    orthogonal = collapse.self_duality_distance(view_of(features, labels, [[0, 3], [0, 1]]))
    assert (opposite, orthogonal) == pytest.approx((2, 2**0.5))


def test_nc3_without_a_linear_classifier_is_unavailable():
    labels = np.arange(6) % 3
    value = collapse.self_duality_distance(view_of(np.eye(3)[labels], labels, np.eye(3), factor=2))
    assert (value.status, value.reason) == (
        "unavailable",
        "the scores are no linear map of the penultimate features that a layer of the network has "
        "as its weights; it needs a linear classifier",
    )


def test_nc3_of_weights_that_are_zero_is_undefined():
    value = collapse.self_duality_distance(view_of([1, 2], [0, 1], [[0], [0]]))
    assert value.reason == "the weights of the classifier, or all centred class means, are 0"


def test_nc4_by_hand():
    # the class means are 1 and 5; scores (−x, x) make all images class 1 but image 0, which ties
    view = view_of([0, 2, 4, 6], [0, 0, 1, 1], [[-1], [1]])
    found = collapse.nearest_mean_agreement(view)
    clearance = [(5 - 1) / 6, (1 - 3) / 4, (3 - 1) / 4, (5 - 1) / 6]
    assert found == pytest.approx({"": 3 / 4, "clearance": np.mean(clearance)})


def test_nc4_where_predicted_classes_are_not_in_the_sample_has_no_clearance():
    view = view_of([1, 2], [0, 1], [[0], [0], [1]])
    found = collapse.nearest_mean_agreement(view)
    assert found[""] == 0
    assert found["clearance"].reason == (
        "no image is predicted to be of a class that the sample has"
    )


def test_davies_bouldin_by_hand():
    value = separability.davies_bouldin(view_of([-1, 1, 3, 5], [0, 0, 1, 1])).value
    assert value == pytest.approx(0.5)


def test_davies_bouldin_is_scikit_learns():
    features, labels = blobs()
    value = separability.davies_bouldin(view_of(features, labels)).value
    expected = davies_bouldin_score(features.astype(float), labels)
    assert value == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("factor", [2.0**-40, 2.0**40])
def test_davies_bouldin_survives_factors_that_scikit_learn_calls_no_distance(factor):
    features, labels = blobs()
    expected = separability.davies_bouldin(view_of(features, labels)).value
    value = separability.davies_bouldin(view_of(features * np.float32(factor), labels)).value
    assert value == pytest.approx(expected, rel=1e-9)
    if factor < 1:
        assert davies_bouldin_score(features.astype(float) * factor, labels) == 0


def test_davies_bouldin_of_classes_with_one_mean_is_undefined_and_not_best():
    features, labels = [-1, 1, -2, 2], [0, 0, 1, 1]
    value = separability.davies_bouldin(view_of(features, labels))
    assert value.reason == "classes 0 and 1 of those present have the same mean"
    assert davies_bouldin_score(np.reshape(features, (-1, 1)), labels) == 0


def test_davies_bouldin_of_points_is_zero():
    labels = np.arange(6) % 3
    assert separability.davies_bouldin(view_of(np.eye(3)[labels], labels)).value == 0


def test_davies_bouldin_of_single_images_is_undefined():
    value = separability.davies_bouldin(view_of([1, 2], [0, 1]))
    assert value.reason == "every class has a single image: nothing varies within classes"


def test_silhouette_by_hand():
    value = separability.silhouette(view_of([0, 1, 10, 11], [0, 0, 1, 1]))
    assert value == pytest.approx((9.5 / 10.5 + 8.5 / 9.5) / 2)


def test_silhouette_is_scikit_learns():
    features, labels = blobs()
    value = separability.silhouette(view_of(features, labels))
    assert value == pytest.approx(silhouette_score(features.astype(float), labels), rel=1e-9)


def test_silhouette_of_single_images_is_undefined():
    value = separability.silhouette(view_of([1, 2], [0, 1]))
    assert value.reason == "it needs two classes, one of them with two images; 2 images have 2"


def test_lda_accuracy_of_classes_far_apart_is_one_and_of_chance_about_a_half():
    features, labels = blobs(c=2, apart=100)
    assert separability.lda_accuracy(view_of(features, labels)) == 1
    noise = np.random.default_rng(5).normal(size=(400, 3))
    chance = separability.lda_accuracy(view_of(noise, np.arange(400) % 2))
    assert 0.4 < chance < 0.6


def test_lda_accuracy_with_more_features_than_images_does_not_learn_by_heart():
    noise = np.random.default_rng(5).normal(size=(60, 200))
    assert separability.lda_accuracy(view_of(noise, np.arange(60) % 2)) < 0.75


def test_lda_accuracy_survives_a_factor_on_each_feature():
    features, labels = blobs(apart=0.7)
    factors = np.array([2.0**-20, 1, 4, 0.5, 2.0**20], np.float32)
    before = separability.lda_accuracy(view_of(features, labels))
    assert separability.lda_accuracy(view_of(features * factors, labels)) == before < 1


def test_lda_accuracy_with_a_single_image_of_a_class_is_undefined():
    value = separability.lda_accuracy(view_of([1, 2, 4], [0, 0, 1]))
    assert value.reason == "a class has a single image, and cannot be in two folds"


ALL = [
    collapse.within_class_variability,
    collapse.simplex_distance,
    collapse.self_duality_distance,
    collapse.nearest_mean_agreement,
    separability.davies_bouldin,
    separability.silhouette,
    separability.lda_accuracy,
]


@pytest.mark.parametrize("measure", ALL)
@pytest.mark.parametrize(
    ("features", "labels", "reason"),
    [
        ([1, 2, 3], [0, 0, 0], "two classes are needed; the training sample has 1"),
        ([2, 2, 2], [0, 1, 0], "the features are the same for all 3 training images"),
        (
            [1, np.nan, np.inf],
            [0, 1, 0],
            "the features are not finite for 2 of 3 training images, first for image 1",
        ),
    ],
)
def test_measures_of_classes_say_why_there_is_no_number(measure, features, labels, reason):
    assert measure(view_of(features, labels)).reason == reason


def test_measures_of_features_without_a_classifier_are_unavailable():
    view = ArrayView(nn.Flatten(), torch.rand(4, 1, 2, 2), [0, 1, 0, 1])
    message = (
        "Flatten has no penultimate features: they are the input of its last linear layer, one "
        "vector for each image, and no linear layer is given that"
    )
    with pytest.raises(UnavailableError, match=f"^{message}$"):
        separability.davies_bouldin(view)
