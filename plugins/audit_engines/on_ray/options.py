"""The options of the engine `ray`."""

from __future__ import annotations

import dataclasses
import math
import os
import re
from collections.abc import Mapping
from typing import Any, Final

from audit.errors import ConfigError
from audit_engines.options import LIMITS, Limits, check_names, limits, whole_number

#: Names of the options of `run`.
OPTIONS: Final = ("address", "retries", "num_cpus", "num_gpus", "wait", *LIMITS)

_ADDRESS: Final = re.compile(r"auto|(?:ray://)?(?:[^\s:/\[\]]+|\[[0-9a-fA-F:.]+\]):\d{1,5}")


@dataclasses.dataclass(frozen=True)
class RayOptions:
    """Where tasks run, and what one task takes there.

    Attributes:
        address: Of a running cluster; None: one is started on this machine.
        retries: How often a task whose process or node died is tried again.
        num_cpus: Processors that are set aside for one task; a share of one may do.
        num_gpus: CUDA devices that are set aside for one task; a share of one may do.
        wait: Seconds in which some node must have room for a task.
        limits: What one task may take; its memory is set aside for it too.
    """

    address: str | None = None
    retries: int = 3
    num_cpus: float = 1.0
    num_gpus: float = 0.0
    wait: float = 25.0
    limits: Limits = dataclasses.field(default_factory=Limits)

    @property
    def room(self) -> dict[str, float]:
        """What a node must have for one task, by Ray's names."""
        memory = self.limits.memory or 0
        asked = {"CPU": self.num_cpus, "GPU": self.num_gpus, "memory": float(memory)}
        return {name: amount for name, amount in asked.items() if amount}


def ray_options(given: Mapping[str, Any], on_cuda: bool = False) -> RayOptions:
    """The options, checked.

    Args:
        given: As a configuration has them.
        on_cuda: Whether tasks need a CUDA device; each then gets one of its own by default.

    Raises:
        ConfigError: An unknown option, or one that is not what it must be.
    """
    check_names("ray", given, OPTIONS)
    options = RayOptions(
        address=_address(given.get("address")),
        retries=whole_number("ray", given, "retries", 3),
        num_cpus=_amount(given, "num_cpus", 1.0),
        num_gpus=_amount(given, "num_gpus", 1.0 if on_cuda else 0.0),
        wait=_amount(given, "wait", 25.0),
        limits=limits("ray", given),
    )
    if on_cuda and not options.num_gpus:
        raise ConfigError(
            "option num_gpus of engine ray must be above 0 on device cuda, as Ray hides devices "
            "that are not asked for: give a share of one, such as 0.25"
        )
    if not options.num_cpus and not options.num_gpus:
        raise ConfigError(
            "options num_cpus and num_gpus of engine ray must not both be 0: a task that takes "
            "nothing would fit everywhere any number of times"
        )
    return options


def _address(given: Any) -> str | None:
    """The option `address`, or the variable that Ray reads, checked."""
    where = "option address of engine ray"
    if given is None:
        given, where = os.environ.get("RAY_ADDRESS") or None, "the variable RAY_ADDRESS"
    if given is None:
        return None
    if not isinstance(given, str) or not _ADDRESS.fullmatch(given):
        raise ConfigError(
            f'{where} must be HOST:PORT of a head node, "auto", or ray://HOST:PORT; found {given!r}'
        )
    return given


def _amount(given: Mapping[str, Any], name: str, default: float) -> float:
    """An option that is a number of at least 0."""
    value = given.get(name, default)
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not math.isfinite(value) or value < 0:
        raise ConfigError(
            f"option {name} of engine ray must be a number, 0 or more; found {value!r}"
        )
    if name == "num_gpus" and value > 1 and value != int(value):
        raise ConfigError(
            f"option num_gpus of engine ray must be a share of one device or a whole number; "
            f"found {value!r}"
        )
    return float(value)
