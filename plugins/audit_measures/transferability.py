"""How well features or scores fit the labels, as transfer learning ranks pretrained networks.

These estimate how accurate a network will be once it is fitted to a task. Here the task is the one
that the network was trained on: they say how well what it has learned fits its training labels,
and a network that has memorised them is told apart only by how much capacity that took.
"""

from __future__ import annotations

import numpy as np
from scipy.special import softmax

from audit.arrays import Features, Labels, Logits
from audit.plugin import MeasureEntry, Value
from audit_measures._features import (
    RESOLUTION,
    class_means,
    directions,
    of_features,
    one_hot,
    present_classes,
    standardised,
)
from audit_measures._from_outputs import of_outputs
from audit_measures._log_evidence import log_evidence

_ON_ITS_OWN_TASK = (
    "The claim is of accuracy after fine-tuning on another task; on the network's own training "
    "labels it is not made by the paper."
)


@of_features
def logme(features: Features, labels: Labels) -> Value | float:
    """Logarithm of the maximum evidence of a linear map from features to each class, per image.

    log p(y | F) / n with p(y | F) = ∫ N(y; F w, 1/β) N(w; 0, 1/α) dw at the α, β > 0 that maximise
    it, y the indicator of a class; mean over the classes present. Any real number, in nats per
    image and class; higher means that a simpler linear map explains the labels.

    Source:
        You et al., LogME, ICML 2021, in the fixed-point form of You et al., Ranking
        and Tuning Pre-trained Models, JMLR 23, 2022. Deviations: iterated until α/β
        changes by less than 1e-10 or 1000 times, where the authors' program stops after 11;
        without its 1e-5 in the denominators and with a start that scales with the features, so
        that a common factor on all features changes nothing; with the term (d − r) log α for
        features of rank r below d, which the program leaves out where n < d.

    Example:
        A feature that is the indicator of one of two balanced classes, shape (n, 1): the evidence
        of that class grows without bound, and the measure is undefined.
    """
    evidence = log_evidence(features, one_hot(labels))
    unbounded = int((~np.isfinite(evidence)).sum())
    if unbounded:
        return Value.undefined(
            f"the features give the labels of {unbounded} of {len(evidence)} classes without any "
            "error: the evidence has no maximum"
        )
    return float(evidence.mean())


@of_features
def h_score(features: Features, labels: Labels) -> Value | float:
    """Between-class variance of the features in units of their variance, summed over directions.

    tr(cov(f)⁺ cov(E[f | y])), in [0, c − 1]; c − 1 is perfect separation by a linear map. Undefined
    where the centred features of n different images have rank n − 1: it is then c − 1 whatever they
    are.

    Source:
        Bao et al., An Information-Theoretic Approach to Transferability in Task Transfer Learning,
        ICIP 2019. Deviation: directions below the resolution of float32 are left
        out, where the public program inverts them too (a cutoff of 1e-15).

    Example:
        One feature with the values 0, 2 in class 0 and 4, 6 in class 1: between variance 4, total
        variance 5, so 0.8.
    """
    scaled = standardised(features)
    u, _, _ = directions(scaled)
    n_distinct = len(np.unique(features, axis=0))
    if u.shape[1] >= n_distinct - 1:
        return Value.undefined(
            f"the features of {n_distinct} different images have rank {u.shape[1]}: any labels are "
            "a linear map of them; take more images than there are features"
        )
    indicator = one_hot(labels)
    return float((((indicator.T @ u) ** 2).sum(1) / indicator.sum(0)).sum())


@of_features
def h_score_shrunk(features: Features, labels: Labels) -> Value | float:
    """H-score with the covariance of the features shrunk towards a multiple of the identity.

    (1 − α) tr(cov_α(f)⁻¹ cov(E[f | y])), with cov_α = (1 − α) cov + α (tr cov / d) I and α by
    Ledoit and Wolf; in [0, c − 1].

    Source:
        Ibrahim, Ponomareva & Mazumder, Newer is not always better, ECML PKDD 2022 (arXiv
        2110.06893); `sklearn.covariance.ledoit_wolf`. Deviation: both covariances are
        divided by n, where the public program divides one by n − 1.

    Example:
        Features 1, 2 of one class and 4, 5 of another: variance 2.5, of class means 2.25, and one
        feature is not shrunk: 0.9.
    """
    from sklearn.covariance import ledoit_wolf

    centred = features - features.mean(0)
    covariance, shrinkage = ledoit_wolf(centred, assume_centered=True)
    if shrinkage >= 1:
        return Value.undefined("the shrinkage is 1: nothing of the features' covariance is left")
    means = class_means(centred, labels)
    weights = np.bincount(labels) / len(labels)
    values, vectors = np.linalg.eigh(covariance)
    kept = values > values.max() * len(values) * RESOLUTION**2
    along = (means @ vectors[:, kept]) ** 2 / values[kept]
    return float((1 - shrinkage) * weights @ along.sum(1))


@of_outputs
def leep(logits: Logits, labels: Labels) -> Value | float:
    """Log expected empirical prediction: how well the network's scores, recalibrated, tell labels.

    mean over images of log Σ_z P(y | z) θ(x)_z, with θ(x) the softmax of the network's scores, z
    its own classes (the "source" labels), y the training label (the "target"), and P(y | z) =
    Σ_{i: y_i = y} θ(x_i)_z / Σ_i θ(x_i)_z. In nats; at most 0, which is a perfect fit. On the
    network's own task it says what the training loss says, blind to which class is called what.

    Source:
        Nguyen et al., LEEP, ICML 2020; P(y, z) counts the target first, where some
        public programs swap the two.

    Example:
        Equal scores for every image, two classes of one size: −log 2.
    """
    scores = softmax(logits, axis=1)
    return expected_prediction(scores, present_classes(labels))


def expected_prediction(scores: np.ndarray, labels: Labels) -> Value | float:
    """LEEP of source probabilities (n, z) and labels 0 … c − 1."""
    joint = one_hot(labels).T @ scores
    mass = joint.sum(0)
    kept = mass > 0  # a source class that nothing falls to has no part in the sum
    conditional = joint[:, kept] / mass[kept]
    expected = (conditional[labels] * scores[:, kept]).sum(1)
    return float(np.log(expected).mean())


@of_outputs
def nce(logits: Logits, labels: Labels) -> Value | float:
    """Negative conditional entropy −H(label | predicted class), in nats; 0 is best.

    Σ_{y, z} P(y, z) log P(y | z) over the training sample, z the class with the largest score (the
    "source" label), y the training label (the "target"). At least −log c. A network that makes no
    mistake has 0, as has one that confuses two classes consistently.

    Source:
        Tran, Nguyen & Hassner, Transferability and Hardness of Supervised Classification Tasks,
        ICCV 2019; conditional on the prediction, where some public programs condition on
        the label. The source labels are the network's own predictions.

    Example:
        The same prediction for every image, two classes of one size: −log 2.
    """
    source = present_classes(logits.argmax(1))
    joint = one_hot(present_classes(labels)).T @ one_hot(source) / len(labels)
    seen = joint > 0
    conditional = (joint / joint.sum(0))[seen]
    return float((joint[seen] * np.log(conditional)).sum())


MEASURES = (
    MeasureEntry(
        name="logme",
        summary="log maximum evidence of a linear map from features to labels, nats per image",
        compute=logme,
        version="1",
        direction="higher",
        invariance="layer-uniform",
        varies_with=("duplicates",),
        cost="forward",
        formula="max over a, b of log p(y | F, a, b) / n, mean over classes",
        claim="You et al. 2021: rank correlation with accuracy after fine-tuning. On three zoos of "
        "tiny networks tau with held-out accuracy was 0.46, 0.57 and 0.37 (docs/evidence.md).",
        weakness="A network that has memorised noisy labels separates them too, and scores high.",
        needs="penultimate features",
        source="You et al. 2021; You et al. 2022; to convergence, with a "
        "start that scales with the features, and all terms where n < d",
        unit="nats per image",
        features=True,
        default=False,
    ),
    MeasureEntry(
        name="h_score",
        summary="between-class variance of features in units of their variance",
        compute=h_score,
        version="1",
        direction="higher",
        invariance="node-wise",
        cost="forward",
        formula="tr(cov(f)^+ cov(E[f|y]))",
        claim=f"Bao et al. 2019. {_ON_ITS_OWN_TASK}",
        weakness="It rises with the number of features, up to c - 1 where n <= d + 1.",
        needs="penultimate features; more images than there are features",
        source="Bao et al. 2019; directions below float32's resolution left out",
        features=True,
        default=False,
    ),
    MeasureEntry(
        name="h_score.shrunk",
        summary="H-score with a shrunk covariance of the features",
        compute=h_score_shrunk,
        version="1",
        direction="higher",
        invariance="layer-uniform",
        varies_with=("duplicates",),
        cost="forward",
        formula="(1 - a) tr(cov_a(f)^-1 cov(E[f|y])), a by Ledoit-Wolf",
        claim=f"Ibrahim et al. 2022. {_ON_ITS_OWN_TASK}",
        weakness="The shrinkage depends on the number of images, so that samples of different size "
        "do not compare.",
        needs="penultimate features",
        source="Ibrahim et al. 2022 (arXiv 2110.06893); scikit-learn's Ledoit-Wolf",
        features=True,
        default=False,
    ),
    MeasureEntry(
        name="leep",
        summary="log expected empirical prediction of labels from the network's own scores, nats",
        compute=leep,
        version="1",
        direction="higher",
        invariance="node-wise",
        cost="forward",
        formula="mean log sum_z P(y|z) softmax(f(x))_z",
        claim=f"Nguyen et al. 2020. {_ON_ITS_OWN_TASK}",
        weakness="Near 0 for every network that fits its training set, however it generalizes.",
        source="Nguyen et al. 2020; the source labels are the network's own classes",
        unit="nats",
        default=False,
    ),
    MeasureEntry(
        name="nce",
        summary="negative conditional entropy of the label given the predicted class, nats",
        compute=nce,
        version="1",
        direction="higher",
        invariance="node-wise",
        cost="forward",
        formula="sum P(y,z) log P(y|z), z = argmax f(x)",
        claim=f"Tran et al. 2019. {_ON_ITS_OWN_TASK}",
        weakness="Exactly 0 for every network that classifies its training sample without error.",
        source="Tran et al. 2019; the source labels are the network's own predictions",
        unit="nats",
        default=False,
    ),
)
