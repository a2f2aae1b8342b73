"""What datasets share whose images are drawn or cut when they are asked for."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from audit.errors import ConfigError
from audit.plugin import DatasetEntry, Split
from audit_datasets._in_memory import PictureSplit
from audit_datasets._options import refuse_unknown

if TYPE_CHECKING:
    from PIL import Image

#: What is said of one drawing: class, style, its generator, side in pixels, clutter → grey levels
#: in [0, 1], shape (side, side).
Draw = Callable[[str, str, np.random.Generator, int, float], np.ndarray]

DRAWN_OPTIONS: Final = ("side", "per_class", "seed", "clutter")


def whole_option(
    dataset: str, options: Mapping[str, Any], option: str, default: int, least: int
) -> int:
    """A whole number from `least` on.

    Raises:
        ConfigError: It is none, or smaller.
    """
    value = options.get(option, default)
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ConfigError(
            f"{dataset}: {option} must be a whole number from {least} on; found {value!r}"
        )
    return value


def share_option(dataset: str, options: Mapping[str, Any], option: str, default: float) -> float:
    """A number from 0 to 1.

    Raises:
        ConfigError: It is none, or outside.
    """
    value = options.get(option, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise ConfigError(f"{dataset}: {option} must be from 0 to 1; found {value!r}")
    return float(value)


def named_generator(seed: int, name: str) -> np.random.Generator:
    """The random numbers of one drawing, decided by its name and the seed alone."""
    digest = hashlib.sha256(f"{seed}/{name}".encode()).digest()
    return np.random.default_rng(np.frombuffer(digest, dtype=np.uint32))


def grey_picture(levels: np.ndarray) -> Image.Image:
    """Grey levels as a picture of one channel with 8 bits.

    Args:
        levels: Shape (height, width); 0 is black, 1 is white, what lies outside is cut off.
    """
    from PIL import Image

    return Image.fromarray(np.floor(np.clip(levels, 0, 1) * 255 + 0.5).astype(np.uint8))


def drawn_split(
    dataset: str,
    split: Split,
    options: Mapping[str, Any],
    classes: Sequence[str],
    styles: Mapping[Split, Sequence[str]],
    draw: Draw,
) -> PictureSplit:
    """Drawings of one split, whose styles the other split does not have.

    Args:
        dataset: Its name, for messages.
        split: "train" or "held_out".
        options: `side` in pixels, default 32; `per_class`, the images of a class in this split,
            default 40; `seed`, default 0; `clutter` from 0 to 1, default 0.5.
        classes: Their names, by label.
        styles: Split → its styles, which its images have in turn.
        draw: See `Draw`.

    Raises:
        ConfigError: An unknown option, or a value that cannot be used.
    """
    refuse_unknown(dataset, options, DRAWN_OPTIONS)
    side = whole_option(dataset, options, "side", 32, 16)
    per_class = whole_option(dataset, options, "per_class", 40, 1)
    seed = whole_option(dataset, options, "seed", 0, 0)
    clutter = share_option(dataset, options, "clutter", 0.5)
    turns = styles[split]
    names = [
        f"{name}/{turns[number % len(turns)]}/{number // len(turns)}"
        for name in classes
        for number in range(per_class)
    ]

    def get(index: int) -> Image.Image:
        name, style, _ = names[index].split("/")
        rng = named_generator(seed, names[index])
        return grey_picture(draw(name, style, rng, side, clutter))

    return PictureSplit(np.repeat(np.arange(len(classes)), per_class), classes, names, get)


def drawn_dataset(
    name: str,
    summary: str,
    classes: Sequence[str],
    styles: Mapping[Split, Sequence[str]],
    draw: Draw,
) -> DatasetEntry:
    """The entry of a dataset of drawings; `drawn_split` says what its options mean."""

    def open_split(split: Split, options: Mapping[str, Any]) -> PictureSplit:
        return drawn_split(name, split, options, classes, styles, draw)

    return DatasetEntry(
        name=name, summary=summary, version="1", open=open_split, options=DRAWN_OPTIONS
    )
