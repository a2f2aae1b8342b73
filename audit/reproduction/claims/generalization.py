"""On training data alone, feature entropy separates networks that generalize from others.

Networks are compared when they have reached the same training loss: the lowest that both reach.
Where labels are noisy, the classes that a network was trained on are mixtures, whose feature
entropy is higher whatever the network does. So networks are also compared on the same labels: those
that images came with, and moved ones, which show the mixture to both.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from audit.reproduction import figures
from audit.reproduction.case import Case
from audit.reproduction.claim import Claim, Found, Quantity, Record
from audit.reproduction.course import Course
from audit.reproduction.form import VARIANTS, Variant

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Accuracies further apart than so many standard errors are told apart.
_APART: Final = 1.96
_WITHOUT_NOISE: Final[tuple[Variant, ...]] = ("regular", "unaugmented", "unregularised")


def gather(case: Case) -> Found:
    """Compare four trainings at equal training loss."""
    courses = {variant: case.course(variant) for variant in VARIANTS}
    clean, noisy = courses["unregularised"], courses["noisy"]
    numbers = {
        "noise": _difference(clean, noisy, "entropy"),
        "noise_clean": _difference(clean, noisy, "entropy_clean"),
        "noise_moved": _difference(clean, noisy, "entropy_noisy"),
        "augmentation": _difference(courses["regular"], courses["unaugmented"], "entropy"),
        "regularisation": _difference(courses["unaugmented"], clean, "entropy"),
        "others": _agreement([courses[variant] for variant in _WITHOUT_NOISE]),
        "loss": _common_loss(clean, noisy),
    }
    lowest = max(course.least_loss for course in courses.values())
    series: dict[str, Any] = {}
    for variant, course in courses.items():
        numbers[f"accuracy_{variant}"] = course.held_out_accuracy
        series[variant] = {
            "held_out_accuracy": course.held_out_accuracy,
            "entropy": course.at_loss(lowest, "entropy"),
            "entropy_clean": course.at_loss(lowest, "entropy_clean"),
        }
    return Found(numbers, series)


def _common_loss(one: Course, other: Course) -> float:
    """The lowest training loss that both reach."""
    return max(one.least_loss, other.least_loss)


def _difference(better: Course, worse: Course, name: str) -> float:
    """Feature entropy of the one less that of the other, at their lowest common loss; nats."""
    loss = _common_loss(better, worse)
    return worse.at_loss(loss, name) - better.at_loss(loss, name)


def _agreement(courses: Sequence[Course]) -> float:
    """Mean over pairs that held-out accuracy tells apart of +1 where they are in the claimed order.

    That is, where the less accurate network has the higher feature entropy; −1 where it has the
    lower one. NaN where there is no such pair.
    """
    signs = []
    for one, other in itertools.combinations(courses, 2):
        gap = one.held_out_accuracy - other.held_out_accuracy
        error = np.sqrt(sum(_variance(course) for course in (one, other)))
        if abs(gap) > _APART * error:
            better, worse = (one, other) if gap > 0 else (other, one)
            signs.append(np.sign(_difference(better, worse, "entropy")))
    return float(np.mean(signs)) if signs else float("nan")


def _variance(course: Course) -> float:
    """Of a held-out accuracy, by the number of its images."""
    accuracy = course.held_out_accuracy
    return accuracy * (1 - accuracy) / course.n_held_out


def draw(records: Sequence[Record]) -> Mapping[str, Figure]:
    """Feature entropy at equal loss beside held-out accuracy."""
    return {"accuracy": _entropy_beside_accuracy(records)}


def _entropy_beside_accuracy(records: Sequence[Record]) -> Figure:
    """Feature entropy at equal training loss beside held-out accuracy, of every network."""
    cells = figures.by_cell(records)
    figure, axes = figures.grid_of_cells(list(cells))
    for cell, group in cells.items():
        one = axes[cell]
        for number, variant in enumerate(VARIANTS):
            found = [record.series[variant] for record in group]
            accuracy = [point["held_out_accuracy"] for point in found]
            colour = figures.COLOURS[number]
            one.plot(
                accuracy,
                [p["entropy"] for p in found],
                "o",
                color=colour,
                markersize=4,
                label=variant,
            )
            if variant == "noisy":
                clean = [point["entropy_clean"] for point in found]
                one.plot(
                    accuracy,
                    clean,
                    "o",
                    color=colour,
                    markersize=4,
                    fillstyle="none",
                    label="noisy, on clean labels",
                )
        one.set_xlabel("held-out accuracy", fontsize=7)
        one.set_ylabel("feature entropy (nats)", fontsize=7)
    figures.legend_below(figure, axes[next(iter(cells))], 5)
    return figure


CLAIM: Final = Claim(
    name="generalization",
    statement="on training data alone, feature entropy separates networks that generalize from "
    "those that do not",
    version="1",
    gather=gather,
    draw=draw,
    variants=VARIANTS,
    quantities=(
        Quantity(
            "noise",
            "label noise",
            "feature entropy of noisily less cleanly trained networks, each on its own labels, "
            "at equal loss, nats",
            "claim",
            least=0.05,
        ),
        Quantity("noise_clean", "on clean labels", "the same, both on clean labels", "control"),
        Quantity("noise_moved", "on moved labels", "the same, both on moved labels", "control"),
        Quantity(
            "others",
            "without noise",
            "share of pairs without label noise in the claimed order less those in the other, "
            "of pairs whose held-out accuracies are told apart",
            "control",
        ),
        Quantity("augmentation", "no augmentation", "without less with augmentation, nats"),
        Quantity("regularisation", "no decay", "without less with weight decay, nats"),
        Quantity(
            "loss", "common loss", "training loss at which noisy and clean are compared, nats"
        ),
        *(
            Quantity(f"accuracy_{variant}", f"accuracy, {variant}", "held-out accuracy, in [0, 1]")
            for variant in VARIANTS
        ),
    ),
)
