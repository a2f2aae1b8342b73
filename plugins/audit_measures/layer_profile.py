"""Where in depth the information of births on the class arises."""

from __future__ import annotations

import functools

import numpy as np

from audit.plugin import Filtration, MeasureEntry, Part, TrainView, Value
from audit.topology.profile import centre_of_depth, half_depth
from audit_measures.birth_information import birth_class_information


def birth_information_depth(view: TrainView, filtration: Filtration) -> dict[str, Value]:
    """Relative depth at which births first tell half of what they tell in the last layer, [0, 1].

    The profile is `birth_class_information` of each layer, the first at depth 0 and the last at 1,
    with straight lines between.

    Args:
        view: The network and its training sample.
        filtration: "clique" or "cubical".

    Returns:
        "": the above. "centre": Σ d_l max(I_l, 0) / Σ max(I_l, 0), the depth of the profile's
        centre of mass, in [0, 1]. Undefined where a layer has no information, with fewer than two
        layers, where the last one's is not above chance ("") or none's is ("centre").

    Source:
        Ours; no paper claims a direction.

    Example:
        Layers with 0, 0.25, 0.25 and 1 nats reach half of the last at depth 7/9, and have their
        centre at (0.25 · 1/3 + 0.25 · 2/3 + 1) / 1.5 = 5/6.
    """
    parts = birth_class_information(view, filtration)
    layers = [value for name, value in parts.items() if name.startswith("layer_")]
    without = [value for value in layers if value.status != "ok"]
    if without or len(layers) < 2:
        told = without[0].reason if without else f"a depth needs two layers; found {len(layers)}"
        return {"": Value.undefined(told), "centre": Value.undefined(told)}
    profile = np.array([value.value for value in layers])
    half, centre = half_depth(profile), centre_of_depth(profile)
    return {
        "": Value(half)
        if np.isfinite(half)
        else Value.undefined("births of the last layer tell no more of the class than by chance"),
        "centre": Value(centre)
        if np.isfinite(centre)
        else Value.undefined("births of no layer tell more of the class than by chance"),
    }


def _entry(filtration: Filtration) -> MeasureEntry:
    """The measure under one filtration."""
    return MeasureEntry(
        name=f"birth_information_depth.{filtration}",
        summary=(
            "relative depth at which births tell half of what the last layer's tell of the class "
            f"({filtration} filtration)"
        ),
        compute=functools.partial(birth_information_depth, filtration=filtration),
        version="1",
        direction="none",
        invariance="node-wise",
        varies_with=("duplicates",),
        cost="topology",
        formula="least d with I(d) >= I(1) / 2",
        weakness="it depends on which layers are taken: architectures with others do not compare",
        needs="two classes and two layers; square maps under clique",
        source="of birth_class_information",
        unit="relative depth",
        parts=(Part(name="centre", summary="depth of the information's centre of mass"),),
        filtrations=(filtration,),
        default=False,
    )


MEASURES = (_entry("clique"), _entry("cubical"))
