"""What the options of engines mean, those that several engines have above all: `timeout`, `memory`.

Every engine of this folder reads them here, so that a limit means the same wherever a task runs.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

from pydantic import ByteSize, TypeAdapter, ValidationError

from audit.errors import ConfigError, MeasureError, unknown_name

#: Names of the options that `limits` reads.
LIMITS: Final = ("timeout", "memory")

_size: Final = TypeAdapter(ByteSize)


@dataclasses.dataclass(frozen=True)
class Limits:
    """How long a task may take, and how much memory its process may hold.

    Attributes:
        timeout: Seconds from the moment when the task is given to a worker; None: for ever.
        memory: Bytes that are resident, of the worker and of all processes that it started; None:
            as much as there is.
    """

    timeout: float | None = None
    memory: int | None = None

    def __bool__(self) -> bool:
        """Whether there is a limit at all."""
        return self.timeout is not None or self.memory is not None

    def overtime(self) -> MeasureError:
        """The outcome of a task that took too long; it is not tried again."""
        return MeasureError(
            f"not done after {self.timeout:g} s, the time limit per checkpoint; raise "
            "--checkpoint-timeout or leave the checkpoint out"
        )

    def oversize(self) -> MeasureError:
        """The outcome of a task whose process held too much; it is not tried again."""
        size = ByteSize(self.memory or 0).human_readable()
        return MeasureError(
            f"it held more than {size}, the memory limit per checkpoint; raise "
            "--checkpoint-memory, lower batch_size in [measures], or leave the checkpoint out"
        )


def check_names(engine: str, options: Mapping[str, Any], known: Sequence[str]) -> None:
    """Refuse options that an engine does not have.

    Raises:
        ConfigError: An option is not known; the message has the nearest names.
    """
    for name in options:
        if name not in known:
            hint = f"the options of engine {engine} are {', '.join(known)}"
            raise unknown_name("option", name, known, hint)


def whole_number(engine: str, options: Mapping[str, Any], name: str, default: int) -> int:
    """An option that is a whole number of at least 0.

    Raises:
        ConfigError: It is none.
    """
    value = options.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ConfigError(
            f"option {name} of engine {engine} must be a whole number, 0 or more; found {value!r}"
        )
    return value


def limits(engine: str, options: Mapping[str, Any]) -> Limits:
    """The options `timeout` (seconds) and `memory` (bytes, or a size such as "4GiB").

    Raises:
        ConfigError: One is neither left out nor a positive number or size.
    """
    timeout, memory = options.get("timeout"), options.get("memory")
    return Limits(
        None if timeout is None else _seconds(engine, timeout),
        None if memory is None else _bytes(engine, memory),
    )


def _seconds(engine: str, value: Any) -> float:
    """The option `timeout`, checked."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not math.isfinite(value) or value <= 0:
        raise ConfigError(
            f"option timeout of engine {engine} must be a number of seconds above 0; "
            f"found {value!r}"
        )
    return float(value)


def _bytes(engine: str, value: Any) -> int:
    """The option `memory`, checked."""
    size = 0
    if isinstance(value, str | int) and not isinstance(value, bool):
        try:
            size = int(_size.validate_python(value))
        except ValidationError:
            size = 0
    if size <= 0:
        raise ConfigError(
            f"option memory of engine {engine} must be a number of bytes above 0, or a size such "
            f'as "4GiB"; found {value!r}'
        )
    return size
