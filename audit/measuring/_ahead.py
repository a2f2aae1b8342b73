"""Work done one step ahead, on a thread, while the step before is used."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


def one_ahead(steps: Iterable[Callable[[], T]]) -> Generator[T]:
    """Results of the steps in order, each made while the one before is used.

    What a step raises is raised in its turn, after the results before it, and no step after it is
    begun. Where the iterator is closed early, so by an exception in the loop's body or by Ctrl-C,
    the step at work is waited for and nothing else is begun.

    Args:
        steps: Called one after the other, on one thread that is not the caller's.

    Example:
        >>> list(one_ahead([lambda: 1, lambda: 2, lambda: 3]))
        [1, 2, 3]
    """
    worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="ahead")
    pending: Future[T] | None = None
    try:
        for step in steps:
            ready = [pending.result()] if pending is not None else []
            pending = worker.submit(step)
            while ready:
                yield ready.pop()  # not held here while the next is waited for
        if pending is not None:
            yield pending.result()
    finally:
        worker.shutdown(wait=True, cancel_futures=True)
