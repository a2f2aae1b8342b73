"""How much the units of a layer repeat each other: rank correlation between their births."""

from __future__ import annotations

import functools

import numpy as np

from audit.plugin import Filtration, LayerBirths, MeasureEntry, TrainView, Value
from audit.topology.redundancy import redundancy
from audit_measures._layer_parts import (
    declared_beside,
    declared_parts,
    layer_parts,
    parts_beside,
)


def _of_layer(layer: LayerBirths, generator: np.random.Generator) -> tuple[Value, Value]:
    """Mean absolute correlation above chance, and effective share of units."""
    found = redundancy(layer.birth_levels, generator)
    if found.n_units < 2 or len(layer.birth_levels) < 3:
        reason = (
            f"{layer.layer}: a correlation needs two units whose births vary over three images; "
            f"there are {found.n_units} over {len(layer.birth_levels)}"
        )
        return Value.undefined(reason), Value.undefined(reason)
    return Value(found.correlation), Value(found.effective_share)


def birth_redundancy(view: TrainView, filtration: Filtration) -> dict[str, Value]:
    """Mean |Spearman's ρ| between the births of two units of a layer, less its value by chance.

    Never born ranks after every level. 0: the units' births are independent of each other; near 1:
    all say the same. Chance is what births permuted within each unit give; its error from the
    draws is below 0.006 / √n for n images.

    Args:
        view: The network and its training sample.
        filtration: "clique" or "cubical".

    Returns:
        The parts of `layer_parts`; "effective_units" and "effective_units_last": the participation
        ratio of the matrix of ρ, as a share of the units that vary, in (0, 1], corrected for
        chance exactly. A layer with fewer than two units that vary is undefined.

    Source:
        Ours; participation ratio as in Gao et al., A theory of multineuronal dimensionality, 2017.
        No paper claims a direction.

    Example:
        Two units with equal births on four images have effective_units 0.5.
    """
    found = [
        _of_layer(layer, view.generator(f"birth redundancy {filtration} {layer.layer}"))
        for layer in view.births(filtration)
    ]
    correlation, share = ([pair[k] for pair in found] for k in (0, 1))
    return layer_parts(correlation) | parts_beside("effective_units", share)


def _entry(filtration: Filtration) -> MeasureEntry:
    """The measure under one filtration."""
    return MeasureEntry(
        name=f"birth_redundancy.{filtration}",
        summary=(
            "mean absolute rank correlation between births of two units, above chance "
            f"({filtration} filtration)"
        ),
        compute=functools.partial(birth_redundancy, filtration=filtration),
        version="1",
        direction="none",
        invariance="node-wise",
        varies_with=("duplicates",),
        cost="topology",
        formula="mean over i < j of |rho_ij| - E |rho| of independent units",
        weakness=(
            "units that answer to the same property of the images, such as a position, count as "
            "redundant even where they do different work"
        ),
        needs="two units whose births vary; square maps under clique",
        source="Spearman's rho; chance by seeded permutation; participation ratio chance-corrected",
        parts=(
            *declared_parts("none"),
            *declared_beside("effective_units", "effective number of units as a share of them"),
        ),
        filtrations=(filtration,),
        default=False,
        order=6,
    )


MEASURES = (_entry("clique"), _entry("cubical"))
