"""Transferability from the shape of the classes in feature space: Gaussians, rates, correlations.

As in `transferability`, the task is the one that the network was trained on.
"""

from __future__ import annotations

import warnings

import numpy as np

from audit.arrays import Features, Labels
from audit.errors import MeasureError
from audit.plugin import MeasureEntry, TrainView, Value
from audit_measures._features import (
    classes,
    directions,
    of_features,
    present_classes,
    problem_with,
    spaced,
)
from audit_measures.transferability import expected_prediction

#: Distortion that TransRate allows, of features whose mean squared length is 1.
DISTORTION = 1e-4
#: Directions that Gaussians are fitted in, at most, and clusters for each class.
MOST_DIRECTIONS = 64
CLUSTERS = 5


def _rate(features: np.ndarray) -> float:
    """Half the log determinant of 1 + (1 / (n ε)) FᵀF, in nats."""
    values = np.linalg.svd(features, compute_uv=False)
    return 0.5 * float(np.log1p(values**2 / (len(features) * DISTORTION)).sum())


@of_features
def transrate(features: Features, labels: Labels) -> Value | float:
    """Information on the class that features hold at a given distortion, in nats; from 0 on.

    R(Z) − Σ_c (n_c / n) R(Z_c), with the coding rate R(Z) = ½ log det(1 + ZᵀZ / (n ε)), Z the
    centred features scaled to a mean squared length of 1, Z_c those of a class, and ε = 1e-4.

    Source:
        Huang et al., Frustratingly Easy Transferability Estimation, ICML 2022, and
        their program. Deviations: features are scaled, so that a common factor and the number of
        images change nothing; classes are weighted by their images, which is the same as the
        program's plain mean where classes are equally large.

    Example:
        Four images with the one feature −1, −1, 1, 1, two of each class: R(Z) = R(Z_c), so 0 (the
        mean is not taken out of a class).
    """
    centred = features - features.mean(0)
    centred /= np.sqrt((centred**2).sum(1).mean())
    within = sum(len(of) * _rate(of) for of in classes(centred, labels))
    return _rate(centred) - within / len(centred)


@of_features
def gbc(features: Features, labels: Labels) -> Value | float:
    """Negative overlap of the classes as round Gaussians, in [−c (c − 1), 0]; 0: far apart.

    −Σ_{i≠j} exp(−B_ij), B the Bhattacharyya distance of N(μ_i, σ_i² I) and N(μ_j, σ_j² I): ⅛ |μ_i −
    μ_j|² / σ² + (d / 2) log(σ² / (σ_i σ_j)), σ² = (σ_i² + σ_j²) / 2; in the first 64 principal
    components at most. Undefined where a class has no variance.

    Source:
        Pándy et al., Transferability Estimation using Bhattacharyya Class Separability, CVPR 2022;
        spherical. Variances are divided by the number of images of a class.

    Example:
        One feature, −1 and 1 in class 0, 1 and 3 in class 1: variances 1, distance of means 2, B =
        ½, so −2 exp(−½) = −1.2131.
    """
    u, values, _ = directions(features - features.mean(0))
    reduced = (u * values)[:, :MOST_DIRECTIONS]
    members = list(classes(reduced, labels))
    variance = np.array([of.var(axis=0).mean() for of in members])
    empty = int((variance <= variance.max() * np.finfo(np.float64).eps).sum())
    if empty:
        return Value.undefined(
            f"the features do not vary within {empty} of {len(members)} classes, which have no "
            "Gaussian then"
        )
    means = np.stack([of.mean(axis=0) for of in members])
    apart = ((means[:, None] - means) ** 2).sum(-1)
    shared = (variance[:, None] + variance) / 2
    spread = np.log(shared / np.sqrt(variance[:, None] * variance))
    distance = apart / (8 * shared) + reduced.shape[1] / 2 * spread
    overlap = np.exp(-distance)
    return -float(overlap.sum() - np.trace(overlap))


@of_features
def parc(features: Features, labels: Labels) -> Value | float:
    """Rank correlation between how unlike features are and how unlike labels are, in [−1, 1].

    Spearman's ρ, over pairs of images, of 1 − Pearson's r of their features with whether their
    classes differ. At most 2000 images, evenly spaced over the sample, take part; images whose
    features are all equal have no r and are left out.

    Source:
        Bolya, Mittapalli & Hoffman, Scalable Diverse Model Selection for Accessible Transfer
        Learning, NeurIPS 2021; not times 100, and without their reduction to 32
        dimensions.

    Example:
        Features that are the indicator of the class give exactly 1.
    """
    from scipy.spatial.distance import pdist
    from scipy.stats import spearmanr

    chosen = spaced(len(features))
    chosen = chosen[np.ptp(features[chosen], axis=1) > 0]
    if len(np.unique(labels[chosen])) < 2:
        return Value.undefined("no two classes have images whose features differ among themselves")
    unlike = pdist(features[chosen], "correlation")
    other = pdist(labels[chosen, None].astype(float), "hamming")
    if np.ptp(other) == 0 or np.ptp(unlike) == 0:
        return Value.undefined("all pairs of images are equally unlike")
    return float(spearmanr(unlike, other).statistic)


def nleep(view: TrainView) -> Value | float:
    """LEEP with the clusters of the features in place of the network's own classes, in nats.

    The features' principal components that hold 80 % of the variance, 64 at most, are clustered by
    a mixture of 5 c Gaussians with diagonal covariances; LEEP is taken on the probabilities of the
    clusters. At most 0, which is a perfect fit. The draw that starts the mixture is the same for
    every checkpoint.

    Source:
        Li et al., Ranking Neural Checkpoints, CVPR 2021; `GaussianMixture` of
        scikit-learn, at most 100 iterations, converged or not. Deviations: diagonal covariances
        and 64 components at most, so that 5 c clusters can be fitted to a sample; components are
        scaled to a mean variance of 1, since the mixture's floor on variances has a scale.

    Example:
        Ten images of one class at one place and ten of another at another: 0.
    """
    features = np.asarray(view.features(), np.float64)
    problem = problem_with(features, view.labels)
    if problem:
        return Value.undefined(problem)
    labels = present_classes(view.labels)
    n_clusters = CLUSTERS * (int(labels.max()) + 1)
    if len(features) < n_clusters:
        return Value.undefined(
            f"{n_clusters} clusters, {CLUSTERS} for each class, need as many images; the training "
            f"sample has {len(features)}"
        )
    seed = int(view.generator("nleep").integers(2**31))
    return expected_prediction(_clusters(features, n_clusters, seed), labels)


def _clusters(features: Features, n_clusters: int, seed: int) -> np.ndarray:
    """Probability of each cluster for each image, shape (n, clusters)."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.mixture import GaussianMixture

    u, values, _ = directions(features - features.mean(0))
    held = np.cumsum(values**2) / (values**2).sum()
    n_kept = min(int(np.searchsorted(held, 0.8)) + 1, MOST_DIRECTIONS)
    reduced = (u * values)[:, :n_kept]
    reduced /= np.sqrt(reduced.var(axis=0).mean())
    order = np.argsort((reduced**2).sum(1), kind="stable")  # or the start would follow the sample's
    # started from images: the start by k-means would hang on the last bit of a distance
    mixture = GaussianMixture(
        n_clusters, covariance_type="diag", init_params="random_from_data", random_state=seed
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        try:
            found: np.ndarray = mixture.fit(reduced[order]).predict_proba(reduced)
        except ValueError as error:
            raise MeasureError(f"the mixture of Gaussians cannot be fitted: {error}") from error
    return found


_ELSEWHERE = (
    "The claim is of accuracy after fine-tuning on another task; on the network's own training "
    "labels it is not made by the paper."
)

MEASURES = (
    MeasureEntry(
        name="transrate",
        summary="coding rate of features less that within classes, nats",
        compute=transrate,
        version="1",
        direction="higher",
        invariance="layer-uniform",
        cost="forward",
        formula="R(Z) - sum (n_c/n) R(Z_c), R(Z) = 1/2 log det(1 + Z'Z/(n e)), e = 1e-4",
        claim=f"Huang et al. 2022. {_ELSEWHERE}",
        weakness="It grows with the number of features; other widths do not compare.",
        needs="penultimate features",
        source="Huang et al. 2022; features scaled, classes weighted by their images",
        unit="nats",
        features=True,
        default=False,
    ),
    MeasureEntry(
        name="gbc",
        summary="negative overlap of the classes as round Gaussians in feature space",
        compute=gbc,
        version="1",
        direction="higher",
        invariance="layer-uniform",
        cost="forward",
        formula="-sum over i != j of exp(-Bhattacharyya distance)",
        claim=f"Pándy et al. 2022. {_ELSEWHERE}",
        weakness="It saturates at 0 once classes are apart, in most trained networks to the last "
        "digits.",
        needs="penultimate features; classes that vary",
        source="Pándy et al. 2022, spherical, 64 principal components",
        features=True,
        default=False,
    ),
    MeasureEntry(
        name="parc",
        summary="rank correlation of distances between features with those between labels",
        compute=parc,
        version="1",
        direction="higher",
        invariance="layer-uniform",
        varies_with=("duplicates",),
        cost="forward",
        formula="spearman(1 - pearson(f_i, f_j), [y_i != y_j])",
        claim=f"Bolya et al. 2021. {_ELSEWHERE}",
        weakness="Ties among labels keep it below 1 with three classes or more, the further the "
        "more unequal the classes.",
        needs="penultimate features",
        source="Bolya et al. 2021; at most 2000 images; not times 100",
        features=True,
        default=False,
    ),
    MeasureEntry(
        name="nleep",
        summary="LEEP on the clusters of the features, nats",
        compute=nleep,
        version="1",
        direction="higher",
        invariance="layer-uniform",
        varies_with=("duplicates",),
        cost="forward",
        formula="mean log sum_z P(y|z) P(z|f(x)), z of a Gaussian mixture",
        claim=f"Li et al. 2021. {_ELSEWHERE}",
        weakness="With few images to a cluster the clusters fit single images, and any labels.",
        needs="penultimate features; five images for each class",
        source="Li et al. 2021; scikit-learn's mixture; diagonal covariances, 64 "
        "components at most",
        unit="nats",
        features=True,
        default=False,
    ),
)
