"""scikit-learn's handwritten digits: 1,797 real scans of 8 × 8 pixels in ten classes.

Source: E. Alpaydin, C. Kaynak, "Optical Recognition of Handwritten Digits", UCI Machine Learning
Repository, 1998, doi:10.24432/C50P49 (its test part, as scikit-learn ships it). Pixel values
0 … 16 become round(v · 255 / 16).
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from audit.data.sample import shuffle_key
from audit.errors import ConfigError, DataError
from audit.plugin import DatasetEntry, ImageSplit, Split
from audit_datasets._options import refuse_unknown

if TYPE_CHECKING:
    from PIL import Image

OPTIONS = ("held_out_rate", "seed")


class DigitsSplit(ImageSplit):
    """One split of the digits, in memory.

    Args:
        pixels: Shape (n, 8, 8), uint8.
        labels: Shape (n,), the digits.
        sample_ids: Shape (n,), the names.
    """

    def __init__(self, pixels: np.ndarray, labels: np.ndarray, sample_ids: tuple[str, ...]) -> None:
        self.class_names = tuple(str(digit) for digit in range(10))
        self.labels = labels
        self.sample_ids = sample_ids
        self._pixels = pixels

    def digest(self, index: int) -> str:
        """SHA-256 of the 64 pixel bytes."""
        return hashlib.sha256(self._pixels[index].tobytes()).hexdigest()

    def load(self, index: int) -> Image.Image:
        """The scan as an 8-bit grayscale image."""
        from PIL import Image

        return Image.fromarray(self._pixels[index])


def open_split(split: Split, options: Mapping[str, Any]) -> DigitsSplit:
    """The training or the held-out part of the digits, stratified by class.

    Args:
        split: "train" or "held_out".
        options: `held_out_rate`, the share of each class that is held out, in (0, 1), default
            0.5; `seed`, an integer that decides which, default 0.

    Raises:
        ConfigError: An unknown option, or a value that cannot be used.
        DataError: The rate leaves a class of the split empty.
    """
    refuse_unknown("digits", options, OPTIONS)
    rate, seed = options.get("held_out_rate", 0.5), options.get("seed", 0)
    if isinstance(rate, bool) or not isinstance(rate, int | float) or not 0 < rate < 1:
        raise ConfigError(f"digits: held_out_rate must be between 0 and 1; found {rate!r}")
    if isinstance(seed, bool) or not isinstance(seed, int):
        raise ConfigError(f"digits: seed must be an integer; found {seed!r}")
    pixels, labels = _scans()
    sample_ids = [f"digit-{number:04d}" for number in range(1, len(labels) + 1)]
    chosen: list[int] = []
    for digit in range(10):
        members = np.flatnonzero(labels == digit).tolist()
        members.sort(key=lambda index: shuffle_key(seed, sample_ids[index]))
        n_held_out = round(rate * len(members))
        part = members[:n_held_out] if split == "held_out" else members[n_held_out:]
        if not part:
            raise DataError(f"digits: held_out_rate = {rate} leaves no {split} image of {digit}")
        chosen += part
    chosen.sort()
    return DigitsSplit(pixels[chosen], labels[chosen], tuple(sample_ids[i] for i in chosen))


@functools.cache
def _scans() -> tuple[np.ndarray, np.ndarray]:
    """All pixels, shape (1797, 8, 8), uint8, and labels, shape (1797,), int64."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    pixels = np.floor(bunch.images * 255 / 16 + 0.5).astype(np.uint8)
    labels = bunch.target.astype(np.int64)
    pixels.setflags(write=False)
    labels.setflags(write=False)
    return pixels, labels


DATASETS = (
    DatasetEntry(
        name="digits",
        summary="scikit-learn's 1,797 scans of handwritten digits, 8 × 8, no download",
        version="1",
        open=open_split,
        options=OPTIONS,
    ),
)
