"""What a unit looks at: images, its maps of them, where each birth lies, and their distribution."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Final

import numpy as np

from audit.arrays import NO_BIRTH
from audit.measuring.examples import UnitExamples
from audit.topology.cycles import birth_cycle, birth_hole, cycle_pixels, outline
from audit.topology.entropy import feature_entropy
from audit.topology.intervals import unit_interval
from audit.units.canvas import FIRST, QUIET, SECOND, SMALL, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Inches of one image, and of the distribution below.
_TILE: Final = 1.75
_BELOW: Final = 1.8
#: A figure has room for so many images, even if it shows fewer.
_LEAST_COLUMNS: Final = 4
#: Maps with more pixels a side than this.
_LARGE: Final = 30
#: Bars of a distribution.
_MOST_BARS: Final = 60
#: Words beside the rows of tiles.
_ROWS: Final = {
    "clique": ("image", "feature map,\n{} × {} pixels", "graph at birth\nand its cycle"),
    "cubical": ("image", "feature map,\n{} × {} pixels", "superlevel set at\nbirth and its hole"),
}


def unit_figure(examples: UnitExamples, confidence: float = 0.95) -> Figure:
    """Draw a unit's examples.

    A column per image. Below it the unit's map, and what there is at its birth level: under
    "cubical" the pixels with at least the value at birth, and the outline of the hole they enclose;
    under "clique" the graph whose vertices are the map's rows, numbered from 0, with the edges that
    are present, and in colour a shortest cycle that no triangles fill. In the map the same outline,
    or the pixels whose values are the weights of the cycle's edges. At the foot the distribution of
    birth levels over all sampled images of the class.

    Args:
        examples: What `unit_examples` found.
        confidence: Of the interval of feature entropy, in (0, 1).

    Returns:
        A matplotlib figure; a notebook shows it.

    Raises:
        AuditError: matplotlib is not installed.
        DataError: No images.
    """
    n = len(examples.images)
    n_columns = max(n, _LEAST_COLUMNS)
    figure = new_figure(_TILE * n_columns + 1.1, 3 * _TILE + _BELOW + 1.2)
    grid = figure.add_gridspec(
        4,
        n_columns + 1,
        height_ratios=[_TILE] * 3 + [_BELOW],
        width_ratios=[1] * n_columns + [0.06],
    )
    figure.suptitle(_title(examples, round(13 * _TILE * n_columns)), fontsize=SMALL + 2)
    low, high = float(examples.maps.min()), float(examples.maps.max())
    for column in range(n):
        axes = [figure.add_subplot(grid[row, column]) for row in range(3)]
        _image(axes[0], examples.images[column])
        level = int(examples.levels[column])
        words = "never born" if level == NO_BIRTH else f"born at level {level}"
        axes[0].set_title(words, fontsize=SMALL)
        feature_map = examples.maps[column]
        high = high if high > low else low + 1
        drawn = axes[1].imshow(feature_map, cmap="viridis", vmin=low, vmax=high)
        _DRAWN[examples.filtration](axes[1], axes[2], feature_map)
        for axis in axes:
            axis.set_xticks([])
            axis.set_yticks([])
        if column == 0:
            for axis, words in zip(axes, _ROWS[examples.filtration], strict=True):
                axis.set_ylabel(words.format(*feature_map.shape), fontsize=SMALL)
    bar = figure.colorbar(drawn, cax=figure.add_subplot(grid[1, n_columns]))
    bar.set_label("activation", fontsize=SMALL)
    bar.ax.tick_params(labelsize=SMALL - 1)
    below = figure.add_subplot(grid[3, :n_columns])
    _distribution(below, examples, confidence, round(17.5 * _TILE * n_columns))
    return figure


def _title(examples: UnitExamples, width: int) -> str:
    """What is looked at, in lines of a width in characters."""
    pick = examples.pick
    what = f"unit {pick.unit} of {pick.layer}, class {pick.class_name!r}"
    lines = f"{examples.checkpoint}: {what}, {examples.filtration} filtration"
    return "\n".join(textwrap.wrap(lines, width))


def _image(axis: Axes, pixels: np.ndarray) -> None:
    """One image, grey where it has one channel."""
    grey = pixels.shape[-1] == 1
    shown = pixels[..., 0] if grey else pixels
    axis.imshow(shown, cmap="gray" if grey else None, vmin=0, vmax=1)


def _hole(on_map: Axes, below: Axes, feature_map: np.ndarray) -> None:
    """The pixels that are present at birth, and the outline of what they enclose."""
    height, width = feature_map.shape
    below.set_box_aspect(height / width)
    hole = birth_hole(feature_map)
    if hole is None:
        _nothing(below, "encloses no hole\nat any level")
        return
    below.imshow(hole.present, cmap="Greys", vmin=0, vmax=1.6)
    for axis in (on_map, below):
        _sides(axis, hole.hole)
        if max(height, width) > _LARGE:  # the outline of a pixel is too small to be seen
            y, x = np.argwhere(hole.hole).mean(axis=0)
            axis.plot(x, y, "o", markersize=13, markerfacecolor="none", markeredgecolor=SECOND)
        axis.set_xlim(-0.5, width - 0.5)
        axis.set_ylim(height - 0.5, -0.5)
    share = f"x ≥ {hole.value:.3g}: {hole.present.mean():.0%} of pixels"
    below.set_xlabel(share, fontsize=SMALL - 1)


def _cycle(on_map: Axes, below: Axes, feature_map: np.ndarray) -> None:
    """The graph at birth with its cycle, and the pixels that weigh the cycle's edges."""
    below.set_box_aspect(1)
    cycle = birth_cycle(feature_map)
    if cycle is None:
        _nothing(below, "no birth at\nlevels 2 to 51")
        return
    _sides(on_map, cycle_pixels(feature_map, cycle))
    _graph(below, len(feature_map), cycle.edges, cycle.cycle)
    edges = f"{len(cycle.edges)} edges of weight ≥ {cycle.value:.3g}"
    below.set_xlabel(edges, fontsize=SMALL - 1)


#: Filtration → what draws where a birth lies, on a map and below it.
_DRAWN: Final = {"cubical": _hole, "clique": _cycle}


def _nothing(axis: Axes, words: str) -> None:
    """Say that there is nothing to draw."""
    axis.text(
        0.5,
        0.5,
        words,
        ha="center",
        va="center",
        fontsize=SMALL,
        color=QUIET,
        transform=axis.transAxes,
    )


def _sides(axis: Axes, mask: np.ndarray) -> None:
    """Outline a set of pixels."""
    from matplotlib.collections import LineCollection

    pieces = outline(mask) - 0.5  # pixels of an image lie around whole numbers
    axis.add_collection(LineCollection(list(pieces), colors=SECOND, linewidths=1.8))


def _graph(axis: Axes, n: int, edges: np.ndarray, cycle: tuple[int, ...]) -> None:
    """Vertices on a circle from the top, clockwise; present edges, and the cycle in colour."""
    from matplotlib.collections import LineCollection

    angles = np.pi / 2 - 2 * np.pi * np.arange(n) / n
    places = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    axis.add_collection(
        LineCollection(list(places[edges]), colors=QUIET, linewidths=0.6, alpha=0.6)
    )
    around = places[[*cycle, cycle[0]]]
    axis.plot(*around.T, color=SECOND, linewidth=1.8)
    axis.scatter(places[:, 0], places[:, 1], s=5, color=QUIET, zorder=3)
    axis.scatter(around[:, 0], around[:, 1], s=16, color=SECOND, zorder=4)
    shown = range(n) if n <= 16 else cycle
    for vertex in shown:
        inside = vertex in cycle
        axis.text(
            1.2 * places[vertex, 0],
            1.2 * places[vertex, 1],
            str(vertex),
            ha="center",
            va="center",
            fontsize=SMALL - 2,
            color=SECOND if inside else QUIET,
        )
    axis.set_xlim(-1.4, 1.4)
    axis.set_ylim(-1.4, 1.4)
    axis.set_aspect("equal")


def _distribution(axis: Axes, examples: UnitExamples, confidence: float, width: int) -> None:
    """Images per birth level over the whole sample of the class, and the numbers they come to."""
    from matplotlib.ticker import MaxNLocator

    births = examples.births
    born = births[births != NO_BIRTH]
    axis.set_title(_numbers(births, confidence, width), fontsize=SMALL, loc="left")
    axis.set_ylabel("images", fontsize=SMALL)
    axis.tick_params(labelsize=SMALL)
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)
    words = "birth level (rank of the value at birth; 1 is the largest)"
    if not len(born):
        axis.set_xlabel(words, fontsize=SMALL)
        axis.set_xticks([])
        axis.set_yticks([])
        _nothing(axis, "no image has a birth")
        return
    low, high = int(born.min()), int(born.max())
    step = 1 if high - low < _MOST_BARS else -(-(high - low + 1) // (_MOST_BARS // 2))
    edges = np.arange(low, high + step + 1, step)
    counts, _ = np.histogram(born, edges)
    axis.bar(edges[:-1] + (step - 1) / 2, counts, width=0.85 * step, color=FIRST)
    if step > 1:
        words += f", {step} levels a bar"
    shown = examples.levels[examples.levels != NO_BIRTH]
    if len(shown):
        axis.plot(shown, np.zeros(len(shown)), "^", color=SECOND, markersize=5, clip_on=False)
        words += "; ▲ shown above"
    axis.set_xlabel(words, fontsize=SMALL)
    for scale in (axis.xaxis, axis.yaxis):
        scale.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))


def _numbers(births: np.ndarray, confidence: float, width: int) -> str:
    """Effective rate, entropy and interval in words, in lines of a width in characters."""
    found = feature_entropy(births)
    n, n_born = len(births), int((births != NO_BIRTH).sum())
    if not n_born:
        return f"none of {n} images has a birth: feature entropy is undefined"
    words = (
        f"{n_born} of {n} images have a birth (ε = {found.effective_rate:.2f}); H = "
        f"{found.birth_entropy:.2f} nats; feature entropy H/ε = {found.feature_entropy:.2f} nats"
    )
    lower, upper = (float(end[0]) for end in unit_interval(births[:, None], confidence=confidence))
    if np.isfinite(lower):
        words += (
            f"; {confidence:.0%} interval for all images of the class {lower:.2f} to {upper:.2f}"
        )
    if lower > found.feature_entropy:
        most = np.log(n_born) / found.effective_rate
        words += f", of which {n_born} births show {most:.2f} at most"
    return "\n".join(textwrap.wrap(words, width))
