"""Arithmetic that does not depend on the machine: one math thread, and all of float32's digits."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch


@contextlib.contextmanager
def one_math_thread() -> Iterator[None]:
    """Run torch's CPU arithmetic on one thread: sums then do not depend on the machine's cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextlib.contextmanager
def all_of_float32() -> Iterator[None]:
    """Let CUDA devices compute float32 in float32: torch rounds what convolutions take to TF32.

    With its ten bits instead of 23 an audit's numbers lie a thousandth from the processor's, and a
    twentieth where a measure counts nearest neighbours (benchmarks/devices.py on an H200).
    """
    backends: tuple[Any, ...] = (
        torch.backends.cudnn.conv,  # type: ignore[attr-defined]
        torch.backends.cudnn.rnn,
        torch.backends.cuda.matmul,
    )
    before = [backend.fp32_precision for backend in backends]
    try:
        for backend in backends:
            backend.fp32_precision = "ieee"
        yield
    finally:
        for backend, precision in zip(backends, before, strict=True):
            backend.fp32_precision = precision
