"""Other programs that compute the same births, each called as its documentation shows.

All are asked for persistence diagrams of dimension 1, which hold the births and more. What they
need beforehand is not charged to them: a map negated or turned into distances, as float64. The
complexes of the clique filtration are Vietoris-Rips complexes of the distance max − weight. The
call "to level 51" finds the last level that the paper counts, with NumPy, and stops there: it is
the fastest way found to ask a peer for no more than `birth_levels` answers.

Only GUDHI must be installed; the others are used where they can be imported. Each is told to use
one thread where it can be told.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.metadata
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, Final, NamedTuple

import gudhi
import numpy as np
import torch
from gudhi.sklearn.cubical_persistence import CubicalPersistence

from audit.topology._clique import paper_levels

PACKAGES: Final = (
    *("gudhi", "cripser", "giotto-tda", "giotto-ph", "ripser", "torch_topological"),
    *("numba", "numpy", "torch", "scipy", "scikit-learn", "genaudit"),
)
_Call = Callable[[Any], object]


class Peer(NamedTuple):
    """A peer's preparation of maps, which is not timed, and its call on what that gives."""

    prepare: Callable[[np.ndarray], Any]
    call: _Call


def peers_of(filtration: str) -> dict[str, Peer]:
    """Every peer installed, by name."""
    known = _CLIQUE if filtration == "clique" else _CUBICAL
    found = {}
    for name, (make, prepare) in known.items():
        with contextlib.suppress(ImportError):
            found[name] = Peer(prepare, make())
    return found


def distances(maps: np.ndarray) -> list[np.ndarray]:
    """Distances (n, n) float64 whose Vietoris-Rips complexes are the maps' clique filtrations."""
    weights = np.maximum(maps, maps.transpose(0, 2, 1)).astype(float)
    weights[:, np.arange(maps.shape[1]), np.arange(maps.shape[1])] = weights.max((1, 2))[:, None]
    return list(weights.max((1, 2), keepdims=True) - weights)


def negated(maps: np.ndarray) -> list[np.ndarray]:
    """Images (h, w) float64 whose sublevel sets are the superlevel sets of the maps."""
    return list(-maps.astype(float))


def tensors(prepare: Callable[[np.ndarray], list[np.ndarray]]) -> Callable[[np.ndarray], Any]:
    """The same preparation, as one tensor."""
    return lambda maps: torch.from_numpy(np.stack(prepare(maps)))


def _simplex_tree(matrix: np.ndarray, largest: float = np.inf) -> np.ndarray:
    """Diagram (k, 2) from a simplex tree of the edges, expanded to triangles."""
    tree = gudhi.SimplexTree.create_from_array(matrix, max_filtration=largest)
    tree.expansion(2)
    return _diagram(tree)


def _last_level(matrix: np.ndarray) -> float:
    """Distance of the last level that the paper counts."""
    last = paper_levels(len(matrix))[1]
    edges = matrix[np.triu_indices(len(matrix), 1)]
    nearest = np.unique(np.partition(edges, last - 1)[:last])
    if len(nearest) < last:  # equal distances are one level, so there are more edges to look at
        nearest = np.unique(edges)[:last]
    return float(nearest[-1])


def _rips(matrix: np.ndarray) -> np.ndarray:
    """Diagram (k, 2) from GUDHI's Vietoris-Rips complex."""
    return _diagram(gudhi.RipsComplex(distance_matrix=matrix).create_simplex_tree(max_dimension=2))


def _diagram(tree: Any) -> np.ndarray:
    """Persistence of dimension 1; GUDHI leaves out the highest dimension unless told."""
    tree.compute_persistence(2, persistence_dim_max=tree.dimension() < 2)
    diagram: np.ndarray = tree.persistence_intervals_in_dimension(1)
    return diagram


def _gudhi_cubical() -> _Call:
    made: _Call = CubicalPersistence(homology_dimensions=1, n_jobs=1).fit_transform
    return made


def _cripser() -> _Call:
    compute = importlib.import_module("cripser").compute_ph
    return lambda images: [compute(image, filtration="T", maxdim=1) for image in images]


def _giotto_cubical() -> _Call:
    cubical = importlib.import_module("gtda.homology").CubicalPersistence
    made: _Call = cubical(homology_dimensions=(1,)).fit_transform
    return made


def _torch_cubical() -> _Call:
    """Its `CubicalComplex`, with a patch where GUDHI no longer takes the tensor it passes on.

    GUDHI ≥ 3.12 raises TypeError for a tensor. An array, which it reads faster, is passed instead.
    """
    module: Any = importlib.import_module("torch_topological.nn.cubical_complex")
    if tuple(map(int, gudhi.__version__.split(".")[:2])) >= (3, 12):
        module.gudhi = SimpleNamespace(
            CubicalComplex=lambda dimensions, top_dimensional_cells: gudhi.CubicalComplex(
                dimensions=dimensions, top_dimensional_cells=top_dimensional_cells.numpy()
            )
        )
    made: _Call = module.CubicalComplex(dim=2)
    return made


def _ripser() -> _Call:
    ripser = importlib.import_module("ripser").ripser
    return lambda matrices: [ripser(one, maxdim=1, distance_matrix=True) for one in matrices]


def _giotto_ph() -> _Call:
    ripser = importlib.import_module("gph").ripser_parallel
    return lambda matrices: [
        ripser(one, maxdim=1, metric="precomputed", n_threads=1) for one in matrices
    ]


def _giotto_rips() -> _Call:
    rips = importlib.import_module("gtda.homology").VietorisRipsPersistence
    made: _Call = rips("precomputed", homology_dimensions=(0, 1)).fit_transform
    return made


def _torch_rips() -> _Call:
    made = importlib.import_module("torch_topological.nn").VietorisRipsComplex(dim=1)
    return lambda matrices: made(matrices, treat_as_distances=True)


_Known = dict[str, tuple[Callable[[], _Call], Callable[[np.ndarray], Any]]]

_CUBICAL: Final[_Known] = {
    "gudhi CubicalPersistence H1": (_gudhi_cubical, negated),
    "cripser": (_cripser, negated),
    "giotto-tda CubicalPersistence": (_giotto_cubical, negated),
    "torch-topological CubicalComplex": (_torch_cubical, tensors(negated)),
}
_CLIQUE: Final[_Known] = {
    "gudhi SimplexTree to level 51": (
        lambda: lambda many: [_simplex_tree(one, _last_level(one)) for one in many],
        distances,
    ),
    "gudhi SimplexTree": (lambda: lambda many: [_simplex_tree(one) for one in many], distances),
    "gudhi RipsComplex": (lambda: lambda many: [_rips(one) for one in many], distances),
    "ripser": (_ripser, distances),
    "giotto-ph": (_giotto_ph, distances),
    "giotto-tda VietorisRipsPersistence": (_giotto_rips, distances),
    "torch-topological VietorisRipsComplex": (_torch_rips, tensors(distances)),
}
