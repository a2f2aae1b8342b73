"""Do births stay with an image that is altered mildly, or averaged with another of its class?"""

from __future__ import annotations

import functools

import numpy as np

from audit.data.renditions import CENTRE_CROP, FLIP
from audit.plugin import Filtration, LayerBirths, MeasureEntry, TrainView, Value
from audit.topology.agreement import birth_ranks
from audit_measures._altered_births import (
    AlteredBirths,
    CliqueAltered,
    CliqueMixed,
    CubicalAltered,
    CubicalMixed,
    MixedBirths,
    agreement_of_units,
)
from audit_measures._layer_parts import (
    declared_beside,
    declared_parts,
    layer_parts,
    parts_beside,
)

_ALTERED: dict[Filtration, type[AlteredBirths]] = {
    "clique": CliqueAltered,
    "cubical": CubicalAltered,
}
_MIXED: dict[Filtration, type[MixedBirths]] = {"clique": CliqueMixed, "cubical": CubicalMixed}


def birth_stability(view: TrainView, filtration: Filtration) -> dict[str, Value]:
    """How far a unit's births stay with an image of which only the middle 90% is seen.

    With r the correlation, over every tenth image, of the rank of its birth and of the rank that
    the cropped and enlarged image's birth has among those of the sample, and r' the same with all
    other images of its class in the place of the image itself, on average (the exact expectation
    of a null that draws another image of the class): Σ (r − r') / Σ (1 − r') over the units whose
    births vary. 1: births do not change; 0: they say no more of the image than of its class. Never
    born ranks after every level.

    Args:
        view: The network and its training sample.
        filtration: "clique" or "cubical".

    Returns:
        The parts of `layer_parts`; "plain" and "plain_last": the mean of r; "mirror" and
        "mirror_last": as the measure, for mirror images, whose maps are mirrored back. Undefined
        where no class has two images, or no unit's births vary.

    Source:
        Ours; a sketch with shifts and noise is in docs/evidence.md.

    Example:
        A network whose maps do not change has 1; one whose births are drawn anew has about 0.
    """
    kept = view.reduced(_ALTERED[filtration])

    def of_layer(layer: LayerBirths, rendition: str) -> tuple[Value, Value]:
        rows, altered = kept.of(rendition, layer.layer)
        first = birth_ranks(layer.birth_levels)
        second = birth_ranks(altered, among=layer.birth_levels)
        return agreement_of_units(layer, first, second, rows, view.labels)

    found = [
        [of_layer(layer, rendition.name) for rendition in (CENTRE_CROP, FLIP)]
        for layer in view.births(filtration)
    ]
    return (
        layer_parts([crop[0] for crop, _ in found])
        | parts_beside("plain", [crop[1] for crop, _ in found])
        | parts_beside("mirror", [flip[0] for _, flip in found])
    )


def birth_mixing_consistency(view: TrainView, filtration: Filtration) -> dict[str, Value]:
    """How far the births of the average of two images of a class lie where those of the two do.

    Each image is averaged with its successor among the images of its class (`MIXED`, at most 2,000
    averages). With r the correlation, over these pairs, of the rank of the average's birth among
    those of the sample and of the mean rank of the two images' births, and r' the same with the
    other pairs of the class, on average over all of them: Σ (r − r') / Σ (1 − r') over the units
    whose births vary. 0: the average tells no more of its two images than of their class.

    Args:
        view: The network and its training sample.
        filtration: "clique" or "cubical".

    Returns:
        The parts of `layer_parts`; "plain" and "plain_last": the mean of r. Undefined where no
        class has two pairs, or no unit's births vary.

    Source:
        Ours, after the label-wise mixup of Natekar & Sharma, arXiv 2012.02775.

    Example:
        Births that are the mean brightness of an image, in ranks without ties, have nearly 1.
    """
    kept = view.reduced(_MIXED[filtration])

    def of_layer(layer: LayerBirths) -> tuple[Value, Value]:
        pairs, mixed = kept.of(layer.layer)
        if not len(pairs):
            reason = "no class has two images"
            return Value.undefined(reason), Value.undefined(reason)
        of_two = birth_ranks(layer.birth_levels)[pairs].mean(1)
        second = birth_ranks(mixed, among=layer.birth_levels)
        labels = view.labels[pairs[:, 0]]
        return agreement_of_units(layer, of_two, second, np.arange(len(pairs)), labels)

    found = [of_layer(layer) for layer in view.births(filtration)]
    return layer_parts([pair[0] for pair in found]) | parts_beside("plain", [p[1] for p in found])


def _entries(filtration: Filtration) -> tuple[MeasureEntry, ...]:
    """The measures under one filtration."""
    entry = functools.partial(
        MeasureEntry,
        version="1",
        direction="none",
        invariance="node-wise",
        cost="topology",
        filtrations=(filtration,),
        unit="share of the possible agreement",
        default=False,
    )
    plain = declared_beside("plain", "rank correlation without its value for the class alone")
    return (
        entry(
            name=f"birth_stability.{filtration}",
            summary=(
                "agreement of births with those of the image cropped, beyond the class "
                f"({filtration} filtration)"
            ),
            compute=functools.partial(birth_stability, filtration=filtration),
            varies_with=("image-order", "duplicates"),
            formula="sum (r - r') / sum (1 - r'), r' with other images of the class",
            weakness=(
                "births are coarse where maps are small or never born is common, and then a change "
                "of one pixel moves them; with few images it is noisy, as every tenth is altered"
            ),
            needs="two images of a class; square maps under clique",
            source="ours; null of other images of the class; crop to the middle 90%",
            parts=(
                *declared_parts("none"),
                *plain,
                *declared_beside("mirror", "the same for mirror images"),
            ),
            reducers=(_ALTERED[filtration],),
            order=7,
        ),
        entry(
            name=f"birth_mixing_consistency.{filtration}",
            summary=(
                "agreement of the births of averages of two images with those of the two, beyond "
                f"the class ({filtration} filtration)"
            ),
            compute=functools.partial(birth_mixing_consistency, filtration=filtration),
            varies_with=("image-order", "duplicates"),
            formula="sum (r - r') / sum (1 - r'), r' with other pairs of the class",
            weakness=(
                "an average of two images is no image of the class, and the two shapes need not "
                "leave one between them; pairs of a ring share images, so that r' is a little high"
            ),
            needs="two pairs of a class; square maps under clique",
            source="ours, after Natekar & Sharma, arXiv 2012.02775; exact null within classes",
            parts=(*declared_parts("none"), *plain),
            reducers=(_MIXED[filtration],),
            order=8,
        ),
    )


MEASURES = (*_entries("clique"), *_entries("cubical"))
