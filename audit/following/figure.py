"""A followed training as a figure: entropy beside loss, and information, over epochs."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np

from audit.errors import ConfigError
from audit.files import write_atomically
from audit.following.logs import needed
from audit.following.trajectory import Trajectory
from audit.units.canvas import figure_bytes

_INCHES: Final = (7.0, 6.0)
_LOSS: Final = {"color": "black", "linestyle": "--", "linewidth": 1.2}
_STOP: Final = {"color": "0.5", "linestyle": ":", "linewidth": 1.2}
_LABELS: Final = {
    "feature_entropy": "feature entropy, nats",
    "birth_class_information": "birth–class information, nats",
}


def draw(trajectory: Trajectory, path: Path) -> None:
    """Write the figure: a panel for each quantity, its layers from light to dark, loss dashed.

    Args:
        trajectory: What is drawn.
        path: Its ending says the format, such as ".svg" or ".png"; equal trajectories give equal
            bytes.

    Raises:
        ConfigError: matplotlib is not installed, or does not know the format.
        StoreError: The file cannot be written.
    """
    matplotlib = needed("matplotlib", "draw a trajectory")
    from matplotlib.figure import Figure

    with matplotlib.rc_context({"svg.hashsalt": "genaudit", "svg.fonttype": "none"}):
        figure = Figure(figsize=_INCHES, layout="constrained")
        panels: Any = figure.subplots(2, 1, sharex=True)
        for panel, (quantity, label) in zip(panels, _LABELS.items(), strict=True):
            _draw_quantity(panel, trajectory, quantity, label)
        names = panels[0].get_legend_handles_labels()
        figure.legend(*names, loc="outside upper center", ncols=4, fontsize="small", frameon=False)
        panels[1].set_xlabel("epoch")
        try:
            content = figure_bytes(figure, path.suffix.removeprefix(".") or "svg")
        except ValueError as error:
            raise ConfigError(f"a figure cannot be written as {path.name}: {error}") from error
    write_atomically(path, content)


def _draw_quantity(panel: Any, trajectory: Trajectory, quantity: str, label: str) -> None:
    """One quantity of every layer, and the loss on an axis of its own."""
    import matplotlib as mpl

    table = trajectory.table
    layers = list(table["layer"].unique())
    shades = mpl.colormaps["viridis_r"](np.linspace(0.15, 0.95, len(layers)))
    for layer, shade in zip(layers, shades, strict=True):
        part = table[table["layer"] == layer]
        panel.plot(part["epoch"], part[quantity], color=shade, label=layer, marker=".")
    panel.set_ylabel(label)
    beside = panel.twinx()
    whole = table.drop_duplicates("epoch")
    name = "training loss" if trajectory.loss == "loss" else "loss on the sample"
    beside.plot(whole["epoch"], whole[trajectory.loss], label=name, **_LOSS)
    beside.set_ylabel(f"{name}, nats (dashed)")
    panel.plot([], [], label=name, **_LOSS)
    if trajectory.stop.best_epoch is not None:
        panel.axvline(trajectory.stop.best_epoch, **_STOP)
        panel.plot([], [], label="suggested stop", **_STOP)
