"""Interrupts from the keyboard that wait while something must not be left half done."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType


@contextlib.contextmanager
def deferred_interrupts() -> Iterator[None]:
    """Keep `KeyboardInterrupt` out of a block of code, and let it come when the block ends.

    Blocking the signal in this thread is not enough: any other thread, such as one of a math
    library's, may receive it, and Python raises the exception in the main thread all the same.
    Nothing is changed outside the main thread, where Python raises no interrupts, nor where the
    signal is ignored or not Python's. Put nothing into the block that may take long.
    """
    handler = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(handler):
        yield
        return
    came = False

    def note(number: int, frame: FrameType | None) -> None:
        nonlocal came
        came = True

    signal.signal(signal.SIGINT, note)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)
        if came:
            signal.raise_signal(signal.SIGINT)
