"""How well the classes of the training sample are told apart by penultimate features."""

from __future__ import annotations

import numpy as np

from audit.arrays import Features, Labels
from audit.plugin import MeasureEntry, TrainView, Value
from audit_measures._features import (
    class_means,
    directions,
    of_features,
    present_classes,
    problem_with,
    spaced,
    standardised,
)

#: Folds of the cross-validation, and principal components that discriminants are fitted in.
FOLDS = 5
MOST_COMPONENTS = 64


def davies_bouldin_of(features: Features, labels: Labels) -> Value:
    """Davies–Bouldin index of classes 0 … c − 1; undefined where two classes have one mean.

    scikit-learn's, on features scaled to a total variance of 1: it calls distances below 1e-8 none
    and gives 0, the best value, where all means are one, and leaves out pairs whose means are.
    """
    from sklearn.metrics import davies_bouldin_score

    n_classes = int(labels.max()) + 1
    if n_classes == len(labels):
        return Value.undefined("every class has a single image: nothing varies within classes")
    centred = features - features.mean(0)
    scaled = centred / np.sqrt((centred**2).sum(1).mean())
    means = class_means(scaled, labels)
    apart = ((means[:, None] - means) ** 2).sum(-1) + np.eye(n_classes)
    if apart.min() <= np.finfo(np.float32).eps ** 2:
        first, second = np.unravel_index(int(apart.argmin()), apart.shape)
        return Value.undefined(
            f"classes {min(first, second)} and {max(first, second)} of those present have the same "
            "mean"
        )
    return Value(float(davies_bouldin_score(scaled, labels)))


@of_features
def davies_bouldin(features: Features, labels: Labels) -> Value:
    """Davies–Bouldin index of the classes in penultimate features; from 0 (points) on.

    Mean over classes of max_{j≠i} (s_i + s_j) / |μ_i − μ_j|, s the mean distance from the class
    mean μ. Undefined where two classes have the same mean, or every class a single image.

    Source:
        Davies & Bouldin, A Cluster Separation Measure, IEEE PAMI 1, 1979;
        `sklearn.metrics.davies_bouldin_score`, which gives 0 where means coincide.

    Example:
        One feature, −1 and 1 in class 0, 3 and 5 in class 1: (1 + 1) / 4 = ½.
    """
    return davies_bouldin_of(features, labels)


@of_features
def silhouette(features: Features, labels: Labels) -> Value | float:
    """Mean silhouette of the classes in penultimate features, in [−1, 1]; 1: far apart.

    Mean over images of (b − a) / max(a, b), a the mean distance to the others of the class, b the
    smallest mean distance to another class; 0 for the only image of a class. At most 2000 images,
    evenly spaced over the sample, take part.

    Source:
        Rousseeuw, Silhouettes, J. Comput. Appl. Math. 20, 1987; `sklearn.metrics.silhouette_score`.

    Example:
        One feature, 0 and 1 in class 0, 10 and 11 in class 1: a = 1, b = 10.5 or 9.5, so
        (0.9048 + 0.8947) / 2 = 0.8997.
    """
    from sklearn.metrics import silhouette_score

    chosen = spaced(len(features))
    kept, of = features[chosen], labels[chosen]
    n_classes = len(np.unique(of))
    if not 1 < n_classes < len(of):
        return Value.undefined(
            f"it needs two classes, one of them with two images; {len(of)} images have {n_classes}"
        )
    return float(silhouette_score(kept / np.sqrt(kept.var(axis=0).sum()), of))


def lda_accuracy(view: TrainView) -> Value | float:
    """Accuracy of linear discriminants on penultimate features, cross-validated, in [0, 1].

    Features are scaled to standard deviation 1 and reduced to their first principal components: 64,
    or a quarter of the number of images, at most, without a look at labels; five folds of the
    training sample, fewer where a class has fewer images. The draw of the folds is the same for
    every checkpoint. Undefined where a class has a single image.

    Source:
        Fisher's discriminants by `sklearn.discriminant_analysis` (singular values), folds by
        `StratifiedKFold`.

    Example:
        Two classes that differ by far more than they vary in one feature give 1.
    """
    features = np.asarray(view.features(), np.float64)
    problem = problem_with(features, view.labels)
    if problem:
        return Value.undefined(problem)
    labels = present_classes(view.labels)
    smallest = int(np.bincount(labels).min())
    if smallest < 2:
        return Value.undefined("a class has a single image, and cannot be in two folds")
    u, values, _ = directions(standardised(features))
    reduced = (u * values)[:, : max(1, min(MOST_COMPONENTS, len(features) // 4))]
    seed = int(view.generator("lda folds").integers(2**31))
    return _cross_validated(reduced, labels, min(FOLDS, smallest), seed)


def _cross_validated(features: Features, labels: Labels, n_folds: int, seed: int) -> float:
    """Share of images that discriminants from the other folds classify rightly."""
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
    from sklearn.model_selection import StratifiedKFold, cross_val_predict

    folds = StratifiedKFold(n_folds, shuffle=True, random_state=seed)
    predicted = cross_val_predict(LinearDiscriminantAnalysis(), features, labels, cv=folds)
    return float((predicted == labels).mean())


MEASURES = (
    MeasureEntry(
        name="davies_bouldin",
        summary="Davies-Bouldin index of the classes in penultimate features",
        compute=davies_bouldin,
        version="1",
        direction="lower",
        invariance="layer-uniform",
        cost="forward",
        formula="mean over i of max over j of (s_i + s_j) / |mu_i - mu_j|",
        claim="Natekar & Sharma, arXiv 2012.02775, for features of single layers of "
        "the zoos of the NeurIPS 2020 competition.",
        weakness="Networks that memorise noisy labels pull their classes apart as well.",
        needs="penultimate features",
        source="Davies & Bouldin 1979; scikit-learn's, undefined where means coincide",
        features=True,
        default=False,
    ),
    MeasureEntry(
        name="silhouette",
        summary="mean silhouette of the classes in penultimate features",
        compute=silhouette,
        version="1",
        direction="none",
        invariance="layer-uniform",
        varies_with=("duplicates",),
        cost="forward",
        formula="mean (b - a) / max(a, b)",
        weakness="Networks that memorise noisy labels pull their classes apart as well; in many "
        "dimensions all distances are alike.",
        needs="penultimate features",
        source="Rousseeuw 1987; scikit-learn's; at most 2000 images",
        features=True,
        default=False,
    ),
    MeasureEntry(
        name="lda_accuracy",
        summary="cross-validated accuracy of linear discriminants on penultimate features",
        compute=lda_accuracy,
        version="1",
        direction="none",
        invariance="node-wise",
        varies_with=("image-order", "duplicates"),
        cost="forward",
        formula="accuracy of LDA, 5 folds of the training sample",
        weakness="The features were learned from the images that the folds leave out, so it does "
        "not see what was memorised.",
        needs="penultimate features; two images in every class",
        source="scikit-learn's LDA and folds; 64 principal components of standardised features",
        unit="share of images",
        features=True,
        default=False,
    ),
)
