"""Feature entropy corrected for the levels that few images leave unseen, with an interval."""

from __future__ import annotations

import functools

import numpy as np

from audit.plugin import Filtration, LayerBirths, MeasureEntry, Part, TrainView, Value
from audit.topology.entropy import feature_entropy_by_class
from audit.topology.intervals import draw_within_classes, interval_of_errors, resampled_errors
from audit_measures._layer_parts import declared_parts, layer_parts
from audit_measures.feature_entropy import LEAST_CLIQUE_SIDE

ESTIMATOR = "chao-wang-jost"
#: Share of a class's images on which a pair must be born. H / ε of rarer births is large, and known
#: to within a multiple of itself: whether such pairs are met at all would decide the mean.
LEAST_RATE = 0.1
#: Resamples of the images; the ends of a 95% interval need no more for a first digit of its width.
RESAMPLES = 100


def _of_layer(view: TrainView, layer: LayerBirths, filtration: Filtration) -> Value:
    """Mean corrected feature entropy over the (unit, class) pairs that are born often enough."""
    if filtration == "clique" and layer.height < LEAST_CLIQUE_SIDE:
        return Value.undefined(
            f"{layer.layer}: births of maps of {layer.height} × {layer.width} pixels have a single "
            f"possible level; {LEAST_CLIQUE_SIDE} × {LEAST_CLIQUE_SIDE} pixels are the least"
        )
    n_classes = len(view.class_names)
    by_class = feature_entropy_by_class(layer.birth_levels, view.labels, n_classes, ESTIMATOR)
    found = by_class.feature_entropy[by_class.effective_rate >= LEAST_RATE]
    if not len(found):
        return Value.undefined(
            f"{layer.layer}: no unit is born on a tenth of the images of any class"
        )
    return Value(float(found.mean()))


def corrected_entropy(view: TrainView, filtration: Filtration) -> dict[str, Value | float]:
    """Feature entropy H / ε with H by the estimator of Chao, Wang & Jost, in nats, at least 0.

    The plug-in entropy of a few images is too low by about (levels − 1) / 2n; this estimate adds
    what unseen levels are likely to hold. Averaged over the (unit, class) pairs of a layer that are
    born on a tenth of the class's images or more, then over layers. On simulated births of 20 to
    150 levels its bias is at most 0.13 nats from 20 images on and 0.08 from 50, where the plug-in's
    is up to 2.1 and 1.3: `python -m benchmarks.estimators`.

    Args:
        view: The network and its training sample.
        filtration: "clique" or "cubical".

    Returns:
        The parts of `layer_parts`, and "lower" and "upper": a 95% interval of the mean over layers
        by the basic bootstrap, 100 resamples of the images within their classes, the same for all
        units and layers. For few images it is too narrow: see `weakness`.

    Source:
        Chao, Wang & Jost, Entropy and the species accumulation curve, Methods in Ecology and
        Evolution 4, 2013; Davison & Hinkley, Bootstrap Methods and their Application, 1997,
        section 5.2. Deviations: errors of resamples are counted from the sample's plug-in number;
        pairs born on less than a tenth of the images are left out, as `feature_entropy` does not.

    Example:
        Births at levels 2, 2, 5 and 7 of four images: plug-in 1.04 nats; levels 5 and 7 were seen
        once and level 2 twice, so A = 2 / (3 · 2 + 2) = 1/4, and the corrected entropy is 1.59.
    """
    resamples = draw_within_classes(
        view.labels, RESAMPLES, view.generator("bootstrap of images within classes")
    )
    values: list[Value] = []
    errors: list[np.ndarray] = []
    for layer in view.births(filtration):
        values.append(_of_layer(view, layer, filtration))
        if values[-1].status == "ok":
            errors.append(resampled_errors(layer.birth_levels, resamples, ESTIMATOR, LEAST_RATE))
    parts: dict[str, Value | float] = {**layer_parts(values)}
    if not errors:
        why = Value.undefined("no layer has a value, so there is no interval of their mean")
        return parts | {"lower": why, "upper": why}
    mean = float(np.mean([value.value for value in values if value.status == "ok"]))
    interval = interval_of_errors(mean, np.mean(errors, axis=0))
    return parts | {"lower": float(interval.lower), "upper": float(interval.upper)}


def _entry(filtration: Filtration) -> MeasureEntry:
    """The measure under one filtration."""
    return MeasureEntry(
        name=f"feature_entropy_corrected.{filtration}",
        summary=f"feature entropy corrected for unseen levels, nats ({filtration} filtration)",
        compute=functools.partial(corrected_entropy, filtration=filtration),
        version="1",
        direction="none",
        invariance="node-wise",
        varies_with=("image-order", "duplicates"),
        cost="topology",
        formula="mean over units and classes with ε ≥ 0.1 of H_CWJ / ε, "
        "H_CWJ = Σ (n_k/N) (ψ(N) − ψ(n_k)) + unseen",
        claim="none for the corrected number; the paper's claim for the plug-in one (lower is "
        "better) did not hold on the zoos of docs/evidence.md",
        weakness="below 20 births a pair it still depends on how many images there are; where "
        "units are seldom born (cubical) 1 / ε is uncertain, and the mean was off by up to 13% at "
        "50 to 200 images; a 95% interval held the truth in 44 to 56% of samples of 20 images a "
        "class and in 50 to 88% of those of 100 and 200 (clique)",
        needs="square feature maps of 5 × 5 pixels or more" if filtration == "clique" else "",
        source="Chao, Wang & Jost 2013; Davison & Hinkley 1997, section 5.2",
        unit="nats",
        parts=(
            *declared_parts("none"),
            Part(name="lower", summary="lower end of a 95% interval of the mean over layers"),
            Part(name="upper", summary="upper end of a 95% interval of the mean over layers"),
        ),
        filtrations=(filtration,),
        default=False,
        order=4,
    )


MEASURES = (_entry("clique"), _entry("cubical"))
