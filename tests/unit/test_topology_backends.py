"""Every backend, precision, layout and thread count gives the integers of the definitions.

`GENAUDIT_CAMPAIGN=10` multiplies the number of maps by ten.
"""

import os
import sys
import threading
import time
import tracemalloc

import numpy as np
import pytest
import torch
from gudhi.sklearn.cubical_persistence import CubicalPersistence
from levels_by_gudhi import gudhi_clique_level, gudhi_cubical_level
from programs import run_program
from scipy import ndimage
from sklearn.datasets import load_digits

from audit import NO_BIRTH, birth_levels
from audit.topology import FILTRATIONS, _clique, _kernels

pytestmark = pytest.mark.usefixtures("cuda_device")
CAMPAIGN = int(os.environ.get("GENAUDIT_CAMPAIGN", "1"))


def digits_maps(n, h, w, seed=0):
    """Post-ReLU maps of random 3 × 3 filters on scikit-learn's digits, enlarged to h × w."""
    generator = np.random.default_rng(seed)
    images = torch.from_numpy(load_digits().images[generator.integers(0, 1797, n)])[:, None].float()
    images = torch.nn.functional.interpolate(images, (h + 2, w + 2), mode="bilinear")
    filters = torch.from_numpy(generator.standard_normal((n, 1, 3, 3))).float()
    maps = torch.nn.functional.conv2d(images.transpose(0, 1), filters, groups=n)
    return torch.relu(maps)[0].numpy()


def maps_of_every_kind(n, h, w, seed=0):
    """Noise, smoothed and rectified, sparse, small integers, signed zeros, and real maps."""
    generator = np.random.default_rng(seed)
    noise = generator.standard_normal((n, h, w)).astype(np.float32)
    return {
        "noise": noise,
        "smooth": np.maximum(ndimage.gaussian_filter(noise, (0, 1, 1)), 0),
        "sparse": np.maximum(noise - 1, 0),
        "three values": generator.integers(0, 3, (n, h, w)).astype(np.float32),
        "twenty values": generator.integers(-9, 11, (n, h, w)).astype(np.float32),
        "signed zeros": np.where(noise > 0.5, -0.0, np.round(noise, 1)).astype(np.float32),
        "real": digits_maps(n, h, w, seed),
    }


@pytest.mark.parametrize("shape", [(3, 3), (4, 4), (5, 9), (14, 14), (1, 8), (28, 28)])
def test_cubical_births_equal_the_reference_and_gudhi(shape):
    n = 200 * CAMPAIGN if shape != (28, 28) else 40 * CAMPAIGN
    persistence = CubicalPersistence(homology_dimensions=1, n_jobs=1)
    for kind, maps in maps_of_every_kind(n, *shape, seed=1).items():
        births = birth_levels(maps, "cubical")
        reference = birth_levels(maps[: n // 10], "cubical", backend="reference")
        np.testing.assert_array_equal(births[: n // 10], reference, err_msg=kind)
        if min(shape) > 1:
            diagrams = persistence.fit_transform(-maps.astype(float))
            gudhis = list(map(gudhi_cubical_level, maps, diagrams))
            np.testing.assert_array_equal(births, gudhis, err_msg=kind)


@pytest.mark.parametrize("side", [4, 5, 6, 7])
@pytest.mark.parametrize("preset", ["paper", "full"])
def test_clique_births_equal_the_reference(side, preset):
    for kind, maps in maps_of_every_kind(60 * CAMPAIGN, side, side, seed=2).items():
        births = birth_levels(maps, "clique", preset)
        reference = birth_levels(maps, "clique", preset, backend="reference")
        np.testing.assert_array_equal(births, reference, err_msg=kind)


@pytest.mark.parametrize("side", [4, 7, 11])
def test_clique_births_equal_gudhi(side):
    for kind, maps in maps_of_every_kind(60 * CAMPAIGN, side, side, seed=3).items():
        births = birth_levels(maps, "clique", "full")
        np.testing.assert_array_equal(births, list(map(gudhi_clique_level, maps)), err_msg=kind)


@pytest.mark.parametrize("side", [63, 64, 65, 130])
def test_clique_births_equal_gudhi_across_mask_words(side):
    generator = np.random.default_rng(4)
    noise = generator.standard_normal((2, side, side)).astype(np.float32)
    tied = np.round(noise * 2)
    for maps in (noise, tied):
        births = birth_levels(maps[:1], "clique", "full")
        assert births == gudhi_clique_level(maps[0])


@pytest.mark.parametrize("backend", ["cpu", "cuda", "torch"])
def test_a_checkerboard_is_a_bipartite_graph_full_of_cycles(backend):
    rows, columns = np.indices((90, 90))
    checkers = ((rows + columns) % 2).astype(np.float32)
    assert birth_levels(checkers, "clique", "full", backend) == 1


def test_tied_levels_that_fill_their_own_cycles_equal_the_reference():
    # Few values on few vertices: most levels hold several edges, and many close what they open.
    generator = np.random.default_rng(5)
    for side, n_values in ((5, 3), (6, 3), (7, 4), (8, 5), (9, 3)):
        maps = generator.integers(0, n_values, (150 * CAMPAIGN, side, side)).astype(float)
        births = birth_levels(maps, "clique", "full")
        reference = birth_levels(maps, "clique", "full", backend="reference")
        np.testing.assert_array_equal(births, reference)


def triangulated(n_vertices, triangles):
    """A tied map whose first level is the 1-skeleton of the barycentric subdivision of a surface.

    The flag complex of a barycentric subdivision is the subdivision itself, and the link of each
    of its edges is two points, so that nothing can be collapsed and the Z/2 rank must decide.
    """
    cells = {frozenset([v]) for v in range(n_vertices)}
    for a, b, c in triangles:
        cells |= {frozenset(s) for s in ((a, b), (a, c), (b, c), (a, b, c))}
    cells = sorted(cells, key=sorted)
    feature_map = np.zeros((len(cells), len(cells)))
    for i, small in enumerate(cells):
        for j, large in enumerate(cells):
            feature_map[i, j] = small < large
    return feature_map


SPHERE = (4, [(0, 1, 2), (0, 1, 3), (0, 2, 3), (1, 2, 3)])
PROJECTIVE_PLANE = (
    6,
    [
        *[(0, a, a % 5 + 1) for a in range(1, 6)],
        (1, 2, 4),
        (2, 3, 5),
        (1, 3, 4),
        (2, 4, 5),
        (1, 3, 5),
    ],
)
TORUS = (7, [(i, (i + a) % 7, (i + 3) % 7) for i in range(7) for a in (1, 2)])


@pytest.mark.parametrize(
    ("surface", "expected"), [(SPHERE, NO_BIRTH), (PROJECTIVE_PLANE, 1), (TORUS, 1)]
)
@pytest.mark.parametrize("backend", ["reference", "cpu", "cuda", "torch"])
def test_triangulated_surfaces_are_decided_by_rank_over_two_elements(surface, expected, backend):
    # The projective plane has a cycle over Z/2 alone: over the rationals β₁ would be 0.
    feature_map = triangulated(*surface)
    assert birth_levels(feature_map, "clique", "full", backend) == expected


@pytest.mark.parametrize("filtration", FILTRATIONS)
@pytest.mark.parametrize("preset", ["paper", "full"])
def test_backends_are_identical(filtration, preset):
    for side in (2, 3, 6, 14):
        for kind, maps in maps_of_every_kind(60 * CAMPAIGN, side, side, seed=6).items():
            expected = birth_levels(maps, filtration, preset, backend="cpu")
            for dtype in (np.float32, np.float64):
                found = birth_levels(maps.astype(dtype), filtration, preset, backend="torch")
                np.testing.assert_array_equal(found, expected, err_msg=f"{kind} {dtype}")


@pytest.mark.parametrize("filtration", FILTRATIONS)
def test_threads_and_chunks_do_not_change_births(filtration, monkeypatch):
    maps = np.concatenate(list(maps_of_every_kind(100, 14, 14, seed=7).values()))
    alone = birth_levels(maps, filtration, threads=1)
    for threads in (2, 3, 8):
        np.testing.assert_array_equal(birth_levels(maps, filtration, threads=threads), alone)
    monkeypatch.setenv("GENAUDIT_THREADS", "2")
    np.testing.assert_array_equal(birth_levels(maps, filtration), alone)
    monkeypatch.setattr("audit.topology._cpu._PIXELS_PER_CHUNK", 14 * 14 * 7)
    np.testing.assert_array_equal(birth_levels(maps, filtration), alone)
    each = [birth_levels(one, filtration) for one in maps[:20]]
    np.testing.assert_array_equal(each, alone[:20])


@pytest.mark.parametrize("filtration", FILTRATIONS)
@pytest.mark.parametrize("backend", ["cpu", "cuda", "torch", "reference"])
def test_layouts_do_not_change_births(filtration, backend):
    maps = np.random.default_rng(8).standard_normal((3, 4, 7, 7)).astype(np.float32)
    expected = birth_levels(maps, filtration)
    channels_last = np.ascontiguousarray(maps.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    spread = np.zeros((3, 8, 14, 7), np.float32)
    spread[:, ::2, ::2] = maps
    read_only = maps.copy()
    read_only.flags.writeable = False
    big_endian = maps.astype(">f4")
    layouts = (channels_last, spread[:, ::2, ::2], maps[..., ::-1].copy()[..., ::-1], read_only)
    for layout in (*layouts, big_endian):
        np.testing.assert_array_equal(birth_levels(layout, filtration, backend=backend), expected)
    swapped = birth_levels(maps.transpose(1, 0, 2, 3), filtration, backend=backend)
    np.testing.assert_array_equal(swapped, expected.T)
    tensor = torch.from_numpy(maps).to(memory_format=torch.channels_last)
    found = birth_levels(tensor.requires_grad_(), filtration, backend=backend)
    assert found.dtype == torch.int32
    np.testing.assert_array_equal(found.numpy(), expected)


@pytest.mark.parametrize("filtration", FILTRATIONS)
@pytest.mark.parametrize("backend", ["cpu", "cuda", "torch", "reference"])
def test_every_type_of_number_is_read_exactly(filtration, backend):
    generator = np.random.default_rng(9)
    integers = generator.integers(0, 100, (5, 6, 6))
    expected = birth_levels(integers.astype(float), filtration)
    for dtype in (np.uint8, np.int8, np.int16, np.uint16, np.int32, np.uint32, np.int64, np.uint64):
        found = birth_levels(integers.astype(dtype), filtration, backend=backend)
        np.testing.assert_array_equal(found, expected)
    for dtype in (torch.float16, torch.bfloat16, torch.uint8, torch.int32, torch.int64):
        found = birth_levels(torch.from_numpy(integers).to(dtype), filtration, backend=backend)
        np.testing.assert_array_equal(found.numpy(), expected)
    truth = birth_levels((integers > 50).astype(float), filtration)
    np.testing.assert_array_equal(birth_levels(integers > 50, filtration, backend=backend), truth)
    small = torch.from_numpy(generator.standard_normal((5, 6, 6))).to(torch.float8_e4m3fn)
    np.testing.assert_array_equal(
        birth_levels(small, filtration, backend=backend).numpy(),
        birth_levels(small.double(), filtration).numpy(),
    )


@pytest.mark.parametrize("filtration", FILTRATIONS)
def test_float64_is_kept_where_float32_would_tie(filtration):
    maps = 1 + 1e-12 * np.random.default_rng(10).standard_normal((50, 9, 9))
    births = birth_levels(maps, filtration)
    np.testing.assert_array_equal(births, birth_levels((maps - 1) * 2.0**60, filtration))
    assert (birth_levels(maps.astype(np.float32), filtration) == NO_BIRTH).all()


@pytest.mark.parametrize("filtration", FILTRATIONS)
@pytest.mark.parametrize("backend", ["auto", "cpu", "cuda", "torch", "reference"])
def test_an_empty_batch_gives_an_empty_result(filtration, backend):
    births = birth_levels(np.empty((0, 3, 5, 5)), filtration, backend=backend)
    assert births.shape == (0, 3)
    assert births.dtype == np.int32


@pytest.mark.parametrize("filtration", FILTRATIONS)
def test_large_maps_agree_between_backends(filtration):
    side = {"clique": 512, "cubical": 200}[filtration]
    noise = np.random.default_rng(11).standard_normal((1, side, side)).astype(np.float32)
    smooth = ndimage.gaussian_filter(noise, (0, 3, 3))
    for maps in (noise, smooth):
        cpu = birth_levels(maps, filtration, "full")
        np.testing.assert_array_equal(birth_levels(maps, filtration, "full", "torch"), cpu)


def test_cubical_births_of_the_largest_maps_equal_gudhi():
    noise = np.random.default_rng(13).standard_normal((1, 512, 512))
    smooth = ndimage.gaussian_filter(noise, (0, 3, 3))
    maps = np.concatenate([noise, smooth, np.round(noise)])
    diagrams = CubicalPersistence(homology_dimensions=1).fit_transform(-maps)
    gudhis = list(map(gudhi_cubical_level, maps, diagrams))
    np.testing.assert_array_equal(birth_levels(maps, "cubical"), gudhis)


@pytest.mark.parametrize("filtration", FILTRATIONS)
def test_a_batch_is_not_copied_whole(filtration):
    channels_last = np.zeros((8, 28, 28, 256), np.float32).transpose(0, 3, 1, 2)
    half = np.zeros((8, 256, 28, 28), np.float16)
    birth_levels(channels_last[:1, :2], filtration)
    for maps in (channels_last, half):
        tracemalloc.start()
        birth_levels(maps, filtration, threads=1)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 4 * maps.size / 3


def test_worst_orders_take_no_more_than_a_moment():
    side = 128
    pixel = np.arange(side * side, dtype=np.float32).reshape(side, side)
    organ_pipe = np.minimum(pixel, pixel.max() - pixel)
    saw = pixel % 7
    start = time.perf_counter()
    for feature_map in (pixel, -pixel, organ_pipe, -organ_pipe, saw, pixel * 0):
        for filtration in FILTRATIONS:
            birth_levels(feature_map, filtration, "full")
    assert time.perf_counter() - start < 5


def test_kernels_release_the_interpreter():
    """A thread that counts in Python advances while a kernel runs in another."""
    maps = np.random.default_rng(12).standard_normal((40_000, 14, 14)).astype(np.float32)
    bits = maps.view(np.int32)
    bits.flags.writeable = False
    births = np.empty(len(maps), np.int32)
    _kernels.clique_births(bits[:1], np.int32(2**31 - 1), 2, 51, births[:1])
    worker = threading.Thread(
        target=_kernels.clique_births, args=(bits, np.int32(2**31 - 1), 2, 51, births)
    )
    steps = 0
    worker.start()
    while worker.is_alive():
        steps += 1
        time.sleep(0.0005)
    assert steps >= 5


def test_importing_topology_loads_neither_torch_nor_numba():
    code = (
        "import sys, numpy, audit.topology;"
        "assert not {'torch', 'numba', 'gudhi'} & set(sys.modules), sorted(sys.modules);"
        "audit.topology.birth_levels(numpy.eye(3));"
        "assert 'torch' not in sys.modules"
    )
    run_program([sys.executable, "-W", "error", "-c", code])


def test_rank_of_the_reference_is_over_two_elements():
    assert _clique.rank_mod_2([0b11, 0b101, 0b110]) == 2
    assert _clique.rank_mod_2([]) == 0
