import numpy as np
import pytest
import torch
from torch import nn

from audit.conformance import ArrayView
from audit.data.renditions import MIXED
from audit_measures.mixup import mixup_accuracy


class Threshold(nn.Module):
    """Class 1 where the mean pixel is above a half."""

    def forward(self, images):
        level = images.mean((1, 2, 3))
        return torch.stack([0.5 - level, level - 0.5], 1)


def view_of(levels, labels, network=None, batch_size=16):
    images = torch.tensor(levels)[:, None, None, None].expand(-1, 1, 2, 2)
    return ArrayView(
        network or Threshold(), images, labels, class_names=["a", "b"], batch_size=batch_size
    )


def pairs(view):
    """(class, level) of every mixed image, sorted."""
    ring = MIXED.start(view)
    made = [batch for stretch in view.stretches() for batch in ring.feed(stretch)]
    found = [
        (int(label), round(float(image.mean()), 6))
        for batch in (*made, *ring.end())
        for image, label in zip(batch.images, batch.labels, strict=True)
    ]
    return sorted(found)


@pytest.mark.parametrize("batch_size", [1, 2, 16])
def test_each_image_is_mixed_with_its_neighbours_on_a_ring_per_class(batch_size):
    levels, labels = [0.0, 1.0, 0.2, 0.4, 0.8], [0, 1, 0, 0, 1]
    expected = [(0, 0.1), (0, 0.2), (0, 0.3), (1, 0.9)]
    assert pairs(view_of(levels, labels, batch_size=batch_size)) == expected


def test_mixup_accuracy_counts_the_averages_that_keep_their_class():
    # ring of class 0: 0.0–0.9 → 0.45 right, 0.9–0.6 → 0.75 wrong, 0.6–0.0 → 0.3 right
    assert mixup_accuracy(view_of([0.0, 0.9, 0.6], [0, 0, 0])) == pytest.approx(2 / 3)


def test_mixup_accuracy_without_pairs_is_undefined():
    value = mixup_accuracy(view_of([0.0, 1.0], [0, 1]))
    assert value.reason == "no class has two images in the training sample"


def test_mixup_accuracy_with_outputs_that_are_not_finite_is_undefined():
    class Broken(nn.Module):
        def forward(self, images):
            return torch.full((len(images), 2), float("nan"))

    value = mixup_accuracy(view_of([0.0, 1.0], [0, 0], Broken()))
    assert value.reason == "the outputs are not finite for a mixed image"


def test_mixup_accuracy_of_one_image_repeated_is_its_accuracy():
    labels = np.zeros(6, int)
    assert mixup_accuracy(view_of([0.3] * 6, labels)) == 1
    assert mixup_accuracy(view_of([0.7] * 6, labels)) == 0
