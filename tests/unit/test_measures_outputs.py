import math

import numpy as np
import pytest
import torch
from torch import nn

from audit.conformance import ArrayView
from audit_measures import genaudit_measures, modules, outputs

LOGITS = [[2.0, 0.0, 1.0], [0.0, 3.0, 0.0], [1.0, 1.0, 0.0], [0.0, 0.5, 4.0]]
LABELS = [0, 1, 2, 1]


def view_of(logits, labels):
    """A network that gives back its input."""
    return ArrayView(nn.Flatten(), torch.tensor(logits)[:, :, None, None], labels)


@pytest.fixture
def view():
    return view_of(LOGITS, LABELS)


def test_train_accuracy_counts_the_first_largest_output(view):
    assert outputs.train_accuracy(view) == 2 / 4
    tied = view_of([[1.0, 1.0], [1.0, 1.0]], [0, 1])
    assert outputs.train_accuracy(tied) == 1 / 2


def test_train_loss_is_mean_cross_entropy_in_nats(view):
    by_hand = [
        math.log(math.exp(2) + 1 + math.exp(1)) - 2,
        math.log(2 + math.exp(3)) - 3,
        math.log(2 * math.exp(1) + 1) - 0,
        math.log(1 + math.exp(0.5) + math.exp(4)) - 0.5,
    ]
    assert outputs.train_loss(view) == pytest.approx(sum(by_hand) / 4, rel=1e-12)
    reference = nn.functional.cross_entropy(torch.tensor(LOGITS).double(), torch.tensor(LABELS))
    assert outputs.train_loss(view) == pytest.approx(float(reference), rel=1e-12)


def test_train_loss_survives_large_outputs():
    assert outputs.train_loss(view_of([[1e4, 0.0]], [1])) == pytest.approx(1e4)


def test_mean_confidence_is_the_mean_largest_probability(view):
    reference = torch.tensor(LOGITS).double().softmax(1).max(1).values.mean()
    assert outputs.mean_confidence(view) == pytest.approx(float(reference), rel=1e-12)
    assert outputs.mean_confidence(view_of([[5.0, 5.0]], [0])) == pytest.approx(0.5)


def test_margin_keeps_its_sign_and_interpolates(view):
    # margins: 2 − 1, 3 − 0, 0 − 1, 0.5 − 4; sorted −3.5, −1, 1, 3; a tenth lies at 0.3 of 3 steps
    assert outputs.margin_p10(view) == pytest.approx(-3.5 + 0.3 * 2.5)


def test_margin_of_one_class_is_undefined():
    value = outputs.margin_p10(view_of([[1.0]], [0]))
    assert value.status == "undefined"
    assert value.reason == "a margin needs at least two classes; the network has one output"


@pytest.mark.parametrize(
    "compute",
    [outputs.train_accuracy, outputs.train_loss, outputs.mean_confidence, outputs.margin_p10],
)
def test_outputs_that_are_not_finite_leave_the_measure_undefined(compute):
    value = compute(view_of([[0.0, 1.0], [math.nan, 1.0], [math.inf, 0.0]], [0, 1, 1]))
    assert value.status == "undefined"
    assert value.reason == (
        "the outputs are not finite for 2 of 3 training images, first for image 1"
    )


def test_of_outputs_refuses_an_empty_sample():
    class Empty:
        labels = np.empty(0, int)

        def logits(self):
            return np.empty((0, 3), np.float32)

    assert outputs.train_loss(Empty()).reason == "the training sample holds no image"


def test_every_family_is_found_and_named_once():
    assert set(modules()) >= {"outputs", "size", "path_norm", "feature_entropy", "augmentation"}
    names = [entry.name for entry in genaudit_measures()]
    assert len(names) == len(set(names))


def test_the_baselines_are_those_of_the_evaluation():
    baselines = {entry.name for entry in genaudit_measures() if entry.baseline}
    assert baselines == {
        "parameters",
        "macs",
        "train_accuracy",
        "train_loss",
        "mean_confidence",
        "margin_p10",
        "augmentation_consistency",
        "random",
    }
