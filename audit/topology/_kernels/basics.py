"""What every kernel is made with: how it is compiled and kept, keys in order, joined components."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar, cast

import numpy as np
from numba import config, njit

from audit.errors import ConfigError

_Function = TypeVar("_Function", bound=Callable[..., Any])
_HERE: Final = Path(__file__).parent
#: Every file whose code or constants are compiled into kernels.
_SOURCES: Final = (
    *sorted(_HERE.glob("*.py")),
    _HERE.parent / "_inputs.py",
    _HERE.parents[1] / "arrays.py",
)


def compiled(function: _Function) -> _Function:
    """Compile where a kernel calls it, without the interpreter's lock."""
    return cast(_Function, njit(nogil=True)(function))


def kept(function: _Function) -> _Function:
    """Compile on first call, and keep the result on disk until one of `_SOURCES` changes.

    numba by itself watches the file of this function alone, not those of what it calls. Where it
    has no folder to write to, every process compiles anew.

    Raises:
        ConfigError: `NUMBA_DISABLE_JIT` is set.
    """
    if config.DISABLE_JIT:
        raise ConfigError("births need compiled code; unset NUMBA_DISABLE_JIT")
    try:
        kernel: Any = njit(nogil=True, cache=True)(function)
    except RuntimeError:  # what numba raises where it can keep nothing
        return compiled(function)
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in _SOURCES)).hexdigest()
    kernel._cache._cache_file._source_stamp = digest
    return cast(_Function, kernel)


@compiled
def order_preserving(bits: np.ndarray, keys: np.ndarray, sign_mask: Any) -> tuple[Any, Any]:
    """Integer keys in the order of floats, −0 as 0; returns the least and the largest."""
    for i in range(bits.size):
        magnitude = bits[i] & sign_mask
        keys[i] = -magnitude if bits[i] < 0 else magnitude
    least = largest = keys[0]
    for i in range(bits.size):
        least, largest = min(least, keys[i]), max(largest, keys[i])
    return least, largest


@compiled
def find(parent: np.ndarray, i: int) -> int:
    """Root of `i`, halving the path on the way."""
    while parent[i] != i:
        parent[i] = parent[parent[i]]
        i = parent[i]
    return i
