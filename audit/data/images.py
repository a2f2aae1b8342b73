"""Decoding of images.

Conventions, the same for every dataset plugin that uses `decode_image`:

* Pixels end up as 8-bit "L" or "RGB". Palettes, CMYK, YCbCr and the like become RGB; an alpha
  channel is dropped, not composited; EXIF orientation is not applied. This is what timm does.
* 16-bit grayscale is scaled to 8 bits (timm, through Pillow, would clip it).
* A truncated, corrupt or oversized image is an error, never a partly grey picture.
"""

from __future__ import annotations

import struct
import warnings
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from audit.errors import DataError

if TYPE_CHECKING:
    from PIL import Image

#: What Pillow's decoders raise on damaged files.
_DECODE_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    AttributeError,
    LookupError,
    ArithmeticError,
    EOFError,
    MemoryError,
    struct.error,
    zlib.error,
)


def decode_image(path: Path) -> Image.Image:
    """Decode the first frame of an image file to 8-bit "L" or "RGB".

    Raises:
        DataError: The file is missing, empty, corrupt, truncated, too large to be a photograph,
            or has pixels without a known range; the message names it.
    """
    from PIL import Image

    try:
        if path.stat().st_size == 0:
            raise DataError(f"image {path} is empty (0 bytes); restore or delete it")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # such as malformed EXIF, which is not used
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path) as image:
                image.load()
                return standard_mode(image)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise DataError(
            f"image {path} has more pixels than the limit of {Image.MAX_IMAGE_PIXELS}: {error}"
        ) from error
    except DataError as error:
        raise error if str(path) in str(error) else DataError(f"image {path}: {error}") from error
    except _DECODE_ERRORS as error:
        raise DataError(
            f"image {path} cannot be decoded: {type(error).__name__}: {error}; restore or delete it"
        ) from error


def standard_mode(image: Image.Image) -> Image.Image:
    """The image as 8-bit "L" (grayscale kinds) or "RGB" (everything else).

    16-bit grayscale value v becomes round(v · 255 / 65535).

    Raises:
        DataError: Pixels are floats, or integers beyond 16 bits: their range is not known.
    """
    from PIL import Image

    if image.mode in ("L", "RGB"):
        return image.copy() if hasattr(image, "fp") else image
    if image.mode in ("1", "LA"):
        return image.convert("L")
    if image.mode == "I" or image.mode.startswith("I;16"):
        values = np.asarray(image).astype(np.int64)
        if values.min() < 0 or values.max() > 65535:
            raise DataError(
                f"integer pixels run from {values.min()} to {values.max()}; "
                "8 or 16 bits were expected; convert the image to 8 bits"
            )
        return Image.fromarray(((values * 255 + 32767) // 65535).astype(np.uint8))
    if image.mode == "F":
        raise DataError("pixels are floats of unknown range; convert the image to 8 bits")
    if "transparency" in image.info:
        image = image.convert("RGBA")  # the same colours as a direct conversion, without a warning
    return image.convert("RGB")
