"""Letters drawn with the fonts that come inside matplotlib, held out by font.

Fonts of one design (its slopes and weights) are of one family, and a family is in one split alone,
so that no held-out image is of a design that was trained on. Letters may be of any script: a font
that lacks one of them is left out, with its family where no font of it is left. Each drawing is a
little turned, scaled, sheared and shifted, by its own name and the seed. White on black, one
channel.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from audit.data.sample import shuffle_key
from audit.errors import ConfigError
from audit.plugin import DatasetEntry, Split
from audit_datasets._in_memory import PictureSplit
from audit_datasets._options import import_optional, refuse_unknown

if TYPE_CHECKING:
    from PIL import Image, ImageFont

OPTIONS = ("letters", "images_per_font", "side", "held_out_rate", "seed")

#: Design → files of matplotlib's `fonts/ttf`. Symbol and display fonts are left out.
FAMILIES: Final[Mapping[str, tuple[str, ...]]] = {
    "dejavu-sans": (
        *("DejaVuSans", "DejaVuSans-Bold", "DejaVuSans-BoldOblique", "DejaVuSans-Oblique"),
    ),
    "dejavu-serif": (
        *("DejaVuSerif", "DejaVuSerif-Bold", "DejaVuSerif-BoldItalic", "DejaVuSerif-Italic"),
    ),
    "dejavu-mono": (
        *("DejaVuSansMono", "DejaVuSansMono-Bold", "DejaVuSansMono-BoldOblique"),
        "DejaVuSansMono-Oblique",
    ),
    "stix": ("STIXGeneral", "STIXGeneralBol", "STIXGeneralBolIta", "STIXGeneralItalic"),
    "computer-modern-roman": ("cmr10", "cmb10", "cmti10", "cmmi10"),
    "computer-modern-sans": ("cmss10",),
    "computer-modern-typewriter": ("cmtt10",),
}
_CANVAS: Final = 192


def open_split(split: Split, options: Mapping[str, Any]) -> PictureSplit:
    """The letters in the fonts of one split.

    Args:
        split: "train" or "held_out".
        options: `letters`, one class each, by default twelve that are easily confused, of any
            script, such as "αβγδεζηθκλμν";
            `images_per_font`, default 8; `side` in pixels, default 36; `held_out_rate`, the share
            of font families that is held out, default 0.5; `seed`, default 0.

    Raises:
        ConfigError: An unknown option, a value that cannot be used, letters that no two families
            of fonts have, or matplotlib is missing.
    """
    refuse_unknown("glyphs", options, OPTIONS)
    letters = _letters(options.get("letters", "abcdeghnopqu"))
    per_font = _whole(options, "images_per_font", 8, 1)
    side = _whole(options, "side", 36, 8)
    seed = _whole(options, "seed", 0, 0)
    rate = _rate(options.get("held_out_rate", 0.5))
    folder = _font_folder()
    known = _families_with(letters, folder)
    fonts = [font for family in _families(split, rate, seed, known) for font in known[family]]
    names = [
        f"{letter}/{font}/{number}"
        for letter in letters
        for font in fonts
        for number in range(per_font)
    ]
    labels = np.repeat(np.arange(len(letters), dtype=np.int64), len(fonts) * per_font)

    def draw(index: int) -> Image.Image:
        letter, font, _ = names[index].split("/")
        digest = hashlib.sha256(f"{seed}/{names[index]}".encode()).digest()
        rng = np.random.default_rng(np.frombuffer(digest, dtype=np.uint32))
        return _glyph(letter, _font(folder / f"{font}.ttf"), side, rng)

    return PictureSplit(labels, letters, names, draw)


def _letters(value: Any) -> tuple[str, ...]:
    """The letters, each once."""
    if isinstance(value, str) and value.isalnum() and len(set(value)) > 1:
        return tuple(sorted(set(value)))
    raise ConfigError(
        "glyphs: letters must be a string of 2 or more different letters or digits; "
        f"found {value!r}"
    )


def _whole(options: Mapping[str, Any], option: str, default: int, least: int) -> int:
    """A whole number from `least` on."""
    value = options.get(option, default)
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ConfigError(
            f"glyphs: {option} must be a whole number from {least} on; found {value!r}"
        )
    return value


def _rate(value: Any) -> float:
    """The share of families that is held out."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1:
        raise ConfigError(f"glyphs: held_out_rate must be between 0 and 1; found {value!r}")
    return float(value)


def _families(split: Split, rate: float, seed: int, known: Iterable[str]) -> list[str]:
    """The font families of one split; each split has at least one."""
    shuffled = sorted(known, key=lambda family: shuffle_key(seed, family))
    n_held_out = min(max(1, round(rate * len(shuffled))), len(shuffled) - 1)
    return sorted(shuffled[:n_held_out] if split == "held_out" else shuffled[n_held_out:])


def _font_folder() -> Path:
    """Where matplotlib keeps its fonts."""
    matplotlib = import_optional("glyphs", "matplotlib", "glyphs")
    return Path(matplotlib.get_data_path()) / "fonts" / "ttf"


def _families_with(letters: Iterable[str], folder: Path) -> Mapping[str, tuple[str, ...]]:
    """Families and those of their fonts that have every letter; of ASCII letters, all of them.

    Raises:
        ConfigError: Fewer than two families have them, so that one split would be empty.
    """
    wanted = frozenset(map(ord, letters))
    if max(wanted) < 128:
        return FAMILIES
    having = {
        family: tuple(font for font in fonts if wanted <= _code_points(folder / f"{font}.ttf"))
        for family, fonts in FAMILIES.items()
    }
    known = {family: fonts for family, fonts in having.items() if fonts}
    if len(known) < 2:
        raise ConfigError(
            f"glyphs: letters = {''.join(letters)!r} leaves a split without fonts: two or more "
            f"families must have every letter, and {', '.join(known) or 'none'} does; leave out "
            "the letters that few fonts have"
        )
    return known


@functools.lru_cache(maxsize=64)
def _code_points(path: Path) -> frozenset[int]:
    """The characters that a font has."""
    from matplotlib.ft2font import FT2Font

    return frozenset(FT2Font(str(path)).get_charmap())


@functools.lru_cache(maxsize=64)
def _font(path: Path) -> ImageFont.FreeTypeFont:
    """A font at half the height of the canvas."""
    from PIL import ImageFont

    return ImageFont.truetype(str(path), _CANVAS // 2)


def _glyph(
    letter: str, font: ImageFont.FreeTypeFont, side: int, rng: np.random.Generator
) -> Image.Image:
    """One letter, side × side, moved by a random affine map."""
    from PIL import Image, ImageDraw

    centre = _CANVAS / 2
    large = Image.new("L", (_CANVAS, _CANVAS))
    ImageDraw.Draw(large).text((centre, centre), letter, fill=255, font=font, anchor="mm")
    angle, scale = rng.uniform(-0.15, 0.15), rng.uniform(0.9, 1.1)
    shear, shift = rng.uniform(-0.1, 0.1), rng.uniform(-8, 8, 2)
    cos, sin = np.cos(angle) / scale, np.sin(angle) / scale
    matrix = np.array([[cos, -sin], [sin, cos]]) @ np.array([[1, shear], [0, 1]])
    offset = centre - matrix @ (centre + shift)
    coefficients = (*matrix[0], offset[0], *matrix[1], offset[1])
    moved = large.transform(
        large.size, Image.Transform.AFFINE, coefficients, Image.Resampling.BILINEAR
    )
    margin = _CANVAS // 8
    inner = moved.crop((margin, margin, _CANVAS - margin, _CANVAS - margin))
    return inner.resize((side, side), Image.Resampling.BOX)


DATASETS = (
    DatasetEntry(
        name="glyphs",
        summary="letters in the fonts inside matplotlib, held out by font, no download",
        version="1",
        open=open_split,
        options=OPTIONS,
    ),
)
