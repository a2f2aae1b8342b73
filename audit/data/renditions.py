"""The usual renditions of a training sample: altered in ways that keep the class, and mixed.

`AUGMENTATIONS` are the seven of Aithal, Kashyap & Subramanyam (arXiv 2101.06459), `MIXED` averages
pairs of images of one class. Reducers of different measures that name the same rendition share its
forward pass.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final

import numpy as np

from audit.plugin import PLAIN, Alteration, Batch, DataConfig, Rendition, TrainView

if TYPE_CHECKING:
    from torch import Tensor

_GREY: Final = (0.2989, 0.587, 0.114)


class OnPixels(Alteration):
    """Alters each batch by a function on its pixels.

    Args:
        view: The checkpoint.
        alter: (pixels in [0, 1], shape (b, channels, height, width); rows of these images in the
            sample, shape (b,)) → altered pixels of the same shape.
    """

    def __init__(self, view: TrainView, alter: Callable[[Tensor, np.ndarray], Tensor]) -> None:
        self._view, self._alter = view, alter

    def feed(self, batch: Batch) -> Iterable[Batch]:
        """The batch with its pixels altered."""
        pixels = self._alter(self._view.pixels(batch.images), batch.rows)
        return (dataclasses.replace(batch, images=self._view.normalised(pixels)),)


def _grey_is_plain(config: DataConfig) -> Rendition | None:
    """Saturation changes nothing in images of one channel."""
    return PLAIN if config.input_size[0] == 1 else None


def _grey_is_flip(config: DataConfig) -> Rendition | None:
    """Nor does it after mirroring."""
    return FLIP if config.input_size[0] == 1 else None


def _flip(view: TrainView) -> Alteration:
    return OnPixels(view, lambda pixels, rows: pixels.flip(-1))


def _saturation(view: TrainView) -> Alteration:
    factors = _saturation_factors(view, "saturation")
    return OnPixels(view, lambda pixels, rows: _saturate(pixels, factors[rows]))


def _flip_saturation(view: TrainView) -> Alteration:
    factors = _saturation_factors(view, "flip_saturation")
    return OnPixels(view, lambda pixels, rows: _saturate(pixels.flip(-1), factors[rows]))


def _saturation_factors(view: TrainView, name: str) -> np.ndarray:
    """One factor in [0.6, 1.6) for each image of the sample, shape (n,)."""
    return view.generator(f"rendition {name}").uniform(0.6, 1.6, len(view.labels))


def _saturate(pixels: Tensor, factors: np.ndarray) -> Tensor:
    """Blend each image with its grey rendition; a grey image stays as it is."""
    if pixels.shape[1] == 1:
        return pixels
    factor = pixels.new_tensor(factors)[:, None, None, None]
    grey = (pixels * pixels.new_tensor(_GREY)[:, None, None]).sum(1, keepdim=True)
    return (grey + factor * (pixels - grey)).clamp(0, 1)


def _centre_crop(view: TrainView) -> Alteration:
    """Cut off 5% at each side (at least one pixel) and enlarge what is left."""

    def alter(pixels: Tensor, rows: np.ndarray) -> Tensor:
        from torch.nn import functional

        height, width = pixels.shape[-2:]
        top, left = (max(1, int(side * 0.05)) if side > 2 else 0 for side in (height, width))
        inner = pixels[..., top : height - top, left : width - left]
        return functional.interpolate(inner, (height, width), mode="bilinear", align_corners=False)

    return OnPixels(view, alter)


def _sobel(view: TrainView) -> Alteration:
    """Horizontal gradient of each channel, / 4 + 1/2."""

    def alter(pixels: Tensor, rows: np.ndarray) -> Tensor:
        from torch.nn import functional

        kernel = pixels.new_tensor([[-1.0, 0, 1], [-2, 0, 2], [-1, 0, 1]])
        channels = pixels.shape[1]
        mode = "reflect" if min(pixels.shape[-2:]) > 1 else "replicate"
        padded = functional.pad(pixels, (1, 1, 1, 1), mode=mode)
        weight = kernel.expand(channels, 1, 3, 3)
        return (functional.conv2d(padded, weight, groups=channels) / 4 + 0.5).clamp(0, 1)

    return OnPixels(view, alter)


def _brightness(view: TrainView) -> Alteration:
    return OnPixels(view, lambda pixels, rows: (pixels + 0.5).clamp(0, 1))


def _erase(view: TrainView) -> Alteration:
    """Set one rectangle of each image to black."""
    _, height, width = view.data_config.input_size
    boxes = draw_boxes(view.generator("rendition erase"), len(view.labels), height, width)

    def alter(pixels: Tensor, rows: np.ndarray) -> Tensor:
        erased = pixels.clone()
        for image, (top, left, tall, wide) in zip(erased, boxes[rows].tolist(), strict=True):
            image[:, top : top + tall, left : left + wide] = 0
        return erased

    return OnPixels(view, alter)


def draw_boxes(generator: np.random.Generator, n: int, height: int, width: int) -> np.ndarray:
    """Rectangles inside images: shape (n, 4), top, left, height and width in pixels.

    The area is about 2 to 40% of the image's, at aspect ratios from 0.3 on.
    """
    area = height * width
    low = max(1, round((0.02 * area * 0.3) ** 0.5))
    high = round((0.4 * area / 0.3) ** 0.5)
    sides = [generator.integers(low, max(low + 1, min(high, side)), n) for side in (height, width)]
    corners = [
        generator.integers(0, np.maximum(side - size, 1))
        for side, size in zip((height, width), sides, strict=True)
    ]
    return np.stack([*corners, *sides], axis=1)


class _Ring(Alteration):
    """Averages of two images of one class.

    The images of a class form a ring in the order of the sample, each averaged with the one before
    it, so that each is used twice. One image per class and end of the ring is kept. A class with a
    single image gives none.
    """

    def __init__(self, view: TrainView) -> None:
        self._first: dict[int, Tensor] = {}
        self._last: dict[int, Tensor] = {}
        self._n_seen: dict[int, int] = {}

    def feed(self, batch: Batch) -> Iterable[Batch]:
        """The averages that this stretch of the sample completes."""
        pairs: list[Tensor] = []
        classes: list[int] = []
        for image, label in zip(batch.images, batch.labels.tolist(), strict=True):
            if label in self._last:
                pairs.append((image + self._last[label]) / 2)
                classes.append(label)
            self._first.setdefault(label, image.clone())
            self._last[label] = image.clone()
            self._n_seen[label] = self._n_seen.get(label, 0) + 1
        return self._batch(batch.labels, pairs, classes)

    def end(self) -> Iterable[Batch]:
        """The averages that close the rings."""
        rings = [label for label in sorted(self._first) if self._n_seen[label] > 2]
        closing = [(self._first[label] + self._last[label]) / 2 for label in rings]
        like = next(iter(self._first.values()), None)
        return () if like is None else self._batch(like.new_empty(0).long(), closing, rings)

    def _batch(self, like: Tensor, pairs: list[Tensor], classes: list[int]) -> Iterable[Batch]:
        import torch

        if not pairs:
            return ()
        rows = np.empty(0, np.int64)
        return (Batch(MIXED, rows, like.new_tensor(classes), torch.stack(pairs)),)


FLIP: Final = Rendition("flip", start=_flip)
SATURATION: Final = Rendition("saturation", start=_saturation, same_as=_grey_is_plain)
CENTRE_CROP: Final = Rendition("centre_crop", start=_centre_crop)
SOBEL: Final = Rendition("sobel", start=_sobel)
BRIGHTNESS: Final = Rendition("brightness", start=_brightness)
FLIP_SATURATION: Final = Rendition("flip_saturation", start=_flip_saturation, same_as=_grey_is_flip)
ERASE: Final = Rendition("erase", start=_erase)
MIXED: Final = Rendition("mixed", start=_Ring, mixes=True)

AUGMENTATIONS: Final = (
    *(FLIP, SATURATION, CENTRE_CROP, SOBEL, BRIGHTNESS, FLIP_SATURATION, ERASE),
)
