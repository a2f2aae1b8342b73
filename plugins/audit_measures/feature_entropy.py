"""Feature entropy of units on classes, its effective rate, and the units left out of both."""

from __future__ import annotations

import functools

import numpy as np

from audit.plugin import (
    Direction,
    Filtration,
    LayerBirths,
    MeasureEntry,
    Part,
    TrainView,
    Value,
)
from audit.topology.entropy import feature_entropy_by_class
from audit.topology.units import (
    CONSTANT,
    DEAD,
    NEVER_BORN,
    NO_IMAGES,
    OK,
    STATUS_NAMES,
    unit_status,
)
from audit_measures._layer_parts import declared_parts, layer_parts

_PAPER = (
    "Zhao & Zhang, Quantitative Performance Assessment of CNN Units via Topological Entropy "
    "Calculation, ICLR 2022 (arXiv 2103.09716)"
)
_CUBICAL = f"{_PAPER}; deviation: cubical superlevel filtration in place of the clique complex"

#: What `unit_counts` gives; nothing stands under the measure's own name.
_COUNTS = (
    Part(name="dead", summary="units that are 0 on the whole sample"),
    Part(name="constant", summary="units without variation in space on the whole sample"),
    Part(name="never_born", summary="units that vary and have no birth on the whole sample"),
    Part(name="total", summary="all units"),
    Part(name="pairs_left_out", summary="(unit, class) pairs without a feature entropy"),
    Part(name="pairs", summary="(unit, class) pairs of classes with an image in the sample"),
)

#: In a graph of 4 vertices the only cycle is the square, born with its fourth edge. (Ties can make
#: that level 2 or 3; zeros do not.)
LEAST_CLIQUE_SIDE = 5


def _status(view: TrainView, layer: LayerBirths) -> np.ndarray:
    """State of every unit of a layer on every class, shape (c, u)."""
    return unit_status(layer.flags, layer.birth_levels, view.labels, len(view.class_names))


def _census(codes: np.ndarray) -> str:
    """How many (unit, class) pairs are in each state but "ok", in words."""
    found = np.bincount(codes.ravel(), minlength=len(STATUS_NAMES))
    named = zip(found, STATUS_NAMES, strict=True)
    return ", ".join(f"{count} {name}" for count, name in named if count and name != "ok")


def _entropy_of_layer(view: TrainView, layer: LayerBirths, filtration: Filtration) -> Value:
    """Mean feature entropy over the (unit, class) pairs that have one."""
    if filtration == "clique" and layer.height < LEAST_CLIQUE_SIDE:
        return Value.undefined(
            f"{layer.layer}: a graph of {layer.height} vertices has its first cycle at level 4 or "
            f"never, so its entropy is 0 whatever the maps are; maps of {LEAST_CLIQUE_SIDE} × "
            f"{LEAST_CLIQUE_SIDE} pixels are the least"
        )
    codes = _status(view, layer)
    if not (codes == OK).any():
        return Value.undefined(f"{layer.layer}: no unit is born for any class ({_census(codes)})")
    by_class = feature_entropy_by_class(layer.birth_levels, view.labels, len(view.class_names))
    return Value(float(by_class.feature_entropy[codes == OK].mean()))


def _rate_of_layer(view: TrainView, layer: LayerBirths) -> Value:
    """Mean effective rate over the (unit, class) pairs whose maps vary in space."""
    codes = _status(view, layer)
    varies = (codes == OK) | (codes == NEVER_BORN)
    if not varies.any():
        return Value.undefined(f"{layer.layer}: no unit varies in space ({_census(codes)})")
    by_class = feature_entropy_by_class(layer.birth_levels, view.labels, len(view.class_names))
    return Value(float(by_class.effective_rate[varies].mean()))


def feature_entropy(view: TrainView, filtration: Filtration) -> dict[str, Value]:
    """Feature entropy H / ε in nats, averaged over the (unit, class) pairs of each layer.

    H is the entropy of the birth level over the class's images that have a birth, ε their share.
    Lower: the unit meets the class with the same spatial pattern every time. Pairs that are dead,
    constant or never born have no value and are left out; `unit_counts` counts them. At least 0,
    about log(nε)/ε at most for n images a class: compare equal samples only.

    Args:
        view: The network and its training sample.
        filtration: "clique" or "cubical".

    Returns:
        The parts of `layer_parts`: mean over layers, each layer, the last, and the slope over
        relative depth in nats. A layer without any birth is undefined, and so is one of 4 × 4
        pixels under "clique", where births have a single possible level.

    Source:
        Zhao & Zhang 2022 (arXiv 2103.09716). Deviations: never born is undefined, not 0; the
        average over units and classes is ours, the paper ranks units.

    Example:
        Births 2, 2, 3, 3 on the four images of a class: log 2 = 0.693 nats. Births 4, 6 on two of
        the four: 0.693 / (1/2) = 1.386.
    """
    layers = view.births(filtration)
    return layer_parts([_entropy_of_layer(view, layer, filtration) for layer in layers])


def effective_rate(view: TrainView, filtration: Filtration) -> dict[str, Value]:
    """Share ε of a class's images for which a unit is born, in [0, 1], averaged over pairs.

    Never-born pairs count with 0; dead and constant ones are left out.

    Args:
        view: The network and its training sample.
        filtration: "clique" or "cubical".

    Returns:
        The parts of `layer_parts`. A layer of dead and constant units is undefined.

    Source:
        Zhao & Zhang 2022; their program's `selective_rate` is 1 − ε.

    Example:
        Births on two of the four images of a class: 0.5.
    """
    return layer_parts([_rate_of_layer(view, layer) for layer in view.births(filtration)])


def unit_counts(view: TrainView, filtration: Filtration) -> dict[str, float]:
    """How many units the averages rest on, over all layers; counts, never NaN.

    Args:
        view: The network and its training sample.
        filtration: "clique" or "cubical".

    Returns:
        "dead", "constant", "never_born", "total": units, by their state over the whole sample.
        "pairs_left_out", "pairs": (unit, class) pairs without a feature entropy, and all pairs;
        classes without an image in the sample are not counted.

    Example:
        Of three units one is 0 on the whole sample: dead 1, total 3.
    """
    counts = dict.fromkeys(("dead", "constant", "never_born", "total"), 0.0)
    pairs = {"pairs_left_out": 0.0, "pairs": 0.0}
    for layer in view.births(filtration):
        whole = np.zeros(len(layer.flags), np.int64)
        units = unit_status(layer.flags, layer.birth_levels, whole, 1)
        for name, code in (("dead", DEAD), ("constant", CONSTANT), ("never_born", NEVER_BORN)):
            counts[name] += float((units == code).sum())
        counts["total"] += units.size
        codes = _status(view, layer)
        pairs["pairs"] += float((codes != NO_IMAGES).sum())
        pairs["pairs_left_out"] += float(((codes != NO_IMAGES) & (codes != OK)).sum())
    return counts | pairs


#: Kendall's tau of the deepest layer with held-out accuracy, on zoos of tiny timm networks that we
#: trained: 72 on patches of photographs, 36 on letters, 48 on letters without label noise
#: (docs/evidence.md); then, with layers at the ends of stages, 48 on digits, 32 on letters and
#: 32 on patches.
_ENTROPY_LAST: dict[Filtration, tuple[Direction, str]] = {
    "clique": (
        "none",
        "the paper's is lower; measured by us the sign is not settled: Kendall tau with held-out "
        "accuracy 0.26, 0.47, -0.25, 0.18, 0.22 and -0.38 on six zoos",
    ),
    "cubical": (
        "higher",
        "against the paper's, which is of the clique filtration; measured by us: Kendall tau with "
        "held-out accuracy 0.33, 0.27, 0.25, 0.19, 0.22 and 0.22 on six zoos",
    ),
}
_RATE_LAST: dict[Filtration, tuple[Direction, str]] = {
    "clique": (
        "none",
        "measured by us: Kendall tau with held-out accuracy -0.15, -0.18 and 0.00 on three zoos",
    ),
    "cubical": (
        "lower",
        "no paper; measured by us: Kendall tau with held-out accuracy -0.34, -0.53, -0.38, -0.33, "
        "-0.31 and -0.20 on six zoos",
    ),
}


def _entries(filtration: Filtration, source: str) -> tuple[MeasureEntry, ...]:
    """The measures of this theme under one filtration."""
    entry = functools.partial(
        MeasureEntry,
        version="2",
        invariance="node-wise",
        cost="topology",
        needs="square maps of 5 x 5 pixels at least" if filtration == "clique" else "",
        source=source,
        filtrations=(filtration,),
    )
    entropy_last, entropy_claim = _ENTROPY_LAST[filtration]
    rate_last, rate_claim = _RATE_LAST[filtration]
    return (
        entry(
            name=f"feature_entropy.{filtration}",
            summary=f"mean feature entropy of units on classes, nats ({filtration} filtration)",
            compute=functools.partial(feature_entropy, filtration=filtration),
            direction="lower",
            formula="mean over (unit, class) of -sum p log p / share of images with a birth",
            claim="Zhao & Zhang 2022: networks that generalize have lower entropy than others",
            weakness=(
                "on most zoos that we measured higher went with better accuracy, against the "
                "paper; networks that memorise have low entropy too, and it saturates at log n / "
                "rate for n images a class"
            ),
            unit="nats",
            parts=declared_parts("lower", entropy_claim, last=entropy_last),
            order=1,
        ),
        entry(
            name=f"effective_rate.{filtration}",
            summary=f"mean share of images for which a unit is born ({filtration} filtration)",
            compute=functools.partial(effective_rate, filtration=filtration),
            direction="none",
            formula="mean over (unit, class) of images with a birth / images",
            claim="none for the mean over layers",
            weakness="it says how often units answer with a hole, not whether that tells anything",
            unit="share of images",
            parts=declared_parts("none", rate_claim, last=rate_last),
            order=2,
        ),
        entry(
            name=f"unit_counts.{filtration}",
            summary=f"dead, constant, never-born and all units ({filtration} filtration)",
            compute=functools.partial(unit_counts, filtration=filtration),
            direction="none",
            formula="numbers of units, and of (unit, class) pairs, by state",
            weakness="a unit that is dead on the sample may answer to other images",
            parts=_COUNTS,
            diagnostic=True,
        ),
    )


MEASURES = (*_entries("clique", _PAPER), *_entries("cubical", _CUBICAL))
