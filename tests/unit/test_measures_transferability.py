import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal, spearmanr
from sklearn.covariance import LedoitWolf
from torch import nn

from audit.conformance import ArrayView
from audit_measures import class_gaussians, transferability
from audit_measures._features import RESOLUTION, spaced, standardised
from audit_measures._log_evidence import log_evidence


class Given(ArrayView):
    """A view whose features and scores are given."""

    def __init__(self, features, labels, logits=None):
        n = len(labels)
        super().__init__(nn.Identity(), torch.zeros(n, 1, 2, 2), labels)
        self._features = np.asarray(features, float).reshape(n, -1 if n else 1)
        self._logits = np.zeros((n, 2)) if logits is None else np.asarray(logits, float)

    def features(self):
        return self._features

    def logits(self):
        return self._logits


def blobs(n=60, d=5, c=3, apart=2.0, seed=0):
    """Features and labels of classes around means of their own."""
    random = np.random.default_rng(seed)
    labels = np.arange(n) % c
    return random.normal(size=(n, d)) + apart * random.normal(size=(c, d))[labels], labels


def fixed_point_logme(features, labels, steps=2000):
    """The fixed point of You et al. 2022, section 4.3, as the public program writes it, n ≥ d."""
    n, d = features.shape
    u, s, _ = np.linalg.svd(features, full_matrices=False)
    found = []
    for label in range(labels.max() + 1):
        y = (labels == label).astype(float)
        x2 = (u.T @ y) ** 2
        left = (y**2).sum() - x2.sum()
        alpha = beta = 1.0
        for _ in range(steps):
            t = alpha / beta
            gamma = (s**2 / (s**2 + t)).sum()
            m2 = (s**2 * x2 / (t + s**2) ** 2).sum()
            res2 = (x2 / (1 + s**2 / t) ** 2).sum() + left
            alpha, beta = gamma / m2, (n - gamma) / res2
        evidence = (
            d / 2 * np.log(alpha)
            + n / 2 * np.log(beta)
            - 0.5 * np.log(alpha + beta * s**2).sum()
            - beta / 2 * res2
            - alpha / 2 * m2
            - n / 2 * np.log(2 * np.pi)
        )
        found.append(evidence / n)
    return float(np.mean(found))


def test_logme_is_the_public_fixed_point():
    features, labels = blobs()
    value = transferability.logme(Given(features, labels))
    assert value == pytest.approx(fixed_point_logme(features, labels), rel=1e-9)


def test_logme_is_the_density_of_the_labels_under_the_best_prior():
    # p(y | F) = N(y; 0, I/β + FFᵀ/α), maximal where nothing nearby is larger
    features, labels = blobs(n=12, d=3, c=2)
    y = (labels == 0).astype(float)

    def density(alpha, beta):
        covariance = np.eye(12) / beta + features @ features.T / alpha
        return multivariate_normal(np.zeros(12), covariance).logpdf(y) / 12

    grid = np.exp(np.linspace(-4, 6, 30))
    best = max(density(a, b) for a in grid for b in grid)
    found = float(log_evidence(features, y[:, None])[0])
    assert best <= found <= best + 0.02


def test_logme_with_more_features_than_images_counts_every_direction_of_the_prior():
    features, labels = blobs(n=8, d=12, c=2)
    y = (labels == 0).astype(float)

    def density(alpha, beta):
        covariance = np.eye(8) / beta + features @ features.T / alpha
        return multivariate_normal(np.zeros(8), covariance).logpdf(y) / 8

    grid = np.exp(np.linspace(-3, 9, 30))
    best = max(density(a, b) for a in grid for b in grid)
    assert float(log_evidence(features, y[:, None])[0]) == pytest.approx(best, abs=0.03)


@pytest.mark.parametrize("factor", [1e-3, 8, 1e4])
def test_logme_survives_a_common_factor(factor):
    features, labels = blobs()
    before = transferability.logme(Given(features, labels))
    assert transferability.logme(Given(features * factor, labels)) == pytest.approx(before, 1e-9)


def test_logme_of_features_that_are_the_label_is_undefined():
    value = transferability.logme(Given(np.eye(2)[[0, 1, 0, 1]], [0, 1, 0, 1]))
    assert value.reason == (
        "the features give the labels of 2 of 2 classes without any error: the evidence has no "
        "maximum"
    )


def test_h_score_by_hand():
    assert transferability.h_score(Given([0, 2, 4, 6], [0, 0, 1, 1])) == pytest.approx(0.8)


def test_h_score_is_the_public_formula():
    features, labels = blobs()
    means = np.stack([features[labels == k].mean(0) for k in range(3)])[labels]
    trace = np.trace(np.linalg.pinv(np.cov(features, rowvar=False)) @ np.cov(means, rowvar=False))
    assert transferability.h_score(Given(features, labels)) == pytest.approx(trace, rel=1e-9)


def test_h_score_leaves_out_directions_that_are_rounding():
    features, labels = blobs()
    twice = np.hstack([features, features[:, :1]]).astype(np.float32)
    value = transferability.h_score(Given(twice, labels))
    expected = transferability.h_score(Given(features.astype(np.float32), labels))
    assert value == pytest.approx(expected, rel=1e-9)


def test_h_score_with_as_many_features_as_images_is_undefined():
    features, labels = blobs(n=6, d=9)
    assert transferability.h_score(Given(features, labels)).reason == (
        "the features of 6 different images have rank 5: any labels are a linear map of them; take "
        "more images than there are features"
    )


def test_shrunk_h_score_is_the_public_formula_with_one_divisor():
    features, labels = blobs(n=30, d=8)
    found = LedoitWolf().fit(features)
    means = np.stack([features[labels == k].mean(0) for k in range(3)])[labels]
    between = np.cov(means, rowvar=False, bias=True)
    expected = np.trace(np.linalg.inv(found.covariance_) @ ((1 - found.shrinkage_) * between))
    value = transferability.h_score_shrunk(Given(features, labels))
    assert value == pytest.approx(expected, rel=1e-9)


def test_shrunk_h_score_where_nothing_of_the_covariance_is_left_is_undefined():
    features = np.random.default_rng(0).normal(size=(8, 4))
    value = transferability.h_score_shrunk(Given(features, [0, 1] * 4))
    assert value.reason == "the shrinkage is 1: nothing of the features' covariance is left"


def scores(n=40, c=4, seed=1):
    random = np.random.default_rng(seed)
    labels = random.integers(0, c, n)
    return random.normal(size=(n, c)) + 2 * np.eye(c)[labels], labels


def test_leep_is_the_public_formula_with_the_target_first():
    logits, labels = scores()
    theta = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    joint = np.zeros((4, 4))  # target × source
    for row, label in zip(theta, labels, strict=True):
        joint[label] += row / len(labels)
    conditional = joint / joint.sum(0, keepdims=True)
    expected = np.mean(
        [np.log(conditional[label] @ row) for row, label in zip(theta, labels, strict=True)]
    )
    value = transferability.leep(Given(logits, labels, logits))
    assert value == pytest.approx(expected, rel=1e-9)


def test_leep_of_equal_scores_is_the_entropy_of_the_labels():
    value = transferability.leep(Given([1, 2, 3, 4], [0, 0, 0, 1], np.zeros((4, 3))))
    assert value == pytest.approx(0.75 * np.log(0.75) + 0.25 * np.log(0.25))


def test_nce_conditions_the_label_on_the_prediction():
    # predictions 0 0 0 1, labels 0 0 1 1: H(y | z) = ¾ H(⅓); swapped it would be ½ H(½)
    logits = np.eye(2)[[0, 0, 0, 1]]
    value = transferability.nce(Given(logits, [0, 0, 1, 1], logits))
    assert value == pytest.approx(0.75 * (2 / 3 * np.log(2 / 3) + 1 / 3 * np.log(1 / 3)))


def test_nce_of_classes_confused_consistently_is_zero():
    logits = np.eye(3)[[1, 2, 0, 1]]
    assert transferability.nce(Given(logits, [0, 1, 2, 0], logits)) == 0


def test_transrate_is_the_public_formula_where_classes_are_equally_large():
    features, labels = blobs()

    def rate(z):
        gram = np.eye(z.shape[1]) + z.T @ z / (len(z) * 1e-4)
        return 0.5 * np.linalg.slogdet(gram)[1]

    z = features - features.mean(0)
    z /= np.sqrt(np.trace(z @ z.T) / len(z))
    expected = rate(z) - np.mean([rate(z[labels == k]) for k in range(3)])
    assert class_gaussians.transrate(Given(features, labels)) == pytest.approx(expected, rel=1e-9)


def test_transrate_by_hand():
    view = Given([-1, -1, 1, 1], [0, 0, 1, 1])
    assert class_gaussians.transrate(view) == pytest.approx(0, abs=1e-12)
    view = Given([[-1, 0], [1, 0], [0, -1], [0, 1]], [0, 0, 1, 1])
    # the whole fills both directions with ½ each, a class one of them with 1
    expected = np.log1p(0.5e4) - 0.5 * np.log1p(1e4)
    assert class_gaussians.transrate(view) == pytest.approx(expected)


def test_gbc_by_hand():
    value = class_gaussians.gbc(Given([-1, 1, 1, 3], [0, 0, 1, 1]))
    assert value == pytest.approx(-2 * np.exp(-0.5))


def test_gbc_of_a_class_that_does_not_vary_is_undefined():
    value = class_gaussians.gbc(Given([0, 1, 5, 5], [0, 0, 1, 1]))
    assert value.reason == (
        "the features do not vary within 1 of 2 classes, which have no Gaussian then"
    )


def test_parc_is_the_public_formula():
    features, labels = blobs()
    left = 1 - np.corrcoef(features)
    right = 1 - np.corrcoef(np.eye(3)[labels])
    lower = np.tril_indices(60, -1)
    expected = spearmanr(left[lower], right[lower].round(9)).statistic
    assert class_gaussians.parc(Given(features, labels)) == pytest.approx(expected, rel=1e-9)


def test_parc_of_features_that_are_the_label_is_one():
    labels = np.array([0, 0, 1, 1, 2])
    assert class_gaussians.parc(Given(np.eye(3)[labels], labels)) == pytest.approx(1)


def test_parc_without_pairs_to_compare_is_undefined():
    value = class_gaussians.parc(Given([1, 2, 3], [0, 0, 1]))
    assert value.reason == "no two classes have images whose features differ among themselves"
    value = class_gaussians.parc(Given(np.eye(3)[:2], [0, 1]))
    assert value.reason == "all pairs of images are equally unlike"


def test_nleep_of_classes_far_apart_is_zero_and_of_chance_is_below():
    features, labels = blobs(n=120, apart=100)
    assert class_gaussians.nleep(Given(features, labels)) == pytest.approx(0, abs=1e-9)
    mixed = np.random.default_rng(0).permutation(labels)
    assert class_gaussians.nleep(Given(features, mixed)) < -0.5


def test_nleep_does_not_depend_on_the_order_of_images():
    features, labels = blobs(n=60, apart=0.5)
    order = np.random.default_rng(2).permutation(60)
    before = class_gaussians.nleep(Given(features, labels))
    after = class_gaussians.nleep(Given(features[order], labels[order]))
    assert after == pytest.approx(before, rel=1e-9)


def test_nleep_with_few_images_is_undefined():
    value = class_gaussians.nleep(Given([1, 2, 3], [0, 1, 0]))
    assert value.reason == (
        "10 clusters, 5 for each class, need as many images; the training sample has 3"
    )


OF_FEATURES = [
    transferability.logme,
    transferability.h_score,
    transferability.h_score_shrunk,
    class_gaussians.transrate,
    class_gaussians.gbc,
    class_gaussians.parc,
    class_gaussians.nleep,
]


@pytest.mark.parametrize("measure", OF_FEATURES)
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
        ([], [], "the training sample holds no image"),
    ],
)
def test_measures_of_features_say_why_there_is_no_number(measure, features, labels, reason):
    view = Given(np.reshape(features, (len(labels), 1)), labels)
    assert measure(view).reason == reason


@pytest.mark.parametrize("measure", OF_FEATURES)
def test_measures_of_features_do_not_depend_on_the_names_of_classes(measure):
    features, labels = blobs()
    other = np.array([7, 2, 4])[labels]
    before, after = measure(Given(features, labels)), measure(Given(features, other))
    assert after == pytest.approx(before, rel=1e-12)


def test_standardised_leaves_out_what_does_not_vary():
    features = np.array([[1e6, 0.0, 3.0], [1e6, 2.0, 3.0]]) + 1e-7 * RESOLUTION
    np.testing.assert_allclose(standardised(features), [[-1], [1]])


def test_spaced_takes_all_or_evenly_spaced_images():
    assert spaced(3, 5).tolist() == [0, 1, 2]
    assert spaced(10, 4).tolist() == [0, 2, 5, 7]
