"""Training images altered more strongly than usual training does, in ways that keep their class.

What is seen moves, or part of it is hidden; brightness, contrast and sharpness stay. An image is
altered in one of five ways, as strongly as chance has it. In the order of the sample, every five
images get the five ways, and the strengths of each way lie evenly between none and the most.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import numpy as np

from audit.data.renditions import OnPixels
from audit.plugin import Rendition, TrainView

if TYPE_CHECKING:
    from torch import Tensor

#: Of the image's sides.
MOST_SHIFT: Final = 0.2
#: In radians.
MOST_ROTATION: Final = math.pi / 6
#: Factor, or one over it.
MOST_ZOOM: Final = 1.4
#: Of the distance between two rows.
MOST_SHEAR: Final = 0.4
#: Of the image's area.
MOST_HIDDEN: Final = 1 / 3


@dataclasses.dataclass(frozen=True)
class Draws:
    """What chance has in store for some images.

    Attributes:
        way: Shape (n,), position in `WAYS`.
        strength: Shape (n,), in (0, 1), as a share of the strongest.
        sign: Shape (n,), −1 or 1: to which side it is rotated, zoomed or sheared.
        place: Shape (n, 2), in [0, 1): the direction of a shift, and where the hidden part lies.
    """

    way: np.ndarray
    strength: np.ndarray
    sign: np.ndarray
    place: np.ndarray

    def of(self, rows: np.ndarray) -> Draws:
        """Those of some images."""
        return Draws(self.way[rows], self.strength[rows], self.sign[rows], self.place[rows])


def draw(n: int, generator: np.random.Generator) -> Draws:
    """Ways and strengths for a sample of n images, as evenly spread as can be."""
    n_ways = len(WAYS)
    fives = generator.permuted(np.tile(np.arange(n_ways), (-(-n // n_ways), 1)), axis=1)
    way = fives.ravel()[:n]
    strength = np.empty(n)
    for position in range(n_ways):
        rows = np.flatnonzero(way == position)
        strength[rows] = (generator.permutation(len(rows)) + 0.5) / max(len(rows), 1)
    return Draws(way, strength, generator.choice([-1.0, 1.0], n), generator.random((n, 2)))


def _mapped(pixels: Tensor, maps: np.ndarray) -> Tensor:
    """Each image under an affine map of its own; what lies beyond an edge continues it.

    Args:
        pixels: Shape (b, channels, height, width).
        maps: Shape (b, 2, 3): where each place of the result is taken from, in half sides.
    """
    from torch.nn import functional

    grid = functional.affine_grid(pixels.new_tensor(maps), list(pixels.shape), align_corners=False)
    return functional.grid_sample(pixels, grid, padding_mode="border", align_corners=False)


def _identities(n: int) -> np.ndarray:
    """Maps that change nothing, shape (n, 2, 3)."""
    return np.tile(np.eye(2, 3), (n, 1, 1))


def shifted(pixels: Tensor, draws: Draws) -> Tensor:
    """Moved by up to `MOST_SHIFT` of the sides, in any direction."""
    maps = _identities(len(pixels))
    far, angle = 2 * MOST_SHIFT * draws.strength, 2 * math.pi * draws.place[:, 0]
    maps[:, 0, 2], maps[:, 1, 2] = far * np.cos(angle), far * np.sin(angle)
    return _mapped(pixels, maps)


def rotated(pixels: Tensor, draws: Draws) -> Tensor:
    """Rotated about the centre by up to `MOST_ROTATION`."""
    maps = _identities(len(pixels))
    angle = draws.sign * draws.strength * MOST_ROTATION
    height, width = pixels.shape[-2:]
    maps[:, 0, 0] = maps[:, 1, 1] = np.cos(angle)
    maps[:, 0, 1] = -np.sin(angle) * height / width
    maps[:, 1, 0] = np.sin(angle) * width / height
    return _mapped(pixels, maps)


def zoomed(pixels: Tensor, draws: Draws) -> Tensor:
    """Enlarged or reduced about the centre by a factor of up to `MOST_ZOOM`."""
    maps = _identities(len(pixels))
    maps[:, 0, 0] = maps[:, 1, 1] = MOST_ZOOM ** (draws.sign * draws.strength)
    return _mapped(pixels, maps)


def sheared(pixels: Tensor, draws: Draws) -> Tensor:
    """Rows moved against each other, by up to `MOST_SHEAR` of their distance."""
    maps = _identities(len(pixels))
    height, width = pixels.shape[-2:]
    maps[:, 0, 1] = draws.sign * draws.strength * MOST_SHEAR * height / width
    return _mapped(pixels, maps)


def hidden(pixels: Tensor, draws: Draws) -> Tensor:
    """Up to `MOST_HIDDEN` under a rectangle of the image's shape, in its mean colour."""
    result = pixels.clone()
    size = np.array(pixels.shape[-2:])
    sides = np.rint(size * np.sqrt(MOST_HIDDEN * draws.strength)[:, None]).astype(np.int64)
    corners = (draws.place * (size - sides + 1)).astype(np.int64)
    boxes = np.concatenate([corners, sides], axis=1).tolist()
    for image, (top, left, tall, wide) in zip(result, boxes, strict=True):
        image[:, top : top + tall, left : left + wide] = image.mean((1, 2))[:, None, None]
    return result


WAYS: Final[dict[str, Callable[[Tensor, Draws], Tensor]]] = {
    "shift": shifted,
    "rotation": rotated,
    "zoom": zoomed,
    "shear": sheared,
    "occlusion": hidden,
}


def altered(pixels: Tensor, draws: Draws) -> Tensor:
    """Each image altered in its way.

    Args:
        pixels: Shape (b, channels, height, width), in [0, 1].
        draws: Those of these images.
    """
    result = pixels.clone()
    for position, alter in enumerate(WAYS.values()):
        rows = np.flatnonzero(draws.way == position)
        if len(rows):
            index = rows.tolist()
            result[index] = alter(pixels[index], draws.of(rows))
    return result.clamp(0, 1)


def draws_of(view: TrainView, rendition: Rendition) -> Draws:
    """What is drawn for the images of a sample: the same for every checkpoint."""
    return draw(len(view.labels), view.generator(f"rendition {rendition.name}"))


def _start(view: TrainView, number: int) -> OnPixels:
    draws = draws_of(view, STRONGLY_ALTERED[number])
    return OnPixels(view, lambda pixels, rows: altered(pixels, draws.of(rows)))


#: Every image is altered once, and three of four once more.
STRONGLY_ALTERED: Final = tuple(
    Rendition(f"strongly_altered_{number}", share, functools.partial(_start, number=number))
    for number, share in enumerate((1.0, 0.75))
)
