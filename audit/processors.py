"""How many processors this process may use."""

from __future__ import annotations

import os

from audit.errors import ConfigError


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
    if not wanted.isdecimal() or len(wanted) > 9 or int(wanted) < 1:
        raise ConfigError(f"GENAUDIT_THREADS must be a positive integer; found {wanted[:40]!r}")
    return int(wanted)
