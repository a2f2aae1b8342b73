"""Whether a network looks untrained on its own training images, and what may be the cause.

One rule for all of it: a trained network answers most of its training images correctly, gives
different scores to different images, and is shown images like those it was trained on. Where one
of that does not hold, its numbers are kept and the checkpoint is doubtful, for the cause is more
often a setting than the network.

* "chance": the train accuracy is not above that of always giving the commonest class (binomial
  test at 0.05), and so low that a network halfway between that and perfect would come out
  so low by accident with a probability below 0.01.
* "one_class": all predictions are one class, with the same guard against accidents.
* "constant_scores": the scores do not depend on the image, or not on the class.
* "class_order": another order of the classes gives a far better train accuracy: better by
  0.1 at least, and by McNemar's exact test not by accident at 0.001.
* "input": the images are far from what the first normalisation saw in training, or, without one,
  from what the network declares.
* "untrained": the head, or the first normalisation, is as it was before training.

A network that answers `ACQUITTED` of its training images correctly sees what it was trained on:
its input is not doubted. One that is halfway between chance and perfect is not untrained.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from audit.arrays import Labels, Logits
from audit.measuring._answers import (
    ERROR_PROBABILITY,
    FAR_BETTER,
    Answers,
    assigned_order,
    is_far_better,
)
from audit.measuring.class_order import DATASET, NATURAL, PLAIN, labels_in, named_order

ACQUITTED: Final = 0.9
#: Factor between spreads, and distance of means in spreads, from which images are far from trained.
_FAR_NORM: Final = 3.0
_FAR_DECLARED: Final = 5.0
_CONSTANT: Final = 1e-6

_LEGITIMATE: Final = (
    "a network that has learned nothing of these labels, such as one trained on random labels, "
    "looks the same"
)


@dataclasses.dataclass(frozen=True)
class Doubt:
    """One reason to doubt that a network is run as it was trained.

    Attributes:
        kind: One of those that the module's docstring lists.
        reason: What was found, and what to look at, in words.
    """

    kind: str
    reason: str


def find_doubts(
    logits: Logits,
    labels: Labels,
    order: Sequence[str],
    dataset_order: Sequence[str],
    evidence: Mapping[str, Any],
) -> tuple[Doubt, ...]:
    """Why a checkpoint is doubtful; nothing where it is not. Causes come before effects.

    Args:
        logits: Shape (n, c), the scores of the training sample.
        labels: Shape (n,), the right output for each.
        order: Names of the classes in the order of the outputs.
        dataset_order: Names as the training set has them.
        evidence: What `audit.measuring._evidence.gather` found; empty if nothing is known.
    """
    answers = Answers(logits.argmax(1), labels, len(order))
    untrained = _untrained(answers, evidence)
    causes = [
        *untrained,
        *_other_orders(answers, order, dataset_order, assign=not untrained),
        *_inputs(answers, evidence),
    ]
    return (*causes, *_effects(logits, answers, [cause.kind for cause in causes]))


def _effects(logits: Logits, answers: Answers, causes: Sequence[str]) -> list[Doubt]:
    """What the scores alone show."""
    found: list[tuple[str, str]] = []
    if _is_constant(logits, 0):
        found.append(("constant_scores", "the scores are the same for every training image"))
    elif _is_constant(logits, 1):
        found.append(("constant_scores", "every class gets the same score on each training image"))
    elif len(np.unique(answers.predictions)) == 1 and answers.is_low:
        found.append(
            ("one_class", f"all {len(answers.labels)} training images get the same answer")
        )
    if answers.is_chance:
        found.append(
            (
                "chance",
                f"train accuracy {answers.accuracy:.2f} is not above chance "
                f"({answers.chance:.2f}, that of always giving the commonest class); a network "
                f"that is right on {answers.halfway:.0%} of its training images gives so few right "
                f"answers among {len(answers.labels)} with a probability below "
                f"{ERROR_PROBABILITY:g}",
            )
        )
    return [Doubt(kind, f"{what}; {_likely(causes)}") for kind, what in found]


def _likely(causes: Sequence[str]) -> str:
    """What to look at."""
    if causes:
        return f"for the likely cause see the other reasons; {_LEGITIMATE}"
    return (
        "likely causes: the order of classes (class_order), normalisation (mean and std of "
        "transform), channels (RGB or BGR, grey or colour), a head that the weights do not fill; "
        f"{_LEGITIMATE}"
    )


def _is_constant(logits: Logits, axis: int) -> bool:
    """Whether scores do not vary along an axis, up to rounding."""
    if logits.shape[axis] < 2:
        return False
    span = np.ptp(logits.astype(np.float64), axis=axis).max()
    return bool(span <= _CONSTANT * max(float(np.abs(logits).max()), 1e-30))


def _other_orders(
    answers: Answers, order: Sequence[str], dataset_order: Sequence[str], assign: bool
) -> list[Doubt]:
    """The order of classes that would give a far better train accuracy, if there is one.

    Outputs are not assigned to classes for a fresh head: on good features its outputs tell classes
    apart by accident, and mean nothing.
    """
    if len(set(order)) < len(order):
        return []
    own = labels_in(dataset_order, order, answers.labels)  # labels as the training set has them
    best: tuple[float, str] | None = None
    for word in (NATURAL, PLAIN, DATASET):
        other = named_order(word, dataset_order)
        right = answers.predictions == labels_in(other, dataset_order, own)
        if other != tuple(order) and is_far_better(right, answers):
            accuracy = float(right.mean())
            if best is None or accuracy > best[0]:
                best = (accuracy, f'class_order = "{word}"')
    assigned = assigned_order(answers, order) if assign else None
    if assigned is not None and (best is None or assigned[0] > best[0] + FAR_BETTER):
        best = assigned
    if best is None:
        return []
    accuracy, setting = best
    return [
        Doubt(
            "class_order",
            f"{setting} would give train accuracy {accuracy:.2f} instead of "
            f"{answers.accuracy:.2f}; set it if the network was trained so",
        )
    ]


def _inputs(answers: Answers, evidence: Mapping[str, Any]) -> list[Doubt]:
    """Whether images are far from those of training, by the strongest evidence there is."""
    images, norm = evidence.get("images"), evidence.get("norm")
    if not images or answers.accuracy >= ACQUITTED:
        return []
    if norm and not norm["fresh"] and norm["scale"] == norm["scale"]:
        scale, shift = norm["scale"], norm["shift"]
        if 1 / _FAR_NORM <= scale <= _FAR_NORM and shift <= _FAR_NORM:
            return []
        what = (
            f"the first normalisation ({norm['name']}) is given activations whose spread is "
            f"{scale:.3g} times that of training and whose mean is {shift:.3g} such spreads off"
        )
    elif images["scale"] > _FAR_DECLARED or images["shift"] > _FAR_DECLARED:
        what = _far_from_declared(images)
    else:
        return []
    return [
        Doubt(
            "input",
            f"{what}; prepared images have mean {_numbers(images['mean'])} and std "
            f"{_numbers(images['std'])}: check mean and std of transform ({_numbers_of(images)}; "
            "pixels are scaled to 0…1 before) and the channels against the training's, "
            "such as pixels in 0…255",
        )
    ]


def _far_from_declared(images: Mapping[str, Any]) -> str:
    """How the preparation differs from the declared one, or from any usual one."""
    declared = images["declared"]
    if declared is None:
        return "the images are prepared unlike those of any usual training"
    return (
        f"the images are prepared far from what the network declares (mean "
        f"{_numbers(declared[0])}, std {_numbers(declared[1])})"
    )


def _numbers_of(images: Mapping[str, Any]) -> str:
    """Mean and std in use."""
    mean, std = images["used"]
    return f"now mean {_numbers(mean)}, std {_numbers(std)}"


def _numbers(values: Sequence[float]) -> str:
    """A number, or numbers in brackets where channels differ."""
    texts = [f"{value:.3g}" for value in values]
    return texts[0] if len(set(texts)) == 1 else f"[{', '.join(texts)}]"


def _untrained(answers: Answers, evidence: Mapping[str, Any]) -> list[Doubt]:
    """Whether parts of the network are as they were before training."""
    if answers.accuracy >= answers.halfway:
        return []
    found = []
    head, norm = evidence.get("head"), evidence.get("norm")
    if head:
        found.append(f"the head ({head['name']}) looks freshly initialised: {head['why']}")
    if norm and norm["fresh"]:
        found.append(
            f"the first normalisation ({norm['name']}) has the statistics of a network that was "
            "never trained (mean 0, variance 1)"
        )
    if not found:
        return []
    return [Doubt("untrained", f"{'; '.join(found)}: check that the weights are those of training")]
