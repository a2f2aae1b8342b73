import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torch import nn

from audit.conformance import ArrayView, ReferenceNetwork, reference_view
from audit_measures._folded import effective_layers
from audit_measures.neural_persistence import neural_persistence, spanning_weights


def by_adding_edges(weights):
    """The edges that join two components when they enter from the largest on; no trees needed."""
    n_out, n_in = weights.shape
    component = list(range(n_out + n_in))
    joined = []
    for row, column in sorted(np.ndindex(n_out, n_in), key=lambda edge: -weights[edge]):
        a, b = component[row], component[n_out + column]
        if a != b:
            component = [a if c == b else c for c in component]
            joined.append(weights[row, column])
    return joined


LEVELS = st.integers(0, 6).map(lambda level: level / 6)


@settings(deadline=None, max_examples=60)
@given(arrays(float, st.tuples(st.integers(1, 5), st.integers(1, 5)), elements=LEVELS))
def test_spanning_weights_are_those_of_edges_that_join_components(weights):
    assert np.array_equal(sorted(spanning_weights(weights)), sorted(by_adding_edges(weights)))


def linear(*weights):
    network = nn.Sequential(nn.Flatten(), *(nn.Linear(len(w[0]), len(w), False) for w in weights))
    for parameter, weight in zip(network.parameters(), weights, strict=True):
        parameter.data.copy_(torch.tensor(weight))
    return ArrayView(network, torch.zeros(1, 1, 1, len(weights[0][0])), [0])


def test_neural_persistence_by_hand():
    assert neural_persistence(linear([[1.0, -0.5]])) == pytest.approx(math.sqrt(0.25 / 2))
    # the largest weight is the whole network's: the second layer's edges are 0.5 and 0.25
    both = linear([[2.0, -2.0], [2.0, 2.0]], [[1.0, 0.5]])
    second = math.sqrt((0.5**2 + 0.75**2) / 2)
    assert neural_persistence(both) == pytest.approx(second / 2)


def test_neural_persistence_of_equal_weights_is_0():
    assert neural_persistence(linear([[0.3, -0.3], [0.3, 0.3]])) == 0


def test_neural_persistence_of_zeros_is_undefined():
    assert neural_persistence(linear([[0.0, 0.0]])).reason == "all weights are 0"


def test_neural_persistence_of_a_network_is_that_of_the_public_formula():
    # theirs has one more point, (1, 0), for the component that never ends
    view = reference_view(ReferenceNetwork())
    matrices = [np.abs(layer.matrix) for layer in effective_layers(view)]
    largest, theirs = max(matrix.max() for matrix in matrices), []
    for matrix in matrices:
        points = [*by_adding_edges(matrix / largest), 0.0]
        norm = math.sqrt(sum((1 - point) ** 2 for point in points))
        theirs.append(norm / math.sqrt(sum(matrix.shape) - 1))
    without = [
        math.sqrt(value**2 - 1 / (sum(matrix.shape) - 1))
        for value, matrix in zip(theirs, matrices, strict=True)
    ]
    assert neural_persistence(view) == pytest.approx(np.mean(without), rel=1e-9)
