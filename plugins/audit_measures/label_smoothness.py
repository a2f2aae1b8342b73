"""How much labels change along the edges of graphs of similar images, layer by layer."""

from __future__ import annotations

from typing import Final

import numpy as np
import scipy.sparse as sp

from audit.arrays import Features, Labels
from audit.errors import UnavailableError
from audit.plugin import Measured, MeasureEntry, Part, TrainView, Value
from audit_measures._features import problem_with, spaced
from audit_measures._layer_parts import declared_parts, layer_parts
from audit_measures._pooled_maps import PooledMaps

#: Neighbours of each image.
NEIGHBOURS: Final = 10


def label_variation(features: Features, labels: Labels, what: str = "features") -> Value:
    """Share of the weight of a graph of nearest neighbours that lies between classes, in [0, 1]."""
    from sklearn.neighbors import NearestNeighbors

    problem = problem_with(features, labels, what)
    if problem:
        return Value.undefined(problem)
    n = len(features)
    search = NearestNeighbors(n_neighbors=min(NEIGHBOURS, n - 1), metric="cosine").fit(features)
    distances, neighbours = search.kneighbors()
    weights = np.clip(1 - distances, 0, None)
    rows = np.repeat(np.arange(n), neighbours.shape[1])
    graph = sp.csr_array((weights.ravel(), (rows, neighbours.ravel())), shape=(n, n))
    edges = sp.coo_array(_normalised((graph + graph.T) / 2))
    total = edges.data.sum()
    if total == 0:
        return Value.undefined(f"the {what} of no two training images are alike")
    crossing = labels[edges.coords[0]] != labels[edges.coords[1]]
    return Value(float(edges.data[crossing].sum() / total))


def _normalised(graph: sp.csr_array) -> sp.csr_array:
    """Weights over the square root of both ends' degrees."""
    degree = np.asarray(graph.sum(axis=1)).ravel()
    factor = np.divide(1, np.sqrt(degree), out=np.zeros_like(degree), where=degree > 0)
    scale = sp.diags_array(factor)
    return sp.csr_array(scale @ graph @ scale)


def label_smoothness(view: TrainView) -> Measured:
    """Label variation on graphs of similar images, mean over layers; in [0, 1], 0: classes apart.

    In each chosen layer every image is joined to its 10 nearest neighbours by cosine similarity of
    its spatially averaged maps; weights are the similarities, negative ones 0, made symmetric by
    the mean of both directions and divided by the square roots of both ends' degrees. The share of
    the weight on edges between images of different class is the variation; 1 − Σ p_c² is about
    what chance gives, p_c the share of images of a class. 2000 images at most, evenly spaced over
    the sample, take part.

    Returns:
        The parts of `layer_parts`, and "penultimate": on the features that the classifier is given.

    Source:
        Lassance et al., Ranking Deep Learning Generalization using Label Variation in Latent
        Geometry Graphs, arXiv 2011.12737, third in the NeurIPS 2020 competition; neighbours by
        scikit-learn. Deviations: a share of the weight, where theirs is a sum; images as they are,
        where the entry that was scored mixed images of a class; 10 neighbours.

    Example:
        Four images, two of each class, whose features are (1, 0) in one class and (0, 1) in the
        other: every edge with a weight lies within a class, so 0.
    """
    kept = view.reduced(PooledMaps)
    if not len(kept.rows):
        return Value.undefined("the training sample holds no image")
    labels = view.labels[kept.rows]
    layers = [
        label_variation(kept.of(layer.name), labels, f"maps of {layer.name}")
        for layer in view.layers
    ]
    return {**layer_parts(layers), "penultimate": _penultimate(view)}


def _penultimate(view: TrainView) -> Value:
    """The variation in the penultimate features."""
    try:
        features = np.asarray(view.features(), np.float64)
    except UnavailableError as error:
        return Value.unavailable(str(error))
    chosen = spaced(len(features))
    return label_variation(features[chosen], view.labels[chosen])


_CLAIM = (
    "Lassance et al., arXiv 2011.12737: third in the NeurIPS 2020 competition, 9.99 on the final "
    "tasks, with mixed images in the penultimate layer."
)

MEASURES = (
    MeasureEntry(
        name="label_smoothness",
        summary="share of the weight between classes in graphs of similar images",
        compute=label_smoothness,
        version="1",
        direction="lower",
        invariance="layer-uniform",
        varies_with=("duplicates",),
        cost="forward",
        formula="sum of A_ij over y_i != y_j, over sum of A_ij; A of k nearest neighbours",
        claim=_CLAIM,
        weakness="Deep layers of networks that memorise are as smooth; early layers say more of "
        "the images than of the network.",
        needs="feature maps",
        source="Lassance et al., arXiv 2011.12737; a share, 10 neighbours, images as they are",
        unit="share of weight",
        parts=(
            *declared_parts("lower"),
            Part(
                name="penultimate",
                summary="in the features that the classifier is given",
                direction="lower",
                claim=_CLAIM,
            ),
        ),
        features=True,
        reducers=(PooledMaps,),
    ),
)
