"""Birth levels read off GUDHI's persistence, which shares no code with the program's."""

import gudhi
import numpy as np

from audit import NO_BIRTH


def gudhi_cubical_level(feature_map, diagram):
    """Birth level from GUDHI's H₁ diagram of the negated map."""
    if len(diagram) == 0:
        return NO_BIRTH
    birth = -diagram[:, 0].min()
    return int(np.sum(np.unique(feature_map) >= birth))


def gudhi_clique_level(feature_map):
    """Birth level from GUDHI's simplex tree, expanded to triangles, under the full preset."""
    n = len(feature_map)
    weight = np.maximum(feature_map, feature_map.T)
    upper = np.triu_indices(n, 1)
    values = np.unique(weight[upper])[::-1]
    tree = gudhi.SimplexTree()
    for vertex in range(n):
        tree.insert([vertex], 0.0)
    for u, v in zip(*upper, strict=True):
        tree.insert([u, v], float(np.searchsorted(-values, -weight[u, v])) + 1)
    tree.expansion(2)
    tree.compute_persistence(homology_coeff_field=2, persistence_dim_max=True)
    births = tree.persistence_intervals_in_dimension(1)
    return int(births[:, 0].min()) if len(births) else NO_BIRTH
