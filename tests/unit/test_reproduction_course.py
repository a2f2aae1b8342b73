"""The course of a training."""

import numpy as np
import pytest
import torch
from torch import nn

from audit.reproduction.case import has_statistics, settle
from audit.reproduction.course import (
    Course,
    Epoch,
    entropy_of_classes,
    entropy_of_units,
    mean_entropy,
)


def course(losses, entropies):
    epochs = [
        Epoch(number, loss, 0.5, 0.9, entropy, entropy + 1, entropy + 2, [entropy])
        for number, (loss, entropy) in enumerate(zip(losses, entropies, strict=True))
    ]
    return Course(epochs, 2.0, 0.9, 100)


def test_a_quantity_is_interpolated_at_the_loss_that_was_first_reached():
    found = course([2.0, 1.0, 1.5, 0.5], [3.0, 2.0, 2.5, 1.0])
    assert found.at_loss(1.5, "entropy") == 2.5
    assert found.at_loss(1.5, "entropy_clean") == 3.5
    assert found.at_loss(0.75, "entropy") == pytest.approx(2.5 - 1.5 * 0.75)
    assert found.at_loss(3.0, "entropy") == 3.0
    assert np.isnan(found.at_loss(0.4, "entropy"))
    assert found.least_loss == 0.5
    assert found.at_loss(found.least_loss, "entropy") == 1.0


def test_a_course_survives_json():
    found = course([2.0, 1.0], [3.0, 2.0])
    assert Course.from_json(found.as_json()) == found


def test_entropies_of_units_classes_and_all_leave_out_what_is_never_born():
    births = np.array([[3, -1], [4, -1], [5, 2], [5, 3]])
    labels = np.array([0, 0, 4, 4])
    log2 = np.log(2)
    assert entropy_of_units(births, labels) == pytest.approx([log2 / 2, log2])
    assert entropy_of_classes(births, labels) == pytest.approx([log2, log2 / 2])
    assert mean_entropy(births, labels) == pytest.approx(2 * log2 / 3)
    nothing = np.full((4, 2), -1)
    assert np.isnan(entropy_of_units(nothing, labels)).all()
    assert np.isnan(mean_entropy(nothing, labels))


def test_statistics_are_those_of_the_images_afterwards():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3))
    images = 5 * torch.randn(8, 1, 6, 6)
    before = torch.random.get_rng_state()
    assert has_statistics(network)
    settled = settle(network, [images])
    assert torch.equal(torch.random.get_rng_state(), before)
    assert not settled.training
    mean = settled[0](images).mean((0, 2, 3)).detach()
    torch.testing.assert_close(settled[1].running_mean, mean)
    assert not has_statistics(nn.Conv2d(1, 3, 3))
