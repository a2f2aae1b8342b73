"""One number per layer → the parts in which a layer-wise measure is reported, and what they are."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from audit.plugin import Direction, LayerBirths, Part, Value
from audit.topology.units import CONSTANT, DEAD, unit_status


def declared_parts(
    direction: Direction, claim: str = "", *, last: Direction | None = None
) -> tuple[Part, ...]:
    """What `layer_parts` gives beside the mean, for a measure of this direction.

    The deepest layer is judged as a claim of its own: what it holds is what the head reads. Single
    layers and the slope show where a mean comes from; no direction is claimed for them.

    Args:
        direction: Of the measure.
        claim: On what evidence the deepest layer's direction stands, where not on the measure's.
        last: The deepest layer's direction, where it is another.
    """
    return (
        Part(name="layer_*", summary="one layer, counted from the shallowest", by_depth=True),
        Part(
            name="last",
            summary="the deepest layer",
            direction=direction if last is None else last,
            claim=claim,
            judged=True,
        ),
        Part(name="depth_slope", summary="slope from the first layer (0) to the last (1)"),
    )


def parts_beside(name: str, layers: Sequence[Value]) -> dict[str, Value]:
    """A second quantity beside a layer-wise measure: its mean as `name`, and `name`_last."""
    parts = layer_parts(layers)
    return {name: parts[""], f"{name}_last": parts["last"]}


def declared_beside(
    name: str, summary: str, *, direction: Direction = "none", claim: str = ""
) -> tuple[Part, ...]:
    """What `parts_beside` gives; the direction is that of the deepest layer, and judged if any."""
    return (
        Part(name=name, summary=f"{summary}; mean over layers"),
        Part(
            name=f"{name}_last",
            summary=f"{summary}; the deepest layer",
            direction=direction,
            claim=claim,
            judged=direction != "none",
        ),
    )


def mean_of_units(numbers: np.ndarray, reason: str) -> Value:
    """Mean over the units that have a number, undefined with this reason if none has."""
    kept = numbers[np.isfinite(numbers)]
    return Value(float(kept.mean())) if len(kept) else Value.undefined(reason)


def layer_parts(layers: Sequence[Value]) -> dict[str, Value]:
    """Parts of a layer-wise measure.

    Args:
        layers: One value per layer, from shallow to deep, defined or not.

    Returns:
        "": mean over the layers where it is defined. "layer_1" … "layer_k": each layer, from
        shallow to deep. "last": the deepest. "depth_slope": least-squares slope against depth,
        the first layer at 0 and the last at 1. Without any defined layer "" is undefined, with
        fewer than two the slope is; the reasons say which layers and why.
    """
    numbers = np.array([layer.value for layer in layers])
    defined = np.array([layer.status == "ok" for layer in layers], dtype=bool)
    parts = {f"layer_{position}": value for position, value in enumerate(layers, start=1)}
    return {
        "": _mean(layers, numbers, defined),
        **parts,
        "last": layers[-1] if layers else Value.undefined("there is no layer"),
        "depth_slope": _slope(numbers, defined),
    }


def _mean(layers: Sequence[Value], numbers: np.ndarray, defined: np.ndarray) -> Value:
    """Mean over the defined layers."""
    if defined.any():
        return Value(float(numbers[defined].mean()))
    reasons = dict.fromkeys(layer.reason for layer in layers)
    return Value.undefined(f"no layer has a value: {'; '.join(reasons)}")


def _slope(numbers: np.ndarray, defined: np.ndarray) -> Value:
    """Least-squares slope over the defined layers against relative depth."""
    if defined.sum() < 2:
        return Value.undefined(
            f"a slope needs two layers with a value; {int(defined.sum())} of {len(defined)} have"
        )
    depth = np.linspace(0, 1, len(defined))[defined]
    depth = depth - depth.mean()
    return Value(float(depth @ numbers[defined] / (depth @ depth)))


def silent_units(layer: LayerBirths) -> np.ndarray:
    """Shape (u,): whether a unit is dead or constant on the whole sample."""
    whole = np.zeros(len(layer.flags), np.int64)
    codes = unit_status(layer.flags, layer.birth_levels, whole, 1)[0]
    silent: np.ndarray = (codes == DEAD) | (codes == CONSTANT)
    return silent
