"""How a tensor may be read as feature maps, and whether such maps show what lies where.

Shapes do not settle it: a tensor of 4 × 24 × 48 × 96 numbers can be 24 maps of 48 × 96 pixels or
96 maps of 24 × 48, and tokens can stand in any order. So the network is shown an image four times
more, each time with another quadrant changed, and a reading is sound if in every such pair the
pixels of that quadrant change most.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final, TypeAlias

import torch

from audit.network.layers.spec import Reading

if TYPE_CHECKING:
    from torch import Tensor

#: More tokens than these before the grid are not looked for.
_MOST_PREFIX_TOKENS: Final = 16

#: Readings whose pixels answer to their own quadrant nearly as much are told by likelihood.
_ALIKE: Final = 0.02

Size: TypeAlias = tuple[int, int]


def shown_images(image: Tensor) -> Tensor:
    """An image, and the same with each of its quadrants changed.

    Args:
        image: Shape (1, channels, height, width), prepared as the network expects.

    Returns:
        Shape (5, channels, height, width).
    """
    _, _, height, width = image.shape
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(image.shape[1:], generator=generator).to(image)
    images = image.repeat(5, 1, 1, 1)
    for number, (rows, columns) in enumerate(_quadrants(height, width), start=1):
        images[number, :, rows, columns] += noise[:, rows, columns]
    return images


def _quadrants(height: int, width: int) -> list[tuple[slice, slice]]:
    """Rows and columns of the four quadrants; a middle row or column belongs to none."""
    rows = (slice(0, height // 2), slice((height + 1) // 2, height))
    columns = (slice(0, width // 2), slice((width + 1) // 2, width))
    return [(tall, wide) for tall in rows for wide in columns]


@dataclasses.dataclass(frozen=True, slots=True)
class Locality:
    """Whether maps change where the image does.

    Each pixel of the maps moves by some share in answer to each of the four changes of the image.

    Attributes:
        own: The mean share of the change in the pixel's own quadrant; 0.25 where all move it alike.
        best: The mean of the largest of the four shares.
    """

    own: float
    best: float

    @property
    def is_shown(self) -> bool:
        """Whether pixels are moved above all by the change in their own quadrant."""
        return self.own - 0.25 > max(0.5 * (self.best - 0.25), 1e-3)

    @property
    def is_contradicted(self) -> bool:
        """Whether pixels clearly answer to one change, and that is another than their own."""
        return self.best > 0.35 and not self.is_shown


def locality(maps: Tensor) -> Locality:
    """Whether maps change where the image does.

    Args:
        maps: Of `shown_images`, shape (5, units, height, width).

    Returns:
        Shares of 0.25 where nothing changes or the numbers are not finite.
    """
    height, width = maps.shape[-2:]
    changes = (maps[1:].float() - maps[:1].float()).abs().mean(1).double()
    if min(height, width) < 2:
        return Locality(0.25, 0.25)
    parts = [changes[:, rows, columns].flatten(1) for rows, columns in _quadrants(height, width)]
    strength = torch.cat(parts, 1).mean(1)
    if not torch.isfinite(strength).all() or (strength == 0).any():
        return Locality(0.25, 0.25)
    own, best, n_pixels = 0.0, 0.0, 0
    for number, part in enumerate(parts):
        relative = part / strength[:, None]
        moved = relative[:, relative.sum(0) > 0]
        shares = moved / moved.sum(0)
        own += float(shares[number].sum())
        best += float(shares.amax(0).sum())
        n_pixels += shares.shape[1]
    return Locality(own / n_pixels, best / n_pixels)


def readings(shape: Sequence[int], image: Size) -> Iterator[Reading]:
    """The ways to read a tensor of that shape, the likeliest first.

    A map keeps the image's proportions, exactly or up to a pixel of rounding.

    Args:
        shape: Of the tensor, the first axis being the batch.
        image: Height and width of the network's input.
    """
    if len(shape) == 4:
        for tolerance in (0, max(image)):
            if _proportional(shape[2], shape[3], image, tolerance):
                yield Reading("NCHW", shape[2], shape[3], shape[1])
            if _proportional(shape[1], shape[2], image, tolerance):
                yield Reading("NHWC", shape[1], shape[2], shape[3])
    elif len(shape) == 3:
        prefixes = range(min(_MOST_PREFIX_TOKENS + 1, shape[1]))
        for tolerance in (0, max(image)):
            grids = [(p, h) for p in prefixes for h in _heights(shape[1] - p, image, tolerance)]
            for prefix, height in grids:
                width = (shape[1] - prefix) // height
                yield Reading("NLC", height, width, shape[2], prefix)
            if grids:
                return


def _proportional(height: int, width: int, image: Size, tolerance: int) -> bool:
    """Whether a map has the proportions of the image, up to the tolerance."""
    return abs(height * image[1] - width * image[0]) <= tolerance


def _heights(n_tokens: int, image: Size, tolerance: int) -> list[int]:
    """Heights of grids of so many tokens with the image's proportions, the best first."""
    wanted = math.sqrt(n_tokens * image[0] / image[1])
    near = range(max(1, int(wanted) - 1), int(wanted) + 3)
    whole = [height for height in near if n_tokens % height == 0]
    found = [h for h in whole if _proportional(h, n_tokens // h, image, tolerance)]
    return sorted(found, key=lambda height: abs(height - wanted))


def sound_reading(
    tensor: Tensor, image: Size, known: bool = False, named: bool = False
) -> Reading | None:
    """The reading of a tensor that shows best what lies where, or None if no reading is sound.

    Where channels are known to come first, or somebody says that these are maps, nothing may speak
    against the reading; any other has to be shown to be one.

    Args:
        tensor: What comes out of a place when the network is given `shown_images`.
        image: Height and width of the network's input.
        known: Whether channels are known to come first, as they do after a convolution.
        named: Whether somebody says that these are maps.
    """
    if tensor.ndim < 3 or len(tensor) != 5 or not tensor.dtype.is_floating_point:
        return None
    ways = [way for way in dict.fromkeys(readings(tensor.shape, image)) if way.units > 1]
    if known:
        ways = [reading for reading in ways if reading.layout == "NCHW"]
    found = [(locality(reading.maps(tensor)), reading) for reading in ways]
    shown = [pair for pair in found if pair[0].is_shown]
    if shown:
        most = max(pair[0].own for pair in shown)
        return next(reading for shares, reading in shown if shares.own > most - _ALIKE)
    likely = found[0] if found and (known or named) else None
    return likely[1] if likely and not likely[0].is_contradicted else None


def reading_as(tensor: Tensor, maps: Tensor, rounding: float = 0.0) -> Reading | None:
    """The reading of a tensor that gives certain maps, or None.

    Args:
        tensor: What comes out of a place.
        maps: Shape (n, units, height, width).
        rounding: By how much numbers may differ, relative to the largest.
    """
    n, units, height, width = maps.shape
    extra = tensor.numel() - maps.numel()
    if tensor.ndim < 3 or len(tensor) != n or not tensor.is_floating_point() or extra < 0:
        return None

    def fits(reading: Reading) -> bool:
        found = reading.maps(tensor)
        first = _equal(found[0, :, 0, 0], maps[0, :, 0, 0], rounding)
        return first and _equal(found, maps, rounding)

    if tensor.ndim == 4 and extra == 0:
        for layout in (("NCHW", maps.shape), ("NHWC", (n, height, width, units))):
            if tensor.shape == layout[1]:
                reading = Reading(layout[0], height, width, units)
                if fits(reading):
                    return reading
    if tensor.shape[-1] != units:
        return None
    n_prefix = extra // (n * units)
    if tensor.ndim == 3 and n_prefix <= _MOST_PREFIX_TOKENS:
        reading = Reading("NLC", height, width, units, n_prefix)
        if fits(reading):
            return reading
    return _reordered(tensor, maps, rounding) if extra == 0 else None


def _equal(found: Tensor, wanted: Tensor, rounding: float) -> bool:
    """Whether two tensors are equal, up to a rounding relative to the largest number."""
    if not rounding:
        return torch.equal(found, wanted)
    scale = float(wanted.abs().nan_to_num(0, 0).amax())
    return torch.allclose(found, wanted, rtol=0, atol=rounding * scale, equal_nan=True)


def _reordered(tensor: Tensor, maps: Tensor, rounding: float) -> Reading | None:
    """The reading of tokens in another order than that of the image's rows, or None.

    The token of a pixel is told by what it holds on all images.
    """
    n, units, height, width = maps.shape
    totals = tensor[0].reshape(-1, units).sum(0), maps[0].flatten(1).sum(1)
    if not _equal(*totals, rounding=1e-4):
        return None
    tokens = tensor.reshape(n, -1, units).transpose(0, 1).flatten(1)
    pixels = maps.flatten(2).permute(2, 0, 1).flatten(1)
    order = torch.cdist(pixels, tokens).argmin(1).tolist()
    if len(set(order)) != len(order):
        return None
    reading = Reading("tokens", height, width, units, order=tuple(order))
    return reading if _equal(reading.maps(tensor), maps, rounding) else None
