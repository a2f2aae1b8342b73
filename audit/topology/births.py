"""The one entrance to birth levels: checks, and the choice of a backend."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import warnings
from typing import TYPE_CHECKING, Any, Final, overload

import numpy as np

from audit.errors import AuditError, unknown_name
from audit.topology import _cpu, _inputs, _reference

if TYPE_CHECKING:
    from types import ModuleType

    import torch
    from numpy.typing import ArrayLike

    from audit.arrays import BirthLevels

FILTRATIONS: Final = ("clique", "cubical")
PRESETS: Final = ("paper", "full")
BACKENDS: Final = ("auto", "reference", "cpu", "cuda", "torch")


@overload
def birth_levels(
    maps: torch.Tensor,
    filtration: str = ...,
    preset: str = ...,
    backend: str = ...,
    *,
    threads: int | None = ...,
) -> torch.Tensor: ...


@overload
def birth_levels(
    maps: ArrayLike,
    filtration: str = ...,
    preset: str = ...,
    backend: str = ...,
    *,
    threads: int | None = ...,
) -> BirthLevels: ...


def birth_levels(
    maps: Any,
    filtration: str = "clique",
    preset: str = "paper",
    backend: str = "auto",
    *,
    threads: int | None = None,
) -> Any:
    """Level at which the first 1-dimensional cycle of each feature map is born.

    Levels are the dense ranks, from 1, of the distinct values in descending order; equal values
    enter together. The birth level is the first level that ends with β₁ > 0. It depends on the
    order of the values alone, so strictly increasing maps of the values do not change it, and −0
    equals 0.

    Args:
        maps: (…, h, w) array or tensor. float16, bfloat16, booleans and integers of 8 or 16 bits
            are read as float32, float32 and float64 as they are, wider integers as float64; every
            conversion is exact.
        filtration: "clique": the flag complex of the graph whose vertices are the n rows of a
            square map and whose edge {i, j} weighs max(x[i, j], x[j, i]); the diagonal is not
            used (but must be finite). "cubical": superlevel sets of an image of any shape, pixels
            touching at a corner connected.
        preset: "paper": of the clique levels those above ceil(0.8 · n(n−1)/2) are dropped, and
            births at levels 2 to 51 count. "full": every level counts. The paper defines levels
            for the clique filtration alone; cubical births are the same under both.
        backend: "reference" (by definition, slow), "cpu" (compiled), "cuda" (compiled for a CUDA
            device, on which the maps are or are put), "torch" (tensor operations, on the tensor's
            device), or "auto": "cpu" for arrays and tensors in host memory, "cuda" for tensors on
            a CUDA device if numba-cuda is installed, else "torch". All give the same integers.
        threads: Processor threads of the "cpu" backend; by default `GENAUDIT_THREADS`, or the
            processors this process may use. The result does not depend on it.

    Returns:
        int32 (…): the birth level, from 1, or `NO_BIRTH` (−1) for a map without one, such as any
        1 × 1 map. An array for arrays; for a tensor a tensor on its device.

    Raises:
        ConfigError: An unknown filtration, preset or backend, or threads below 1.
        DataError: Fewer than two dimensions, no pixels, maps that are not square under "clique",
            values that are not real numbers, or a NaN or infinity, with its index.
        AuditError: backend="cuda" where there is no CUDA device, or no numba-cuda.

    Source:
        Zhao & Zhang, Quantitative Performance Assessment of CNN Units via Topological Entropy
        Calculation, ICLR 2022 (arXiv 2103.09716), for "clique" with preset "paper". Deviation:
        "no birth" is −1, where the authors' program returns 0; its birth point is our level − 1.

    Example:
        >>> ring = np.array([[1, 9, 2], [8, 3, 7], [1, 6, 1.0]])
        >>> birth_levels(np.stack([ring, -ring]), filtration="cubical")
        array([ 4, -1], dtype=int32)
    """
    _check_names(filtration, preset, backend)
    threads = _cpu.threads_or_default(threads)
    tensor = _inputs.is_tensor(maps)
    if backend == "auto":
        backend = _best_backend(maps.device.type) if tensor else "cpu"
    if backend in ("torch", "cuda"):
        return _on_device(maps, filtration, preset, backend)
    read = _inputs.from_tensor(maps) if tensor else _inputs.from_numpy(maps)
    _inputs.check_shape(read.array.shape, filtration)
    run = _reference.births if backend == "reference" else _cpu.births
    births = run(read, filtration, preset, threads)
    if (births == _inputs.NOT_FINITE).any():
        raise _inputs.first_not_finite(read, births)
    if tensor:
        import torch

        return torch.from_numpy(births).to(maps.device)
    return births


def _check_names(filtration: str, preset: str, backend: str) -> None:
    """Refuse a name nobody knows, with the nearest known ones."""
    for kind, name, known in (
        ("filtration", filtration, FILTRATIONS),
        ("preset", preset, PRESETS),
        ("topology backend", backend, BACKENDS),
    ):
        if name not in known:
            raise unknown_name(kind, name, known, hint="known: " + ", ".join(known))


def _cuda_kernels() -> ModuleType | None:
    """The module of kernels for CUDA devices, if they can run here."""
    if not _has_numba_cuda():
        return None
    from audit.topology import _cuda

    return _cuda if _cuda.is_available() else None


def _has_numba_cuda() -> bool:
    """Whether numba-cuda is installed; numba's own module of that name is an old one."""
    return importlib.util.find_spec("numba_cuda") is not None


def _best_backend(device: str) -> str:
    """The fastest backend for tensors on a device of this type; warns of one easily had."""
    if device == "cpu":
        return "cpu"
    if device == "cuda":
        if _cuda_kernels():
            return "cuda"
        import torch

        if not torch.version.hip:
            warnings.warn(
                "births of tensors on CUDA devices are computed by tensor operations, which are "
                f"slow: the compiled kernels require {_what_cuda_lacks()}",
                stacklevel=3,
            )
    return "torch"


def _on_device(maps: Any, filtration: str, preset: str, backend: str) -> Any:
    """Births by a device's kernels or tensor operations; arrays pass through host memory."""
    import torch

    from audit.topology import _tensor_ops

    run = _tensor_ops.birth_levels
    if backend == "cuda":
        kernels = _cuda_kernels()
        if kernels is None:
            choose = 'use "auto", which chooses the best one there is'
            raise AuditError(f'backend="cuda" requires {_what_cuda_lacks()}; {choose}')
        run = kernels.birth_levels
    if _inputs.is_tensor(maps):
        _inputs.check_tensor(maps)
        return run(maps.detach(), filtration, preset).to(maps.device)
    read = _inputs.from_numpy(maps)
    tensor = torch.from_numpy(np.array(read.array, dtype=read.exact))
    return run(tensor, filtration, preset).cpu().numpy()


def _what_cuda_lacks() -> str:
    """What the kernels for CUDA devices miss here."""
    import torch

    if not torch.cuda.is_available() or torch.version.hip:
        return f"a CUDA device; torch {torch.__version__} found none"
    if not _has_numba_cuda():
        return 'numba-cuda; install it with pip install "genaudit[cuda]"'
    from audit.topology import _cuda

    if why := _cuda.why_it_cannot_compile():
        own = importlib.metadata.version("numba-cuda")
        return (
            f"a numba-cuda that works beside NumPy {np.__version__}; numba-cuda {own} raises {why}"
        )
    return "a CUDA device that numba-cuda can use; it found none"
