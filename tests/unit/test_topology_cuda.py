"""The kernels for CUDA devices give the integers of the compiled backend, whatever the launch.

Where there is no device, numba's simulator runs their source. `GENAUDIT_CAMPAIGN=10` multiplies the
number of maps by ten.
"""

import os
import sys

import numpy as np
import pytest
import torch
from programs import run_program
from test_topology_backends import maps_of_every_kind

from audit import NO_BIRTH, birth_levels
from audit.topology import FILTRATIONS, PRESETS, _cuda

CAMPAIGN = int(os.environ.get("GENAUDIT_CAMPAIGN", "1"))
pytestmark = pytest.mark.usefixtures("cuda_device")


def assert_equal_to_cpu(maps, filtration, preset="paper", message=""):
    """The births on the device are those of the processor's kernels."""
    expected = birth_levels(maps, filtration, preset, backend="cpu")
    found = birth_levels(maps, filtration, preset, backend="cuda")
    np.testing.assert_array_equal(found, expected, err_msg=message)


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("side", [2, 3, 4, 7, 14])
def test_clique_births_equal_the_processors(side, preset):
    for kind, maps in maps_of_every_kind(15 * CAMPAIGN, side, side, seed=20).items():
        assert_equal_to_cpu(maps, "clique", preset, kind)


@pytest.mark.parametrize("shape", [(1, 1), (3, 3), (4, 7), (14, 14), (17, 5), (28, 28)])
def test_cubical_births_equal_the_processors(shape):
    for kind, maps in maps_of_every_kind(20 * CAMPAIGN, *shape, seed=21).items():
        assert_equal_to_cpu(maps, "cubical", message=kind)


@pytest.mark.parametrize("filtration", FILTRATIONS)
@pytest.mark.parametrize("threads", [2, 5, 32])
def test_the_number_of_threads_does_not_change_births(filtration, threads, monkeypatch):
    monkeypatch.setattr(_cuda, "_MOST_THREADS", threads)
    for kind, maps in maps_of_every_kind(2, 9, 9, seed=22).items():
        assert_equal_to_cpu(maps, filtration, message=kind)


@pytest.mark.parametrize("filtration", FILTRATIONS)
def test_maps_too_large_for_shared_memory_and_small_launches_agree(filtration, monkeypatch):
    monkeypatch.setattr(_cuda, "_SHARED_BYTES", 0)
    monkeypatch.setattr(_cuda, "_SCRATCH_WORDS", 500)
    monkeypatch.setattr(_cuda, "_PIXELS_PER_LAUNCH", 7 * 8 * 8)
    for kind, maps in maps_of_every_kind(9, 8, 8, seed=23).items():
        assert_equal_to_cpu(maps, filtration, message=kind)


@pytest.mark.parametrize("filtration", FILTRATIONS)
@pytest.mark.parametrize("shared", [0, 1 << 15])
def test_blocks_beyond_the_last_map_do_nothing(filtration, shared, monkeypatch):
    monkeypatch.setattr(_cuda, "_SHARED_BYTES", shared)
    monkeypatch.setattr(_cuda, "_LEAST_BLOCKS", 5)
    maps = np.random.default_rng(27).standard_normal((2, 6, 6)).astype(np.float32)
    assert_equal_to_cpu(maps, filtration)


@pytest.mark.parametrize("filtration", FILTRATIONS)
def test_one_map_larger_than_the_shared_memory_of_a_block_agrees(filtration):
    side = {"clique": 150, "cubical": 80}[filtration]
    noise = np.random.default_rng(24).standard_normal((1, side, side)).astype(np.float32)
    assert_equal_to_cpu(noise, filtration)


def test_a_spiral_is_filled_to_its_end():
    """The longest way out, which no few sweeps follow."""
    side = 15
    spiral = np.full((side, side), 9.0)
    r, c, dr, dc = 1, 0, 0, 1
    for _ in range(side * side):
        spiral[r, c] = 1
        ahead = (r + 2 * dr, c + 2 * dc)
        inside = all(0 <= x < side for x in ahead)
        if not inside or spiral[ahead] == 1:
            dr, dc = dc, -dr
            if not 0 <= r + 2 * dr < side or spiral[r + 2 * dr, c + 2 * dc] == 1:
                break
        r, c = r + dr, c + dc
    closed = spiral.copy()
    closed[1, 0] = 9
    maps = np.stack([spiral, closed, spiral + np.arange(side)[:, None] / 64, -spiral])
    assert_equal_to_cpu(maps, "cubical")
    assert birth_levels(closed, "cubical", backend="cuda") == 1
    assert birth_levels(spiral, "cubical", backend="cuda") == NO_BIRTH


def test_values_that_float32_would_tie_are_kept_apart():
    generator = np.random.default_rng(25)
    close = 1 + 1e-12 * generator.standard_normal((4, 6, 6))
    large = 2**40 + generator.integers(0, 50, (4, 6, 6))
    for filtration in FILTRATIONS:
        for maps in (close, large):
            assert_equal_to_cpu(maps, filtration)


def test_ranks_beyond_the_integers_of_float32_are_kept_apart():
    values = torch.arange(2**24 + 8, dtype=torch.float64).view(1, 1, -1)
    ranks = _cuda._ranks(values)
    assert ranks.dtype == torch.int32
    assert (ranks[..., 1:] > ranks[..., :-1]).all()


def test_a_level_that_may_fill_its_own_cycle_is_decided_on_the_host(monkeypatch):
    decided = []
    decide = _cuda._tensor_ops.decide_on_host

    def counted(maps, births, indices, preset):
        decided.append(len(indices))
        decide(maps, births, indices, preset)

    monkeypatch.setattr(_cuda._tensor_ops, "decide_on_host", counted)
    maps = np.random.default_rng(26).integers(0, 3, (40, 7, 7)).astype(np.float32)
    assert_equal_to_cpu(maps, "clique", "full")
    assert 0 < sum(decided) < len(maps)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("filtration", FILTRATIONS)
def test_births_stay_on_the_device(filtration):
    maps = torch.randn(3, 5, 14, 14, device="cuda")
    births = birth_levels(maps, filtration)
    assert births.is_cuda
    np.testing.assert_array_equal(births.cpu(), birth_levels(maps.cpu(), filtration))


def test_the_kernels_compile_without_a_device():
    """To the assembly of the oldest and newest devices, without stack memory."""
    code = """
from types import SimpleNamespace

from numba import cuda, types
from numba.cuda import dispatcher

import audit.topology._cuda_kernels as kernels

maps, births, scratch = (types.Array(types.int32, n, "C") for n in (3, 1, 2))
levels = (types.int64, types.int64)
for major, minor in ((7, 5), (9, 0)):
    device = SimpleNamespace(compute_capability=(major, minor))
    dispatcher.get_current_device = lambda: device
    for name, arguments in {
        "cubical_shared": (maps, births),
        "cubical_global": (maps, births, scratch),
        "clique_shared": (maps, births, *levels),
        "clique_global": (maps, births, scratch, *levels),
    }.items():
        python = getattr(kernels, name).py_func
        text, _ = cuda.compile(
            python, types.void(*arguments), cc=(major, minor), abi="numba", output="ptx"
        )
        assert f".target sm_{major}{minor}" in text
        assert ".local" not in text, name
"""
    environment = os.environ | {"NUMBA_ENABLE_CUDASIM": "0"}
    run_program([sys.executable, "-c", code], env=environment)
