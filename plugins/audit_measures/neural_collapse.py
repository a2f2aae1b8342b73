"""Neural collapse: how far features of a class have become one point, and points a simplex."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from audit.arrays import Features, Labels
from audit.plugin import Measured, MeasureEntry, Part, TrainView, Value
from audit_measures._features import (
    class_means,
    directions,
    of_features,
    present_classes,
    problem_with,
)

if TYPE_CHECKING:
    from torch import nn


def _centred_means(features: Features, labels: Labels) -> np.ndarray:
    """Class means less their mean, shape (c, d)."""
    means = class_means(features, labels)
    centred: np.ndarray = means - means.mean(0)
    return centred


@of_features
def within_class_variability(features: Features, labels: Labels) -> Value | float:
    """NC1: variance of features within classes in units of that between; from 0 (collapsed) on.

    tr(Σ_W Σ_B⁺) / c, Σ_W = mean over images of (h − μ_y)(h − μ_y)ᵀ, Σ_B = mean over classes of
    (μ_c − μ)(μ_c − μ)ᵀ, μ the mean of the class means. Undefined where every class has a single
    image, and where the class means lie in fewer dimensions than they could, as when two classes
    share their mean: the pseudo-inverse would leave out what does not separate them.

    Source:
        Papyan, Han & Donoho, Prevalence of neural collapse during the terminal phase of deep
        learning training, PNAS 117, 2020. Classes need not be equally large.

    Example:
        One feature, −2 and 0 in class 0, 0 and 2 in class 1: Σ_W = 1, Σ_B = 1, so ½.
    """
    if len(features) == int(labels.max()) + 1:
        return Value.undefined("every class has a single image: nothing varies within classes")
    between = _centred_means(features, labels)
    _, values, v = directions(between)
    rank = len(directions(features - features.mean(0))[1])
    most = min(len(between) - 1, rank)
    if len(values) < most:
        return Value.undefined(
            f"the means of {len(between)} classes differ in {len(values)} directions of {most}: "
            "some classes cannot be told apart by their means"
        )
    within = (features - class_means(features, labels)[labels]) @ v.T
    scatter = (within**2).mean(0) / (values**2 / len(between))
    return float(scatter.sum() / len(between))


@of_features
def simplex_distance(features: Features, labels: Labels) -> Measured:
    """NC2: how far the class means are from the corners of a simplex; from 0 (a simplex) on.

    With m_c = μ_c − μ, μ the mean of the class means: mean over pairs of classes of |cos(m_i, m_j)
    + 1 / (c − 1)|. Undefined with two classes, whose means are always opposite, and where a class
    has no direction.

    Returns:
        "": the above. "equinorm": standard deviation of |m_c| over its mean, from 0 on.
        "equiangle": standard deviation of the cosines, in [0, 1].

    Source:
        Papyan, Han & Donoho, PNAS 117, 2020.

    Example:
        The corners of a right-angled triangle at the centre, (1, 0), (0, 1), (−1, −1), have cosines
        0, −0.707 and −0.707, and 0.304 on average.
    """
    between = _centred_means(features, labels)
    n_classes = len(between)
    if n_classes < 3:
        return Value.undefined("the centred means of two classes are opposite and equally long")
    length = np.linalg.norm(between, axis=1)
    if (length <= length.max() * np.finfo(np.float32).eps).any():
        return Value.undefined("the mean of a class is the mean of all classes, without direction")
    cosines = (between @ between.T / np.outer(length, length))[np.triu_indices(n_classes, 1)]
    return {
        "": float(np.abs(cosines + 1 / (n_classes - 1)).mean()),
        "equinorm": float(length.std() / length.mean()),
        "equiangle": float(cosines.std()),
    }


def self_duality_distance(view: TrainView) -> Value | float:
    """NC3: distance between the classifier's weights and the class means; in [0, 2], 0 is dual.

    |W / |W| − M / |M||, Frobenius norms, W the rows of the last linear layer for the classes
    present, M the class means less their mean. Unavailable where the scores are no affine map of
    the penultimate features that a layer's weights and biases give.

    Source:
        Papyan, Han & Donoho, PNAS 117, 2020. Theirs is squared.

    Example:
        Class means ±1 and weights ±2: 0; weights ∓2: 2.
    """
    features = np.asarray(view.features(), np.float64)
    problem = problem_with(features, view.labels)
    if problem:
        return Value.undefined(problem)
    weight = _classifier(view.module, features, np.asarray(view.logits(), np.float64))
    if weight is None:
        return Value.unavailable(
            "the scores are no linear map of the penultimate features that a layer of the network "
            "has as its weights; it needs a linear classifier"
        )
    rows = weight[np.unique(view.labels)]
    means = _centred_means(features, present_classes(view.labels))
    sizes = np.linalg.norm(rows), np.linalg.norm(means)
    if min(sizes) == 0:
        return Value.undefined("the weights of the classifier, or all centred class means, are 0")
    return float(np.linalg.norm(rows / sizes[0] - means / sizes[1]))


def _classifier(module: nn.Module, features: Features, logits: np.ndarray) -> np.ndarray | None:
    """Weights (c, d) of the layer that makes the scores of the features; None if there is none."""
    import torch

    wanted = (logits.shape[-1], features.shape[1])
    tolerance = 1e-3 * np.abs(logits).max()
    for part in reversed(list(module.modules())):
        weight = getattr(part, "weight", None)
        if not isinstance(weight, torch.Tensor) or weight.ndim < 2:
            continue
        if tuple(weight.flatten(1).shape) != wanted:
            continue
        matrix: np.ndarray = weight.detach().flatten(1).double().cpu().numpy()
        bias = getattr(part, "bias", None)
        offset = 0 if bias is None else bias.detach().double().cpu().numpy()
        if np.abs(features @ matrix.T + offset - logits).max() <= tolerance:
            return matrix
    return None


def nearest_mean_agreement(view: TrainView) -> Measured:
    """NC4: share of training images whose nearest class mean is the predicted class, in [0, 1].

    Distances are Euclidean, between penultimate features and class means. Among equal distances
    or scores the first class counts. Classes of the network that the sample does not have are
    never nearest.

    Returns:
        "": the above. "clearance": mean over images of (b − a) / (b + a), in [−1, 1]: a is the
        distance to the mean of the predicted class, b the smallest to another. Images whose
        predicted class the sample does not have are left out of it.

    Source:
        Papyan, Han & Donoho, PNAS 117, 2020; theirs is the share that differs. The
        clearance is ours.

    Example:
        Class means 0 and 4, an image at 1 that is predicted to be of the first: agreement 1,
        clearance (3 − 1) / (3 + 1) = ½.
    """
    features = np.asarray(view.features(), np.float64)
    problem = problem_with(features, view.labels)
    if problem:
        return Value.undefined(problem)
    present = np.unique(view.labels)
    means = class_means(features, present_classes(view.labels))
    distance = np.stack([np.linalg.norm(features - mean, axis=1) for mean in means], axis=1)
    predicted = np.asarray(view.logits()).argmax(1)
    agrees = present[distance.argmin(1)] == predicted
    known = np.flatnonzero(np.isin(predicted, present))
    return {
        "": float(agrees.mean()),
        "clearance": _clearance(distance[known], np.searchsorted(present, predicted[known])),
    }


def _clearance(distance: np.ndarray, predicted: np.ndarray) -> Value | float:
    """Mean of (b − a) / (b + a) over images, of distances (n, c) and predicted classes."""
    rows = np.arange(len(predicted))
    own = distance[rows, predicted]
    others = distance.copy()
    others[rows, predicted] = np.inf
    nearest = others.min(axis=1, initial=np.inf)
    apart = own + nearest > 0
    if not apart.any():
        return Value.undefined("no image is predicted to be of a class that the sample has")
    return float(((nearest - own)[apart] / (nearest + own)[apart]).mean())


_PAPER = "Papyan, Han & Donoho, PNAS 117, 2020"

MEASURES = (
    MeasureEntry(
        name="neural_collapse.nc1",
        summary="variance of features within classes in units of that between",
        compute=within_class_variability,
        version="1",
        direction="lower",
        invariance="layer-uniform",
        cost="forward",
        formula="tr(S_W S_B^+) / c",
        claim=f"{_PAPER}: test accuracy rises while training goes on to collapse; shown "
        "along training, not between networks.",
        weakness="Hui, Belkin & Nakkiran (arXiv 2202.08384) find collapse on the training set of "
        "networks whose features do not collapse on other data: it says how long training went on.",
        needs="penultimate features; classes with several images",
        source=_PAPER,
        features=True,
        default=False,
    ),
    MeasureEntry(
        name="neural_collapse.nc2",
        summary="mean distance of the cosines between class means from a simplex's",
        compute=simplex_distance,
        version="1",
        direction="none",
        invariance="layer-uniform",
        cost="forward",
        formula="mean |cos(m_i, m_j) + 1/(c-1)|",
        weakness="Classes that are truly alike keep their means close, which is no fault.",
        needs="penultimate features; three classes",
        source=_PAPER,
        parts=(
            Part(name="equinorm", summary="spread of the lengths of class means over their mean"),
            Part(name="equiangle", summary="standard deviation of the cosines"),
        ),
        features=True,
        default=False,
    ),
    MeasureEntry(
        name="neural_collapse.nc3",
        summary="distance between the classifier's weights and the class means",
        compute=self_duality_distance,
        version="1",
        direction="none",
        invariance="layer-uniform",
        cost="forward",
        formula="|W/|W| - M/|M||",
        weakness="Weights may hold a part that all classes share, which changes no prediction.",
        needs="penultimate features and a linear classifier",
        source=f"{_PAPER}; not squared",
        features=True,
        default=False,
    ),
    MeasureEntry(
        name="neural_collapse.nc4",
        summary="share of predictions that the nearest class mean gives too",
        compute=nearest_mean_agreement,
        version="1",
        direction="higher",
        invariance="layer-uniform",
        cost="forward",
        claim="own: it rises with held-out accuracy on every zoo of benchmarks/zoos "
        "(docs/findings.md)",
        formula="share of images with argmax f(x) = argmin |h - mu_c|",
        weakness="Near 1 for every network that fits its training set well.",
        needs="penultimate features",
        source=f"{_PAPER}; agreement in place of disagreement",
        unit="share of images",
        parts=(Part(name="clearance", summary="how much nearer the predicted class's mean is"),),
        features=True,
    ),
)
