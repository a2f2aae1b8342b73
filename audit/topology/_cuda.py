"""Feature maps through the kernels for CUDA devices: launches, scratch, what the host decides.

Maps that are on the device stay there, in the order of torch's stream; only births come back.
"""

from __future__ import annotations

import functools
import importlib
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Final

import torch
from numba import config, cuda

from audit.arrays import NO_BIRTH
from audit.topology import _cuda_kernels, _tensor_ops
from audit.topology._clique import full_levels, paper_levels
from audit.topology._inputs import NOT_FINITE, check_shape

_SHARED_BYTES: Final = 48 * 1024 - 64  # what every device gives a block, less a few named values
_SCRATCH_WORDS: Final = 1 << 24
_MOST_THREADS: Final = 256
_PIXELS_PER_LAUNCH: Final = 1 << 25
_LEAST_BLOCKS: Final = 0 if config.ENABLE_CUDASIM else 128  # numba warns of launches with fewer


def is_available() -> bool:
    """Whether a CUDA device, or numba's simulator of one, can run these kernels."""
    return bool(cuda.is_available()) and not why_it_cannot_compile()


@functools.cache
def why_it_cannot_compile() -> str:
    """What numba-cuda raises when it loads the rules it compiles with; "" if it loads them.

    It loads them at the first compilation and not when it is imported, and releases up to 0.30 use
    names that NumPy 2.5 removed.
    """
    if config.ENABLE_CUDASIM:
        return ""
    try:
        importlib.import_module("numba.cuda.cudaimpl")
    except Exception as error:  # noqa: BLE001  it may raise anything beside a NumPy it does not know
        return f"{type(error).__name__}: {error}"
    return ""


def birth_levels(maps: torch.Tensor, filtration: str, preset: str) -> torch.Tensor:
    """Birth levels of feature maps; see `audit.topology.birth_levels`.

    Args:
        maps: (…, h, w) dense real tensor; copied to the current CUDA device if it is elsewhere.
        filtration: "clique" or "cubical".
        preset: "paper" or "full".

    Returns:
        (…) int32, on that device (in host memory under the simulator).

    Raises:
        DataError: As `audit.topology.birth_levels`.
    """
    check_shape(tuple(maps.shape), filtration)
    if not (maps.is_cuda or config.ENABLE_CUDASIM):
        maps = maps.cuda()
    *batch, h, w = maps.shape
    births = torch.full(batch, NO_BIRTH, dtype=torch.int32, device=maps.device)
    if not births.numel():
        return births
    flat, out = maps.reshape(-1, h, w), births.view(-1)
    size = max(1, _PIXELS_PER_LAUNCH // (h * w))
    with _device(maps):
        for start in range(0, len(flat), size):
            chunk = _tensor_ops.ordered(flat[start : start + size])
            if chunk.dtype == torch.float32:
                bits = chunk.contiguous().view(torch.int32)
            else:
                _tensor_ops.check_finite(chunk, start, tuple(batch))
                bits = _ranks(chunk)
            _launch(bits, out[start : start + size], filtration, preset)
    if int(births.min()) < NO_BIRTH:
        bad = torch.nonzero(out == NOT_FINITE)
        if len(bad):
            first = int(bad[0])
            _tensor_ops.check_finite(flat[first : first + 1], first, tuple(batch))
        undecided = torch.nonzero(out == _cuda_kernels.UNDECIDED)[:, 0]
        _tensor_ops.decide_on_host(flat, out, undecided, preset)
    return births


def _device(maps: torch.Tensor) -> AbstractContextManager[Any]:
    """Numba's context of the device that holds the maps, where there are several devices."""
    several = not config.ENABLE_CUDASIM and torch.cuda.device_count() > 1
    return cuda.gpus[maps.device.index] if several else nullcontext()


def _ranks(values: torch.Tensor) -> torch.Tensor:
    """Bits of positive float32 values in the order of values it does not hold, map by map."""
    m, h, w = values.shape
    order, level = _tensor_ops.levels(values.reshape(m, h * w))
    rank = torch.empty_like(level).scatter_(1, order, h * w - level)
    return rank.int().view(m, h, w)


def _launch(bits: torch.Tensor, births: torch.Tensor, filtration: str, preset: str) -> None:
    """Write the births of (m, h, w) int32 bits, in shared memory if a map fits there."""
    m, h, w = bits.shape
    levels: tuple[int, ...] = ()
    if filtration == "cubical":
        words = 2 * h * (w | 1)
        threads = -(-max(h, w) // 32) * 32
        in_shared, in_global = _cuda_kernels.cubical_shared, _cuda_kernels.cubical_global
    else:
        words = h * (h - 1) // 2 + h * (2 + -(-h // 16))
        threads = -(-h // 64) * 32
        in_shared, in_global = _cuda_kernels.clique_shared, _cuda_kernels.clique_global
        levels = paper_levels(h) if preset == "paper" else full_levels(h)
    threads = min(threads, _MOST_THREADS)
    stream = 0 if config.ENABLE_CUDASIM else _current_stream(bits.device)
    if 4 * words <= _SHARED_BYTES:
        in_shared[max(m, _LEAST_BLOCKS), threads, stream, 4 * words](
            _array(bits), _array(births), *levels
        )
        return
    size = max(1, min(m, _SCRATCH_WORDS // words))
    scratch = torch.empty((size, words), dtype=torch.int32, device=bits.device)
    for start in range(0, m, size):
        part, out = bits[start : start + size], births[start : start + size]
        blocks = max(len(part), _LEAST_BLOCKS)
        in_global[blocks, threads, stream](_array(part), _array(out), _array(scratch), *levels)


def _array(tensor: torch.Tensor) -> Any:
    """The tensor's own memory as the kernels take it."""
    return tensor.numpy() if config.ENABLE_CUDASIM else cuda.as_cuda_array(tensor)


def _current_stream(device: torch.device) -> Any:
    """The stream on which torch works on this device now; the kernels keep its order."""
    pointer = torch.cuda.current_stream(device).cuda_stream
    return cuda.external_stream(pointer) if pointer else 0
