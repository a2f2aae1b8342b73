"""How certain the network's predictions are, and how widely they spread over classes, no labels.

These were made for unlabelled images from elsewhere; here they look at the training sample.
"""

from __future__ import annotations

import numpy as np
from scipy.special import logsumexp, softmax, xlogy

from audit.arrays import Labels, Logits
from audit.plugin import MeasureEntry, Value
from audit_measures._from_outputs import of_outputs

#: That softens predictions for class confusion.
TEMPERATURE = 2.5


@of_outputs
def nuclear_norm(logits: Logits, labels: Labels) -> Value | float:
    """Nuclear norm of the predicted probabilities over the most it can be, in (0, 1].

    |P|_* / √(n c), P of shape (n, c) the softmax of the scores. 1 where predictions are certain and
    spread evenly over all classes, which takes as many images as classes.

    Source:
        Deng et al., Confidence and Dispersity Speak, ICML 2023; Cui et al., Towards
        Discriminability and Diversity: Batch Nuclear-norm Maximization, CVPR 2020.
        Deviation: √(n c) in place of √(n min(n, c)), so that images that come twice change nothing.

    Example:
        Equal scores for two classes: P has the singular value √(n / 2), so ½.
    """
    probabilities = softmax(logits, axis=1)
    values = np.linalg.svd(probabilities, compute_uv=False)
    return float(values.sum() / logits.size**0.5)


@of_outputs
def energy_dispersion(logits: Logits, labels: Labels) -> Value | float:
    """How unevenly the energy of the scores lies over images, in nats; 0: the same for all.

    log mean exp(E) − mean E, E = −log Σ_k exp f_k: the meta-distribution energy of Peng et al. less
    log n.

    Source:
        Peng et al., Energy-based Automated Model Evaluation, ICLR 2024, at temperature 1.
        Deviation: less log n, so that samples of any size compare.

    Example:
        Energies 0 and log 3: log 2 − ½ log 3 = 0.1438.
    """
    energy = -logsumexp(logits, axis=1)
    return float(logsumexp(energy) - np.log(len(energy)) - energy.mean())


@of_outputs
def class_confusion(logits: Logits, labels: Labels) -> Value | float:
    """Share of the probability that goes to another class where one is likely, in [0, 1].

    With P the softmax of f / 2.5 and C = Pᵀ W P, rows scaled to a sum of 1: mean over classes of 1
    − C_cc. W weighs images by 1 + exp(−entropy of P).

    Source:
        Jin et al., Minimum Class Confusion for Versatile Domain Adaptation, ECCV 2020.

    Example:
        Equal scores for two classes give ½.
    """
    if logits.shape[1] < 2:
        return Value.undefined("confusion needs at least two classes; the network has one output")
    probabilities = softmax(logits / TEMPERATURE, axis=1)
    weight = 1 + np.exp(xlogy(probabilities, probabilities).sum(1))
    together = (probabilities * weight[:, None]).T @ probabilities
    mass = together.sum(1)
    if (mass == 0).any():
        return Value.undefined("a class has no probability on any training image")
    return float((1 - np.diag(together) / mass).mean())


_ELSEWHERE = "shown for images of another distribution; no claim is made of training images."

MEASURES = (
    MeasureEntry(
        name="nuclear_norm",
        summary="nuclear norm of the predicted probabilities over its maximum",
        compute=nuclear_norm,
        version="1",
        direction="higher",
        invariance="node-wise",
        cost="forward",
        formula="|softmax(f)|_* / sqrt(n c)",
        claim=f"Deng et al. 2023: it goes with accuracy; {_ELSEWHERE}",
        weakness="Certain predictions score high, right or wrong; classes of unequal size score "
        "lower.",
        source="Deng et al. 2023; over √(n c)",
        default=False,
    ),
    MeasureEntry(
        name="energy_dispersion",
        summary="how unevenly the energy of the scores lies over images, nats",
        compute=energy_dispersion,
        version="1",
        direction="none",
        invariance="node-wise",
        cost="forward",
        formula="log mean exp(E) - mean E, E = -log sum exp f",
        weakness="Energies shift with what the scores of all classes have in common, which changes "
        "no prediction.",
        source="Peng et al. 2024; less log n",
        unit="nats",
        default=False,
    ),
    MeasureEntry(
        name="class_confusion",
        summary="share of probability that goes to another class where one is likely",
        compute=class_confusion,
        version="1",
        direction="none",
        invariance="node-wise",
        cost="forward",
        formula="mean 1 - C_cc, C = row-normalised P' W P, P = softmax(f / 2.5)",
        weakness="It says what the confidence says, unless few classes are confused strongly.",
        source="Jin et al. 2020",
        default=False,
    ),
)
