"""The figures of the findings, the same bytes for the same numbers."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from audit.files import write_atomically
from benchmarks.findings.columns import (
    FILTRATIONS,
    MAIN,
    OF_DIAGRAMS,
    OVER_DEPTH,
    WITH_FILTRATION,
    variants,
)
from benchmarks.findings.layers import DEPTHS, depth_profile
from benchmarks.findings.words import Findings

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: A figure's largest size, in bytes.
LARGEST: Final = 80_000
#: Okabe and Ito's colours, told apart by readers who do not see all colours.
_COLOURS: Final = (
    *("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#999999"),
)
_MARKERS: Final = "osD^vP*X"
_STYLE: Final[dict[Any, Any]] = {
    "svg.hashsalt": "genaudit",
    "svg.fonttype": "none",
    "font.size": 8,
    "font.family": "sans-serif",
    "axes.spines.top": False,
    "axes.spines.right": False,
}


@contextmanager
def _drawing() -> Iterator[None]:
    import matplotlib

    with matplotlib.rc_context(_STYLE):
        yield


def _svg(figure: Figure) -> bytes:
    """A figure as SVG, without the date, on white so that dark pages show it too."""
    buffer = io.BytesIO()
    figure.savefig(
        buffer, format="svg", metadata={"Date": None}, bbox_inches="tight", facecolor="white"
    )
    lines = buffer.getvalue().decode().split("\n")
    return "\n".join(line.rstrip() for line in lines).encode()


def write_figures(findings: Findings, folder: Path) -> list[Path]:
    """Draw all figures; returns their paths.

    Raises:
        StoreError: A file cannot be written.
    """
    written = []
    with _drawing():
        for name, draw in (("zoos", _zoos), ("heat", _heat), ("depth", _depth)):
            path = folder / f"findings-{name}.svg"
            folder.mkdir(parents=True, exist_ok=True)
            write_atomically(path, _svg(draw(findings)))
            written.append(path)
    return written


def _zoos(findings: Findings) -> Figure:
    """τ of the main measures: a dot per zoo, and the mean over sources with its interval."""
    from matplotlib.figure import Figure

    judged, tau = findings.judged, findings.of_zoos()
    columns = judged.loc[findings.known(MAIN), "kendall"].sort_values().index
    figure = Figure(figsize=(6.4, 0.19 * len(columns) + 1))
    axes = figure.subplots()
    sources = sorted(set(findings.sources))
    for place, source in enumerate(sources):
        zoos = [z for z, s in zip(findings.zoos.main, findings.sources, strict=True) if s == source]
        x = tau.loc[columns, zoos].to_numpy(float)
        y = np.repeat(np.arange(len(columns)), len(zoos))
        axes.plot(
            x.ravel(),
            y,
            linestyle="none",
            marker=_MARKERS[place % 8],
            markersize=3.5,
            color=_COLOURS[place % 8],
            alpha=0.8,
            label=source,
            markeredgewidth=0,
        )
    rows = judged.loc[columns]
    low, high = (rows[f"kendall_{end}"].clip(-1, 1) for end in ("lower", "upper"))
    axes.hlines(np.arange(len(columns)), low, high, color="black", linewidth=0.8)
    axes.plot(rows["kendall"], np.arange(len(columns)), "|", color="black", markersize=8)
    axes.axvline(0, color="grey", linewidth=0.5)
    for side in (-1, 1):
        axes.axvline(side * findings.threshold, color="grey", linewidth=0.5, linestyle=":")
    axes.set_yticks(np.arange(len(columns)), list(columns))
    axes.set(xlim=(-1, 1), ylim=(-0.7, len(columns) - 0.3))
    axes.set_xlabel(
        "Kendall τ with held-out accuracy; bars: mean over sources, 95%;\n"
        "dotted: what the largest of all columns reaches by chance in one of twenty cases"
    )
    axes.legend(frameon=False, loc="upper left", fontsize=7, handletextpad=0.2)
    return figure


def _heat(findings: Findings) -> Figure:
    """τ of the measures of births by zoo, blue where they fall with accuracy."""
    from matplotlib.figure import Figure

    tau = findings.of_zoos()
    stems = [c for stem in WITH_FILTRATION for c in variants(stem)] + list(OF_DIAGRAMS)
    columns = findings.known(stems)
    values = tau.loc[columns].to_numpy(float)
    figure = Figure(figsize=(0.55 * values.shape[1] + 3.2, 0.19 * len(columns) + 1))
    axes = figure.subplots()
    image = axes.imshow(values, cmap="RdBu_r", vmin=-0.8, vmax=0.8, aspect="auto")
    axes.set_yticks(np.arange(len(columns)), columns)
    axes.set_xticks(np.arange(values.shape[1]), list(tau.columns), rotation=45, ha="right")
    axes.tick_params(length=0)
    figure.colorbar(image, ax=axes, label="Kendall τ with held-out accuracy", fraction=0.05)
    return figure


def _depth(findings: Findings) -> Figure:
    """τ within architectures over relative depth, a panel for each filtration."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 2.9))
    panels = figure.subplots(1, 2, sharey=True)
    for panel, filtration in zip(panels, FILTRATIONS, strict=True):
        for place, stem in enumerate(OVER_DEPTH):
            for column in findings.known([f"{stem}.{filtration}"]):
                profile = depth_profile(findings, column)
                mean = np.array([one.mean for one in profile])
                ends = np.array([[o.mean - o.lower, o.upper - o.mean] for o in profile]).T
                panel.errorbar(
                    np.array(DEPTHS) + 0.012 * (place - 2),
                    mean,
                    np.nan_to_num(ends),
                    color=_COLOURS[place],
                    marker=_MARKERS[place],
                    markersize=4,
                    linewidth=1.2,
                    elinewidth=0.6,
                    label=stem,
                )
        panel.axhline(0, color="grey", linewidth=0.5)
        panel.set(title=filtration, xlabel="relative depth", xticks=DEPTHS, ylim=(-1, 1))
    panels[0].set_ylabel("τ within architectures")
    figure.legend(
        *panels[0].get_legend_handles_labels(),
        loc="outside lower center",
        ncols=5,
        frameon=False,
        bbox_to_anchor=(0.5, -0.12),
        fontsize=7,
    )
    return figure
