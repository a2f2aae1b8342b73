"""Predictions on a sample: are they better than chance, and what would another order give?"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Final

import numpy as np
from scipy import optimize, stats

from audit.arrays import Labels

#: Of a network halfway between chance and perfect, to come out as low as one that is doubted.
ERROR_PROBABILITY: Final = 0.01
#: At which an accuracy is not above chance.
NOT_ABOVE: Final = 0.05
#: What another order of classes must add to the accuracy.
FAR_BETTER: Final = 0.1
#: At which it does so by accident.
BY_ACCIDENT: Final = 0.001
#: More classes than these are not assigned to outputs: the table would be too large.
_MOST_ASSIGNED: Final = 2_000
#: Orders of so many classes are written out.
_MOST_WRITTEN: Final = 20


@dataclasses.dataclass(frozen=True)
class Answers:
    """Predictions on the sample, and how good they would have to be.

    Attributes:
        predictions: Shape (n,), the output with the highest score.
        labels: Shape (n,), the right output.
        n_classes: Of the training set.
    """

    predictions: Labels
    labels: Labels
    n_classes: int

    @property
    def n_right(self) -> int:
        """Right answers."""
        return int((self.predictions == self.labels).sum())

    @property
    def accuracy(self) -> float:
        """Share of right answers."""
        return self.n_right / len(self.labels)

    @property
    def chance(self) -> float:
        """Accuracy of always giving the commonest class."""
        return float(np.bincount(self.labels).max() / len(self.labels))

    @property
    def halfway(self) -> float:
        """Accuracy between chance and perfect."""
        return (1 + self.chance) / 2

    @property
    def is_low(self) -> bool:
        """Whether a network halfway to perfect would hardly come out so low by accident."""
        lower = stats.binom.cdf(self.n_right, len(self.labels), self.halfway)
        return bool(lower < ERROR_PROBABILITY)

    @property
    def is_chance(self) -> bool:
        """Whether the accuracy is not above chance."""
        above = stats.binom.sf(self.n_right - 1, len(self.labels), self.chance)
        return bool(above > NOT_ABOVE) and self.is_low


def is_far_better(right: np.ndarray, answers: Answers) -> bool:
    """Whether other answers are better by far, and not by accident (McNemar's exact test)."""
    now = answers.predictions == answers.labels
    if right.mean() - now.mean() < FAR_BETTER:
        return False
    gained, lost = int((right & ~now).sum()), int((now & ~right).sum())
    test = stats.binomtest(gained, gained + lost, alternative="greater")
    return bool(test.pvalue < BY_ACCIDENT)


def assigned_order(answers: Answers, order: Sequence[str]) -> tuple[float, str] | None:
    """The best assignment of outputs to classes: its train accuracy, and what to write for it.

    It is found on every other image of each class and judged on the rest, so that a network that
    has learned nothing does not seem to have.
    """
    n_classes = len(order)
    if n_classes > _MOST_ASSIGNED:
        return None
    odd = _every_other(answers.labels)
    table = np.zeros((n_classes, n_classes), dtype=np.int64)
    np.add.at(table, (answers.labels[~odd], answers.predictions[~odd]), 1)
    classes, outputs = optimize.linear_sum_assignment(table, maximize=True)
    to_output = np.empty(n_classes, dtype=np.int64)
    to_output[classes] = outputs
    rest = Answers(answers.predictions[odd], answers.labels[odd], n_classes)
    if not len(rest.labels):
        return None
    right = rest.predictions == to_output[rest.labels]
    if right.mean() < answers.halfway or not is_far_better(right, rest):
        return None
    accuracy = float((answers.predictions == to_output[answers.labels]).mean())
    names = [order[index] for index in np.argsort(to_output)]
    if n_classes <= _MOST_WRITTEN:
        written = ", ".join(f'"{name}"' for name in names)
        return accuracy, f"class_order = [{written}]"
    moved = int((to_output != np.arange(n_classes)).sum())
    return accuracy, f"a class_order in which {moved} of {n_classes} classes have another place"


def _every_other(labels: Labels) -> np.ndarray:
    """Every second image of each class; shape (n,), bool."""
    odd = np.zeros(len(labels), dtype=bool)
    for label in np.unique(labels):
        odd[np.flatnonzero(labels == label)[1::2]] = True
    return odd
