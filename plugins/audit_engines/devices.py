"""Which CUDA devices there are for workers, told without touching one."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Iterable
from typing import Final

#: What CUDA reads in each process: the devices it may see, in the order of their numbers there.
VISIBLE: Final = "CUDA_VISIBLE_DEVICES"


def visible_devices() -> tuple[str, ...]:
    """The devices that workers may be given, as `CUDA_VISIBLE_DEVICES` names them.

    Where that variable says nothing, torch is asked how many there are, if it is loaded: it knows
    by the driver's management library, and no memory is taken on any.
    """
    named = os.environ.get(VISIBLE)
    if named is not None:
        names = [name.strip() for name in named.split(",")]
        end = next((at for at, name in enumerate(names) if name in ("", "-1")), len(names))
        return tuple(names[:end])  # CUDA itself stops at the first name that is none
    torch = sys.modules.get("torch")
    return tuple(str(number) for number in range(torch.cuda.device_count() if torch else 0))


def least_used(devices: tuple[str, ...], used: Iterable[str | None]) -> str | None:
    """The device that the fewest workers have; None where there is nothing to choose from."""
    if len(devices) < 2:
        return None
    counts = Counter(used)
    return min(devices, key=lambda device: counts[device])
