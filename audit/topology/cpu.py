"""Batches of feature maps through the compiled kernels, in chunks, on threads.

A chunk is a few thousand pixels' worth of maps; it is copied only where the kernels could not read
it in place. Each map's result depends on that map alone, so neither chunks nor threads change it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import numpy as np

from audit.errors import ConfigError
from audit.topology.clique import full_levels, paper_levels
from audit.topology.inputs import Maps

_PIXELS_PER_CHUNK: Final = 1 << 18
_PIXELS_WORTH_THREADS: Final = 1 << 16
_Kernel = Callable[[np.ndarray, np.ndarray], None]


def default_threads() -> int:
    """Threads to use: `GENAUDIT_THREADS` if set, else the processors this process may run on.

    Raises:
        ConfigError: `GENAUDIT_THREADS` is not a positive integer.
    """
    wanted = os.environ.get("GENAUDIT_THREADS")
    if wanted is None:
        if hasattr(os, "sched_getaffinity"):
            return len(os.sched_getaffinity(0))
        return os.cpu_count() or 1
    if not wanted.isdecimal() or int(wanted) < 1:
        raise ConfigError(f"GENAUDIT_THREADS must be a positive integer; found {wanted!r}")
    return int(wanted)


def births(maps: Maps, filtration: str, preset: str, threads: int) -> np.ndarray:
    """Birth levels (…) int32 of maps (…, h, w); `NOT_FINITE` where a map holds NaN or infinity."""
    result = np.empty(maps.array.shape[:-2], np.int32)
    if not result.size:
        return result
    kernel = _kernel(filtration, preset, maps)

    def run(rows: np.ndarray, out: np.ndarray) -> None:
        kernel(maps.chunk(rows), out)

    chunks = list(_chunks(maps.array, result, threads))
    if threads == 1 or len(chunks) == 1 or maps.array.size < _PIXELS_WORTH_THREADS:
        for rows, out in chunks:
            run(rows, out)
        return result
    with ThreadPoolExecutor(min(threads, len(chunks))) as pool:
        for done in [pool.submit(run, rows, out) for rows, out in chunks]:
            done.result()
    return result


def _kernel(filtration: str, preset: str, maps: Maps) -> _Kernel:
    """The compiled function for these maps: (m, h, w) values in, (m,) births written."""
    from audit.topology import kernels  # numba is loaded when the first map arrives

    integer: Any = np.int32 if maps.exact is np.float32 else np.int64
    sign_mask = integer(np.iinfo(integer).max)
    if filtration == "cubical":
        return lambda rows, out: kernels.cubical_births(rows.view(integer), sign_mask, out)
    levels = paper_levels if preset == "paper" else full_levels
    least, most = levels(maps.array.shape[-1])
    return lambda rows, out: kernels.clique_births(rows.view(integer), sign_mask, least, most, out)


def _chunks(
    array: np.ndarray, result: np.ndarray, threads: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Views (m, h, w) that cover the batch, each with its view (m,) of the result."""
    *batch, h, w = array.shape
    strides = array.strides
    merges = all(strides[k] == batch[k + 1] * strides[k + 1] for k in range(len(batch) - 1))
    if len(batch) > 1 and not merges:  # flattening would copy the whole batch
        for part, out in zip(array, result, strict=True):
            yield from _chunks(part, out, threads)
        return
    rows, out = array.reshape(-1, h, w), result.reshape(-1)
    fair = -(-len(rows) // (4 * threads))
    size = max(1, min(fair, _PIXELS_PER_CHUNK // (h * w)))
    for start in range(0, len(rows), size):
        yield rows[start : start + size], out[start : start + size]
