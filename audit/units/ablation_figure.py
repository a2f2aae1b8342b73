"""Ablation curves drawn: accuracy and loss against the share of a layer's units that are gone."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from audit.errors import ConfigError
from audit.files import write_atomically
from audit.units.ablation_orders import chosen_orders
from audit.units.canvas import figure_bytes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from audit.units.cumulative import CumulativeAblation

#: Colours that are told apart in print and by the colour-blind (Okabe & Ito 2008).
_COLOURS: Final = ("#000000", "#0072b2", "#009e73", "#d55e00", "#cc79a7", "#56b4e9", "#e69f00")
_CHANCE: Final = "#8a8a8a"
_PANELS: Final = {"accuracy": "accuracy on the training sample", "loss": "loss, in nats"}


def ablation_figure(found: CumulativeAblation) -> Figure:
    """One panel each for accuracy and loss, one curve per order.

    A criterion has one colour. Solid: its least important units go first; dashed: its most
    important ones. Bands are 95% intervals over images, of the first criterion and of the orders
    that are drawn by chance; those of the others would hide the curves.

    Args:
        found: Of `audit.cumulative_ablation`.

    Raises:
        ConfigError: matplotlib is not installed.
    """
    figure_class = _matplotlib("matplotlib.figure").Figure
    figure: Figure = figure_class(figsize=(9.5, 4.2), layout="constrained")
    panels = figure.subplots(1, len(_PANELS))
    for panel, (quantity, label) in zip(panels, _PANELS.items(), strict=True):
        _curves(panel, found, quantity)
        panel.set(xlabel="share of units at zero", ylabel=label, xlim=(0, 1))
        panel.grid(color="#e4e4e4", linewidth=0.6)
    panels[0].set_ylim(0, 1.02)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right center", fontsize=8, frameon=False)
    figure.suptitle(
        f"{found.layer}: {found.n_units} units, {found.n_images} training images", fontsize=11
    )
    return figure


def draw_ablation(found: CumulativeAblation, path: Path) -> None:
    """Write the figure; the form is told by the suffix, and equal curves give equal files.

    Args:
        found: Of `audit.cumulative_ablation`.
        path: Such as ablation.svg.

    Raises:
        ConfigError: matplotlib is not installed, or does not know the form.
        StoreError: The file cannot be written.
    """
    check_drawable(path)
    write_atomically(path, figure_bytes(ablation_figure(found), path.suffix.lower()[1:]))


def check_drawable(path: Path) -> None:
    """Find out before the work whether a figure can be written to a file.

    Args:
        path: Such as ablation.svg.

    Raises:
        ConfigError: matplotlib is not installed, or does not know the form.
    """
    figure: Figure = _matplotlib("matplotlib.figure").Figure()
    known = sorted(figure.canvas.get_supported_filetypes())
    if path.suffix.lower()[1:] not in known:
        raise ConfigError(
            f"{path}: a figure is written as {', '.join(known)}; found the suffix {path.suffix!r}"
        )


def _curves(panel: Axes, found: CumulativeAblation, quantity: str) -> None:
    """The curves of one quantity."""
    orders = chosen_orders(list(dict.fromkeys(found.curves["order"])))
    names = list(dict.fromkeys(o.criterion.name for o in orders if not o.criterion.drawn))
    for order in orders:
        rows = found.curves[found.curves["order"] == order.name]
        x, y = rows["share_ablated"], rows[quantity]
        number = None if order.criterion.drawn else names.index(order.criterion.name)
        colour = _CHANCE if number is None else _COLOURS[number % len(_COLOURS)]
        panel.plot(
            x,
            y,
            color=colour,
            linestyle="solid" if order.least_first else (0, (4, 2)),
            linewidth=2.0 if number in (None, 0) else 1.0,
            label=_label(order.criterion.name, order.first, drawn=number is None),
        )
        if number in (None, 0):
            ends = rows[f"{quantity}_lower"], rows[f"{quantity}_upper"]
            panel.fill_between(x, *ends, color=colour, alpha=0.18, linewidth=0)


def _label(name: str, first: str, drawn: bool) -> str:
    """What the legend calls an order."""
    words = name.replace("_", " ")
    return words if drawn else f"{words}, {first} first"


def _matplotlib(module: str) -> Any:
    """A module of matplotlib, which is an extra.

    Raises:
        ConfigError: It is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ConfigError(
            f"a figure needs the package 'matplotlib', which cannot be imported ({error}); install "
            "it: pip install 'genaudit[figures]'"
        ) from error
