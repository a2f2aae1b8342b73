"""Products and means of the norms of layers, in logarithms, and over the margin.

What a layer is, and how BatchNorm is folded into it, says `audit_measures._folded`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from audit.plugin import MeasureEntry, TrainView, Value
from audit_measures._folded import LayerNorm, layer_norms
from audit_measures.outputs import margin_p10

JIANG = "Jiang et al., Fantastic Generalization Measures, ICLR 2020 (arXiv 1912.02178)"


def frobenius(layer: LayerNorm) -> float:
    """‖W‖_F² of a layer."""
    return layer.squared_frobenius


def spectral(layer: LayerNorm) -> float:
    """‖W‖₂² of a layer."""
    return layer.squared_spectral


def log_product(view: TrainView, square: Callable[[LayerNorm], float]) -> Value | float:
    """The logarithm of Π of the layers' squared norms, or why there is none."""
    layers = layer_norms(view)
    for layer in layers:
        if square(layer) == 0:
            return Value.undefined(f"all weights of layer {layer.name} are 0")
    return math.fsum(math.log(square(layer)) for layer in layers)


def scaled_mean(view: TrainView, log: Value | float) -> Value | float:
    """D · (Π)^(1/d), of the logarithm of a product over d layers."""
    if isinstance(log, Value):
        return log
    n_layers = len(layer_norms(view))
    return _exponential(log / n_layers + math.log(n_layers))


def _exponential(log: float) -> Value | float:
    """E to a power, or that it overflows."""
    try:
        return math.exp(log)
    except OverflowError:
        return Value.undefined(f"e^{log:.6g} overflows float64")


def log_margin(view: TrainView) -> Value | float:
    """2 log γ, or why there is none."""
    margin: Any = margin_p10(view)
    if isinstance(margin, Value):
        return margin
    if margin <= 0:
        return Value.undefined(
            "the 10th percentile of the margins is not positive: a bound over it says nothing"
        )
    return 2 * math.log(margin)


def over_margin(view: TrainView, log: Value | float) -> Value | float:
    """A logarithm less 2 log γ; the first reason where one is missing."""
    if isinstance(log, Value):
        return log
    below = log_margin(view)
    return below if isinstance(below, Value) else log - below


LOWER = (
    "Jiang et al. 2020 take it from a bound in which smaller is better; in their experiments many "
    "norms failed or went the other way"
)
NONE = (
    "a bound in which smaller is better (Bartlett et al. 2017); in the experiments of Jiang et al. "
    "2020 products of spectral norms went the other way, so no direction is declared"
)
GROWS = "grows with depth: comparable among networks of one depth only"
MARGIN = "a training margin above 0 for nine images in ten"


def entry_of(
    compute: Callable[[TrainView], Value | float], summary: str, formula: str, kind: str
) -> MeasureEntry:
    """What the norms of layers have in common."""
    with_margin = "γ" in formula
    lower = kind == "frobenius"
    return MeasureEntry(
        name=compute.__name__,
        summary=summary,
        compute=compute,
        version="1",
        direction="lower" if lower else "none",
        invariance="layer-uniform",
        chains_only="Π" in formula,
        varies_with=("duplicates",) if with_margin else (),
        cost="forward" if with_margin else "weights",
        formula=formula,
        claim=LOWER if lower else NONE,
        weakness=GROWS,
        needs=MARGIN if with_margin else "",
        source=f"{JIANG}; on effective weights out × (in·k²)",
        default=False,
    )
