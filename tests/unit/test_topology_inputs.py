"""What birth_levels refuses, and the words it refuses it with."""

import importlib.metadata
import os
import re
import sys

import numpy as np
import pytest
import torch
from programs import run_program

from audit import birth_levels
from audit.errors import AuditError, ConfigError, DataError
from audit.topology import births
from audit.topology.diagrams import persistence_diagrams

MAP = np.zeros((4, 4))
pytestmark = pytest.mark.usefixtures("cuda_device")
KNOWN_BACKENDS = "known: auto, reference, cpu, cuda, torch"

REFUSED = [
    (
        lambda: birth_levels(MAP, "cliqe"),
        ConfigError,
        "unknown filtration 'cliqe'; did you mean 'clique'? known: clique, cubical",
    ),
    (
        lambda: birth_levels(MAP, preset="papers"),
        ConfigError,
        "unknown preset 'papers'; did you mean 'paper'? known: paper, full",
    ),
    (
        lambda: birth_levels(MAP, backend="gpu"),
        ConfigError,
        f"unknown topology backend 'gpu'; did you mean 'cpu'? {KNOWN_BACKENDS}",
    ),
    (
        lambda: birth_levels(MAP, threads=0),
        ConfigError,
        "threads must be at least 1; found 0",
    ),
    (
        lambda: birth_levels(np.zeros(5)),
        DataError,
        "feature maps need at least two dimensions (…, h, w); found shape (5,)",
    ),
    (
        lambda: birth_levels(np.float64(5)),
        DataError,
        "feature maps need at least two dimensions (…, h, w); found shape ()",
    ),
    (
        lambda: birth_levels(np.zeros((2, 0, 3)), "cubical"),
        DataError,
        "feature maps need at least one pixel; found shape (2, 0, 3)",
    ),
    (
        lambda: birth_levels(np.zeros((2, 5, 3))),
        DataError,
        "the clique filtration needs square feature maps; found shape (2, 5, 3); "
        'use filtration="cubical" for maps of any shape',
    ),
    (
        lambda: birth_levels(np.zeros((2, 2), complex)),
        DataError,
        "feature maps must be real numbers that float64 holds exactly; found dtype complex128",
    ),
    (
        lambda: birth_levels(np.array([["a", "b"]] * 2)),
        DataError,
        "feature maps must be real numbers that float64 holds exactly; found dtype <U1",
    ),
    (
        lambda: birth_levels(np.zeros((2, 2), np.longdouble)),
        DataError,
        f"feature maps must be real numbers that float64 holds exactly; "
        f"found dtype {np.dtype(np.longdouble)}",
    ),
    (
        lambda: birth_levels(torch.zeros(2, 2, dtype=torch.complex64)),
        DataError,
        "feature maps must be a dense tensor of real numbers; found strided torch.complex64 on cpu",
    ),
    (
        lambda: birth_levels(torch.zeros(2, 2).to_sparse()),
        DataError,
        "feature maps must be a dense tensor of real numbers; "
        "found sparse_coo torch.float32 on cpu",
    ),
    (
        lambda: birth_levels(torch.zeros(2, 2, device="meta")),
        DataError,
        "feature maps must be a dense tensor of real numbers; found strided torch.float32 on meta",
    ),
]


@pytest.mark.parametrize(("call", "kind", "message"), REFUSED, ids=[case[2] for case in REFUSED])
def test_refusals_say_what_was_found(call, kind, message):
    with pytest.raises(kind) as caught:
        call()
    assert str(caught.value) == message


@pytest.mark.parametrize("backend", ["reference", "cpu", "cuda", "torch"])
@pytest.mark.parametrize("filtration", ["clique", "cubical"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, torch.bfloat16])
def test_the_first_value_that_is_not_finite_is_named(backend, filtration, value, dtype):
    maps = np.zeros((2, 3, 5, 5))
    maps[1, 2, 4, 4] = maps[1, 0, 3, 3] = maps[1, 0, 4, 0] = value
    maps = torch.from_numpy(maps).to(dtype) if dtype is torch.bfloat16 else maps.astype(dtype)
    with pytest.raises(DataError) as caught:
        birth_levels(maps, filtration, backend=backend)
    assert str(caught.value) == (
        f"feature maps must be finite; found {value} at index (1, 0, 3, 3); "
        "check the weights and the inputs of the layer"
    )


@pytest.mark.parametrize("backend", ["reference", "cpu", "cuda", "torch"])
def test_a_map_alone_is_indexed_by_its_pixel(backend):
    feature_map = np.zeros((3, 3))
    feature_map[2, 1] = np.nan
    with pytest.raises(DataError, match=r"found nan at index \(2, 1\);"):
        birth_levels(feature_map, backend=backend)


@pytest.mark.parametrize("backend", ["reference", "cpu", "cuda", "torch"])
@pytest.mark.parametrize("number", [2**53 + 1, -(2**53) - 1])
def test_integers_that_float64_would_round_are_refused(backend, number):
    maps = np.zeros((2, 2), np.int64)
    maps[0, 1] = number
    with pytest.raises(DataError) as caught:
        birth_levels(maps, backend=backend)
    assert str(caught.value) == (
        "integer feature maps must lie within ±2**53, where float64 is exact; "
        f"found magnitude {2**53 + 1}"
    )


@pytest.mark.parametrize("backend", ["reference", "cpu", "cuda", "torch"])
@pytest.mark.parametrize("number", [2**64 - 1, 2**63, 2**53 + 1])
def test_unsigned_integers_are_not_read_as_negative(backend, number):
    maps = torch.from_numpy(np.array([[[1, 9, 2], [8, 3, 7], [1, 6, number]]], np.uint64))
    with pytest.raises(DataError, match=f"found magnitude {number}$"):
        birth_levels(maps, "cubical", backend=backend)


@pytest.mark.parametrize("backend", ["reference", "cpu", "cuda", "torch"])
def test_tensors_that_torch_negates_when_read_are_read_so(backend):
    maps = torch.randn(3, 6, 6, dtype=torch.complex64, generator=torch.Generator().manual_seed(0))
    lazy = maps.conj().imag
    assert lazy.is_neg()
    found = birth_levels(lazy, "cubical", backend=backend)
    np.testing.assert_array_equal(found, birth_levels(-maps.imag.numpy(), "cubical"))


@pytest.mark.parametrize("threads", [0, -1, 1.5])
def test_threads_must_be_a_positive_integer(threads):
    for call in (birth_levels, persistence_diagrams):
        with pytest.raises(ConfigError, match=f"threads must be at least 1; found {threads}$"):
            call(MAP, threads=threads)


def test_a_thread_variable_of_many_digits_is_refused(monkeypatch):
    monkeypatch.setenv("GENAUDIT_THREADS", "9" * 5000)
    with pytest.raises(ConfigError, match="must be a positive integer"):
        birth_levels(MAP)


@pytest.mark.parametrize("threads", ["0", "two", "-1", ""])
def test_the_thread_variable_must_be_a_positive_integer(monkeypatch, threads):
    monkeypatch.setenv("GENAUDIT_THREADS", threads)
    with pytest.raises(ConfigError) as caught:
        birth_levels(MAP)
    assert str(caught.value) == f"GENAUDIT_THREADS must be a positive integer; found {threads!r}"


@pytest.mark.parametrize(
    ("device", "installed", "message"),
    [
        (False, True, f"requires a CUDA device; torch {torch.__version__} found none; "),
        (True, False, 'requires numba-cuda; install it with pip install "genaudit[cuda]"; '),
        (True, True, "requires a CUDA device that numba-cuda can use; it found none; "),
    ],
)
def test_cuda_where_it_cannot_run_is_refused(monkeypatch, device, installed, message):
    monkeypatch.setattr("audit.topology.births._cuda_kernels", lambda: None)
    monkeypatch.setattr("audit.topology.births._has_numba_cuda", lambda: installed)
    monkeypatch.setattr("torch.cuda.is_available", lambda: device)
    with pytest.raises(AuditError) as caught:
        birth_levels(MAP, backend="cuda")
    assert str(caught.value) == (
        f'backend="cuda" {message}use "auto", which chooses the best one there is'
    )


def test_a_numba_cuda_that_cannot_compile_here_is_not_used_and_says_why(monkeypatch):
    """NumPy 2.5 removed names that numba-cuda 0.30 reads at its first compilation."""
    code = "import sys; sys.modules['numba.cuda.cudaimpl'] = None; import numba.cuda as c;"
    code += "c.is_available = lambda: True; from audit.topology import _cuda, births as t;"
    code += "print(_cuda.is_available(), t._cuda_kernels(), _cuda.why_it_cannot_compile())"
    environment = os.environ | {"NUMBA_ENABLE_CUDASIM": "0"}
    told = run_program([sys.executable, "-c", code], env=environment).stdout
    assert told.startswith("False None ModuleNotFoundError: ")
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.version.hip", None)
    monkeypatch.setattr(births, "_cuda_kernels", lambda: None)
    monkeypatch.setattr("audit.topology._cuda.why_it_cannot_compile", lambda: "AttributeError: x")
    version = importlib.metadata.version("numba-cuda")
    told = f"a numba-cuda that works beside NumPy {np.__version__}; numba-cuda {version} raises"
    with pytest.raises(AuditError, match=f"requires {re.escape(told)} AttributeError: x;"):
        birth_levels(MAP, backend="cuda")


def test_without_numba_cuda_tensors_on_a_device_take_tensor_operations(monkeypatch):
    code = "import sys; sys.modules['numba_cuda'] = None; import audit.topology.births as t;"
    code += "print(t._cuda_kernels())"
    assert run_program([sys.executable, "-c", code]).stdout == "None\n"
    monkeypatch.setattr(births, "_cuda_kernels", lambda: None)
    monkeypatch.setattr(births, "_has_numba_cuda", lambda: False)
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.version.hip", None)
    with pytest.warns(UserWarning, match=r'pip install "genaudit\[cuda\]"'):
        assert births._best_backend("cuda") == "torch"
    monkeypatch.setattr("torch.version.hip", "6.4")
    assert [births._best_backend(name) for name in ("cuda", "mps", "cpu")] == [
        "torch",
        "torch",
        "cpu",
    ]
