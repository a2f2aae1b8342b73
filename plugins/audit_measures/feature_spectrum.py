"""How many directions the penultimate features fill, and how evenly; labels play no part."""

from __future__ import annotations

from typing import Final

import numpy as np

from audit.arrays import Features
from audit.plugin import MeasureEntry, TrainView, Value
from audit_measures._features import directions

#: Eigenvalues that the decay is fitted to, counted from 1, as far as there are so many.
FIRST, LAST = 3, 100
_FEWEST: Final = 3


def _finite_features(view: TrainView) -> Features | Value:
    """Features in float64, or why nothing can be said of them."""
    features = np.asarray(view.features(), np.float64)
    if not len(features):
        return Value.undefined("the training sample holds no image")
    broken = np.flatnonzero(~np.isfinite(features).all(axis=1))
    if broken.size:
        return Value.undefined(
            f"the features are not finite for {broken.size} of {len(features)} training images, "
            f"first for image {broken[0]}"
        )
    if not features.any():
        return Value.undefined("all features are 0")
    return features


def effective_rank(view: TrainView) -> Value | float:
    """Number of directions that the features fill, from 1 to the smaller of their n and d.

    exp(−Σ p log p), p the singular values of the features (n, d) over their sum. Features are not
    centred.

    Source:
        Roy & Vetterli, The effective rank, EUSIPCO 2007; RankMe of Garrido et al., ICML 2023.
        Deviation: singular values below float32's resolution are left out, where RankMe adds
        1e-7 to each p.

    Example:
        Singular values 3 and 1: p = ¾ and ¼, so exp(0.5623) = 1.7548.
    """
    features = _finite_features(view)
    if isinstance(features, Value):
        return features
    _, values, _ = directions(features)
    share = values / values.sum()
    return float(np.exp(-(share * np.log(share)).sum()))


def alpha_req(view: TrainView) -> Value | float:
    """Exponent α of the decay λ_i ∝ i^−α of the eigenvalues of the features' covariance.

    Least squares of log λ_i on log i for i = 3 … 100, weighted by 1 / i. Positive; large where few
    directions hold almost all variance. Undefined with fewer than five eigenvalues.

    Source:
        Agrawal et al., α-ReQ: Assessing Representation Quality in Self-Supervised Learning by
        measuring eigenspectrum decay, NeurIPS 2022; range and weights as in Stringer et
        al., High-dimensional geometry of population responses in visual cortex, Nature 571, 2019.
        Eigenvalues below float32's resolution are left out.

    Example:
        Eigenvalues 1, ½, ⅓, ¼, … give exactly 1.
    """
    features = _finite_features(view)
    if isinstance(features, Value):
        return features
    _, values, _ = directions(features - features.mean(0))
    place = np.arange(FIRST, min(len(values), LAST) + 1)
    if len(place) < _FEWEST:
        return Value.undefined(
            f"the decay is fitted to the third eigenvalue and those that follow, three at least; "
            f"the features have {len(values)} in all"
        )
    slope, _ = np.polyfit(np.log(place), 2 * np.log(values[place - 1]), 1, w=place**-0.5)
    return -float(slope)


def feature_sparsity(view: TrainView) -> Value | float:
    """Sparsity of the penultimate features of an image, mean over images, in [0, 1].

    (√d − |h|₁ / |h|₂) / (√d − 1): 1 where a single feature is not 0, 0 where all have one
    magnitude. Images whose features are all 0 are left out.

    Source:
        Hoyer, Non-negative Matrix Factorization with Sparseness Constraints, JMLR 5, 2004.

    Example:
        The features (3, 4): (√2 − 7/5) / (√2 − 1) = 0.0343.
    """
    features = _finite_features(view)
    if isinstance(features, Value):
        return features
    root = features.shape[1] ** 0.5
    if root == 1:
        return Value.undefined("a single feature has no sparsity")
    length = np.linalg.norm(features, axis=1)
    seen = length > 0
    ratio = np.abs(features[seen]).sum(1) / length[seen]
    return float(((root - ratio) / (root - 1)).mean())


MEASURES = (
    MeasureEntry(
        name="effective_rank",
        summary="number of directions that the penultimate features fill",
        compute=effective_rank,
        version="1",
        direction="higher",
        invariance="layer-uniform",
        cost="forward",
        formula="exp(-sum p log p), p = singular values over their sum",
        claim="Garrido et al. 2023: it goes with the accuracy of linear probes on "
        "self-supervised networks. For networks trained on labels no claim is made.",
        weakness="It grows with the width of the network and the number of images; collapse onto "
        "one point a class, which supervised training ends in, lowers it.",
        needs="penultimate features",
        source="Roy & Vetterli 2007; Garrido et al. 2023; without the 1e-7",
        unit="directions",
        features=True,
        default=False,
    ),
    MeasureEntry(
        name="alpha_req",
        summary="exponent of the decay of the eigenvalues of the features' covariance",
        compute=alpha_req,
        version="1",
        direction="none",
        invariance="layer-uniform",
        cost="forward",
        formula="-slope of log eigenvalue_i on log i, i = 3 ... 100, weights 1/i",
        weakness="The paper finds networks best near 1, so that neither more nor less is better; "
        "with fewer images than features the tail is cut.",
        needs="penultimate features; five directions",
        source="Agrawal et al. 2022; range and weights of Stringer et al. 2019",
        features=True,
        default=False,
    ),
    MeasureEntry(
        name="feature_sparsity",
        summary="Hoyer sparsity of the penultimate features, mean over images",
        compute=feature_sparsity,
        version="1",
        direction="none",
        invariance="layer-uniform",
        cost="forward",
        formula="(sqrt(d) - |h|_1 / |h|_2) / (sqrt(d) - 1)",
        weakness="Nonlinearities other than ReLU have hardly any zeros, so that architectures do "
        "not compare.",
        needs="penultimate features",
        source="Hoyer 2004",
        features=True,
        default=False,
    ),
)
