"""What the holes of a unit's maps say of the class: information, and spread within classes.

Births look at the first hole alone. Total persistence on levels is the sum of the lives of all of
a map's holes in dense ranks, which is the area under its curve of β₁ over the levels: no hole has
to be paired for it. Persistent entropy needs the pairs, and is taken on every tenth image.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from audit.arrays import NO_BIRTH
from audit.plugin import PLAIN, Batch, Layer, MapReducer, MeasureEntry, TrainView, Value
from audit.topology.diagrams import betti_curves, persistence_diagrams, summarize
from audit.topology.information import birth_class_information
from audit.topology.spread import within_class_share
from audit_measures._layer_parts import (
    declared_beside,
    declared_parts,
    layer_parts,
    mean_of_units,
    parts_beside,
)

if TYPE_CHECKING:
    from torch import Tensor

#: Pairing every hole takes tens of microseconds a map.
SHARE = 1 / 10
#: A map is worked on with as many others as have so many values together.
_VALUES_AT_A_TIME = 1 << 22


class HoleSums(MapReducer):
    """Total persistence on levels and largest number of holes of every map, and who varies."""

    def __init__(self, view: TrainView) -> None:
        names = [layer.name for layer in view.layers]
        self._total: dict[str, list[np.ndarray]] = {name: [] for name in names}
        self._most: dict[str, list[np.ndarray]] = {name: [] for name in names}
        self._varies = {layer.name: np.zeros(layer.units, bool) for layer in view.layers}

    def update(self, batch: Batch, layer: Layer, maps: Tensor) -> None:
        """Keep two whole numbers for each map."""
        import torch

        size = max(1, _VALUES_AT_A_TIME // max(1, maps[0].numel()))
        for part in torch.split(maps, size):
            curves = betti_curves(part.float().contiguous().cpu().numpy())
            # after a map's last level, where it is whole, there is no hole
            self._total[layer.name].append(curves.beta_1.sum(-1, dtype=np.int32))
            self._most[layer.name].append(curves.beta_1.max(-1).astype(np.int32))
            self._varies[layer.name] |= (curves.n_levels > 1).any(0)

    def of(self, layer: str) -> tuple[np.ndarray, np.ndarray]:
        """Total persistence and most holes at a level, (n, u), of the units that vary in space."""
        varies = self._varies[layer]
        total, most = (np.concatenate(kept[layer]) for kept in (self._total, self._most))
        return total[:, varies], most[:, varies]


class EntropyOfEachMap(MapReducer):
    """Persistent entropy of the holes of every map of every tenth image."""

    renditions = (PLAIN.on(SHARE),)

    def __init__(self, view: TrainView) -> None:
        self._rows: dict[str, list[np.ndarray]] = {layer.name: [] for layer in view.layers}
        self._entropy: dict[str, list[np.ndarray]] = {layer.name: [] for layer in view.layers}

    def update(self, batch: Batch, layer: Layer, maps: Tensor) -> None:
        """Keep a number for each map, NaN where it has no hole."""
        diagrams = persistence_diagrams(maps.float().contiguous().cpu().numpy(), scale="levels")
        entropy = summarize(diagrams).persistent_entropy[:, 1]
        self._rows[layer.name].append(batch.rows)
        self._entropy[layer.name].append(entropy.reshape(maps.shape[:2]))

    def of(self, layer: str) -> tuple[np.ndarray, np.ndarray]:
        """Rows of the sample (m,), and persistent entropy in nats (m, u)."""
        return np.concatenate(self._rows[layer]), np.concatenate(self._entropy[layer])


def _without_class(view: TrainView) -> list[Value] | None:
    """What every layer has where all images are of one class."""
    n_present = len(np.unique(view.labels))
    if n_present > 1:
        return None
    reason = f"information on the class needs two classes; the sample has {n_present}"
    return [Value.undefined(reason)] * len(view.layers)


def total_persistence_information(view: TrainView) -> dict[str, Value]:
    """I(total persistence of the holes; class) − its expectation by chance, in nats, over units.

    As `birth_class_information`, with the sum of the lives of all holes of a map, in dense ranks,
    in the place of the birth of the first: cut into 6 quantile bins, and one for no hole. 0 is
    chance. Averaged over the units that vary in space.

    Returns:
        The parts of `layer_parts`; "holes" and "holes_last": the same for the largest number of
        holes at one level. A layer without a unit that varies is undefined; so is everything for a
        single class.

    Source:
        Ours: birth-class information of another summary of the same cubical filtration.
        Chance by Vinh, Epps & Bailey, JMLR 11, 2010, eq. 24a. No paper claims a direction.

    Example:
        A unit whose maps have no hole for one class and one hole for the other, for eight images of
        each, tells log 2 = 0.693 less 0.034 nats.
    """
    without = _without_class(view)
    if without is not None:
        return layer_parts(without) | parts_beside("holes", without)
    kept = view.reduced(HoleSums)
    present, labels = np.unique(view.labels, return_inverse=True)

    def information(layer: Layer, numbers: np.ndarray) -> Value:
        states = np.where(numbers == 0, NO_BIRTH, numbers.astype(np.int64))
        found = birth_class_information(states, labels, len(present)).information
        return mean_of_units(found, f"{layer.name}: no unit varies in space")

    found = [[information(layer, part) for part in kept.of(layer.name)] for layer in view.layers]
    return layer_parts([pair[0] for pair in found]) | parts_beside("holes", [p[1] for p in found])


def _spread_by_layer(
    view: TrainView, numbers: Callable[[Layer], tuple[np.ndarray, np.ndarray]]
) -> dict[str, Value]:
    """Mean within-class share of each layer's units; numbers are rows (m,) and values (m, u)."""

    def of_layer(layer: Layer) -> Value:
        rows, values = numbers(layer)
        labels = view.labels[rows]
        if len(np.unique(labels)) < 2:
            return Value.undefined("a spread within classes needs two classes; there is one")
        reason = f"{layer.name}: no unit has numbers that differ, and two of them in a class"
        return mean_of_units(within_class_share(values, labels), reason)

    return layer_parts([of_layer(layer) for layer in view.layers])


def total_persistence_spread(view: TrainView) -> dict[str, Value]:
    """Share of the variance of total persistence, in ranks, that lies within classes; over units.

    [variance of ranks within classes] / [variance of ranks], both unbiased: 1 where the class says
    nothing of how much of holes a unit's maps have, 0 where it says all. May exceed 1 by chance.

    Returns:
        The parts of `layer_parts`. Undefined where no unit's total persistence varies.

    Source:
        Ours; 1 − ε² of Kelley 1935 on ranks. No paper claims a direction.

    Example:
        Ranks 1, 2 for one class and 3, 4 for the other: (1 / 2) / (5 / 3) = 0.3.
    """
    kept = view.reduced(HoleSums)
    rows = np.arange(len(view.labels))
    return _spread_by_layer(view, lambda layer: (rows, kept.of(layer.name)[0].astype(float)))


def persistent_entropy_spread(view: TrainView) -> dict[str, Value]:
    """Share of the variance of persistent entropy, in ranks, that lies within classes; over units.

    As `total_persistence_spread`, for −Σ p log p with p the share that a hole has of the lives of
    all; maps without a hole are left out. On every tenth image.

    Returns:
        The parts of `layer_parts`. Undefined where no unit has two numbers that differ and two of
        one class.

    Source:
        Entropy: Chintakunta et al., Pattern Recognition 48, 2015. The share is ours. No paper
        claims a direction.

    Example:
        A layer whose maps have all one hole has entropy 0 everywhere, and is undefined.
    """
    kept = view.reduced(EntropyOfEachMap)
    return _spread_by_layer(view, lambda layer: kept.of(layer.name))


_entry = functools.partial(
    MeasureEntry,
    version="1",
    direction="none",
    invariance="node-wise",
    cost="topology",
    default=False,
)

MEASURES = (
    _entry(
        name="total_persistence_information",
        summary="information of the total persistence of a unit's holes on the class, nats",
        compute=total_persistence_information,
        varies_with=("duplicates",),
        formula="mean over units of I(total persistence bin; class) - E by chance",
        weakness=(
            "a map's total persistence grows with the number of its distinct values, so that it "
            "tells how sparse a map is as well as how many holes it has"
        ),
        needs="two classes",
        source="ours: birth-class information of total persistence (levels, H1); Vinh et al. 2010",
        unit="nats",
        parts=(
            *declared_parts("none"),
            *declared_beside("holes", "information of the largest number of holes, nats"),
        ),
        reducers=(HoleSums,),
        order=12,
    ),
    _entry(
        name="total_persistence_spread",
        summary="share of the spread of total persistence that lies within classes",
        compute=total_persistence_spread,
        varies_with=("duplicates",),
        formula="(SS within / (n - c)) / (SS total / (n - 1)) of ranks",
        weakness="it sees only shifts of the mean rank between classes, not other differences",
        needs="two classes",
        source="1 - epsilon squared of Kelley 1935 on ranks of total persistence (levels, H1)",
        unit="share of variance",
        parts=declared_parts("none"),
        reducers=(HoleSums,),
        order=13,
    ),
    _entry(
        name="persistent_entropy_spread",
        summary="share of the spread of persistent entropy within classes, every tenth image",
        compute=persistent_entropy_spread,
        varies_with=("image-order", "duplicates"),
        formula="(SS within / (n - c)) / (SS total / (n - 1)) of ranks",
        weakness=(
            "a tenth of the images leaves few of each class, and maps without a hole have no "
            "number: it is noisy where classes are many"
        ),
        needs="two classes and two images of one among every tenth",
        source="entropy of Chintakunta et al. 2015; 1 - epsilon squared of Kelley 1935 on ranks",
        unit="share of variance",
        parts=declared_parts("none"),
        reducers=(EntropyOfEachMap,),
        order=14,
    ),
)
