"""Neural persistence: how far the weights of a layer connect its units early or late."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.csgraph import minimum_spanning_tree

from audit.plugin import MeasureEntry, TrainView, Value
from audit_measures._folded import effective_layers

if TYPE_CHECKING:
    from audit.arrays import Logits as Matrix


def spanning_weights(weights: Matrix) -> np.ndarray:
    """The weights of a maximum spanning tree of a complete bipartite graph.

    Args:
        weights: Shape (out, in), in [0, 1]: one edge from each output to each input.

    Returns:
        Shape (out + in − 1,), in no order; any maximum spanning tree has these weights.

    Example:
        >>> sorted(spanning_weights(np.array([[0.5, 1.0], [0.25, 0.125]])).tolist())
        [0.25, 0.5, 1.0]
    """
    n_out, n_in = weights.shape
    rows = np.repeat(np.arange(n_out), n_in)
    columns = np.tile(np.arange(n_out, n_out + n_in), n_out)
    n = n_out + n_in
    # scipy looks for the smallest, and takes 0 for no edge
    graph = csr_array(((2 - weights).ravel(), (rows, columns)), shape=(n, n))
    tree = minimum_spanning_tree(graph).tocoo()
    found: np.ndarray = weights[tree.row, tree.col - n_out]
    return found


def neural_persistence(view: TrainView) -> Value | float:
    """Mean over layers of √(Σ (1 − w)² / (out + in − 1)), w the weights of a spanning tree.

    In [0, 1]. A layer is a bipartite graph: out + in units that are all there at 1, and edges of
    the weights |W| / max |W|, the maximum taken over the whole network. Edges enter from the
    largest to the smallest; each that joins two components ends one of them, and these are the
    edges of a maximum spanning tree. The persistence of a component is 1 − w. On effective weights
    (BatchNorm folded), convolutions as out × (in·k²).

    Undefined where all weights are 0.

    Source:
        Rieck et al., Neural Persistence, ICLR 2019, equation 2 with p = 2 and the normalization of
        their program, 1/√(out + in − 1). Deviations: the component that never ends is left out,
        where their program ends it at 0 and so exceeds 1; convolutions, which they do not treat.

    Example:
        One layer of weights (1, 0.5) from two inputs to one output: both edges are in the tree,
        √((0² + 0.5²) / 2) = 0.3536.
    """
    matrices = [np.abs(layer.matrix) for layer in effective_layers(view)]
    largest = max(float(matrix.max(initial=0)) for matrix in matrices)
    if largest == 0:
        return Value.undefined("all weights are 0")
    return math.fsum(_of_layer(matrix / largest) for matrix in matrices) / len(matrices)


def _of_layer(weights: Matrix) -> float:
    """The persistence of one layer, in [0, 1]."""
    return float(np.sqrt(np.square(1 - spanning_weights(weights)).mean()))


MEASURES = (
    MeasureEntry(
        name="neural_persistence",
        summary="mean persistence of the layers' graphs of weights, in [0, 1]",
        compute=neural_persistence,
        version="1",
        direction="none",
        invariance="none",
        cost="weights",
        formula="mean_l √(Σ over maximum spanning tree of (1 − |w| / max |W|)² / (out + in − 1))",
        claim=(
            "Rieck et al. 2019 see it rise during training, higher with dropout and batch "
            "normalization; across networks they claim no direction"
        ),
        weakness="one large weight anywhere brings all layers near 1; it says little of structure",
        source="Rieck et al., ICLR 2019; BatchNorm folded; without the essential component",
        default=False,
    ),
)
