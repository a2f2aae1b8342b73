"""Labelled images, and how one of them becomes a network's input."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal, TypeAlias

from audit.arrays import Labels

if TYPE_CHECKING:
    from PIL import Image

Split: TypeAlias = Literal["train", "held_out"]


@dataclasses.dataclass(frozen=True, slots=True)
class DataConfig:
    """How an image becomes the network's input.

    Attributes:
        input_size: Channels (1 or 3), height and width in pixels.
        mean: Per channel, in [0, 1], subtracted after scaling pixels to [0, 1].
        std: Per channel, divided by.
        interpolation: "nearest", "bilinear" or "bicubic".
        crop_pct: Share of the resized image that the centre crop keeps, in (0, 1].
    """

    input_size: tuple[int, int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: str = "bicubic"
    crop_pct: float = 1.0


class ImageSplit(abc.ABC):
    """One split of a labelled image dataset, read lazily.

    Attributes:
        class_names: Name of each class; its position is the label.
        labels: Shape (n,), the class of each image.
        sample_ids: A stable name for each image, unique in the split.
        skipped: What was passed over while images were looked for → how many, such as ".txt": 3;
            shown to the user.
    """

    class_names: tuple[str, ...]
    labels: Labels
    sample_ids: tuple[str, ...]
    skipped: Mapping[str, int] = MappingProxyType({})

    @abc.abstractmethod
    def digest(self, index: int) -> str:
        """SHA-256 of the stored content of one image, as hexadecimal digits."""

    @abc.abstractmethod
    def load(self, index: int) -> Image.Image:
        """Decode one image.

        Raises:
            DataError: It cannot be decoded; the message names the image.
        """

    def stamp(self, index: int) -> str:
        """What changes when the image may have: a cheap stand-in for `digest`, or ''."""
        return ""
