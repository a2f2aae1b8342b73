"""What a unit's birth level tells of the class: entropy between classes against within."""

from __future__ import annotations

import functools

import numpy as np

from audit.plugin import Filtration, LayerBirths, MeasureEntry, TrainView, Value
from audit.topology.information import birth_class_information as information_of_units
from audit_measures._layer_parts import declared_parts, layer_parts, silent_units


def _of_layer(view: TrainView, layer: LayerBirths) -> Value:
    """Mean information over the units that are neither dead nor constant."""
    present, labels = np.unique(view.labels, return_inverse=True)  # a sample may leave classes out
    result = information_of_units(layer.birth_levels, labels, len(present))
    kept = ~silent_units(layer) & np.isfinite(result.information)
    if not kept.any():
        return Value.undefined(f"{layer.layer}: every unit is dead or constant on the sample")
    return Value(float(result.information[kept].mean()))


def birth_class_information(view: TrainView, filtration: Filtration) -> dict[str, Value]:
    """I(birth level; class) − its expectation under permuted labels, in nats, averaged over units.

    Births are cut into 6 quantile bins and one for "never born". 0 is chance, log(classes) about
    the most; slightly negative values are chance too. Units that are never born carry 0; units
    that are dead or constant on the whole sample are left out and counted in `unit_counts`.

    Args:
        view: The network and its training sample.
        filtration: "clique" or "cubical".

    Returns:
        The parts of `layer_parts`. A layer of dead and constant units is undefined; so is
        everything for a single class.

    Source:
        method.md §4: I = H(birth) − H(birth | class), of which feature entropy is the second
        term; chance corrected exactly (Vinh, Epps & Bailey, JMLR 11, 2010, eq. 24a).
    """
    n_present = len(np.unique(view.labels))
    layers = view.births(filtration)
    if n_present < 2:
        reason = f"information on the class needs two classes; the sample has {n_present}"
        return layer_parts([Value.undefined(reason)] * len(layers))
    return layer_parts([_of_layer(view, layer) for layer in layers])


def _entry(filtration: Filtration) -> MeasureEntry:
    """The measure under one filtration."""
    return MeasureEntry(
        name=f"birth_class_information.{filtration}",
        summary=f"information of a unit's birth level on the class, nats ({filtration} filtration)",
        compute=functools.partial(birth_class_information, filtration=filtration),
        version="1",
        direction="higher",
        invariance="node-wise",
        cost="topology",
        source="method.md section 4; chance corrected by Vinh, Epps & Bailey 2010, eq. 24a",
        unit="nats",
        parts=declared_parts("higher"),
        filtrations=(filtration,),
        order=3,
    )


MEASURES = (_entry("clique"), _entry("cubical"))
