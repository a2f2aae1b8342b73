"""Decoding of image files and of their bytes, the same for every dataset plugin that uses it.

Pixels end up as 8-bit "L" or "RGB" (`audit.data.pixels.standard_mode`). Of several frames the first
is taken, and an EXIF orientation is not applied, as timm and torchvision do neither. A truncated,
corrupt or oversized image is an error, never a partly grey picture.
"""

from __future__ import annotations

import contextlib
import io
import struct
import warnings
import zlib
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final

from audit.data.pixels import FRAMES, TURNED, UPRIGHT, standard_mode
from audit.errors import DataError
from audit.files import plain_bytes

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

_ORIENTATION: Final = 0x0112
_JPEG: Final = b"\xff\xd8"
#: Begins a scan of a JPEG. Progressive ones have about ten; each goes over all pixels, so that a
#: small file of many takes minutes.
_SCAN: Final = b"\xff\xda"
_MOST_SCANS: Final = 100
#: Formats of pixels, whatever a file is called. EPS is none: Ghostscript would be started for it.
_FORMATS: Final = (
    *("JPEG", "PNG", "WEBP", "BMP", "DIB", "TIFF", "PPM", "GIF", "MPO", "JPEG2000", "AVIF", "HEIF"),
    *("TGA", "PCX", "SGI", "QOI", "ICO", "ICNS", "XBM", "DDS", "PSD", "SUN", "SPIDER", "MSP"),
)


def decode_image(path: Path) -> Image.Image:
    """Decode the first frame of an image file to 8-bit "L" or "RGB".

    Raises:
        DataError: The file is missing, empty, corrupt, truncated, too large to be a photograph,
            or has pixels without a known range; the message names it.
    """
    try:
        content = plain_bytes(path, None)
    except (OSError, ValueError) as error:
        raise _undecodable(str(path), error) from error
    return decode_bytes(content, str(path))


def decode_bytes(content: bytes, name: str, upright: bool = False) -> Image.Image:
    """Decode an image file that was read already; see `decode_image`.

    Args:
        content: Of the file.
        name: What to call it in messages.
        upright: Whether an EXIF orientation is applied, as Hugging Face `datasets` does.

    Raises:
        DataError: As `decode_image`.
    """
    if not content:
        raise DataError(f"image {name} is empty (0 bytes); restore or delete it")
    n_scans = content.count(_SCAN) if content.startswith(_JPEG) else 0
    if n_scans > _MOST_SCANS:
        raise DataError(f"image {name} has {n_scans} scans, more than the limit of {_MOST_SCANS}")
    return _decode(io.BytesIO(content), name, upright)


def start_no_program() -> None:
    """Let Pillow look for no Ghostscript, which it starts on EPS files, from here on."""
    from PIL import EpsImagePlugin

    EpsImagePlugin.gs_binary = False


def _formats() -> list[str]:
    """The formats of pixels that this Pillow reads."""
    from PIL import Image

    Image.init()
    return [name for name in _FORMATS if name in Image.OPEN]


def _decode(source: IO[bytes], name: str, upright: bool) -> Image.Image:
    """Decode an image from where it lies."""
    from PIL import Image, ImageOps

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # such as malformed EXIF, which is not needed
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(source, formats=_formats()) as image:
                odd = _beside_pixels(image)
                image.seek(0)
                image.load()
                if not (upright and TURNED in odd):
                    return standard_mode(image, odd)
                said = tuple(UPRIGHT if word == TURNED else word for word in odd)
                return standard_mode(ImageOps.exif_transpose(image), said)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise DataError(
            f"image {name} has more pixels than the limit of {Image.MAX_IMAGE_PIXELS}: {error}"
        ) from error
    except DataError as error:
        raise DataError(f"image {name}: {error}") from error
    except _DECODE_ERRORS as error:
        raise _undecodable(name, error) from error


def _beside_pixels(image: Image.Image) -> tuple[str, ...]:
    """What an opened file shows beside its pixels: frames, and a camera that was turned."""
    odd: list[str] = []
    with contextlib.suppress(*_DECODE_ERRORS):  # a damaged second frame is none
        if getattr(image, "is_animated", False):
            odd.append(FRAMES)
    with contextlib.suppress(*_DECODE_ERRORS):  # nor is damaged EXIF an orientation
        if image.getexif().get(_ORIENTATION) in range(2, 9):
            odd.append(TURNED)
    return tuple(odd)


def _undecodable(name: str, error: Exception) -> DataError:
    """The error for a file that Pillow, or the system, refuses."""
    return DataError(
        f"image {name} cannot be decoded: {type(error).__name__}: {error}; restore or delete it"
    )
