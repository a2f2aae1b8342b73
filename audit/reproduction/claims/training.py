"""Over training, feature entropy falls together with the training loss.

Two series that both fall agree whatever they have to do with each other, so the changes from epoch
to epoch are compared too. And where a network normalises by statistics that it has not gathered
yet, its first epoch changes feature entropy before any weight is of use: the fall is also taken
from a start whose statistics were taken on the images.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

import numpy as np

from audit.reproduction import figures
from audit.reproduction.case import Case
from audit.reproduction.claim import Claim, Found, Quantity, Record
from audit.reproduction.course import known_mean
from audit.reproduction.estimates import kendall, resampled

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def gather(case: Case) -> Found:
    """Compare loss and feature entropy of the last convolution over the epochs of one training."""
    course = case.course("regular")
    loss, entropy = course.column("loss"), course.column("entropy")
    by_class = np.array([one.entropy_by_class for one in course.epochs]).T
    numbers = {
        "together": kendall(loss, entropy),
        "steps": kendall(np.diff(loss), np.diff(entropy)),
        "fall": float(entropy[0] - entropy[-1]),
        "fall_settled": float(course.settled_start - entropy[-1]),
        "loss_end": float(loss[-1]),
    }
    intervals = {
        "together": resampled((by_class,), lambda drawn: kendall(loss, known_mean(drawn, 0))),
        "steps": resampled(
            (by_class,), lambda drawn: kendall(np.diff(loss), np.diff(known_mean(drawn, 0)))
        ),
    }
    series = {
        "epoch": [one.epoch for one in course.epochs],
        "loss": loss.tolist(),
        "entropy": entropy.tolist(),
        "settled_start": course.settled_start,
    }
    return Found(numbers, series, intervals)


def draw(records: Sequence[Record]) -> Mapping[str, Figure]:
    """Entropy beside loss over epochs."""
    return {"courses": _courses(records)}


def _courses(records: Sequence[Record]) -> Figure:
    """Feature entropy beside training loss over epochs, of every seed."""
    cells = figures.by_cell(records)
    figure, axes = figures.grid_of_cells(list(cells))
    for cell, group in cells.items():
        one = axes[cell]
        other = one.twinx()
        other.tick_params(labelsize=7, colors=figures.COLOURS[1])
        one.tick_params(axis="y", colors=figures.COLOURS[0])
        for record in group:
            found = record.series
            one.plot(found["epoch"], found["entropy"], color=figures.COLOURS[0], linewidth=1.1)
            one.plot([0], [found["settled_start"]], "o", color=figures.COLOURS[0], markersize=3)
            other.plot(found["epoch"], found["loss"], "--", color=figures.COLOURS[1], linewidth=1.1)
        one.set_xlabel("epoch", fontsize=7)
        one.set_ylabel("feature entropy (nats)", fontsize=7, color=figures.COLOURS[0])
        other.set_ylabel("training loss (nats)", fontsize=7, color=figures.COLOURS[1])
    figure.suptitle(
        "Feature entropy (full lines; dots: before training, statistics settled) and training "
        "loss (broken lines)",
        fontsize=8,
    )
    return figure


CLAIM: Final = Claim(
    name="training",
    statement="over training, feature entropy falls together with the training loss",
    version="1",
    gather=gather,
    draw=draw,
    quantities=(
        Quantity(
            "together",
            "with loss",
            "Kendall's τ of feature entropy and loss over epochs",
            "claim",
            least=0.5,
        ),
        Quantity("steps", "changes with changes", "τ of their changes between epochs", "control"),
        Quantity(
            "fall_settled",
            "fall, settled",
            "feature entropy before training, statistics settled, less that at the end, nats",
            "control",
        ),
        Quantity("fall", "fall", "feature entropy as initialised less that at the end, nats"),
        Quantity("loss_end", "last loss", "training loss at the end, nats"),
    ),
)
