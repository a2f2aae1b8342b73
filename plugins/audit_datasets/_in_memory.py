"""Splits whose images come from a function of their position."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from audit.data.images import decode_bytes
from audit.data.pixels import image_from_array, pixel_digest, standard_mode
from audit.errors import DataError, foreign_code
from audit.plugin import ImageSplit

if TYPE_CHECKING:
    from PIL import Image


class PictureSplit(ImageSplit):
    """Pictures, arrays or tensors that a function gives.

    Args:
        labels: Of each image.
        class_names: By label.
        sample_ids: Name of each image.
        get: Position → a picture of Pillow, an array or a tensor.
        skipped: What was passed over → how many.
    """

    def __init__(
        self,
        labels: np.ndarray,
        class_names: Sequence[str],
        sample_ids: Sequence[str],
        get: Callable[[int], Any],
        skipped: Mapping[str, int] | None = None,
    ) -> None:
        self.labels = np.asarray(labels, dtype=np.int64)
        self.class_names, self.sample_ids = tuple(class_names), tuple(sample_ids)
        self.skipped = dict(skipped or {})
        self._get = get
        self._last: tuple[int, Image.Image] | None = None

    def digest(self, index: int) -> str:
        """SHA-256 of the pixels.

        Raises:
            DataError: The image cannot be made.
        """
        return pixel_digest(self.load(index))

    def load(self, index: int) -> Image.Image:
        """One image; the last one is kept, as it is asked for twice in a row.

        Raises:
            DataError: The function fails, or gives no image.
        """
        if self._last is None or self._last[0] != index:
            self._last = (index, self._made(index))
        return self._last[1]

    def _made(self, index: int) -> Image.Image:
        """One image, brought to 8 bits."""
        from PIL import Image

        name = f"image {self.sample_ids[index]}"
        with foreign_code(f"{name} cannot be read", DataError):
            try:
                given = self._get(index)
                image = given if isinstance(given, Image.Image) else image_from_array(given)
                return standard_mode(image)
            except DataError as error:
                raise DataError(f"{name}: {error}") from error


class BytesSplit(ImageSplit):
    """Encoded images that a function reads.

    Args:
        labels: Of each image.
        class_names: By label.
        sample_ids: Name of each image.
        read: Position → the bytes of an image file.
        skipped: What was passed over → how many.
        upright: Whether an EXIF orientation is applied.
        stamp: Position → a cheap sign that an image may have changed, or "".
    """

    def __init__(
        self,
        labels: np.ndarray,
        class_names: Sequence[str],
        sample_ids: Sequence[str],
        read: Callable[[int], bytes],
        *,
        skipped: Mapping[str, int] | None = None,
        upright: bool = False,
        stamp: Callable[[int], str] = lambda index: "",
    ) -> None:
        self.labels = np.asarray(labels, dtype=np.int64)
        self.class_names, self.sample_ids = tuple(class_names), tuple(sample_ids)
        self.skipped = dict(skipped or {})
        self._read_bytes, self._upright, self._stamp = read, upright, stamp

    def digest(self, index: int) -> str:
        """SHA-256 of the bytes.

        Raises:
            DataError: They cannot be read.
        """
        return hashlib.sha256(self._read(index)).hexdigest()

    def stamp(self, index: int) -> str:
        """What changes when the file around the image does."""
        return self._stamp(index)

    def load(self, index: int) -> Image.Image:
        """Decode one image.

        Raises:
            DataError: See `audit.data.images.decode_bytes`.
        """
        return decode_bytes(self._read(index), self.sample_ids[index], self._upright)

    def _read(self, index: int) -> bytes:
        """The bytes of one image."""
        try:
            return self._read_bytes(index)
        except OSError as error:
            raise DataError(f"image {self.sample_ids[index]} cannot be read: {error}") from error


def numbered(n: int) -> tuple[str, ...]:
    """Names for images that have none: their positions."""
    return tuple(f"{position:07d}" for position in range(n))
