"""Time against map side, drawn from results of `benchmarks.topology`."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final, NamedTuple

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, NullLocator

Results = dict[str, Any]
_GAP: Final = 0.062  # between labels, as a share of a panel's height
_DASHES: Final[dict[str, Any]] = {"white noise": "solid", "trained ReLU": (0, (4, 2))}
_OURS, _FALLBACK, _BOUND = "genaudit, compiled", "genaudit, torch fallback", "reading the maps once"
_STYLES: Final = {  # colour, marker; no two peers of one panel share a marker
    _OURS: ("#000000", "o"),
    _FALLBACK: ("#6b6b6b", "o"),
    _BOUND: ("#6b6b6b", ""),
    "gudhi CubicalPersistence H1": ("#0072b2", "s"),
    "gudhi SimplexTree": ("#0072b2", "s"),
    "gudhi SimplexTree to level 51": ("#0072b2", "D"),
    "gudhi RipsComplex": ("#0072b2", "^"),
    "cripser": ("#b8460e", "v"),
    "ripser": ("#b8460e", "v"),
    "giotto-ph": ("#00734f", "P"),
    "giotto-tda CubicalPersistence": ("#00734f", "X"),
    "giotto-tda VietorisRipsPersistence": ("#00734f", "X"),
    "torch-topological CubicalComplex": ("#9b3f86", "*"),
    "torch-topological VietorisRipsComplex": ("#9b3f86", "*"),
}


class _Curve(NamedTuple):
    """Points of one program on one kind of maps."""

    name: str
    kind: str
    sides: list[int]
    microseconds: list[float]

    @property
    def reach(self) -> tuple[int, bool]:
        """How far right it can be labelled; where that is equal, the solid line."""
        return self.sides[-1], self.kind == "white noise"


def draw(results: Results, path: Path) -> None:
    """Write an SVG with one panel for each filtration; the same results give the same bytes."""
    filtrations = list(dict.fromkeys(row["filtration"] for row in results["rows"]))
    with rc_context({"svg.hashsalt": "genaudit", "font.size": 10, "axes.titlesize": 11}):
        figure = Figure(figsize=(9.5, 5.4 * len(filtrations)), facecolor="white")
        panels = figure.subplots(len(filtrations), squeeze=False)[:, 0]
        figure.subplots_adjust(0.095, 0.3 / len(filtrations) / 2.7, 0.68, 0.97, hspace=0.2)
        for panel, filtration in zip(panels, filtrations, strict=True):
            rows = [row for row in results["rows"] if row["filtration"] == filtration]
            _panel(panel, f"{filtration}: µs per map, one thread", rows)
        figure.savefig(path, format="svg", metadata={"Date": None})


def _panel(panel: Axes, title: str, rows: list[Results]) -> None:
    """Every curve of one filtration, with a label at its right end."""
    curves = _curves(rows)
    sides = sorted({row["side"] for row in rows})
    panel.set(
        xscale="log",
        yscale="log",
        xlabel="map side, pixels",
        xlim=(sides[0] / 1.1, sides[-1] * 1.1),
    )
    panel.set_title(title, loc="left")
    for curve in curves:
        colour, marker = _STYLES[curve.name]
        panel.plot(
            curve.sides,
            curve.microseconds,
            color=colour,
            marker=marker,
            markersize=5,
            linestyle="dotted" if curve.name == _BOUND else _DASHES[curve.kind],
            linewidth=2.4 if curve.name == _OURS else 1.2,
        )
    panel.set_xticks(sides, [str(side) for side in sides])
    panel.xaxis.set_minor_locator(NullLocator())
    panel.yaxis.set_major_formatter(FuncFormatter(_plain))
    panel.grid(color="#dddddd", linewidth=0.6)
    panel.spines[["top", "right"]].set_visible(False)
    farthest = {curve.name: curve for curve in sorted(curves, key=lambda curve: curve.reach)}
    _label(panel, list(farthest.values()))
    key = [Line2D([], [], color="#333333", linestyle=dash) for dash in _DASHES.values()]
    panel.legend(key, ["white noise", "maps of a trained network"], loc="upper left", frameon=False)


def _plain(value: float, _: object) -> str:
    """A tick's number, written out."""
    return f"{value:,.0f}" if value >= 1 else f"{value:g}"


def _curves(rows: list[Results]) -> list[_Curve]:
    """The bound, the fallback, the peers and ours, which is drawn last and so on top."""
    curves = []
    for kind in dict.fromkeys(row["maps"] for row in rows):
        points: dict[str, dict[int, float]] = {_BOUND: {}, _FALLBACK: {}}
        ours = {}
        for row in (row for row in rows if row["maps"] == kind):
            points[_BOUND][row["side"]] = row["memory_bound_us_per_map"]
            points[_FALLBACK][row["side"]] = row["torch_us_per_map"]
            for name, peer in row["peers"].items():
                points.setdefault(name, {})[row["side"]] = peer["us_per_map"]
            ours[row["side"]] = row["us_per_map"]
        points[_OURS] = ours
        if kind != "white noise":
            del points[_BOUND]  # the same
        curves += [_Curve(name, kind, [*at], [*at.values()]) for name, at in points.items()]
    return curves


def _label(panel: Axes, curves: list[_Curve]) -> None:
    """Names right of the panel, in the order of the curves' ends, apart from each other."""
    panel.set_ylim(panel.get_ylim())  # fixed, for the ends are shares of it
    to_share = panel.transData + panel.transAxes.inverted()
    curves = sorted(curves, key=lambda curve: curve.microseconds[-1])
    ends = [to_share.transform((curve.sides[-1], curve.microseconds[-1]))[1] for curve in curves]
    for curve, height in zip(curves, _apart(ends), strict=True):
        panel.annotate(
            curve.name,
            xy=(curve.sides[-1], curve.microseconds[-1]),
            xytext=(1.05, height),
            textcoords="axes fraction",
            verticalalignment="center",
            weight="bold" if curve.name == _OURS else "normal",
            arrowprops={
                "arrowstyle": "-",
                "color": _STYLES[curve.name][0],
                "linewidth": 0.7,
                "relpos": (0, 0.5),
            },
        )


def _apart(heights: list[float]) -> list[float]:
    """Ascending heights moved as little as keeps them `_GAP` apart and within the panel.

    Neighbours that would overlap form a block, which stands evenly about the mean of its own.
    """
    blocks: list[list[float]] = []
    for height in heights:
        blocks.append([height])
        while len(blocks) > 1 and _bottom(blocks[-1]) < _top(blocks[-2]) + _GAP:
            last = blocks.pop()
            blocks[-1] += last
    return [_bottom(block) + _GAP * k for block in blocks for k in range(len(block))]


def _bottom(block: list[float]) -> float:
    """Height of the lowest label of a block."""
    height = _GAP * (len(block) - 1)
    return max(0.0, min(sum(block) / len(block) - height / 2, 1 - height))


def _top(block: list[float]) -> float:
    """Height of the highest label of a block."""
    return _bottom(block) + _GAP * (len(block) - 1)
