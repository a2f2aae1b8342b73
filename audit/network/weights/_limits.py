"""Limits of what is read, and the errors that every format has in common."""

from __future__ import annotations

import pickle
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from audit.errors import CheckpointError

MAX_TENSORS: Final = 50_000
MAX_HEADER_BYTES: Final = 16 << 20
MAX_PICKLE_BYTES: Final = 8 << 20
#: Names that one storage may have before each of them counts: layers that share their weights.
MAX_SHARES: Final = 64
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


def over_limit(path: Path, what: str, limit: int) -> CheckpointError:
    """A declared size over a limit."""
    return CheckpointError(f"checkpoint {path} is refused: {what} exceeds the limit of {limit}")


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
