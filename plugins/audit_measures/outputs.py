"""What the network's outputs on its own training sample say: fit, confidence, margin."""

from __future__ import annotations

import numpy as np
from scipy.special import log_softmax

from audit.arrays import Labels, Logits
from audit.plugin import MeasureEntry, Value
from audit_measures._from_outputs import margins, of_outputs


@of_outputs
def train_accuracy(logits: Logits, labels: Labels) -> Value | float:
    """Share of training images whose largest output is their label's, in [0, 1].

    Among equal outputs the first counts as the largest, as in torch.

    Source:
        docs/evidence.md, marks to beat.

    Example:
        Outputs (2, 1) and (0, 3) for the labels 0 and 0: one of two is right, 0.5.
    """
    return float((logits.argmax(axis=1) == labels).mean())


@of_outputs
def train_loss(logits: Logits, labels: Labels) -> Value | float:
    """Mean cross-entropy −log softmax(f(x))_y over the training images, in nats; 0 is best.

    Source:
        docs/evidence.md, marks to beat.

    Example:
        Outputs (0, 0) for any label: log 2 = 0.693.
    """
    scores = log_softmax(logits, axis=1)
    return float(-scores[np.arange(len(labels)), labels].mean())


@of_outputs
def mean_confidence(logits: Logits, labels: Labels) -> Value | float:
    """Mean of the largest softmax probability over the training images, in [1/c, 1].

    Source:
        docs/evidence.md, marks to beat.

    Example:
        Outputs (log 9, 0): the first class has probability 9/10, so 0.9.
    """
    return float(np.exp(log_softmax(logits, axis=1).max(axis=1)).mean())


@of_outputs
def margin_p10(logits: Logits, labels: Labels) -> Value | float:
    """10th percentile over training images of f_y − max_{k≠y} f_k, in units of the outputs.

    Negative where more than a tenth are classified wrongly; it keeps its sign. Undefined with a
    single class.

    Source:
        Jiang et al., Fantastic Generalization Measures and Where to Find Them, ICLR 2020 (γ).
        Percentile by linear interpolation.

    Example:
        Margins −1, 0, 1, …, 9: the 10th percentile is 0.
    """
    if logits.shape[1] < 2:
        return Value.undefined("a margin needs at least two classes; the network has one output")
    return float(np.percentile(margins(logits, labels), 10))


MEASURES = (
    MeasureEntry(
        name="train_accuracy",
        summary="share of training images classified correctly",
        compute=train_accuracy,
        version="1",
        direction="higher",
        invariance="node-wise",
        cost="forward",
        formula="share of images with argmax f(x) = y",
        claim="a mark to beat (docs/evidence.md); no paper claims that it tells networks apart "
        "which all fit their training set",
        weakness="1 for every network trained to the end, whatever it does on other images",
        source="docs/evidence.md, marks to beat; the first of equal outputs counts, as in torch",
        unit="share of images",
        baseline=True,
        control=True,
        called="train accuracy",
    ),
    MeasureEntry(
        name="train_loss",
        summary="mean cross-entropy on the training sample, nats",
        compute=train_loss,
        version="1",
        direction="lower",
        invariance="node-wise",
        cost="forward",
        formula="mean of −log softmax(f(x))_y",
        claim="measured on three zoos of tiny networks: tau 0.46, 0.56 and 0.46 with held-out "
        "accuracy (docs/evidence.md)",
        weakness="falls with memorised labels too, and with the scale of the head's weights",
        source="cross-entropy of the softmax; docs/evidence.md, marks to beat",
        unit="nats",
        baseline=True,
        control=True,
        called="train loss",
    ),
    MeasureEntry(
        name="mean_confidence",
        summary="mean largest softmax probability on the training sample",
        compute=mean_confidence,
        version="1",
        direction="higher",
        invariance="node-wise",
        cost="forward",
        formula="mean of max_k softmax(f(x))_k",
        claim="assumed, as for the train loss, with which it goes; a mark to beat",
        weakness="labels are not used, so that a network sure of wrong answers scores high",
        source="docs/evidence.md, marks to beat",
        baseline=True,
    ),
    MeasureEntry(
        name="margin_p10",
        summary="10th percentile of the output margin on the training sample",
        compute=margin_p10,
        version="1",
        direction="higher",
        invariance="node-wise",
        cost="forward",
        varies_with=("duplicates",),
        formula="10th percentile of f_y − max_{k≠y} f_k",
        claim="Jiang et al. 2019 and 2020: large margins generalize; measured on three zoos of "
        "tiny networks: tau 0.54, 0.51 and 0.47 (docs/evidence.md)",
        weakness="not normalised: twice the weights of the head give twice the margin and the "
        "same predictions",
        needs="two classes",
        source="Jiang et al. 2020; linear interpolation; the sign is kept",
        unit="units of the outputs",
        baseline=True,
    ),
)
