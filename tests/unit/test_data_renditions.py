"""Renditions of a sample: what is done to pixels, against other programs' and by hand."""

import numpy as np
import pytest
import scipy.ndimage
import torch
from torch import nn
from torchvision.transforms.v2 import functional as reference

from audit.conformance import ArrayView
from audit.data.renditions import (
    AUGMENTATIONS,
    FLIP,
    FLIP_SATURATION,
    SATURATION,
    draw_boxes,
)
from audit.plugin import PLAIN, DataConfig


def view_of(pixels, batch_size=16, seed=0):
    return ArrayView(
        nn.Flatten(), pixels, np.zeros(len(pixels), int), batch_size=batch_size, seed=seed
    )


def altered(pixels, batch_size=16):
    """Every augmentation of these pixels, by name."""
    view = view_of(pixels, batch_size)
    found = {}
    for rendition in AUGMENTATIONS:
        alteration = rendition.start(view)
        made = [batch for stretch in view.stretches() for batch in alteration.feed(stretch)]
        found[rendition.name] = torch.cat([batch.images for batch in made])
    return found


@pytest.fixture
def pixels():
    return torch.from_numpy(np.random.default_rng(0).random((5, 3, 32, 32))).float()


def test_augmentations_agree_with_torchvision(pixels):
    renditions = altered(pixels)
    flipped = reference.horizontal_flip(pixels)
    assert torch.equal(renditions["flip"], flipped)
    for name, source in (("saturation", pixels), ("flip_saturation", flipped)):
        factors = view_of(pixels).generator(f"rendition {name}").uniform(0.6, 1.6, 5)
        expected = torch.stack(
            [
                reference.adjust_saturation(image, float(factor))
                for image, factor in zip(source, factors, strict=True)
            ]
        )
        torch.testing.assert_close(renditions[name], expected, atol=1e-6, rtol=0)
    inner = reference.center_crop(pixels, [30, 30])
    expected = reference.resize(inner, [32, 32], antialias=False)
    torch.testing.assert_close(renditions["centre_crop"], expected, atol=1e-6, rtol=0)
    assert torch.equal(renditions["brightness"], (pixels + 0.5).clamp(max=1))


def test_sobel_is_the_horizontal_gradient(pixels):
    images = pixels.double().numpy()
    smoothed = scipy.ndimage.correlate1d(images, [1, 2, 1], axis=-2, mode="mirror")
    gradient = scipy.ndimage.correlate1d(smoothed, [-1, 0, 1], axis=-1, mode="mirror")
    expected = (gradient / 4 + 0.5).clip(0, 1)
    np.testing.assert_allclose(altered(pixels)["sobel"].numpy(), expected, atol=1e-6)


def test_erase_blackens_one_rectangle_per_image_and_nothing_else(pixels):
    boxes = draw_boxes(view_of(pixels).generator("rendition erase"), 5, 32, 32)
    erased = altered(pixels)["erase"]
    for image, before, (top, left, height, width) in zip(
        erased, pixels, boxes.tolist(), strict=True
    ):
        expected = before.clone()
        expected[:, top : top + height, left : left + width] = 0
        assert torch.equal(image, expected)
        assert not torch.equal(image, before)


@pytest.mark.parametrize("batch_size", [1, 2, 5])
def test_what_is_drawn_does_not_depend_on_the_batch_size(pixels, batch_size):
    whole, parts = altered(pixels), altered(pixels, batch_size)
    for name, images in whole.items():
        assert torch.equal(images, parts[name]), name


def test_saturation_leaves_grey_images_alone(pixels):
    grey = pixels[:, :1]
    renditions = altered(grey)
    assert torch.equal(renditions["saturation"], grey)
    assert torch.equal(renditions["flip_saturation"], grey.flip(-1))
    config = DataConfig((1, 32, 32), (0.5,), (0.5,))
    assert SATURATION.same_as(config) == PLAIN
    assert FLIP_SATURATION.same_as(config) == FLIP
    colour = DataConfig((3, 32, 32), (0.5,) * 3, (0.5,) * 3)
    assert SATURATION.same_as(colour) is None
    assert FLIP_SATURATION.same_as(colour) is None


@pytest.mark.parametrize(("height", "width"), [(1, 1), (2, 3), (8, 8), (224, 160)])
def test_rectangles_lie_within_the_image(height, width):
    boxes = draw_boxes(np.random.default_rng(0), 500, height, width)
    assert (boxes[:, :2] >= 0).all()
    assert (boxes[:, 2:] >= 1).all()
    assert (boxes[:, 0] + boxes[:, 2] <= height).all()
    assert (boxes[:, 1] + boxes[:, 3] <= width).all()


@pytest.mark.parametrize("side", [1, 2, 3, 7])
def test_tiny_images_keep_their_shape(side):
    tiny = torch.rand(2, 1, side, side)
    assert {rendition.shape for rendition in altered(tiny).values()} == {tiny.shape}


def test_alterations_leave_the_images_they_are_given(pixels):
    before = pixels.clone()
    altered(pixels)
    assert torch.equal(pixels, before)
