import math

import numpy as np
import pytest
import torch
from torch import nn

from audit.conformance import ArrayView
from audit_measures.calibration import brier_score, calibration_error, prediction_entropy
from audit_measures.margins import inverse_margin, margin_quantiles


def view_of(logits, labels):
    """A network that gives back its input."""
    return ArrayView(nn.Flatten(), torch.tensor(logits)[:, :, None, None], labels)


def with_probability(*probabilities):
    return [[math.log(p), math.log(1 - p)] for p in probabilities]


def test_prediction_entropy_is_the_mean_entropy():
    view = view_of(with_probability(0.5, 0.9), [0, 1])
    second = -0.9 * math.log(0.9) - 0.1 * math.log(0.1)
    assert prediction_entropy(view) == pytest.approx((math.log(2) + second) / 2, rel=1e-6)


def test_prediction_entropy_survives_certainty():
    assert prediction_entropy(view_of([[1e4, 0.0]], [0])) == 0


def test_calibration_error_by_hand():
    # bins of 1/15: 0.90 and 0.92 share one, 0.55 is alone
    view = view_of(with_probability(0.90, 0.92, 0.55), [0, 1, 0])
    expected = abs((1 - 0.90) + (0 - 0.92)) / 3 + abs(1 - 0.55) / 3
    found = calibration_error(view)
    assert found[""] == pytest.approx(expected, rel=1e-5)
    assert found["maximum"] == pytest.approx(1 - 0.55, rel=1e-5)


def test_calibration_error_agrees_with_a_loop_over_bins():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(200, 5)).astype(np.float32) * 2
    labels = rng.integers(0, 5, 200)
    probabilities = torch.from_numpy(logits).double().softmax(1).numpy()
    confidence, right = probabilities.max(1), probabilities.argmax(1) == labels
    expected = 0.0
    for k in range(15):
        inside = (confidence >= k / 15) & (confidence < (k + 1) / 15)
        if inside.any():
            expected += inside.mean() * abs(right[inside].mean() - confidence[inside].mean())
    # torchmetrics computes it in float32
    assert calibration_error(view_of(logits, labels))[""] == pytest.approx(expected, rel=1e-6)


def test_calibration_error_of_certain_and_right_is_zero():
    found = calibration_error(view_of([[1e4, 0.0], [0.0, 1e4]], [0, 1]))
    assert found == {"": 0, "maximum": 0}


def test_calibration_error_of_one_class_is_undefined():
    value = calibration_error(view_of([[1.0]], [0]))
    assert value.reason == "calibration needs two classes; the network has one output"


def test_brier_score_by_hand():
    view = view_of(with_probability(0.8, 0.5), [0, 1])
    assert brier_score(view) == pytest.approx((2 * 0.2**2 + 2 * 0.5**2) / 2, rel=1e-6)
    assert brier_score(view_of([[1e4, 0.0]], [0])) == 0
    assert brier_score(view_of([[1e4, 0.0]], [1])) == 2


def test_margin_quantiles_by_hand():
    view = view_of([[1.0, 0.0], [2.0, 0.0], [4.0, 0.0], [0.0, 1.0], [8.0, 0.0]], [0] * 5)
    assert margin_quantiles(view) == {"": 2, "p25": 1, "p50": 2, "p75": 4, "mean": 14 / 5}


def test_inverse_margin_by_hand():
    view = view_of([[2.0, 0.0]] * 4, [0] * 4)
    assert inverse_margin(view) == pytest.approx(1 / 4)


def test_inverse_margin_refuses_margins_that_are_not_positive():
    value = inverse_margin(view_of([[0.0, 2.0]] * 4, [0] * 4))
    assert value.reason == "the margin's 10th percentile is -2; it must be above 0"


@pytest.mark.parametrize("compute", [margin_quantiles, inverse_margin])
def test_margins_of_one_class_are_undefined(compute):
    reason = "a margin needs at least two classes; the network has one output"
    assert compute(view_of([[1.0]], [0])).reason == reason
