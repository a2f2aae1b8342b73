"""One math thread, so that sums do not depend on the machine's cores."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    pass


@contextlib.contextmanager
def one_math_thread() -> Iterator[None]:
    """Run torch's CPU arithmetic on one thread: sums then do not depend on the machine's cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
