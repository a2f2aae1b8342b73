"""Textures from stated generators, held out by the ranges of their scale, turn and contrast.

Each texture has a period, a turn, a contrast and added noise:

- Period: in one of five bands of 3 … 11 pixels, each from its least to 1.3 times that, uniform on a
  logarithmic scale. The first, third and fifth are trained on, the second and fourth held out.
- Turn: of eight equal sectors of 180°, uniform in the first, third, fifth and seventh in training,
  and in the others held out.
- Contrast: the standard deviation of the grey levels is uniform in 0.16 … 0.26 in training, and in
  0.12 … 0.20 held out. Their mean is uniform in 0.4 … 0.6 in both.
- White noise of standard deviation 0.1 · `clutter` in training and 0.16 · `clutter` held out.

White noise w filtered by |f| in a ring of the period and by direction gives `grain-narrow` (within
±8° of the turn), `grain-broad` (±30°) and `grain-round` (any); the last one cut at 0 is
`labyrinth`, cut at its 80th percentile, dark or bright, `spots`, as in reaction and diffusion.
Filtered by 1 / |f| and 1 / |f|² it is `pink` and `brown`. `cells` and `mosaic` are the borders
and the filled cells of a Voronoi diagram of uniform points; `stripes` and `checker` are a square
wave and the product of two, both bent by smooth noise; `wood` is a square-rooted sine of the
distance to a centre outside of the picture, bent likewise. Grey, one channel.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np

from audit.plugin import Split
from audit_datasets._drawn import drawn_dataset

STYLES: Final[Mapping[Split, tuple[str, ...]]] = {
    "train": ("scale-1", "scale-3", "scale-5"),
    "held_out": ("scale-2", "scale-4"),
}
_SHORTEST: Final = 3.0  # pixels
_RATIO: Final = 1.3


def _drawing(
    texture: str, style: str, rng: np.random.Generator, side: int, clutter: float
) -> np.ndarray:
    """One texture in the ranges of its style; see the module."""
    held_out = style in STYLES["held_out"]
    band = int(style.rpartition("-")[2]) - 1
    period = _SHORTEST * _RATIO ** (band + rng.random())
    turn = np.deg2rad(45 * rng.integers(0, 4) + 22.5 * (held_out + rng.random()))
    values = _TEXTURES[texture](side, period, turn, rng)
    contrast = rng.uniform(0.12, 0.20) if held_out else rng.uniform(0.16, 0.26)
    values = (values - values.mean()) / (values.std() + 1e-9)
    noise = (0.16 if held_out else 0.1) * clutter * rng.standard_normal((side, side))
    levels: np.ndarray = rng.uniform(0.4, 0.6) + contrast * values + noise
    return levels


def _filtered(
    side: int, rng: np.random.Generator, gain: Callable[[np.ndarray, np.ndarray], np.ndarray]
) -> np.ndarray:
    """White noise, filtered by a gain of frequency (per pixel) and direction.

    Drawn on twice the side and cropped, as filtering wraps around.
    """
    wide = 2 * side
    fy, fx = np.fft.fftfreq(wide)[:, None], np.fft.rfftfreq(wide)[None]
    spectrum = np.fft.rfft2(rng.standard_normal((wide, wide)))
    passed = gain(np.hypot(fy, fx), np.arctan2(fy, fx))
    return np.fft.irfft2(spectrum * passed, s=(wide, wide))[:side, :side]


def _grain(side: int, period: float, turn: float, rng: np.random.Generator, width: float) -> Any:
    """Noise in a ring of frequencies, within a width (degrees) of one direction."""

    def gain(frequency: np.ndarray, direction: np.ndarray) -> np.ndarray:
        ring = np.exp(-0.5 * ((frequency * period - 1) / 0.15) ** 2)
        apart = np.angle(np.exp(2j * (direction - turn))) / 2
        passed: np.ndarray = ring * np.exp(-0.5 * (apart / np.deg2rad(width)) ** 2)
        return passed

    return _filtered(side, rng, gain)


def _round(side: int, period: float, rng: np.random.Generator) -> np.ndarray:
    """Noise in a ring of frequencies, in all directions alike."""
    return _filtered(side, rng, lambda f, _: np.exp(-0.5 * ((f * period - 1) / 0.15) ** 2))


def _coloured(side: int, rng: np.random.Generator, power: float) -> np.ndarray:
    """Noise whose amplitude falls with a power of frequency."""
    return _filtered(side, rng, lambda f, _: np.where(f > 0, np.maximum(f, 1e-9) ** -power, 0))


def _bent(
    side: int, turn: float, rng: np.random.Generator, amount: float
) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates in pixels along and across the turn, moved smoothly by an amount in pixels."""
    y, x = np.mgrid[:side, :side].astype(np.float64)
    moves = [_filtered(side, rng, lambda f, _: np.exp(-((f * 14) ** 2))) for _ in range(2)]
    x, y = (
        at + amount * move / (move.std() + 1e-9) for at, move in zip((x, y), moves, strict=True)
    )
    return np.cos(turn) * x + np.sin(turn) * y, np.cos(turn) * y - np.sin(turn) * x


def _wave(position: np.ndarray, period: float, rng: np.random.Generator) -> np.ndarray:
    """A square wave with soft edges."""
    wave: np.ndarray = np.tanh(3 * np.sin(2 * np.pi * (position / period + rng.random())))
    return wave


def _wood(side: int, period: float, turn: float, rng: np.random.Generator) -> np.ndarray:
    """Rings around a centre outside of the picture."""
    along, across = _bent(side, turn, rng, 1.0)
    far = rng.uniform(0.6, 1.2) * side
    middle = side * (np.cos(turn) - np.sin(turn)) / 2
    distance = np.hypot(along + far, across - middle)
    rings: np.ndarray = np.sqrt(0.5 + 0.5 * np.sin(2 * np.pi * (distance / period + rng.random())))
    return rings


def _nearest(side: int, period: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Distances of each pixel to uniform points, the nearest two, and which the nearest is."""
    from scipy import spatial

    n_points = max(4, round((1.5 * side / period) ** 2))
    tree = spatial.cKDTree(rng.uniform(-0.25 * side, 1.25 * side, (n_points, 2)))
    distances, nearest = tree.query(np.indices((side, side)).transpose(1, 2, 0), k=2)
    return np.asarray(distances), np.asarray(nearest)[..., 0]


def _cells(side: int, period: float, rng: np.random.Generator) -> np.ndarray:
    """The borders of a Voronoi diagram."""
    distances, _ = _nearest(side, period, rng)
    borders: np.ndarray = np.exp(-(((distances[..., 1] - distances[..., 0]) / 1.2) ** 2))
    return borders


def _mosaic(side: int, period: float, rng: np.random.Generator) -> np.ndarray:
    """The cells of a Voronoi diagram, of a random grey level each."""
    _, nearest = _nearest(side, period, rng)
    cells: np.ndarray = rng.random(int(nearest.max()) + 1)[nearest]
    return cells


def _spots(side: int, period: float, rng: np.random.Generator) -> np.ndarray:
    """Round noise cut softly above its 80th percentile, whichever way round."""
    values = _round(side, period, rng)
    cut = np.tanh(4 * (values - np.quantile(values, 0.8)) / values.std())
    spots: np.ndarray = cut if rng.random() < 0.5 else -cut
    return spots


def _labyrinth(side: int, period: float, rng: np.random.Generator) -> np.ndarray:
    """Round noise cut softly at 0."""
    values = _round(side, period, rng)
    cut: np.ndarray = np.tanh(4 * values / values.std())
    return cut


def _checker(side: int, period: float, turn: float, rng: np.random.Generator) -> np.ndarray:
    """The product of two bent square waves."""
    along, across = _bent(side, turn, rng, 1.0)
    checks: np.ndarray = _wave(along, 1.4 * period, rng) * _wave(across, 1.4 * period, rng)
    return checks


#: Name → side, period, turn and generator to values of any scale, shape (side, side).
_TEXTURES: Final[Mapping[str, Callable[[int, float, float, np.random.Generator], np.ndarray]]] = {
    "brown": lambda side, period, turn, rng: _coloured(side, rng, 2.0),
    "cells": lambda side, period, turn, rng: _cells(side, period, rng),
    "checker": _checker,
    "grain-broad": lambda side, period, turn, rng: _grain(side, period, turn, rng, 30),
    "grain-narrow": lambda side, period, turn, rng: _grain(side, period, turn, rng, 8),
    "grain-round": lambda side, period, turn, rng: _round(side, period, rng),
    "labyrinth": lambda side, period, turn, rng: _labyrinth(side, period, rng),
    "mosaic": lambda side, period, turn, rng: _mosaic(side, period, rng),
    "pink": lambda side, period, turn, rng: _coloured(side, rng, 1.0),
    "spots": lambda side, period, turn, rng: _spots(side, period, rng),
    "stripes": lambda side, period, turn, rng: _wave(_bent(side, turn, rng, 1.0)[0], period, rng),
    "wood": _wood,
}

DATASETS = (
    drawn_dataset(
        "textures",
        "synthetic textures, held out by scale, turn and contrast, no download",
        tuple(_TEXTURES),
        STYLES,
        _drawing,
    ),
)
