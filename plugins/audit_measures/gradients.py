"""Gradients of single training images: how long they are, and how far they agree.

g_i is the gradient of image i's cross-entropy with its own label, with respect to all parameters as
they are stored; ḡ the mean over a tenth of the sample, n images.
"""

from __future__ import annotations

import math

from audit.plugin import MeasureEntry, Part, TrainView, Value
from audit_measures._gradient_sums import GradientSums, sums_of


def gradient_norm(view: TrainView) -> Value | float:
    """‖ḡ‖: length of the gradient of the mean loss, in eval mode. At least 0.

    On few images it is mostly the noise of single images: √(tr Cov / n).

    Source:
        Common practice; Abdelfattah et al., ICLR 2021 ("grad_norm") add up lengths layer by layer,
        which is the measure `grad_norm`.

    Example:
        Gradients (3, 0) and (1, 8) have the mean (2, 4), of length √20 = 4.472.
    """
    sums = sums_of(view)
    return sums if isinstance(sums, Value) else math.sqrt(sums.squared_mean)


def gradient_noise(view: TrainView) -> dict[str, Value | float]:
    """Tr Cov(g) / ‖ḡ‖²: how much single images' gradients scatter about their mean. At least 0.

    The covariance is that of the n images, with n − 1 in the denominator; ‖ḡ‖² is that of their
    mean, which itself has the noise tr Cov / n: the ratio cannot tell networks apart once it comes
    near n. Undefined on a single image, and where ḡ is 0.

    Returns:
        "" is the ratio; `variance` is tr Cov(g) itself.

    Source:
        Jiang et al., Fantastic Generalization Measures, ICLR 2020, "gradient noise": the variance
        at the end of training. The ratio is the noise scale of McCandlish et al., arXiv 1812.06162.
        Deviations: images, not batches; a tenth of the sample.

    Example:
        Gradients (3, 0) and (1, 8): variance 2 + 32 = 34, ‖ḡ‖² = 20, ratio 1.7.
    """
    sums = sums_of(view, least=2)
    if isinstance(sums, Value):
        return {"": sums, "variance": sums}
    variance = _variance(sums)
    if sums.squared_mean == 0:
        return {"": Value.undefined("the mean gradient is 0"), "variance": variance}
    return {"": variance / sums.squared_mean, "variance": variance}


def _variance(sums: GradientSums) -> float:
    """Trace of the covariance of the images' gradients; rounding does not make it negative."""
    return max(0.0, sums.squares - sums.n * sums.squared_mean) / (sums.n - 1)


def gradient_coherence(view: TrainView) -> Value | float:
    """Mean inner product of two images' gradients over their mean squared length.

    Σ_{i≠j} g_i·g_j / (n (n − 1)) over Σ g_i² / n: 1 where all gradients are equal, 0 where they are
    orthogonal, −1/(n − 1) where they cancel. Undefined on a single image, and where all are 0.

    Source:
        Chatterjee & Zielinski, Making Coherence Out of Nothing At All, arXiv 2008.01217
        (m-coherence). Deviation: pairs of an image with itself are left out, so that n images of
        unrelated gradients give 0 and not 1/n.

    Example:
        Gradients (3, 0) and (1, 8): 3 over (9 + 65) / 2 = 0.0811.
    """
    sums = sums_of(view, least=2)
    if isinstance(sums, Value):
        return sums
    if sums.squares == 0:
        return Value.undefined("all gradients are 0")
    mean_square = sums.squares / sums.n
    between = (sums.n * sums.squared_mean - mean_square) / (sums.n - 1)
    return between / mean_square


def empirical_fisher_trace(view: TrainView) -> Value | float:
    """Trace of the empirical Fisher information: mean ‖g_i‖², with the labels as given. At least 0.

    The Fisher information proper takes labels that are drawn from the network's own prediction; on
    a network that fits its training set the two come close.

    Source:
        Jastrzębski et al., Catastrophic Fisher Explosion, ICML 2021. Deviations: labels as given;
        the end of training, on a tenth of the sample.

    Example:
        Gradients (3, 0) and (1, 8): (9 + 65) / 2 = 37.
    """
    sums = sums_of(view)
    return sums if isinstance(sums, Value) else sums.squares / sums.n


_WEAKNESS = "goes to 0 with the training loss, whatever the network does elsewhere"
_NEEDS = "weights in float32 or float64"

MEASURES = (
    MeasureEntry(
        name="gradient_norm",
        summary="length of the gradient of the mean training loss, on a tenth of the sample",
        compute=gradient_norm,
        version="1",
        direction="none",
        invariance="none",
        varies_with=("folding", "image-order", "duplicates"),
        cost="backward",
        formula="‖ḡ‖",
        claim="none: at a minimum it is small for every network",
        weakness=_WEAKNESS,
        needs=_NEEDS,
        source="common practice; see gradient_noise",
        reducers=(GradientSums,),
        default=False,
    ),
    MeasureEntry(
        name="gradient_noise",
        summary="scatter of single images' gradients over their mean, on a tenth of the sample",
        compute=gradient_noise,
        version="1",
        direction="none",
        invariance="none",
        varies_with=("folding", "image-order", "duplicates"),
        cost="backward",
        formula="tr Cov(g) / ‖ḡ‖²",
        claim="none: McCandlish et al. 2018 use it to choose batch sizes",
        weakness="cannot exceed about the number of images it is taken on",
        needs=_NEEDS,
        source="Jiang et al. 2020; McCandlish et al., arXiv 1812.06162; images, not batches",
        parts=(
            Part(
                name="variance",
                summary="trace of the covariance of single images' gradients",
                direction="lower",
                claim="Jiang et al. 2020: gradient variance at the end of training follows the gap",
                judged=True,
            ),
        ),
        reducers=(GradientSums,),
        default=False,
    ),
    MeasureEntry(
        name="gradient_coherence",
        summary="mean inner product of two images' gradients over their mean squared length",
        compute=gradient_coherence,
        version="1",
        direction="higher",
        invariance="none",
        varies_with=("folding", "image-order", "duplicates"),
        cost="backward",
        formula="mean_{i≠j} g_i·g_j / mean ‖g_i‖²",
        claim=(
            "Chatterjee & Zielinski, arXiv 2008.01217: gradients agree more with true labels than "
            "with random ones, during training"
        ),
        weakness="small at the end of training for networks that generalize and for others",
        needs=_NEEDS,
        source="Chatterjee & Zielinski, arXiv 2008.01217; without pairs of an image with itself",
        reducers=(GradientSums,),
        default=False,
    ),
    MeasureEntry(
        name="empirical_fisher_trace",
        summary="mean squared length of single images' gradients, labels as given",
        compute=empirical_fisher_trace,
        version="1",
        direction="lower",
        invariance="none",
        varies_with=("folding", "image-order", "duplicates"),
        cost="backward",
        formula="mean ‖g_i‖²",
        claim=(
            "Jastrzębski et al., ICML 2021: a large trace early in training goes with poor "
            "generalization; at its end it is not claimed"
        ),
        weakness=_WEAKNESS,
        needs=_NEEDS,
        source="Jastrzębski et al., ICML 2021; labels as given, a tenth of the sample",
        reducers=(GradientSums,),
        default=False,
    ),
)
