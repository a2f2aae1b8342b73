"""Peak memory of processes, as the system accounts for it."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import psutil

_EVERY: Final = 0.1


def begin_peak() -> float:
    """Forget this process's peak so far, where the system can; resident memory now, MB."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    return peak_of(psutil.Process())


def peak_of(process: psutil.Process) -> float:
    """Peak resident memory of a living process, MB.

    Linux keeps the peak itself, so that asking late misses nothing; elsewhere it is what the
    process has now.
    """
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{process.pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024 / 1e6
    return float(process.memory_info().rss) / 1e6


@contextlib.contextmanager
def watched_children() -> Iterator[dict[int, float]]:
    """Process number → peak memory, MB, of every child that runs meanwhile."""
    peaks: dict[int, float] = {}
    done = threading.Event()

    def look() -> None:
        me = psutil.Process()
        while not done.wait(_EVERY):
            for child in me.children():
                with contextlib.suppress(psutil.Error):
                    peaks[child.pid] = max(peaks.get(child.pid, 0.0), peak_of(child))

    watcher = threading.Thread(target=look, daemon=True)
    watcher.start()
    try:
        yield peaks
    finally:
        time.sleep(_EVERY)
        done.set()
        watcher.join()
