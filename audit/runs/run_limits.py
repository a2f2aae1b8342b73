"""How long a run may take: `--max-hours` and `--max-gpu-hours`."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from audit.errors import ConfigError

if TYPE_CHECKING:
    from audit.runs.config import RunOptions


class RunStoppedError(Exception):
    """A run has reached a limit; the message says which, as the reason of a failed row."""


def check_limits(options: RunOptions, device: str) -> None:
    """Find out before anything is measured whether the limits of a run can be kept.

    Raises:
        ConfigError: A limit on devices where none is used.
    """
    if options.max_gpu_hours is not None and device != "cuda":
        raise ConfigError(
            "--max-gpu-hours counts hours of CUDA devices, and this run is on processors: use "
            "--max-hours"
        )


class RunLimits:
    """The clock of one run, from now on.

    Args:
        max_hours: Of time that passes; None: no limit.
        max_gpu_hours: Of all CUDA devices together; None: no limit.
        n_devices: CUDA devices that the workers hold together.
    """

    def __init__(
        self, max_hours: float | None, max_gpu_hours: float | None, n_devices: float
    ) -> None:
        self._max_hours, self._max_gpu_hours = max_hours, max_gpu_hours
        self._n_devices = n_devices
        self._started = time.monotonic()

    def __bool__(self) -> bool:
        """Whether there is a limit at all."""
        return self._max_hours is not None or self._max_gpu_hours is not None

    def check(self) -> None:
        """Stop the run if it has reached a limit.

        Raises:
            RunStoppedError: It has.
        """
        hours = (time.monotonic() - self._started) / 3600
        if self._max_hours is not None and hours >= self._max_hours:
            raise _stopped(f"{self._max_hours:g} h (--max-hours)")
        if self._max_gpu_hours is not None and hours * self._n_devices >= self._max_gpu_hours:
            raise _stopped(f"{self._max_gpu_hours:g} GPU hours (--max-gpu-hours)")


def _stopped(after: str) -> RunStoppedError:
    return RunStoppedError(f"not audited: the run was stopped after {after}; run again to go on")
