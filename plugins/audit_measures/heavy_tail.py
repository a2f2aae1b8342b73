"""Heavy tails in the spectra of weight matrices, as the `weightwatcher` package finds them.

For each layer the eigenvalues λ of WᵀW are pooled over the k² places of a convolution's kernel, and
a power law p(λ) ∝ λ^−α is fitted to their tail; weights are taken as they are stored. Layers of
fewer than ten eigenvalues are left out. Every number is a mean over layers; those to which no power
law could be fitted are left out and counted, where the package itself says −1.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from audit.plugin import Invariance, MeasureEntry, Part, TrainView, Value
from audit_measures._weightwatcher import layer_table

if TYPE_CHECKING:
    from audit.plugin import Change, Direction, Measured


def _column(view: TrainView, name: str) -> tuple[np.ndarray, int] | Value:
    """The layers' finite values of a column where fits did not fail, and how many did."""
    table = layer_table(view)
    if not len(table) or name not in table:
        return Value.undefined("no layer has ten eigenvalues or more")
    fitted = table["status"].to_numpy() == "success"
    values = table[name].to_numpy(dtype=float)
    return values[fitted & np.isfinite(values)], int((~fitted).sum())


def _of_fits(view: TrainView, name: str) -> dict[str, Value | float]:
    """Mean of what a power law's fit gives, and the number of failed fits."""
    found = _column(view, name)
    if isinstance(found, Value):
        return {"": found, "failed": found}
    values, n_failed = found
    if not len(values):
        reason = f"no power law could be fitted to any of {n_failed} layers"
        return {"": Value.undefined(reason), "failed": n_failed}
    return {"": math.fsum(values) / len(values), "failed": n_failed}


def alpha(view: TrainView) -> dict[str, Value | float]:
    """Mean exponent α of the power law p(λ) ∝ λ^−α that fits the tail of a layer's eigenvalues.

    Above 1; small is heavy-tailed. Well-trained layers are said to lie between 2 and 6.

    Returns:
        "" is the mean over layers; `failed` counts the layers without a fit.

    Source:
        Martin & Mahoney, Implicit Self-Regularization in Deep Neural Networks, JMLR 2021; the
        `weightwatcher` package, column "alpha".

    Example:
        Layers of exponents 2.5 and 3.5, and one that has no fit: 3, with 1 failed.
    """
    return _of_fits(view, "alpha")


def alpha_hat(view: TrainView) -> dict[str, Value | float]:
    """Mean of α · log₁₀ λ_max over layers: the exponent weighted by the size of the weights.

    Returns:
        "" is the mean over layers; `failed` counts the layers without a fit.

    Source:
        Martin, Peng & Mahoney, Predicting Trends in the Quality of State-of-the-Art Neural Networks
        Without Access to Training or Testing Data, Nature Communications 2021; the `weightwatcher`
        package, column "alpha_weighted".

    Example:
        One layer with α = 3 and λ_max = 100: 6.
    """
    return _of_fits(view, "alpha_weighted")


def log_alpha_norm(view: TrainView) -> dict[str, Value | float]:
    """Mean of log₁₀ Σ λ^α over layers, the Schatten norm with the layer's own exponent.

    Returns:
        "" is the mean over layers; `failed` counts the layers without a fit.

    Source:
        Martin, Peng & Mahoney, Nature Communications 2021; the `weightwatcher` package, column
        "log_alpha_norm".

    Example:
        One layer with α = 2 and the eigenvalues 6 and 8: log₁₀ 100 = 2.
    """
    return _of_fits(view, "log_alpha_norm")


def _of_layers(view: TrainView, name: str) -> Value | float:
    """Mean of what does not depend on a fit."""
    table = layer_table(view)
    if not len(table) or name not in table:
        return Value.undefined("no layer has ten eigenvalues or more")
    values = table[name].to_numpy(dtype=float)
    values = values[np.isfinite(values)]
    if not len(values):
        return Value.undefined("no layer has a finite value")
    return math.fsum(values) / len(values)


def stable_rank(view: TrainView) -> Value | float:
    """Mean of Σ λ / λ_max over layers, at least 1.

    Source:
        Martin & Mahoney, JMLR 2021; the `weightwatcher` package, column "stable_rank". It pools the
        k² places of a kernel, where `frobenius_over_spectral` sets them side by side.

    Example:
        One layer with the eigenvalues 4, 2 and 2: 2.
    """
    return _of_layers(view, "stable_rank")


def rand_distance(view: TrainView) -> Value | float:
    """Mean Jensen–Shannon distance of a layer's spectrum from that of its shuffled weights.

    The sorted eigenvalues, divided by their sum, are taken for a distribution over their positions.
    In [0, √log 2]; shuffling is drawn once for the network, the same for every checkpoint.

    Source:
        Yang et al., Evaluating Natural Language Processing Models with Generalization Metrics That
        Do Not Need Access to Any Training or Testing Data, arXiv 2202.02842, version 1; the
        `weightwatcher` package, column "rand_distance".

    Example:
        Eigenvalues in the same proportions before and after shuffling: 0.
    """
    return _of_layers(view, "rand_distance")


_NEEDS = "the package weightwatcher (extra `heavy-tail`); a layer of ten eigenvalues or more"
_FAILED = (Part(name="failed", summary="layers to which no power law could be fitted"),)
_MARTIN = "Martin, Peng & Mahoney 2021: lower within families of pre-trained networks is better"


def _entry(
    name: str,
    compute: Callable[[TrainView], Measured],
    summary: str,
    formula: str,
    direction: Direction,
    claim: str,
    weakness: str,
    *,
    invariance: Invariance,
    varies_with: tuple[Change, ...] = ("folding",),
    parts: tuple[Part, ...] = (),
) -> MeasureEntry:
    """What all of them have in common."""
    return MeasureEntry(
        name=f"heavy_tail.{name}",
        summary=summary,
        compute=compute,
        version="1",
        direction=direction,
        invariance=invariance,
        varies_with=varies_with,
        cost="weights",
        formula=formula,
        claim=claim,
        weakness=weakness,
        needs=_NEEDS,
        source="the weightwatcher package; failed fits are left out and counted; mean over layers",
        parts=parts,
        default=False,
    )


MEASURES = (
    _entry(
        "alpha",
        alpha,
        "mean exponent of the power laws that fit the layers' eigenvalues",
        "mean_l α_l, p(λ) ∝ λ^−α",
        "lower",
        _MARTIN,
        "the fit of a tail of few eigenvalues is noise: small layers give any exponent",
        invariance="layer-uniform",
        parts=_FAILED,
    ),
    _entry(
        "alpha_hat",
        alpha_hat,
        "mean exponent, weighted by the log of the largest eigenvalue",
        "mean_l α_l log₁₀ λ_max",
        "lower",
        _MARTIN,
        "mixes exponent and scale: networks of other depths or scales are not comparable",
        invariance="none",
        parts=_FAILED,
    ),
    _entry(
        "log_alpha_norm",
        log_alpha_norm,
        "mean log of the layers' Schatten norms at their own exponents",
        "mean_l log₁₀ Σ λ^α_l",
        "lower",
        _MARTIN,
        "mixes exponent and scale: networks of other depths or scales are not comparable",
        invariance="none",
        parts=_FAILED,
    ),
    _entry(
        "stable_rank",
        stable_rank,
        "mean stable rank of the layers, over all eigenvalues of a kernel",
        "mean_l Σ λ / λ_max",
        "none",
        "none that we know of on its own",
        "grows with the width of layers",
        invariance="layer-uniform",
    ),
    _entry(
        "rand_distance",
        rand_distance,
        "mean distance of the layers' spectra from those of their shuffled weights",
        "mean_l JSD(λ, λ of shuffled W)",
        "higher",
        "Yang et al., arXiv 2202.02842v1: the highest worst-case rank correlation of forty",
        "falls with the size of layers; tested on language models only",
        invariance="layer-uniform",
        varies_with=("permutation", "folding", "relabelling"),
    ),
)
