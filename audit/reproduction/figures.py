"""What the figures of all claims share. They need matplotlib, which is an extra."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from audit.errors import ConfigError
from audit.reproduction.case import Cell

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from audit.reproduction.claim import Record

#: Inches of a panel.
PANEL: Final = (3.0, 2.3)
FORMATS: Final = ("svg", "png")
#: Colours that are told apart without red and green. Source: Okabe & Ito, "Color universal
#: design", 2008.
COLOURS: Final = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
GRAY: Final = "#6b6b6b"


def require_matplotlib() -> None:
    """Refuse to draw where matplotlib is not installed.

    Raises:
        ConfigError: The message says what to install.
    """
    try:
        import matplotlib.figure  # noqa: F401  # only whether it is there
    except ImportError as error:
        raise ConfigError(
            'figures need matplotlib: install it with pip install "genaudit[figures]", or ask for '
            "none with --figures none"
        ) from error


def save(figure: Figure, path: Path) -> None:
    """Write a figure in the format of the path's ending; equal figures give equal bytes."""
    import matplotlib

    with matplotlib.rc_context({"svg.hashsalt": "genaudit"}):
        metadata = {"Date": None} if path.suffix == ".svg" else None
        figure.savefig(path, dpi=150, metadata=metadata, bbox_inches="tight")


def panels(n_rows: int, n_columns: int, size: tuple[float, float] = PANEL) -> tuple[Figure, Any]:
    """A figure and its axes, shape (rows, columns)."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(size[0] * n_columns, size[1] * n_rows), layout="constrained")
    axes = figure.subplots(n_rows, n_columns, squeeze=False)
    for one in axes.flat:
        one.tick_params(labelsize=7)
        for side in ("top", "right"):
            one.spines[side].set_visible(False)
    return figure, axes


def by_cell(records: Sequence[Record]) -> dict[Cell, list[Record]]:
    """The records of each cell, in order of seeds."""
    ordered = sorted(records, key=lambda record: (record.cell, record.seed))
    groups = itertools.groupby(ordered, key=lambda record: record.cell)
    return {cell: list(group) for cell, group in groups}


def grid_of_cells(
    cells: Sequence[Cell], size: tuple[float, float] = PANEL
) -> tuple[Figure, dict[Cell, Axes]]:
    """A figure with a row for each architecture and a column for each source; cell → axes."""
    rows = list(dict.fromkeys(cell.architecture for cell in cells))
    columns = list(dict.fromkeys(cell.source for cell in cells))
    figure, axes = panels(len(rows), len(columns), size)
    found: dict[Cell, Axes] = {}
    for (i, row), (j, column) in itertools.product(enumerate(rows), enumerate(columns)):
        cell = Cell(row, column)
        found[cell] = axes[i, j]
        axes[i, j].set_title(str(cell), fontsize=8)
        if cell not in cells:
            axes[i, j].set_axis_off()
    return figure, found


def legend_below(figure: Figure, axes: Axes, n_columns: int) -> None:
    """One legend for all panels, taken from one of them."""
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="outside lower center", ncols=n_columns, fontsize=8, frameon=False
    )
