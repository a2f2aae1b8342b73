"""How far training moved the weights from where they began; needs the weights before training.

W_l is the effective weight of layer l (see `audit_measures._folded`), W⁰_l the same before
training, with BatchNorm folded as it was then. A fresh random draw is no substitute, and none is
made: where the weights before training were not given, these measures are unavailable.
"""

from __future__ import annotations

import math
from weakref import WeakKeyDictionary

from audit.errors import MeasureError
from audit.plugin import MeasureEntry, TrainView, Value
from audit_measures._folded import LayerNorm, effective_layers, initial_layers, layer_norms
from audit_measures.norms_over_margin import log_product_spectral_over_margin

_moved: WeakKeyDictionary[TrainView, tuple[LayerNorm, ...]] = WeakKeyDictionary()


def _distances(view: TrainView) -> tuple[LayerNorm, ...]:
    """The norms of W_l − W⁰_l, layer by layer; computed once for a view."""
    if view not in _moved:
        before = initial_layers(view)
        after = effective_layers(view)
        if [layer.name for layer in before] != [layer.name for layer in after]:
            raise MeasureError("before training other layers were called than after it")
        steps = [now.minus(then) for now, then in zip(after, before, strict=True)]
        _moved[view] = tuple(
            LayerNorm(step.name, step.squared_frobenius(), step.squared_spectral())
            for step in steps
        )
    return _moved[view]


def frobenius(view: TrainView) -> float:
    """√ Σ_l ‖W_l − W⁰_l‖_F²: Euclidean distance of all layers' weights. At least 0.

    Source:
        Jiang et al., Fantastic Generalization Measures, ICLR 2020, "dist-from-init". Deviations:
        the root; effective weights of layers, without biases.

    Example:
        Weights (1, 2) that began as (1, −2): 4.
    """
    return math.sqrt(math.fsum(step.squared_frobenius for step in _distances(view)))


def spectral(view: TrainView) -> float:
    """Σ_l ‖W_l − W⁰_l‖₂², of each layer's matrix out × (in·k²). At least 0.

    Source:
        Jiang et al., Fantastic Generalization Measures, ICLR 2020, "dist-spec-init".

    Example:
        One layer diag(3, 2) that began as diag(1, 1): 4.
    """
    return math.fsum(step.squared_spectral for step in _distances(view))


def log_spectral_main(view: TrainView) -> Value | float:
    """The logarithm of (Π_l ‖W_l‖₂² · Σ_l (‖W_l − W⁰_l‖_F² / ‖W_l‖₂²) / γ²).

    γ is the 10th percentile of the output margins. Undefined where γ ≤ 0, where all weights of a
    layer are 0, and where no weight moved.

    Source:
        Jiang et al., Fantastic Generalization Measures, ICLR 2020, "spec-init-main", after
        Neyshabur, Bhojanapalli & Srebro, ICLR 2018. Deviations: the logarithm; γ keeps its sign.

    Example:
        One layer diag(2, 1) that began as diag(1, 1), and γ = 2: log(4 · (1/4) / 4) = −1.3863.
    """
    moved = _distances(view)
    bound = log_product_spectral_over_margin(view)
    if isinstance(bound, Value):
        return bound
    pairs = zip(moved, layer_norms(view), strict=True)
    total = math.fsum(step.squared_frobenius / now.squared_spectral for step, now in pairs)
    return bound + math.log(total) if total else Value.undefined("no weight moved in training")


_NEEDS = "`init` in [[checkpoints]]: the file of the weights before training"
_CLAIM = "Jiang et al. 2020 take it from a bound in which smaller is better"
_WEAKNESS = "mostly says how long, and at which rate, a network was trained"

MEASURES = (
    MeasureEntry(
        name="distance_from_init.frobenius",
        summary="Euclidean distance of the layers' weights from those before training",
        compute=frobenius,
        version="1",
        direction="lower",
        invariance="none",
        varies_with=("permutation", "folding", "relabelling"),
        cost="weights",
        formula="√ Σ_l ‖W_l − W⁰_l‖_F²",
        claim=f"{_CLAIM} (Nagarajan & Kolter 2019)",
        weakness=_WEAKNESS,
        needs=_NEEDS,
        source="Jiang et al. 2020; the root; BatchNorm folded before and after",
        default=False,
    ),
    MeasureEntry(
        name="distance_from_init.spectral",
        summary="sum of the layers' squared spectral distances from the weights before training",
        compute=spectral,
        version="1",
        direction="lower",
        invariance="none",
        varies_with=("permutation", "folding", "relabelling"),
        cost="weights",
        formula="Σ_l ‖W_l − W⁰_l‖₂²",
        claim=_CLAIM,
        weakness=_WEAKNESS,
        needs=_NEEDS,
        source="Jiang et al. 2020; BatchNorm folded before and after",
        default=False,
    ),
    MeasureEntry(
        name="distance_from_init.log_spectral_main",
        summary="log of the main term of the spectral margin bound, with distances from init",
        compute=log_spectral_main,
        version="1",
        direction="none",
        invariance="none",
        varies_with=("permutation", "folding", "duplicates", "relabelling"),
        cost="forward",
        formula="log (Π ‖W_l‖₂² · Σ ‖W_l − W⁰_l‖_F² / ‖W_l‖₂² / γ²)",
        claim=(
            "a bound in which smaller is better (Neyshabur et al. 2018); in the experiments of "
            "Jiang et al. 2020 products of spectral norms went the other way"
        ),
        weakness="grows with depth: comparable among networks of one depth only",
        needs=f"{_NEEDS}; a training margin above 0 for nine images in ten",
        source="Jiang et al. 2020; the logarithm; BatchNorm folded before and after",
        default=False,
    ),
)
