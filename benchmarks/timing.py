"""How calls are timed, and what the machine they run on has to give."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, NamedTuple

import numpy as np

_BLOCK: Final = bytes(1 << 21)


class Seconds(NamedTuple):
    """Median time of a call: on the wall, and of all this process's threads on processors."""

    wall: float
    processor: float


def seconds_each(calls: dict[str, Callable[[], object]], runs: int) -> dict[str, Seconds]:
    """Time of each call after one uncounted, the calls in turn so that all meet the same load."""
    wall: dict[str, list[float]] = {name: [] for name in calls}
    processor: dict[str, list[float]] = {name: [] for name in calls}
    for call in calls.values():
        call()
    for _ in range(runs):
        for name, call in calls.items():
            wall_start, processor_start = time.perf_counter(), time.process_time()
            call()
            processor[name].append(time.process_time() - processor_start)
            wall[name].append(time.perf_counter() - wall_start)
    median = statistics.median
    return {name: Seconds(median(wall[name]), median(processor[name])) for name in calls}


@contextlib.contextmanager
def on_one_processor() -> Iterator[None]:
    """Keep this thread, and those it starts, on one processor, where the system can.

    A program that starts a thread per call is then not charged for waking another processor.
    """
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(allowed)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)


def maps_within(seconds: float, call: Callable[[Any], object], maps: Any) -> tuple[int, float]:
    """How many of the maps to call with, and the seconds of one.

    As many as take about so many seconds, and at least 16 unless those take eight times as long.
    """
    call(maps[:1])
    count = 1
    while True:
        start = time.process_time()
        call(maps[:count])
        each = (time.process_time() - start) / count
        if count == len(maps) or each * count > seconds / 4:
            wanted = max(seconds / each, min(16, 8 * seconds / each))
            return max(1, min(len(maps), int(wanted))), each
        count = min(len(maps), count * 4)


def read_gigabytes_per_second() -> float:
    """Rate at which one thread sums an array that is larger than most caches."""
    array = np.ones(1 << 27, np.float32)
    return array.nbytes / seconds_each({"sum": array.sum}, 5)["sum"].processor / 1e9


def hash_on(threads: int, of: int) -> None:
    """Hash in `of` tasks, each some 40 ms of work that needs no memory, on so many threads."""
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(lambda _: [hashlib.sha256(_BLOCK).digest() for _ in range(32)], range(of)))


def first_call_seconds() -> dict[str, float]:
    """Seconds of a first call of both filtrations in a new process, without and with a cache."""
    code = (
        "import time, numpy, audit.topology as t; start = time.perf_counter();"
        "maps = numpy.zeros((2, 4, 4), numpy.float32);"
        "t.birth_levels(maps, 'clique'); t.birth_levels(maps, 'cubical');"
        "print(time.perf_counter() - start)"
    )
    with tempfile.TemporaryDirectory() as cache:
        environment = os.environ | {"NUMBA_CACHE_DIR": cache}
        command = [sys.executable, "-c", code]
        cold, cached = (
            float(subprocess.run(command, env=environment, check=True, capture_output=True).stdout)
            for _ in range(2)
        )
    return {"compiling": cold, "cached": cached}


def versions(packages: Iterable[str]) -> dict[str, str]:
    """Versions of Python, of the machine's kind, and of those packages that are installed."""
    found = {"python": platform.python_version(), "machine": platform.machine()}
    for name in packages:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found
