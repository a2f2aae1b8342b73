import numpy as np
import pytest
import torch
from torch import nn

from audit.conformance import ArrayView
from audit_measures import feature_spectrum as spectrum
from audit_measures import prediction_spread as spread


class Given(ArrayView):
    """A view whose features and scores are given."""

    def __init__(self, features=None, logits=None):
        n = len(logits if features is None else features)
        super().__init__(nn.Identity(), torch.zeros(n, 1, 2, 2), np.zeros(n, int))
        self._features = None if features is None else np.asarray(features, float)
        self._logits = None if logits is None else np.asarray(logits, float)

    def features(self):
        return self._features

    def logits(self):
        return self._logits


def with_singular_values(values, n=30, centred=False):
    """Features with these singular values."""
    random = np.random.default_rng(0)
    drawn = random.normal(size=(n, len(values)))
    u, _ = np.linalg.qr(drawn - drawn.mean(0) if centred else drawn)
    v, _ = np.linalg.qr(random.normal(size=(len(values), len(values))))
    return (u * values) @ v.T


def test_effective_rank_by_hand():
    view = Given(with_singular_values([3, 1]))
    assert spectrum.effective_rank(view) == pytest.approx(4 / 3**0.75)


def test_effective_rank_of_equal_directions_is_their_number():
    assert spectrum.effective_rank(Given(np.eye(7))) == pytest.approx(7)
    assert spectrum.effective_rank(Given(np.ones((4, 3)))) == pytest.approx(1)


def test_effective_rank_is_rankme_but_for_its_offset():
    features = np.random.default_rng(3).normal(size=(50, 8))
    values = np.linalg.svd(features, compute_uv=False)
    share = values / values.sum() + 1e-7
    expected = np.exp(-(share * np.log(share)).sum())
    assert spectrum.effective_rank(Given(features)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("alpha", [0.5, 1.0, 2.0])
def test_alpha_req_of_a_power_law_is_its_exponent(alpha):
    values = np.arange(1, 21) ** (-alpha / 2)
    view = Given(with_singular_values(values, centred=True))
    assert spectrum.alpha_req(view) == pytest.approx(alpha, rel=1e-9)


def test_alpha_req_is_the_weighted_least_squares_of_the_public_program():
    features = np.random.default_rng(3).normal(size=(60, 12)) * np.arange(1, 13) ** -0.8
    eigenvalues = np.sort(np.linalg.eigvalsh(np.cov(features, rowvar=False)))[::-1]
    place = np.arange(3, 13)
    design = np.stack([-np.log(place), np.ones(10)], axis=1)
    weighted = design / place[:, None]
    expected = np.linalg.solve(weighted.T @ design, weighted.T @ np.log(eigenvalues[2:]))[0]
    assert spectrum.alpha_req(Given(features)) == pytest.approx(expected, rel=1e-9)


def test_alpha_req_of_few_directions_is_undefined():
    assert spectrum.alpha_req(Given(np.eye(5))).reason == (
        "the decay is fitted to the third eigenvalue and those that follow, three at least; the "
        "features have 4 in all"
    )


def test_feature_sparsity_by_hand():
    assert spectrum.feature_sparsity(Given([[3, 4]])) == pytest.approx(
        (2**0.5 - 1.4) / (2**0.5 - 1)
    )
    assert spectrum.feature_sparsity(Given([[0, 5, 0], [0, 0, 0]])) == pytest.approx(1)
    assert spectrum.feature_sparsity(Given([[1, -1, 1]])) == pytest.approx(0)


def test_feature_sparsity_of_a_single_feature_is_undefined():
    assert spectrum.feature_sparsity(Given([[1]])).reason == "a single feature has no sparsity"


@pytest.mark.parametrize(
    "measure", [spectrum.effective_rank, spectrum.alpha_req, spectrum.feature_sparsity]
)
def test_measures_of_the_spectrum_say_why_there_is_no_number(measure):
    assert measure(Given(np.zeros((0, 2)))).reason == "the training sample holds no image"
    assert measure(Given(np.zeros((3, 2)))).reason == "all features are 0"
    assert measure(Given([[1, 2], [np.inf, 1]])).reason == (
        "the features are not finite for 1 of 2 training images, first for image 1"
    )


def test_nuclear_norm_by_hand():
    assert spread.nuclear_norm(Given(logits=np.zeros((6, 2)))) == pytest.approx(0.5)
    certain = 1000 * np.eye(3)[[0, 1, 2, 0, 1, 2]]
    assert spread.nuclear_norm(Given(logits=certain)) == pytest.approx(1)


def test_nuclear_norm_is_the_public_formula():
    logits = np.random.default_rng(0).normal(size=(20, 4))
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    expected = np.linalg.norm(probabilities, "nuc") / np.sqrt(4 * 20)
    assert spread.nuclear_norm(Given(logits=logits)) == pytest.approx(expected, rel=1e-9)


def test_energy_dispersion_by_hand():
    # energies −log Σ exp f: scores (−a, −∞) have the energy a
    logits = [[0, -1e9], [-np.log(3), -1e9]]
    value = spread.energy_dispersion(Given(logits=logits))
    assert value == pytest.approx(np.log(2) - 0.5 * np.log(3))
    assert spread.energy_dispersion(Given(logits=np.ones((5, 2)))) == pytest.approx(0)


def test_energy_dispersion_is_the_public_formula_less_log_n():
    logits = np.random.default_rng(0).normal(size=(20, 4))
    energy = -np.log(np.exp(logits).sum(1))
    published = -np.mean(np.log(np.exp(energy) / np.exp(energy).sum()))
    value = spread.energy_dispersion(Given(logits=logits))
    assert value == pytest.approx(published - np.log(20), rel=1e-9)


def test_class_confusion_by_hand():
    assert spread.class_confusion(Given(logits=np.zeros((6, 2)))) == pytest.approx(0.5)
    certain = 1000 * np.eye(3)[[0, 1, 2]]
    assert spread.class_confusion(Given(logits=certain)) == pytest.approx(0)


def test_class_confusion_is_the_public_formula():
    logits = np.random.default_rng(0).normal(size=(20, 4))
    probabilities = np.exp(logits / 2.5) / np.exp(logits / 2.5).sum(1, keepdims=True)
    entropy = -(probabilities * np.log(probabilities)).sum(1)
    weight = 1 + np.exp(-entropy)
    weight = 20 * weight / weight.sum()
    confusion = (probabilities * weight[:, None]).T @ probabilities
    confusion /= confusion.sum(1)[:, None]
    expected = (confusion.sum() - np.trace(confusion)) / 4
    assert spread.class_confusion(Given(logits=logits)) == pytest.approx(expected, rel=1e-9)


def test_class_confusion_without_classes_to_confuse_is_undefined():
    assert spread.class_confusion(Given(logits=[[1], [2]])).reason == (
        "confusion needs at least two classes; the network has one output"
    )
    assert spread.class_confusion(Given(logits=[[0, -1e9]])).reason == (
        "a class has no probability on any training image"
    )


@pytest.mark.parametrize(
    "measure", [spread.nuclear_norm, spread.energy_dispersion, spread.class_confusion]
)
def test_measures_of_predictions_say_why_there_is_no_number(measure):
    assert measure(Given(logits=np.zeros((0, 2)))).reason == "the training sample holds no image"
    assert measure(Given(logits=[[1, 2], [np.nan, 1]])).reason == (
        "the outputs are not finite for 1 of 2 training images, first for image 1"
    )
