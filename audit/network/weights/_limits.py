"""Limits of what is read, and the errors that every format has in common."""

from __future__ import annotations

import dataclasses
import math
import pickle
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from audit import shown
from audit.errors import CheckpointError

MAX_TENSORS: Final = 50_000
MAX_HEADER_BYTES: Final = 16 << 20
MAX_PICKLE_BYTES: Final = 8 << 20
#: Names that one storage may have before each of them counts: layers that share their weights.
MAX_SHARES: Final = 64
#: Characters of a tensor's name.
MAX_NAME: Final = 4096
#: Characters of a message or note about a file, which may quote it.
MAX_MESSAGE: Final = 4096
REMEDY: Final = "save it again with safetensors.torch.save_file(model.state_dict(), path)"
#: What damaged bytes provoke in the readers.
LOAD_ERRORS: Final = (
    pickle.UnpicklingError,
    RuntimeError,
    ValueError,
    TypeError,
    AttributeError,
    LookupError,
    AssertionError,
    ArithmeticError,
    EOFError,
    MemoryError,
    ImportError,
    OSError,
    struct.error,
)


def listed(items: Sequence[str]) -> str:
    """The first ten, and how many more."""
    more = f" and {len(items) - 10} more" if len(items) > 10 else ""
    return ", ".join(items[:10]) + more


@dataclasses.dataclass(frozen=True)
class ReadingLimits:
    """What a confined reader may use.

    Attributes:
        cpu_s: Seconds of processor time.
        wall_s: Seconds by the clock.
        memory: Bytes beyond those of its program.
        written: Bytes that it hands back.
    """

    cpu_s: int
    wall_s: float
    memory: int
    written: int


def reading_limits(size: int, trusted: bool = False) -> ReadingLimits:
    """The limits for an archive of so many bytes; a trusted one may import libraries for a minute.

    Processor time: 4 s, and 0.5 s for each of the first 32 MiB, and 10 s for each GiB, which is
    fifty times what reading takes; by the clock five times that, for machines that are busy.
    Memory: 512 MiB and four times the file. Written: 32 MiB and four times the file, as tensors
    may share what is stored.

    Example:
        >>> reading_limits(787).cpu_s, reading_limits(340 << 20).cpu_s
        (5, 24)
    """
    mebibytes = size / (1 << 20)
    cpu_s = math.ceil(4 + 0.5 * min(mebibytes, 32) + mebibytes / 1024 * 10)
    cpu_s += 60 if trusted else 0
    return ReadingLimits(cpu_s, 5.0 * cpu_s, (512 << 20) + 4 * size, (32 << 20) + 4 * size)


def bounded(text: str) -> str:
    """A message with its middle left out where it is very long."""
    return shown.bounded(text, MAX_MESSAGE)


def over_limit(path: Path, what: str, limit: int, why: str = "") -> CheckpointError:
    """A declared size over a limit, which may need a reason."""
    reason = f" ({why})" if why else ""
    return CheckpointError(
        f"checkpoint {path} is refused: {what} exceeds the limit of {limit}{reason}"
    )


def truncated(path: Path, expected: str, found: int) -> CheckpointError:
    """A file whose size is not what its header says."""
    return CheckpointError(
        f"checkpoint {path} is damaged or truncated: {expected} bytes expected, {found} found; "
        "copy it again"
    )


def unreadable(path: Path, error: OSError) -> CheckpointError:
    """A file that is not there, or that may not be read."""
    return CheckpointError(f"checkpoint {path} cannot be read: {error}")


def unsafe(path: Path, names: Sequence[str]) -> CheckpointError:
    """A pickle that would call something else than tensor constructors."""
    return CheckpointError(
        f"checkpoint {path} is refused: its pickle names {listed(names)}, which weights do "
        f"not need and which could run code; {REMEDY}"
    )
