"""Norms of the weights: of all of them, and layer by layer as the network applies them.

What a layer is, and how BatchNorm is folded into it, says `audit_measures._folded`. W_l is the
weight of layer l of d, out × (in·k²); ‖W‖_F its Frobenius norm, ‖W‖₂ its spectral norm. Products
are taken in logarithms.
"""

from __future__ import annotations

import math

from audit.plugin import MeasureEntry, TrainView, Value
from audit_measures._folded import layer_norms
from audit_measures._layer_products import (
    LOWER,
    entry_of,
    frobenius,
    log_product,
    scaled_mean,
    spectral,
)


def parameter_norm(view: TrainView) -> float:
    """Euclidean norm of all parameters, √Σ w², in float64.

    Biases and BatchNorm's scales and shifts count as the parameters they are; running statistics
    are buffers and do not. Not finite, hence undefined, only if a weight is not.

    Source:
        Jiang et al., Fantastic Generalization Measures and Where to Find Them, ICLR 2020,
        "parameter norm". Deviation: the root of the sum of squares, not the sum.

    Example:
        A linear map with the weights (3, 0) and the bias 4 has the norm 5.
    """
    return math.sqrt(sum(float(p.double().square().sum()) for p in view.module.parameters()))


def log_product_frobenius(view: TrainView) -> Value | float:
    """The logarithm of Π_l ‖W_l‖_F², in float64 on effective weights.

    Undefined where all weights of a layer are 0.

    Source:
        Jiang et al. 2020, "prod-of-fro", after Neyshabur, Tomioka & Srebro, COLT 2015. Deviations:
        the logarithm; BatchNorm is folded by the graph of tensors, not by the order of modules.

    Example:
        Two layers of one weight each, 2 and 3: log(4·9) = 3.5835.
    """
    return log_product(view, frobenius)


def log_product_spectral(view: TrainView) -> Value | float:
    """The logarithm of Π_l ‖W_l‖₂², in float64 on effective weights.

    The spectral norm is that of the matrix out × (in·k²), not of the convolution as an operator on
    images, which is up to k times larger. Undefined where all weights of a layer are 0.

    Source:
        Jiang et al. 2020, "prod-of-spec", after Bartlett, Foster & Telgarsky, NeurIPS 2017.
        Deviation: the logarithm.

    Example:
        Two layers diag(2, 1) and diag(3, 1): log(4·9) = 3.5835.
    """
    return log_product(view, spectral)


def sum_frobenius(view: TrainView) -> Value | float:
    """D · (Π_l ‖W_l‖_F²)^(1/d): the sum of squared norms once layers are balanced.

    Undefined where all weights of a layer are 0. At least 0.

    Source:
        Jiang et al. 2020, "sum-of-fro".

    Example:
        Two layers of one weight each, 2 and 3: 2·√36 = 12.
    """
    return scaled_mean(view, log_product_frobenius(view))


def sum_spectral(view: TrainView) -> Value | float:
    """D · (Π_l ‖W_l‖₂²)^(1/d).

    Undefined where all weights of a layer are 0. At least 0.

    Source:
        Jiang et al. 2020, "sum-of-spec".

    Example:
        Two layers diag(2, 1) and diag(3, 1): 2·√36 = 12.
    """
    return scaled_mean(view, log_product_spectral(view))


def frobenius_over_spectral(view: TrainView) -> Value | float:
    """Σ_l ‖W_l‖_F² / ‖W_l‖₂²: the sum of the layers' stable ranks, at least d.

    Undefined where all weights of a layer are 0.

    Source:
        Jiang et al. 2020, "fro-over-spec".

    Example:
        Two layers diag(2, 1) and diag(1, 1): 5/4 + 2 = 3.25.
    """
    layers = layer_norms(view)
    product = log_product(view, spectral)
    if isinstance(product, Value):
        return product
    return math.fsum(layer.squared_frobenius / layer.squared_spectral for layer in layers)


_F, _S = "‖W_l‖_F²", "‖W_l‖₂²"

MEASURES = (
    MeasureEntry(
        name="parameter_norm",
        summary="Euclidean norm of all parameters",
        compute=parameter_norm,
        version="1",
        direction="lower",
        invariance="none",
        varies_with=("folding",),
        cost="weights",
        formula="√ Σ w²",
        claim=LOWER,
        weakness="grows with size and with BatchNorm's freedom of scale, neither of which matters",
        source="Jiang et al. 2020; the root of the sum; BatchNorm is not folded",
    ),
    entry_of(
        log_product_frobenius,
        "log of the product of the layers' squared Frobenius norms",
        f"log Π {_F}",
        "frobenius",
    ),
    entry_of(
        log_product_spectral,
        "log of the product of the layers' squared spectral norms",
        f"log Π {_S}",
        "spectral",
    ),
    entry_of(
        sum_frobenius,
        "number of layers times the geometric mean of their squared Frobenius norms",
        f"d (Π {_F})^(1/d)",
        "frobenius",
    ),
    entry_of(
        sum_spectral,
        "number of layers times the geometric mean of their squared spectral norms",
        f"d (Π {_S})^(1/d)",
        "spectral",
    ),
    entry_of(
        frobenius_over_spectral,
        "sum of the layers' stable ranks",
        f"Σ {_F} / {_S}",
        "frobenius",
    ),
)
