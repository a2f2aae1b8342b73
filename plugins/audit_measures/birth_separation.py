"""How well births alone tell the classes apart, layer by layer."""

from __future__ import annotations

import functools
import math

import numpy as np

from audit.plugin import Filtration, LayerBirths, MeasureEntry, TrainView, Value
from audit_measures._class_separation import class_separation
from audit_measures._layer_parts import (
    declared_beside,
    declared_parts,
    layer_parts,
    parts_beside,
    silent_units,
)


def _of_layer(layer: LayerBirths, labels: np.ndarray) -> tuple[Value, Value]:
    """Adjusted accuracy of the two classifiers."""
    births = layer.birth_levels[:, ~silent_units(layer)]
    if not (births.size and (births != births[0]).any()):
        reason = f"{layer.layer}: every unit has the same birth on all images"
        return Value.undefined(reason), Value.undefined(reason)
    reason = f"{layer.layer}: no two classes have images enough on both sides of a fold"
    linear, nearest = (
        Value.undefined(reason) if math.isnan(number) else Value(number)
        for number in class_separation(births, labels)
    )
    return linear, nearest


def birth_separation(view: TrainView, filtration: Filtration) -> dict[str, Value]:
    """Balanced accuracy of LDA on the births of a layer, cross-validated, above chance.

    An image is described by the ranks of the births of all units of a layer, and by which units
    have a birth; see `class_separation`. (a − 1/c) / (1 − 1/c) with a the mean over c
    classes of the share of images left out that is given its class: 0 is chance, 1 is perfect,
    slightly negative is chance too.

    Args:
        view: The network and its training sample.
        filtration: "clique" or "cubical".

    Returns:
        The parts of `layer_parts`; "neighbours" and "neighbours_last": the same for the class of
        the nearest image. Undefined where all births of a layer are equal, or where no fold leaves
        two classes, and more images than classes, to learn from.

    Source:
        Ours, of scikit-learn's LinearDiscriminantAnalysis (shrinkage 0.1) and
        KNeighborsClassifier. No paper claims a direction.

    Example:
        A single unit that is born at levels 2 to 11 for one class and at 12 to 21 for the other
        has 1; a unit with one birth level for all images is undefined.
    """
    found = [_of_layer(layer, view.labels) for layer in view.births(filtration)]
    linear, nearest = ([pair[k] for pair in found] for k in (0, 1))
    return layer_parts(linear) | parts_beside("neighbours", nearest)


_CLAIM = (
    "own: it rises with held-out accuracy on every zoo of benchmarks/zoos, whatever the source, "
    "architectures and axes (docs/findings.md)"
)


def _entry(filtration: Filtration) -> MeasureEntry:
    """The measure under one filtration."""
    return MeasureEntry(
        name=f"birth_separation.{filtration}",
        summary=(
            "balanced accuracy above chance of a linear classifier on births alone "
            f"({filtration} filtration)"
        ),
        compute=functools.partial(birth_separation, filtration=filtration),
        version="1",
        direction="higher",
        invariance="node-wise",
        varies_with=("dtype", "device"),
        cost="topology",
        formula="(a - 1/c) / (1 - 1/c), a: mean accuracy over c classes of LDA on images left out",
        claim=_CLAIM,
        weakness=(
            "it grows with the number of units and of images, so that only networks on equal "
            "samples compare; on labels that are wrong it has a ceiling that is not the network's"
        ),
        needs="two classes with three images each, or more; square maps under clique",
        source="scikit-learn's LDA with shrinkage 0.1, and nearest neighbour; five folds",
        unit="share of accuracy above chance",
        parts=(
            *declared_parts("higher"),
            *declared_beside("neighbours", "the same, of the nearest neighbour"),
        ),
        filtrations=(filtration,),
        order=5,
    )


MEASURES = (_entry("clique"), _entry("cubical"))
