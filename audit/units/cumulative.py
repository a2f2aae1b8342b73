"""Cumulative ablation: more and more units of a layer at zero, in the order of several criteria."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Int64

from audit.errors import ConfigError, UnavailableError, quoted
from audit.units.ablation_orders import Order, put_in_order
from audit.units.curves import (
    Plan,
    Resampled,
    ablated_counts,
    area_table,
    curve_table,
    difference_table,
)
from audit.units.importance import UnitEvidence
from audit.units.masked import outcomes
from audit.units.verdict import Word, judge

if TYPE_CHECKING:
    import pandas as pd

    from audit.measuring.view import NetworkView
    from audit.network.layers import LayerSpec
    from audit.topology import Filtration


@dataclasses.dataclass(frozen=True, kw_only=True)
class CumulativeAblation:
    """What became of a network as units of one layer were set to zero.

    Attributes:
        layer: Its name.
        n_units: Of the layer.
        n_images: Of the training sample.
        curves: Accuracy and loss per order and number of ablated units (`curve_table`).
        areas: Areas under them per order (`area_table`).
        differences: Differences of areas per pair of orders (`difference_table`).
        orders: Order → shape (draws, u): its units, the first to go first; orders that do not exist
            are left out.
        verdict: On "highest feature entropy first hurts least, lowest first hurts most".
        explanation: Why, with numbers.
        n_passes: Images that went through the network, divided by those of the sample; a gradient
            counts as three.
        n_tails: Masked outputs that went through what follows the layer, divided by the images.
        notes: What was done differently, in words.
    """

    layer: str
    n_units: int
    n_images: int
    curves: pd.DataFrame
    areas: pd.DataFrame
    differences: pd.DataFrame
    orders: Mapping[str, Int64[np.ndarray, "d u"]]
    verdict: Word
    explanation: str
    n_passes: float
    n_tails: float
    notes: tuple[str, ...] = ()

    def as_plain(self) -> dict[str, Any]:
        """All of it as lists, mappings, numbers and words, as JSON holds them but for NaN."""
        found: dict[str, Any] = {
            field.name: getattr(self, field.name) for field in dataclasses.fields(self)
        }
        for name in ("curves", "areas", "differences"):
            found[name] = found[name].to_dict("records")
        found["orders"] = {name: units.tolist() for name, units in self.orders.items()}
        return found | {"notes": list(self.notes)}


def cumulative(
    view: NetworkView,
    orders: Sequence[Order],
    steps: int = 20,
    *,
    filtration: Filtration = "clique",
    n_draws: int = 5,
    n_bootstrap: int = 1000,
) -> CumulativeAblation:
    """Ablate the one layer of a view step by step in several orders.

    Args:
        view: The network and its training sample, with one layer.
        orders: Which orders.
        steps: Points of each curve beside the first, from no unit to all of them.
        filtration: Whose births feature entropy is taken of.
        n_draws: How often an order by chance is drawn.
        n_bootstrap: Samples behind each interval.

    Raises:
        ConfigError: Counts below 1, or another number of layers than one.
        UnavailableError: None of the orders exists for this layer.
    """
    counted = {"steps": steps, "draws": n_draws, "n_bootstrap": n_bootstrap}
    for name, number in counted.items():
        if number < 1:
            raise ConfigError(f"{name} must be at least 1; found {number}")
    spec = _one_layer(view)
    n_units, n_images = spec.reading.units, len(view.labels)
    ties = view.generator("ablation/ties").random(n_units)
    ranked = put_in_order(orders, UnitEvidence(view, spec, filtration), n_draws, ties)
    if all(one.reason for one in ranked):
        reasons = dict.fromkeys(one.reason for one in ranked)
        raise UnavailableError(
            f"the units of layer {spec.name!r} have none of these orders: {'; '.join(reasons)}"
        )
    counts = ablated_counts(n_units, steps)
    plan = Plan(ranked, counts, n_units)
    found = outcomes(view, spec, plan.masks)
    resampled = Resampled(found, plan, counts, n_bootstrap, view.seed)
    curves = curve_table(resampled, ranked, counts)
    areas = area_table(resampled, ranked)
    differences = difference_table(resampled, ranked)
    guess = np.bincount(view.labels).max() / n_images
    is_guessing = bool(curves["accuracy_lower"].iloc[0] <= guess)
    word, sentence = judge(orders, areas, differences, is_guessing)
    return CumulativeAblation(
        layer=spec.name,
        n_units=n_units,
        n_images=n_images,
        curves=curves,
        areas=areas,
        differences=differences,
        orders={one.order.name: one.units for one in ranked if not one.reason},
        verdict=word,
        explanation=sentence,
        n_passes=view.n_forwarded / n_images,
        n_tails=found.n_tails,
        notes=(*view.notes, found.note) if found.note else tuple(view.notes),
    )


def _one_layer(view: NetworkView) -> LayerSpec:
    """The layer of a view.

    Raises:
        ConfigError: It has several.
    """
    specs = view.specs()
    if len(specs) > 1:
        raise ConfigError(
            "the units of one layer are ablated at a time; name one of "
            + quoted(spec.name for spec in specs)
        )
    return specs[0]
