"""How sure the network is of its training sample, and whether it is right to be."""

from __future__ import annotations

import numpy as np
from scipy.special import log_softmax, softmax

from audit.arrays import Labels, Logits
from audit.plugin import MeasureEntry, Part, Value
from audit_measures._from_outputs import of_outputs

N_BINS = 15


@of_outputs
def prediction_entropy(logits: Logits, labels: Labels) -> Value | float:
    """Mean entropy −Σ p log p of the softmax over the training images, in nats, in [0, log c].

    Labels are not used. 0 where the network is certain of every image, right or wrong.

    Source:
        Shannon's entropy of the softmax.

    Example:
        Probabilities (½, ½) on one image and (0.9, 0.1) on another: (0.693 + 0.325) / 2 = 0.509.
    """
    scores = log_softmax(logits, axis=1)
    return float(-(np.exp(scores) * scores).sum(axis=1).mean())


@of_outputs
def calibration_error(logits: Logits, labels: Labels) -> Value | dict[str, Value | float]:
    """Expected calibration error on the training sample, in [0, 1]; 0 is best.

    Σ_b (n_b / n) |accuracy_b − mean confidence_b| over 15 bins of equal width in the largest
    softmax probability; a bin holds its lower end, not its upper. In float32, so that only six
    digits mean anything. Undefined with a single class.

    Returns:
        "": the above. "maximum": the largest |accuracy_b − mean confidence_b| of a bin, in [0, 1].

    Source:
        Guo, Pleiss, Sun & Weinberger, On Calibration of Modern Neural Networks, ICML 2017, eqs. 3
        and 5; computed by torchmetrics. Deviation: bins hold their lower ends, theirs the upper.
        Version 1 was our own sum in float64, with bins that held their upper ends.

    Example:
        Confidences 0.90 (right), 0.92 (wrong) and 0.55 (right): the first two share a bin, which
        is |1 − 1.82| / 3 = 0.273, the third is alone, 0.45 / 3 = 0.150; together 0.423.
    """
    import torch
    from torchmetrics.functional.classification import multiclass_calibration_error

    n_classes = logits.shape[1]
    if n_classes < 2:
        return Value.undefined("calibration needs two classes; the network has one output")
    probabilities = torch.from_numpy(softmax(logits, axis=1))
    truth = torch.from_numpy(np.array(labels, np.int64))  # labels may lie in a read-only file
    expected, maximum = (
        float(multiclass_calibration_error(probabilities, truth, n_classes, N_BINS, norm))
        for norm in ("l1", "max")
    )
    return {"": expected, "maximum": maximum}


@of_outputs
def brier_score(logits: Logits, labels: Labels) -> Value | float:
    """Mean squared distance of the softmax from the label, Σ_k (p_k − 1[y = k])², in [0, 2].

    0 where the network is certain and right on every image, 2 where it is certain and wrong.

    Source:
        Brier, Verification of forecasts expressed in terms of probability, Monthly Weather Review
        78, 1950: over all classes, not halved.

    Example:
        Probabilities (0.8, 0.2) for the first class: 0.2² + 0.2² = 0.08.
    """
    distance = softmax(logits, axis=1)
    distance[np.arange(len(labels)), labels] -= 1
    return float((distance**2).sum(axis=1).mean())


MEASURES = (
    MeasureEntry(
        name="prediction_entropy",
        summary="mean entropy of predictions on the training sample, nats",
        compute=prediction_entropy,
        version="1",
        direction="lower",
        invariance="node-wise",
        cost="forward",
        formula="mean over images of −Σ_k p_k log p_k",
        claim="assumed: of networks trained alike the surer ones fit better; no paper claims it "
        "for training images, and we have not measured it",
        weakness="a network that memorised its training images is as sure of them as one that "
        "generalizes, and scaling the head's weights moves it",
        source="Shannon entropy of the softmax",
        unit="nats",
        default=False,
    ),
    MeasureEntry(
        name="calibration_error",
        summary="expected calibration error on the training sample, 15 bins",
        compute=calibration_error,
        version="2",
        direction="lower",
        invariance="node-wise",
        cost="forward",
        formula="Σ_b (n_b/n) |accuracy_b − confidence_b|, 15 bins",
        claim="assumed from held-out calibration (Guo et al. 2017); no paper claims it for "
        "training images, and we have not measured it",
        weakness="near 0 for every network that fits its training images with certainty, and few "
        "images leave bins with one or two",
        needs="two classes",
        source="Guo et al. 2017, eqs. 3 and 5, by torchmetrics: bins hold their lower ends "
        "(version 1: their upper ends, in float64)",
        parts=(Part(name="maximum", summary="largest error of a bin"),),
        default=False,
    ),
    MeasureEntry(
        name="brier_score",
        summary="mean squared distance of predictions from labels on the training sample",
        compute=brier_score,
        version="1",
        direction="none",
        invariance="node-wise",
        cost="forward",
        formula="mean over images of Σ_k (p_k − 1[y = k])²",
        claim="none: a proper score of the fit to the training images, as the train loss is",
        weakness="says how well training images are fitted, which memorising does best",
        source="Brier 1950; over all classes, not halved",
        default=False,
    ),
)
