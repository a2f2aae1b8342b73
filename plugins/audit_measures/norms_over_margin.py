"""Norms of the weights over the margin that they leave the training images.

What a layer is, and how BatchNorm is folded into it, says `audit_measures._folded`. W_l is the
weight of layer l of d, out × (in·k²); ‖W‖_F its Frobenius norm, ‖W‖₂ its spectral norm, γ the 10th
percentile of the output margins on the training sample. Products are taken in logarithms.
"""

from __future__ import annotations

import math

from audit.plugin import MeasureEntry, TrainView, Value
from audit_measures._layer_products import (
    JIANG,
    MARGIN,
    entry_of,
    log_margin,
    over_margin,
    scaled_mean,
)
from audit_measures.norms import (
    frobenius_over_spectral,
    log_product_frobenius,
    log_product_spectral,
)
from audit_measures.path_norm import path_norm


def log_product_frobenius_over_margin(view: TrainView) -> Value | float:
    """The logarithm of (Π_l ‖W_l‖_F² / γ²).

    Undefined where γ ≤ 0, and where all weights of a layer are 0.

    Source:
        Jiang et al. 2020, "prod-of-fro / margin". Deviations: the logarithm; public code takes the
        absolute value of γ, or its square, and so gives a number for networks that do not fit.

    Example:
        Two layers of one weight each, 2 and 3, and γ = 6: log(4·9 / 36) = 0.
    """
    return over_margin(view, log_product_frobenius(view))


def log_product_spectral_over_margin(view: TrainView) -> Value | float:
    """The logarithm of (Π_l ‖W_l‖₂² / γ²).

    Undefined where γ ≤ 0, and where all weights of a layer are 0.

    Source:
        Jiang et al. 2020, "prod-of-spec / margin". Deviations: the logarithm; γ keeps its sign.

    Example:
        Two layers diag(2, 1) and diag(3, 1), and γ = 6: log(4·9 / 36) = 0.
    """
    return over_margin(view, log_product_spectral(view))


def sum_frobenius_over_margin(view: TrainView) -> Value | float:
    """D · (Π_l ‖W_l‖_F² / γ²)^(1/d).

    Undefined where γ ≤ 0, and where all weights of a layer are 0.

    Source:
        Jiang et al. 2020, "sum-of-fro / margin". Deviation: γ keeps its sign.

    Example:
        Two layers of one weight each, 2 and 3, and γ = 6: 2·√(36/36) = 2.
    """
    return scaled_mean(view, log_product_frobenius_over_margin(view))


def sum_spectral_over_margin(view: TrainView) -> Value | float:
    """D · (Π_l ‖W_l‖₂² / γ²)^(1/d).

    Undefined where γ ≤ 0, and where all weights of a layer are 0.

    Source:
        Jiang et al. 2020, "sum-of-spec / margin". Deviation: γ keeps its sign.

    Example:
        Two layers diag(2, 1) and diag(3, 1), and γ = 6: 2·√(36/36) = 2.
    """
    return scaled_mean(view, log_product_spectral_over_margin(view))


def log_spectral_original_main(view: TrainView) -> Value | float:
    """The logarithm of (Π_l ‖W_l‖₂² · Σ_l (‖W_l‖_F² / ‖W_l‖₂²) / γ²).

    The main term of the PAC-Bayes bound of spectrally normalised margins, without what depends on
    the size of layers. Undefined where γ ≤ 0, and where all weights of a layer are 0.

    Source:
        Jiang et al. 2020, "spec-orig-main", after Neyshabur, Bhojanapalli & Srebro, ICLR 2018.
        Deviations: the logarithm; γ keeps its sign.

    Example:
        Two layers diag(2, 1) and diag(1, 1), and γ = 2: log(4 · 3.25 / 4) = 1.1787.
    """
    ranks, bound = frobenius_over_spectral(view), log_product_spectral_over_margin(view)
    if isinstance(bound, Value) or isinstance(ranks, Value):
        return bound if isinstance(bound, Value) else ranks
    return bound + math.log(ranks)


def path_norm_over_margin(view: TrainView) -> Value | float:
    """The path norm over γ: √ (Σ over paths of Π w² along the path) / γ.

    Undefined where the path norm is, and where γ ≤ 0.

    Source:
        Jiang et al. 2020, "path-norm / margin". Deviations: the root of theirs; γ keeps its sign.

    Example:
        A path norm of 6 and γ = 3 give 2.
    """
    norm = path_norm(view)
    if isinstance(norm, Value):
        return norm
    below = log_margin(view)
    return below if isinstance(below, Value) else norm / math.exp(below / 2)


_F, _S = "‖W_l‖_F²", "‖W_l‖₂²"

MEASURES = (
    entry_of(
        log_product_frobenius_over_margin,
        "log of the product of squared Frobenius norms, over the squared margin",
        f"log (Π {_F} / γ²)",
        "frobenius",
    ),
    entry_of(
        log_product_spectral_over_margin,
        "log of the product of squared spectral norms, over the squared margin",
        f"log (Π {_S} / γ²)",
        "spectral",
    ),
    entry_of(
        sum_frobenius_over_margin,
        "the balanced sum of squared Frobenius norms, over the margin",
        f"d (Π {_F} / γ²)^(1/d)",
        "frobenius",
    ),
    entry_of(
        sum_spectral_over_margin,
        "the balanced sum of squared spectral norms, over the margin",
        f"d (Π {_S} / γ²)^(1/d)",
        "spectral",
    ),
    entry_of(
        log_spectral_original_main,
        "log of the main term of the spectrally normalised margin bound",
        f"log (Π {_S} · Σ {_F} / {_S} / γ²)",
        "spectral",
    ),
    MeasureEntry(
        name="path_norm_over_margin",
        summary="path norm over the margin",
        compute=path_norm_over_margin,
        version="1",
        direction="lower",
        invariance="node-wise",
        varies_with=("duplicates",),
        cost="forward",
        formula="√ (Σ over paths of Π w²) / γ",
        claim=f"{JIANG}: positively correlated with the gap",
        weakness="ignores signs that cancel; defined for piecewise linear networks only",
        needs=f"a network of ReLU and BatchNorm; {MARGIN}",
        source=f"{JIANG}; the root is taken, BatchNorm folded",
        default=False,
    ),
)
