import numpy as np
import pytest
import scipy.ndimage
import torch
from torch import nn
from torchvision.transforms.v2 import functional as reference

from audit.conformance import ArrayView
from audit.plugin import DataConfig
from audit_measures.augmentation import (
    WEIGHTS,
    Draws,
    augmentation_consistency,
    augmented,
    draw,
)


@pytest.fixture
def pixels():
    return torch.from_numpy(np.random.default_rng(0).random((5, 3, 32, 32))).float()


@pytest.fixture
def draws():
    return draw(np.random.default_rng(1), 5, 32, 32)


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


def test_augmentations_agree_with_torchvision(pixels, draws):
    versions = augmented(pixels, draws)
    assert list(versions) == list(WEIGHTS)
    flipped = reference.horizontal_flip(pixels)
    assert torch.equal(versions["flip"], flipped)
    for name, source, factors in (
        ("saturation", pixels, draws.saturation),
        ("flip_saturation", flipped, draws.flip_saturation),
    ):
        expected = torch.stack(
            [
                reference.adjust_saturation(image, float(factor))
                for image, factor in zip(source, factors, strict=True)
            ]
        )
        torch.testing.assert_close(versions[name], expected, atol=1e-6, rtol=0)
    inner = reference.center_crop(pixels, [30, 30])
    expected = reference.resize(inner, [32, 32], antialias=False)
    torch.testing.assert_close(versions["centre_crop"], expected, atol=1e-6, rtol=0)
    assert torch.equal(versions["brightness"], (pixels + 0.5).clamp(max=1))


def test_sobel_is_the_horizontal_gradient(pixels, draws):
    images = pixels.double().numpy()
    smoothed = scipy.ndimage.correlate1d(images, [1, 2, 1], axis=-2, mode="mirror")
    gradient = scipy.ndimage.correlate1d(smoothed, [-1, 0, 1], axis=-1, mode="mirror")
    expected = (gradient / 4 + 0.5).clip(0, 1)
    np.testing.assert_allclose(augmented(pixels, draws)["sobel"].numpy(), expected, atol=1e-6)


def test_erase_blackens_one_rectangle_per_image_and_nothing_else(pixels, draws):
    erased = augmented(pixels, draws)["erase"]
    for image, before, (top, left, height, width) in zip(
        erased, pixels, draws.boxes.tolist(), strict=True
    ):
        expected = before.clone()
        expected[:, top : top + height, left : left + width] = 0
        assert torch.equal(image, expected)
        assert not torch.equal(image, before)


def test_saturation_leaves_grey_images_alone(pixels, draws):
    grey = pixels[:, :1]
    versions = augmented(grey, draws)
    assert torch.equal(versions["saturation"], grey)
    assert torch.equal(versions["flip_saturation"], grey.flip(-1))


@pytest.mark.parametrize(("height", "width"), [(1, 1), (2, 3), (8, 8), (224, 160)])
def test_rectangles_lie_within_the_image(height, width):
    boxes = draw(np.random.default_rng(0), 500, height, width).boxes
    assert (boxes[:, :2] >= 0).all()
    assert (boxes[:, 2:] >= 1).all()
    assert (boxes[:, 0] + boxes[:, 2] <= height).all()
    assert (boxes[:, 1] + boxes[:, 3] <= width).all()


@pytest.mark.parametrize("side", [1, 2, 3, 7])
def test_tiny_images_keep_their_shape(side):
    tiny = torch.rand(2, 1, side, side)
    draws = draw(np.random.default_rng(0), 2, side, side)
    assert {version.shape for version in augmented(tiny, draws).values()} == {tiny.shape}


def test_consistency_follows_its_formula_on_normalised_images():
    mean, std = 0.4, 0.3
    pixels = torch.from_numpy(np.random.default_rng(2).random((30, 1, 8, 8))).float()
    network = classifier()
    config = DataConfig((1, 8, 8), (mean,), (std,))
    view = ArrayView(network, (pixels - mean) / std, np.zeros(30, int), data_config=config)
    draws = draw(view.generator("augmentation_consistency"), 30, 8, 8)

    def predict(images):
        with torch.no_grad():
            return network((images - mean) / std).softmax(1).max(1)

    original = predict(pixels)
    kept = penalty = 0.0
    for name, version in augmented(pixels, draws).items():
        now = predict(version)
        for k in range(30):
            same = bool(now.indices[k] == original.indices[k])
            kept += WEIGHTS[name] * same
            shift = abs(float(now.values[k] - original.values[k]))
            penalty += shift if same else WEIGHTS[name]
    values = augmentation_consistency(view)
    assert 0.1 < values[""] < 0.9
    assert values[""] == pytest.approx(kept / (27 * 30), abs=1e-12)
    assert values["published"] == pytest.approx(1 - penalty / (27 * 30), abs=1e-6)


def test_consistency_does_not_depend_on_the_batch_size():
    images = torch.from_numpy(np.random.default_rng(3).random((17, 3, 8, 8))).float()
    values = [
        augmentation_consistency(
            ArrayView(classifier(3), images, np.zeros(17, int), batch_size=size)
        )
        for size in (4, 17)
    ]
    assert values[0] == pytest.approx(values[1], rel=1e-6)


@pytest.mark.parametrize(("channels", "n_passes"), [(1, 5), (3, 7)])
def test_consistency_runs_no_version_twice(channels, n_passes):
    network = classifier(channels)
    view = ArrayView(network, torch.rand(6, channels, 8, 8), np.zeros(6, int), batch_size=6)
    view.logits()
    seen = []
    handle = view.module.register_forward_hook(lambda *call: seen.append(len(call[2])))
    augmentation_consistency(view)
    handle.remove()
    assert seen == [6] * n_passes


def test_consistency_of_a_constant_network_is_one():
    network = classifier()
    network[1].weight.data.zero_()
    view = ArrayView(network, torch.rand(6, 1, 8, 8), np.zeros(6, int))
    assert augmentation_consistency(view) == {"": 1.0, "published": 1.0}


class Halves(nn.Module):
    """Which half of the image is brighter."""

    def forward(self, images):
        left, right = images[..., :4].mean((1, 2, 3)), images[..., 4:].mean((1, 2, 3))
        return torch.stack([left, right], 1) * 1000


def test_consistency_falls_by_the_weight_of_what_changes():
    # left half 0.3, right half 0.1: mirroring alone swaps the halves (6 + 12 of 27), as long as
    # the erased rectangle stays off; Sobel's columns 3 and 4 are alike, which leaves a tie
    pixels = torch.full((1, 1, 8, 8), 0.3)
    pixels[..., 4:] = 0.1
    boxes = np.array([[0, 5, 1, 1]])
    versions = augmented(pixels, Draws(np.ones(1), np.ones(1), boxes))
    first = {name: int(Halves()(version).argmax()) for name, version in versions.items()}
    assert [name for name, half in first.items() if half == 1] == ["flip", "flip_saturation"]


def test_consistency_reads_the_first_of_several_outputs():
    class Pair(nn.Module):
        def __init__(self):
            super().__init__()
            self.network = classifier()

        def forward(self, images):
            return (self.network(images), images)

    class PairView(ArrayView):
        def logits(self):
            with torch.no_grad():
                return self.module(self._images)[0].numpy()

    images = torch.rand(5, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    pair = augmentation_consistency(PairView(Pair(), images, np.zeros(5, int)))
    assert pair == augmentation_consistency(ArrayView(classifier(), images, np.zeros(5, int)))


def test_consistency_with_outputs_that_are_not_finite_is_undefined():
    class Dark(nn.Module):
        """Not finite where a pixel is at 1."""

        def forward(self, images):
            return torch.log(1 - images.amax((1, 2, 3)))[:, None].expand(-1, 2)

    view = ArrayView(Dark(), torch.full((2, 1, 8, 8), 0.7), [0, 1])
    assert augmentation_consistency(view).reason == "the outputs are not finite for brightness"
