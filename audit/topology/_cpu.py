"""Batches of feature maps through the compiled kernels, in chunks, on threads.

A chunk is some thousand pixels' worth of maps; it is copied only where the kernels could not read
it in place. Each map's result depends on that map alone, so neither chunks nor threads change it.

The calling thread works too, and the threads that help it outlive the call: a batch of a few
megabytes is done in a millisecond or two, of which starting threads would take a large share.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Final

import numpy as np

from audit.errors import ConfigError
from audit.processors import default_threads
from audit.topology._clique import full_levels, paper_levels
from audit.topology._inputs import Maps

_PIXELS_PER_CHUNK: Final = 1 << 18
_PIXELS_WORTH_A_CHUNK: Final = 1 << 14
_PIXELS_WORTH_THREADS: Final = 1 << 16
_Kernel = Callable[[np.ndarray, np.ndarray], None]


def threads_or_default(threads: int | None) -> int:
    """The number of threads asked for, or the default.

    Raises:
        ConfigError: Not a whole number of at least 1; `GENAUDIT_THREADS` likewise.
    """
    if threads is None:
        return default_threads()
    if not isinstance(threads, (int, np.integer)) or threads < 1:
        raise ConfigError(f"threads must be at least 1; found {threads}")
    return int(threads)


def births(maps: Maps, filtration: str, preset: str, threads: int) -> np.ndarray:
    """Birth levels (…) int32 of maps (…, h, w); `NOT_FINITE` where a map holds NaN or infinity."""
    result = np.empty(maps.array.shape[:-2], np.int32)
    if not result.size:
        return result
    kernel = _kernel(filtration, preset, maps)
    most = (
        maps.array.size // _PIXELS_WORTH_A_CHUNK if maps.array.size >= _PIXELS_WORTH_THREADS else 1
    )
    threads = min(threads, most)
    chunks = _chunks(maps.array, result, threads)
    taking = threading.Lock()

    def work() -> None:
        nonlocal chunks
        try:
            while True:
                with taking:
                    chunk = next(chunks, None)
                if chunk is None:
                    return
                rows, out = chunk
                kernel(maps.chunk(rows), out)
        except BaseException:
            with taking:
                chunks = iter(())  # nobody else need go on
            raise

    helpers: list[Future[None]] = []
    with contextlib.suppress(RuntimeError):  # no more can start, as when the interpreter ends
        while len(helpers) < threads - 1:
            helpers.append(_helpers().submit(work))
    try:
        work()
    finally:
        for helper in helpers:
            if not helper.cancel():
                helper.result()
    return result


@functools.cache
def _helpers() -> ThreadPoolExecutor:
    """Threads that wait for batches, started as calls ask for them; a forked child starts its own.

    There is no use in so many; a call that asks for more makes do with those there are.
    """
    return ThreadPoolExecutor(max_workers=256, thread_name_prefix="births")


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_helpers.cache_clear)


def _kernel(filtration: str, preset: str, maps: Maps) -> _Kernel:
    """The compiled function for these maps: (m, h, w) values in, (m,) births written."""
    from audit.topology import _kernels

    integer: Any = np.int32 if maps.exact is np.float32 else np.int64
    sign_mask = integer(np.iinfo(integer).max)
    if filtration == "cubical":
        return lambda rows, out: _kernels.cubical_births(rows.view(integer), sign_mask, out)
    levels = paper_levels if preset == "paper" else full_levels
    least, most = levels(maps.array.shape[-1])
    return lambda rows, out: _kernels.clique_births(rows.view(integer), sign_mask, least, most, out)


def _chunks(
    array: np.ndarray, result: np.ndarray, threads: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Views (m, h, w) that cover the batch, each with its view (m,) of the result."""
    *batch, h, w = array.shape
    strides = array.strides
    axes = [k for k, size in enumerate(batch) if size > 1]
    merges = all(strides[k] == batch[j] * strides[j] for k, j in itertools.pairwise(axes))
    if len(batch) > 1 and not merges:  # flattening would copy the whole batch
        for part, out in zip(array, result, strict=True):
            yield from _chunks(part, out, threads)
        return
    rows, out = array.reshape(-1, h, w), result.reshape(-1)
    start = 0
    while start < len(rows):
        fair = (len(rows) - start) * h * w // (2 * threads)  # ever less, to end at the same time
        size = max(1, min(max(fair, _PIXELS_WORTH_A_CHUNK), _PIXELS_PER_CHUNK) // (h * w))
        yield rows[start : start + size], out[start : start + size]
        start += size
