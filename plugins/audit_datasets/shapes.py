"""Drawn shapes on cluttered grounds, held out by the style they are drawn in.

Each drawing is one of twelve shapes, whose corners lie on a circle or whose outline is a curve:

- Place, size and turn: the centre is uniform within 10% of the side around the middle, the radius
  uniform in 0.30 … 0.42 of the side, the turn uniform in ±15°.
- Ground: a linear gradient of a random direction, smoothed noise, and `clutter` · 8 straight
  strokes of random grey levels below the shape.
- Styles in training: `filled`, and `outlined` with a line of 1/11 of the side; two fifths of
  them darker than the ground, the others brighter.
- Styles held out: `hatched`, filled with stripes of a random direction at full and half cover, and
  `dashed`, an outline that is broken; half of them darker than the ground.
- White noise of standard deviation 0.08 · `clutter` on every pixel.

Drawn at four times the size and averaged. Grey, one channel.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np

from audit.plugin import Split
from audit_datasets._drawn import drawn_dataset

CLASSES: Final = (
    *("arrow", "crescent", "cross", "ellipse", "heart", "hexagon"),
    *("pentagon", "ring", "square", "star-of-five", "star-of-six", "triangle"),
)
STYLES: Final[Mapping[Split, tuple[str, ...]]] = {
    "train": ("filled", "outlined"),
    "held_out": ("hatched", "dashed"),
}
_FINE: Final = 4  # fine pixels to a pixel, each way
_CORNERS: Final = {"hexagon": 6, "pentagon": 5, "square": 4, "triangle": 3}
_POINTS: Final = {"star-of-five": (5, 0.45), "star-of-six": (6, 0.58)}


def _drawing(
    shape: str, style: str, rng: np.random.Generator, side: int, clutter: float
) -> np.ndarray:
    """One shape on its ground; see the module."""
    fine = side * _FINE
    ground = _ground(rng, fine, clutter)
    radius, turn = fine * rng.uniform(0.30, 0.42), np.deg2rad(rng.uniform(-15, 15))
    centre = fine * (0.5 + rng.uniform(-0.1, 0.1, 2))
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    outlines = [centre + radius * outline @ rotation.T for outline in _outlines(shape)]
    darker = rng.random() < (0.5 if style in STYLES["held_out"] else 0.4)
    level = rng.uniform(0.05, 0.2) if darker else rng.uniform(0.8, 0.95)
    ground = 0.55 + 0.4 * ground if darker else 0.05 + 0.4 * ground
    cover = _cover(outlines, style, rng, fine)
    drawn = ground * (1 - cover) + level * cover
    small = drawn.reshape(side, _FINE, side, _FINE).mean((1, 3))
    levels: np.ndarray = small + 0.08 * clutter * rng.standard_normal((side, side))
    return levels


def _ground(rng: np.random.Generator, fine: int, clutter: float) -> np.ndarray:
    """Gradient, smoothed noise and strokes, in [0, 1]."""
    from PIL import Image, ImageDraw
    from scipy import ndimage

    angle = rng.uniform(0, 2 * np.pi)
    across = np.linspace(-0.5, 0.5, fine)
    gradient = 0.5 + 0.4 * (np.cos(angle) * across[None] + np.sin(angle) * across[:, None])
    coarse = ndimage.zoom(
        rng.standard_normal((8, 8)), fine / 8, order=1, grid_mode=True, mode="nearest"
    )
    levels = np.clip(gradient + 0.15 * coarse, 0, 1)
    strokes = Image.fromarray((255 * levels).astype(np.uint8))
    pen = ImageDraw.Draw(strokes)
    for _ in range(round(8 * clutter)):
        x0, y0, x1, y1 = rng.uniform(0, fine, 4)
        width = int(rng.integers(_FINE, 3 * _FINE))
        pen.line((x0, y0, x1, y1), fill=int(rng.integers(0, 256)), width=width)
    return np.asarray(strokes) / 255.0


def _cover(
    outlines: list[np.ndarray], style: str, rng: np.random.Generator, fine: int
) -> np.ndarray:
    """How much of the shape's level each pixel has, in [0, 1], shape (fine, fine)."""
    from PIL import Image, ImageDraw

    canvas = Image.new("L", (fine, fine))
    pen = ImageDraw.Draw(canvas)
    if style in ("filled", "hatched"):
        for number, outline in enumerate(outlines):  # the second is a hole
            pen.polygon([tuple(point) for point in outline.tolist()], fill=1 - number)
    else:
        for outline in outlines:
            for part in _dashes(outline, fine) if style == "dashed" else [_closed(outline)]:
                points = [tuple(point) for point in part.tolist()]
                pen.line(points, fill=1, width=fine // 11, joint="curve")
    cover = np.asarray(canvas, dtype=np.float64)
    if style != "hatched":
        return cover
    angle, period = rng.uniform(0, np.pi), fine * rng.uniform(0.10, 0.16)
    y, x = np.mgrid[:fine, :fine]
    stripes = np.sin(2 * np.pi * (np.cos(angle) * x + np.sin(angle) * y) / period) > -0.2
    return cover * np.where(stripes, 1.0, 0.5)


def _closed(outline: np.ndarray) -> np.ndarray:
    """An outline and its first two points again, so that its last corner is joined."""
    return np.concatenate([outline, outline[:2]])


def _dashes(outline: np.ndarray, fine: int) -> list[np.ndarray]:
    """The drawn parts of an outline, which is as often broken as dashes fit it."""
    closed = np.concatenate([outline, outline[:1]])
    reached = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(closed, axis=0), axis=1))])
    n_dashes = max(5, round(reached[-1] / (0.17 * fine)))
    parts = []
    for number in range(n_dashes):
        at = np.linspace(number, number + 0.8, 12) * reached[-1] / n_dashes
        parts.append(np.stack([np.interp(at, reached, closed[:, k]) for k in (0, 1)], axis=1))
    return parts


def _outlines(shape: str) -> list[np.ndarray]:
    """Outline of a shape within the unit circle, and of its hole; each of shape (n, 2)."""
    if shape in _CORNERS:
        return [_on_circle(np.ones(_CORNERS[shape]))]
    if shape in _POINTS:
        n_points, inner = _POINTS[shape]
        return [_on_circle(np.tile([1, inner], n_points))]
    if shape == "ring":
        return [_on_circle(np.ones(60)), _on_circle(np.full(60, 0.5))]
    return [_CURVES[shape]]


def _on_circle(radii: np.ndarray) -> np.ndarray:
    """Points at equal angles from the top on, at given distances."""
    angles = 2 * np.pi * np.arange(len(radii)) / len(radii) - np.pi / 2
    points: np.ndarray = radii[:, None] * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    return points


def _crescent() -> np.ndarray:
    """An arc of the circle, and back along a flatter one."""
    angles = np.deg2rad(np.linspace(60, 300, 50))
    outer = np.stack([np.cos(angles) + 0.2, np.sin(angles)], axis=1)
    inner = np.stack([0.45 * np.cos(angles[::-1]) + 0.475, np.sin(angles[::-1])], axis=1)
    return np.concatenate([outer, inner])


def _heart() -> np.ndarray:
    """The curve x = sin³ t, y = −(13 cos t − 5 cos 2t − 2 cos 3t − cos 4t) / 16."""
    t = np.linspace(0, 2 * np.pi, 60, endpoint=False)
    y = 13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t)
    return np.stack([np.sin(t) ** 3, -y / 16], axis=1)


_ARM: Final = 0.32
_CURVES: Final = {
    "arrow": np.array(
        [(1, 0), (0.2, 0.75), (0.2, 0.3), (-1, 0.3), (-1, -0.3), (0.2, -0.3), (0.2, -0.75)]
    ),
    "crescent": _crescent(),
    "cross": np.array(
        [
            *((-_ARM, -1), (_ARM, -1), (_ARM, -_ARM), (1, -_ARM), (1, _ARM), (_ARM, _ARM)),
            *((_ARM, 1), (-_ARM, 1), (-_ARM, _ARM), (-1, _ARM), (-1, -_ARM), (-_ARM, -_ARM)),
        ]
    ),
    "ellipse": _on_circle(np.ones(60)) * (1, 0.6),
    "heart": _heart(),
}

DATASETS = (
    drawn_dataset(
        "shapes",
        "drawn shapes on cluttered grounds, held out by style, no download",
        CLASSES,
        STYLES,
        _drawing,
    ),
)
