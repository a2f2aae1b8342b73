"""The units of two networks beside each other, as a picture."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from audit.units.canvas import FIRST, QUIET, SECOND, SMALL, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from audit.units.comparison import UnitComparison

#: Classes that are named in the picture of their order.
_MOST_NAMES: Final = 20
#: Characters of a line above a picture, and of a layer's name.
_LINE: Final = 46
_NAME: Final = 18
#: Where a point's name may stand.
_CORNERS: Final = np.array([(1, 1), (-1, 1), (1, -1), (-1, -1)])


def comparison_figure(comparison: UnitComparison) -> Figure:
    """Draw a comparison: units by layer, the order of classes, and what matched units share.

    From the left: for each pair of layers the distribution over units of their mean feature entropy
    over classes (box: quartiles; whiskers: the middle 90%) with the verdict; the classes' mean
    feature entropy in one network against the other, for the deepest pair of layers with a τ; and,
    where networks were given, Spearman's ρ over matched units with its interval, beside its
    ceiling.

    Args:
        comparison: What `audit.compare_units` found.

    Returns:
        A matplotlib figure; a notebook shows it.

    Raises:
        AuditError: matplotlib is not installed.
    """
    n_panels = 2 + (not comparison.matched.empty)
    n_layers = len(comparison.pairs)
    figure = new_figure(4.2 * n_panels, 2.6 + 0.45 * max(n_layers, 4))
    axes = figure.subplots(1, n_panels)
    _units(axes[0], comparison)
    _classes(axes[1], comparison)
    if n_panels > 2:
        _matched(axes[2], comparison)
    for axis in axes:
        axis.tick_params(labelsize=SMALL)
        for side in ("top", "right"):
            axis.spines[side].set_visible(False)
    return figure


def _layer_names(comparison: UnitComparison) -> list[str]:
    """A name for each pair of layers, both where they differ."""
    names = []
    for own, other in comparison.pairs:
        both = dict.fromkeys((_short(own.layer), _short(other.layer)))
        names.append("\n".join(both))
    return names


def _short(name: str) -> str:
    """A layer's name by its end, where it is long."""
    return name if len(name) <= _NAME else "…" + name[1 - _NAME :]


def _heading(axis: Axes, words: str) -> None:
    """A question above a picture, in lines."""
    axis.set_title("\n".join(textwrap.wrap(words, _LINE)), fontsize=SMALL + 1, loc="left")


def _units(axis: Axes, comparison: UnitComparison) -> None:
    """Distributions of units by layer, the shallowest on top."""
    for which, (name, colour) in enumerate(zip(comparison.names, (FIRST, SECOND), strict=True)):
        numbers = [_of_units(pair[which], comparison.least_rate) for pair in comparison.pairs]
        places = np.arange(len(numbers)) + (0.2 if which else -0.2)
        for at, found in zip(places, numbers, strict=True):
            if len(found):
                _box(axis, float(at), found, colour)
        axis.plot([], [], "s", color=colour, alpha=0.55, label=_short_name(name))
    right = axis.get_xlim()[1]
    for at, verdict in enumerate(comparison.layers["verdict"]):
        axis.text(right, at, f" {verdict}", fontsize=SMALL - 1, va="center", color=QUIET)
    axis.set_yticks(range(len(comparison.pairs)), _layer_names(comparison))
    axis.invert_yaxis()
    axis.set_xlabel("feature entropy of units, mean over classes (nats)", fontsize=SMALL)
    axis.legend(fontsize=SMALL - 1, loc="upper center", bbox_to_anchor=(0.5, -0.16), frameon=False)
    _heading(axis, "Have units the same feature entropies?")


def _box(axis: Axes, at: float, numbers: np.ndarray, colour: str) -> None:
    """Quartiles as a box, the median as a line, whiskers to the 5th and 95th percentile."""
    least, low, middle, high, most = np.percentile(numbers, [5, 25, 50, 75, 95])
    axis.barh(at, high - low, left=low, height=0.32, color=colour, alpha=0.55)
    axis.hlines([at, at], [least, high], [low, most], color=colour, linewidth=1.2)
    axis.vlines([least, most], at - 0.08, at + 0.08, color=colour, linewidth=1.2)
    axis.vlines(middle, at - 0.16, at + 0.16, color="black", linewidth=1.4)


def _of_units(layer: Any, least_rate: float) -> np.ndarray:
    """Mean over classes of each unit that has a number in one."""
    told = layer.told(least_rate)
    known = np.isfinite(told)
    n = known.sum(axis=0)
    return np.asarray(np.where(known, told, 0).sum(axis=0)[n > 0] / n[n > 0])


def _short_name(name: str) -> str:
    """A network's name by its beginning, where it is long."""
    return name if len(name) <= 40 else name[:39] + "…"


def _classes(axis: Axes, comparison: UnitComparison) -> None:
    """Mean feature entropy of classes in both networks, of one pair of layers."""
    _heading(axis, "Do both put the classes in one order?")
    orders = comparison.class_order
    known = np.flatnonzero(orders["kendall"].notna())
    if not len(known):
        axis.text(0.5, 0.5, "cannot tell", ha="center", color=QUIET, transform=axis.transAxes)
        axis.set_xticks([])
        axis.set_yticks([])
        return
    at = int(known[-1])
    row = orders.iloc[at]
    table = comparison.classes
    here = (table["layer_first"] == row["layer_first"]) & (
        table["layer_second"] == row["layer_second"]
    )
    rows = table[here]
    axis.scatter(rows["mean_first"], rows["mean_second"], s=14, color=FIRST)
    if len(rows) <= _MOST_NAMES:
        _name_points(axis, rows[["mean_first", "mean_second"]].to_numpy(), rows["class_name"])
    words = "\n".join(dict.fromkeys((_short(row["layer_first"]), _short(row["layer_second"]))))
    tau = f"τ = {row['kendall']:.2f} [{row['lower']:.2f}, {row['upper']:.2f}]: {row['verdict']}"
    axis.text(0.02, 0.98, f"{words}\n{tau}", fontsize=SMALL, va="top", transform=axis.transAxes)
    low, high = axis.get_ylim()
    axis.set_ylim(low, high + 0.22 * (high - low))
    axis.margins(x=0.12)
    across, up = (f"mean feature entropy (nats)\n{_short_name(n)}" for n in comparison.names)
    axis.set_xlabel(across, fontsize=SMALL)
    axis.set_ylabel(up, fontsize=SMALL)


def _name_points(axis: Axes, points: np.ndarray, names: Iterable[str]) -> None:
    """Write each point's name at the corner of it that is farthest from others and their names."""
    known = np.isfinite(points).all(axis=1)
    size = np.ptp(points[known], axis=0)
    places = (points - points[known].min(axis=0)) / np.where(size > 0, size, 1)
    taken = list(places[known])
    for place, point, name in zip(places, points, names, strict=True):
        if not np.isfinite(place).all():
            continue
        corners = place + 0.04 * _CORNERS
        gaps = [min(np.abs(corner - other).max() for other in taken) for corner in corners]
        corner = int(np.argmax(gaps))
        taken.append(corners[corner])
        across, up = _CORNERS[corner]
        axis.annotate(
            str(name)[:14],
            point,
            fontsize=SMALL - 1,
            color=QUIET,
            xytext=(4 * across, 4 * up),
            textcoords="offset points",
            ha="left" if across > 0 else "right",
            va="bottom" if up > 0 else "top",
        )


def _matched(axis: Axes, comparison: UnitComparison) -> None:
    """Rank correlation over matched units by layer, and its ceiling."""
    table = comparison.matched
    at = np.arange(len(table))
    lower = table["spearman"] - table["lower"]
    upper = table["upper"] - table["spearman"]
    axis.axvline(0, color=QUIET, linewidth=0.8)
    axis.errorbar(
        table["spearman"],
        at,
        xerr=[lower.clip(lower=0), upper.clip(lower=0)],
        fmt="o",
        markersize=4,
        color=FIRST,
        capsize=2,
        label="ρ of matched units, other images",
    )
    axis.plot(
        table["ceiling"], at, "|", color=SECOND, markersize=12, label="ceiling: a unit itself"
    )
    for place, row in zip(at, table.itertuples(), strict=True):
        words = (
            f"{row.verdict}; responses alike {row.alike:.2f}, by chance {row.alike_by_chance:.2f}"
        )
        axis.text(-1, place + 0.32, words, fontsize=SMALL - 2, color=QUIET)
    axis.set_yticks(at, _layer_names(comparison))
    axis.set_ylim(len(table) - 0.4, -0.6)
    axis.set_xlim(-1.05, 1.05)
    axis.set_xticks([-1, -0.5, 0, 0.5, 1])
    axis.set_xlabel("Spearman's ρ of feature entropy", fontsize=SMALL)
    axis.legend(fontsize=SMALL - 1, loc="upper center", bbox_to_anchor=(0.5, -0.16), frameon=False)
    _heading(axis, "Do units that respond alike share status?")
