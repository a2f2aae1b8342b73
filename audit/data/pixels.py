"""What pixels become, whatever file or array they come from: one policy for every dataset.

The docstring of `standard_mode` and `docs/datasets.md` have it as a table. What is out of the
ordinary in an image is said in words (`oddities`), so that a run can count them.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from audit.errors import DataError

if TYPE_CHECKING:
    from PIL import Image

#: Where an image that was brought to 8 bits keeps what was odd about it.
_KEPT: Final = "genaudit_oddities"

SCALED: Final = "16-bit, scaled to 8"
NARROW: Final = "16-bit with values up to 255, taken as they are"
UNIT_FLOATS: Final = "float in [0, 1], times 255"
BYTE_FLOATS: Final = "float in [0, 255], rounded"
BILEVEL: Final = "1-bit"
PALETTE: Final = "palette"
ALPHA: Final = "transparent pixels, alpha dropped"
FRAMES: Final = "several frames, the first taken"
TURNED: Final = "EXIF orientation, not applied"
UPRIGHT: Final = "EXIF orientation, applied"


def oddities(image: Image.Image) -> tuple[str, ...]:
    """What was out of the ordinary in an image that `standard_mode` made, in words."""
    return tuple(image.info.get(_KEPT, ()))


def standard_mode(image: Image.Image, also: tuple[str, ...] = ()) -> Image.Image:
    """The image as 8-bit "L" (grayscale kinds) or "RGB" (everything else).

    Colours are those of Pillow's `convert("RGB")`, which the loaders of timm and torchvision call:
    palettes become colours, CMYK becomes RGB without a colour profile, and alpha is dropped, not
    composited. Deviations, where `convert` would clip at 255 and so lose the image:

    * 16-bit (and 32-bit integer) values that never exceed 255 are taken as they are, others become
      round(v · 255 / 65535);
    * floats within [0, 1] become round(255 v), others within [0, 255] are rounded.

    Args:
        image: Any image; it is left as it is.
        also: Oddities that are known from its file.

    Raises:
        DataError: Pixels are negative, not finite, or beyond 16 bits: their range is not known.
    """
    known = oddities(image)
    if image.mode in ("L", "RGB") and "transparency" not in image.info:
        plain = image.copy() if hasattr(image, "fp") else image
        if not also and set(plain.info) <= {_KEPT}:
            return plain
        found = plain.copy() if plain is image else plain
    else:
        found, odd = _converted(image)
        known = (*known, *odd)
    known = tuple(dict.fromkeys((*known, *also)))
    found.info = {_KEPT: known} if known else {}
    return found


def _converted(image: Image.Image) -> tuple[Image.Image, tuple[str, ...]]:
    """An image in 8-bit "L" or "RGB", and what was odd about it."""
    mode = image.mode
    if mode == "1":
        return image.convert("L"), (BILEVEL,)
    if mode == "I" or mode.startswith("I;16"):
        return _from_integers(np.asarray(image).astype(np.int64))
    if mode == "F":
        return _from_floats(np.asarray(image))
    odd = () if mode in ("L", "RGB", "LA", "La", "RGBA", "RGBa", "RGBX") else (_word(mode),)
    if "transparency" in image.info or mode == "PA":
        image = image.convert("RGBA")  # the same colours as a direct conversion, without a warning
    elif mode in ("La", "RGBa"):
        image = image.convert(mode.upper())
    if image.mode in ("LA", "RGBA"):
        alpha = image.getchannel("A").getextrema()
        odd = (*odd, ALPHA) if alpha[0] != 255 else odd
    return image.convert("L" if mode in ("L", "LA", "La") else "RGB"), odd


def _word(mode: str) -> str:
    """What a mode of Pillow is called."""
    return PALETTE if mode in ("P", "PA") else mode


def _from_integers(values: np.ndarray) -> tuple[Image.Image, tuple[str, ...]]:
    """Grayscale from integers of more than 8 bits."""
    from PIL import Image

    low, high = (int(values.min()), int(values.max())) if values.size else (0, 0)
    if low < 0 or high > 65535:
        raise DataError(
            f"integer pixels run from {low} to {high}; "
            "8 or 16 bits were expected; convert the image to 8 bits"
        )
    if high <= 255:
        return Image.fromarray(values.astype(np.uint8)), (NARROW,)
    return Image.fromarray(((values * 255 + 32767) // 65535).astype(np.uint8)), (SCALED,)


def _from_floats(values: np.ndarray) -> tuple[Image.Image, tuple[str, ...]]:
    """Grayscale or colour from floats: shape (height, width) or (height, width, 3)."""
    from PIL import Image

    values = values.astype(np.float64)
    low, high = (float(values.min()), float(values.max())) if values.size else (0.0, 0.0)
    if not (low >= 0 and high <= 255):
        raise DataError(
            f"float pixels run from {low:g} to {high:g}; [0, 1] or [0, 255] was expected; give the "
            "images as they were before normalisation, or convert them to 8 bits"
        )
    unit = high <= 1
    bytes_ = np.floor(values * (255 if unit else 1) + 0.5).astype(np.uint8)
    return Image.fromarray(bytes_), (UNIT_FLOATS if unit else BYTE_FLOATS,)


def pixel_digest(image: Image.Image) -> str:
    """SHA-256 of an image's size, mode and pixels, as hexadecimal digits."""
    content = hashlib.sha256(f"{image.mode} {image.width} {image.height} ".encode())
    content.update(image.tobytes())
    return content.hexdigest()


def image_from_array(values: Any) -> Image.Image:
    """An image from an array or tensor in memory, before `standard_mode`.

    Args:
        values: Shape (height, width), (height, width, c) or (c, height, width) with c of 1, 3 or 4.
            Where both fit, tensors are channels-first and arrays channels-last. Booleans are 0 or
            1, integers lie in [0, 65535], floats in [0, 1] or [0, 255].

    Raises:
        DataError: The shape, type or range cannot be an image's.
    """
    from PIL import Image

    is_tensor = hasattr(values, "detach")
    pixels = np.asarray(values.detach().cpu().numpy() if is_tensor else values)
    if pixels.ndim not in (2, 3) or 0 in pixels.shape or pixels.dtype.kind not in "buif":
        raise _no_image(pixels)
    if pixels.ndim == 3:
        pixels = _channels_last(pixels, is_tensor)
    if pixels.dtype == np.bool_:
        pixels = pixels.astype(np.uint8) * 255
    if pixels.dtype == np.uint8:
        return Image.fromarray(pixels)
    numbers = pixels[..., :3] if pixels.ndim == 3 else pixels
    made, odd = (_from_floats if pixels.dtype.kind == "f" else _from_integers)(numbers)
    made.info[_KEPT] = odd
    return made


def _channels_last(pixels: np.ndarray, is_tensor: bool) -> np.ndarray:
    """Shape (height, width, c), or (height, width) for one channel."""
    first, last = pixels.shape[0] in (1, 3, 4), pixels.shape[2] in (1, 3, 4)
    if not first and not last:
        raise _no_image(pixels)
    if first and (is_tensor or not last):
        pixels = np.moveaxis(pixels, 0, -1)
    return np.ascontiguousarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)


def _no_image(pixels: np.ndarray) -> DataError:
    """The error for an array that cannot be an image."""
    return DataError(
        "an image in memory must hold numbers of shape (height, width), (height, width, channels) "
        f"or (channels, height, width) with 1, 3 or 4 channels; found {pixels.dtype} of shape "
        f"{pixels.shape}"
    )
