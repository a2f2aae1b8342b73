"""How sure the network is of its training sample, and whether it is right to be."""

from __future__ import annotations

import numpy as np
from scipy.special import log_softmax, softmax

from audit.arrays import Labels, Logits
from audit.plugin import MeasureEntry, Value
from audit_measures._from_outputs import of_outputs

N_BINS = 15


@of_outputs
def prediction_entropy(logits: Logits, labels: Labels) -> Value | float:
    """Mean entropy −Σ p log p of the softmax over the training images, in nats, in [0, log c]."""
    scores = log_softmax(logits, axis=1)
    return float(-(np.exp(scores) * scores).sum(axis=1).mean())


@of_outputs
def calibration_error(logits: Logits, labels: Labels) -> Value | float:
    """Expected calibration error on the training sample, in [0, 1]; 0 is best.

    Σ_b (n_b / n) |accuracy_b − mean confidence_b| over 15 bins of equal width in the largest
    softmax probability; a bin holds its upper end, not its lower.

    Source:
        Guo, Pleiss, Sun & Weinberger, On Calibration of Modern Neural Networks, ICML 2017, eq. 3.
    """
    probabilities = softmax(logits, axis=1)
    confidence = probabilities.max(axis=1)
    difference = (probabilities.argmax(axis=1) == labels) - confidence
    bins = np.clip(np.ceil(confidence * N_BINS).astype(np.int64) - 1, 0, N_BINS - 1)
    sums = np.bincount(bins, weights=difference, minlength=N_BINS)
    return float(np.abs(sums).sum() / len(labels))


MEASURES = (
    MeasureEntry(
        name="prediction_entropy",
        summary="mean entropy of predictions on the training sample, nats",
        compute=prediction_entropy,
        version="1",
        direction="lower",
        invariance="node-wise",
        cost="forward",
        unit="nats",
        default=False,
    ),
    MeasureEntry(
        name="calibration_error",
        summary="expected calibration error on the training sample, 15 bins",
        compute=calibration_error,
        version="1",
        direction="lower",
        invariance="node-wise",
        cost="forward",
        source="Guo et al. 2017, eq. 3",
        default=False,
    ),
)
