"""The source of the CUDA kernels, compiled for the processor with one thread a block.

The simulator runs a few thousand small maps; compiled, the same lines run a hundred thousand.
`GENAUDIT_CAMPAIGN=10` multiplies the number of maps by ten.
"""

import os
from types import FunctionType, ModuleType

import numpy as np
import pytest
from numba import njit
from test_topology_backends import maps_of_every_kind

from audit import birth_levels
from audit.topology import _clique, _cuda_kernels, _inputs

CAMPAIGN = int(os.environ.get("GENAUDIT_CAMPAIGN", "1"))


def a_thread_alone():
    """What `numba.cuda` offers the kernels, for the only thread of a block."""

    def cas(array, index, old, new):
        there = array[index]
        if there == old:
            array[index] = new
        return there

    def popc(bits):
        count = 0
        while bits:
            bits &= bits - 1
            count += 1
        return count

    def keep_largest(array, index, value):
        array[index] = max(array[index], value)

    def keep_least(array, index, value):
        array[index] = min(array[index], value)

    def add(array, index, value):
        array[index] += value

    members = {
        "threadIdx": {"x": 0},
        "blockDim": {"x": 1},
        "shared": {"array": njit(lambda size, _: np.full(size, -77, np.int32))},
        "atomic": {"max": keep_largest, "min": keep_least, "add": add, "cas": cas},
    }
    cuda = ModuleType("cuda")
    for name, parts in members.items():
        part = ModuleType(name)
        for key, value in parts.items():
            setattr(part, key, njit(value) if isinstance(value, FunctionType) else value)
        setattr(cuda, name, part)
    cuda.syncthreads = njit(lambda: None)
    cuda.syncthreads_or = njit(lambda predicate: predicate)
    cuda.popc = njit(popc)
    return cuda


@pytest.fixture(scope="module")
def births_of():
    """Births (m,) of maps (m, h, w) by the kernels' own lines."""
    scope = vars(_cuda_kernels) | {"cuda": a_thread_alone()}
    for name in ("_key", "_sweep", "_insert", "_cubical_birth", "_clique_birth"):
        source = getattr(_cuda_kernels, name).py_func
        scope[name] = njit(FunctionType(source.__code__, scope, name))
    cubical_birth, clique_birth = scope["_cubical_birth"], scope["_clique_birth"]

    @njit
    def cubical(bits, words, births):
        for k in range(len(bits)):
            births[k] = cubical_birth(bits[k], words)

    @njit
    def cliques(bits, words, births, least, most):
        for k in range(len(bits)):
            births[k] = clique_birth(bits[k], words, least, most)

    def run(maps, filtration, preset):
        m, h, w = maps.shape
        births = np.empty(m, np.int32)
        words = np.full(2 * h * (w | 1) + h * h + 2 * h + h * (h + 15) // 16, 99, np.int32)
        if filtration == "cubical":
            cubical(maps.view(np.int32), words, births)
        else:
            levels = _clique.paper_levels if preset == "paper" else _clique.full_levels
            cliques(maps.view(np.int32), words, births, *levels(h))
        return births

    return run


@pytest.mark.parametrize(
    ("side", "n"), [(4, 5000), (5, 5000), (7, 5000), (11, 2000), (14, 3000), (28, 500), (56, 60)]
)
def test_births_equal_the_processors(births_of, side, n):
    for kind, maps in maps_of_every_kind(n * CAMPAIGN, side, side, seed=31).items():
        for filtration, preset in (("cubical", "paper"), ("clique", "paper"), ("clique", "full")):
            found = births_of(maps, filtration, preset)
            decided = found != _cuda_kernels.UNDECIDED
            expected = birth_levels(maps, filtration, preset, backend="cpu")
            np.testing.assert_array_equal(found[decided], expected[decided], err_msg=kind)
            if kind in ("noise", "real"):
                assert decided.mean() > 0.95


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1), (2, 3), (33, 20), (130, 64)])
def test_cubical_births_of_any_shape_equal_the_processors(births_of, shape):
    for kind, maps in maps_of_every_kind(40 * CAMPAIGN, *shape, seed=32).items():
        found = births_of(maps, "cubical", "paper")
        np.testing.assert_array_equal(found, birth_levels(maps, "cubical"), err_msg=kind)


@pytest.mark.parametrize("filtration", ["cubical", "clique"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_value_that_is_not_finite_is_seen_anywhere(births_of, filtration, value):
    maps = np.zeros((36, 6, 6), np.float32)
    maps.reshape(36, 36)[np.arange(36), np.arange(36)] = value
    assert (births_of(maps, filtration, "full") == _inputs.NOT_FINITE).all()
