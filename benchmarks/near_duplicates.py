"""How often are distinct images called near copies, and which altered copies are found?

The question behind `audit.data.duplicates`: which perceptual hash, of which size, at which bound.
Distinct images: digits and glyphs of two splits, and blocks of the photographs that come with
scikit-learn, of which every second is held out. Copies: training images recompressed, resized,
brightened, cropped by 4% at each side, or made grey.

Run: python -m benchmarks.near_duplicates [--json]
"""

from __future__ import annotations

import argparse
import io
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import imagehash
import numpy as np
import pandas as pd
from PIL import Image, ImageEnhance
from sklearn.datasets import load_sample_images

from audit.plugin import ImageSplit
from audit.plugin.registry import installed

#: Bounds as bits of 256; a hash of fewer bits is held to the same share of them.
BOUNDS: Final = (8, 16, 24, 32)
MOST_COPIES: Final = 150

Images = Sequence[Image.Image]


def phash_8(image: Image.Image) -> np.ndarray:
    """64 bits of the discrete cosine transform."""
    return np.asarray(imagehash.phash(image, hash_size=8).hash).ravel()


def phash_16(image: Image.Image) -> np.ndarray:
    """256 bits of the discrete cosine transform."""
    return np.asarray(imagehash.phash(image, hash_size=16).hash).ravel()


def dhash_16(image: Image.Image) -> np.ndarray:
    """256 differences of neighbouring pixels."""
    return np.asarray(imagehash.dhash(image, hash_size=16).hash).ravel()


def _jpeg(image: Image.Image) -> Image.Image:
    """At quality 75."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=75)
    return Image.open(io.BytesIO(buffer.getvalue()))


def _scaled(factor: float) -> Callable[[Image.Image], Image.Image]:
    """Resized by a factor."""
    return lambda image: image.resize(
        (max(4, round(image.width * factor)), max(4, round(image.height * factor))),
        Image.Resampling.BICUBIC,
    )


def _cropped(image: Image.Image) -> Image.Image:
    """Without its outer 4% at each side."""
    x, y = max(1, image.width // 25), max(1, image.height // 25)
    return image.crop((x, y, image.width - x, image.height - y)).resize(image.size)


ALTERED: Final[Mapping[str, Callable[[Image.Image], Image.Image]]] = {
    "jpeg 75": _jpeg,
    "half": _scaled(0.5),
    "double": _scaled(2),
    "brighter": lambda image: ImageEnhance.Brightness(image).enhance(1.15),
    "grey": lambda image: image.convert("L"),
    "cropped": _cropped,
}


def _all(split: ImageSplit) -> Images:
    return [split.load(index) for index in range(len(split.labels))]


def _blocks(side: int) -> tuple[Images, Images]:
    """Every first and every second block of the photographs that has some contrast."""
    found = []
    for pixels in load_sample_images().images:
        photograph = Image.fromarray(pixels)
        for top in range(0, photograph.height - side, side):
            for left in range(0, photograph.width - side, side):
                block = photograph.crop((left, top, left + side, top + side))
                if np.asarray(block.convert("L")).std() > 8:
                    found.append(block)
    return found[::2], found[1::2]


def image_sets() -> dict[str, tuple[Images, Images]]:
    """Name → training and held-out images, no two the same."""
    datasets = installed().datasets
    named: dict[str, dict[str, Any]] = {"digits": {}, "glyphs": {"images_per_font": 6}}
    sets: dict[str, tuple[Images, Images]] = {}
    for name, options in named.items():
        entry = datasets[name]
        sets[name] = (_all(entry.open("train", options)), _all(entry.open("held_out", options)))
    return {**sets, "photographs 32": _blocks(32), "photographs 64": _blocks(64)}


def measure(
    own: Images, other: Images, hash_of: Callable[[Image.Image], np.ndarray]
) -> list[dict[str, Any]]:
    """One row per bound: share of distinct images called copies, and of copies found."""
    ours, theirs = (
        np.stack([hash_of(image) for image in images]).astype(np.float32) for images in (own, other)
    )
    apart = ours @ (1 - theirs.T) + (1 - ours) @ theirs.T
    few = own[:: max(1, len(own) // MOST_COPIES)]
    plain = np.stack([hash_of(image) for image in few])
    moved = {
        name: (plain != np.stack([hash_of(alter(image)) for image in few])).sum(1)
        for name, alter in ALTERED.items()
    }
    bits = ours.shape[1]
    return [
        {
            "bound": bound * bits // 256,
            "bits": bits,
            "n": len(own),
            "called copies": float((apart.min(1) <= bound * bits / 256).mean()),
            **{name: float((d <= bound * bits / 256).mean()) for name, d in moved.items()},
        }
        for bound in BOUNDS
    ]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    as_json = parser.parse_args().json
    rows = [
        {"hash": hash_of.__name__, "images": name, **row}
        for name, (own, other) in image_sets().items()
        for hash_of in (phash_8, phash_16, dhash_16)
        for row in measure(own, other, hash_of)
    ]
    if as_json:
        print(json.dumps({"schema": 1, "rows": rows}, indent=1))
    else:
        print(pd.DataFrame(rows).round(3).to_string(index=False))


if __name__ == "__main__":
    main()
