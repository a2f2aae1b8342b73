"""Blocks of scikit-learn's two photographs: pictures of which each is unlike the others."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from pathlib import Path

from PIL import Image
from sklearn.datasets import load_sample_images


def blocks(side: int) -> Iterator[Image.Image]:
    """Every square block of so many pixels a side, flat ones such as the sky among them."""
    for pixels in load_sample_images().images:
        photograph = Image.fromarray(pixels)
        for top in range(0, photograph.height - side, side):
            for left in range(0, photograph.width - side, side):
                yield photograph.crop((left, top, left + side, top + side))


def recompressed(image: Image.Image, quality: int) -> Image.Image:
    """The image after JPEG has lost some of it."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return Image.open(io.BytesIO(buffer.getvalue())).convert("RGB")


def write(folder: Path, images: Sequence[Image.Image]) -> None:
    """Write images in turn into the class folders `a` and `b`."""
    for number, image in enumerate(images):
        path = folder / "ab"[number % 2] / f"{number:03}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        image.save(path)
