import numpy as np
import pytest
import torch
from torch import nn

from audit.conformance import ArrayView
from audit.data.renditions import AUGMENTATIONS
from audit.plugin import DataConfig
from audit_measures.augmentation import SHARE, WEIGHTS, augmentation_consistency


def classifier(channels=1, side=8, n_classes=4, seed=0):
    """A linear classifier of pixels: predictions that vary from image to image."""
    generator = np.random.default_rng(seed)
    head = nn.Linear(channels * side * side, n_classes)
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.copy_(torch.from_numpy(generator.normal(size=tuple(parameter.shape))))
    return nn.Sequential(nn.Flatten(), head)


def test_the_weights_are_the_published_ones():
    assert list(WEIGHTS.values()) == [6, 1, 2, 3, 1, 12, 2]
    assert list(WEIGHTS) == [rendition.name for rendition in AUGMENTATIONS]


def test_consistency_follows_its_formula_on_normalised_images():
    mean, std = 0.4, 0.3
    pixels = torch.from_numpy(np.random.default_rng(2).random((240, 1, 8, 8))).float()
    network = classifier()
    config = DataConfig((1, 8, 8), (mean,), (std,))
    view = ArrayView(network, (pixels - mean) / std, np.zeros(240, int), data_config=config)

    def predict(images):
        with torch.no_grad():
            return network((images - mean) / std).softmax(1).max(1)

    original = predict(pixels)
    kept = penalty = 0.0
    for rendition in AUGMENTATIONS:
        alteration = rendition.start(view)
        made = [batch.images for one in view.stretches() for batch in alteration.feed(one)]
        now = predict(view.pixels(torch.cat(made)))
        for k in range(0, 240, 10):
            same = bool(now.indices[k] == original.indices[k])
            kept += WEIGHTS[rendition.name] * same
            shift = abs(float(now.values[k] - original.values[k]))
            penalty += shift if same else WEIGHTS[rendition.name]
    values = augmentation_consistency(view)
    assert 0.1 < values[""] < 0.9
    assert values[""] == pytest.approx(kept / (27 * 24), abs=1e-12)
    assert values["published"] == pytest.approx(1 - penalty / (27 * 24), abs=1e-6)
    assert values["n_images"] == 24 == 240 * SHARE


def test_consistency_does_not_depend_on_the_batch_size():
    images = torch.from_numpy(np.random.default_rng(3).random((170, 3, 8, 8))).float()
    values = [
        augmentation_consistency(
            ArrayView(classifier(3), images, np.zeros(170, int), batch_size=size)
        )
        for size in (4, 170)
    ]
    assert values[0] == pytest.approx(values[1], rel=1e-6)


@pytest.mark.parametrize(("channels", "passes"), [(1, [60] + [6] * 5), (3, [6] * 7)])
def test_consistency_runs_no_version_twice(channels, passes):
    # of grey images saturation is the image itself, and mirrored saturation is the mirror image;
    # images as they are go through the network in one pass for all who want some of them
    network = classifier(channels)
    view = ArrayView(network, torch.rand(60, channels, 8, 8), np.zeros(60, int), batch_size=60)
    view.logits()
    seen = []
    handle = view.module.register_forward_hook(lambda *call: seen.append(len(call[2])))
    augmentation_consistency(view)
    handle.remove()
    assert seen == passes


def test_consistency_of_a_constant_network_is_one():
    network = classifier()
    network[1].weight.data.zero_()
    view = ArrayView(network, torch.rand(6, 1, 8, 8), np.zeros(6, int))
    assert augmentation_consistency(view) == {"": 1.0, "published": 1.0, "n_images": 1.0}


class Halves(nn.Module):
    """Which half of the image is brighter."""

    def forward(self, images):
        left, right = images[..., :4].mean((1, 2, 3)), images[..., 4:].mean((1, 2, 3))
        return torch.stack([left, right], 1) * 1000


def test_consistency_falls_by_the_weight_of_what_changes():
    # left half 0.3, right half 0.1: mirroring alone surely swaps the halves (6 + 12 of 27)
    pixels = torch.full((8, 1, 8, 8), 0.3)
    pixels[..., 4:] = 0.1
    view = ArrayView(Halves(), pixels, np.zeros(8, int))
    value = augmentation_consistency(view)[""]
    lost = 27 * (1 - value)
    assert 18 - 1e-9 <= lost <= 18 + 2 + 1e-9  # the black rectangle may weigh 2


class Pair(nn.Module):
    """A classifier that returns its input too."""

    def __init__(self):
        super().__init__()
        self.network = classifier()

    def forward(self, images):
        return (self.network(images), images)


def test_consistency_reads_the_first_of_several_outputs():
    images = torch.rand(40, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    pair = ArrayView(Pair(), images, np.zeros(40, int))
    alone = ArrayView(classifier(), images, np.zeros(40, int))
    assert augmentation_consistency(pair) == augmentation_consistency(alone)


def test_consistency_with_outputs_that_are_not_finite_is_undefined():
    class Dark(nn.Module):
        """Not finite where a pixel is at 1."""

        def forward(self, images):
            return torch.log(1 - images.amax((1, 2, 3)))[:, None].expand(-1, 2)

    view = ArrayView(Dark(), torch.full((2, 1, 8, 8), 0.7), [0, 1])
    assert augmentation_consistency(view).reason == "the outputs are not finite for brightness"
