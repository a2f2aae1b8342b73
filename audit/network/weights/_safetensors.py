"""Safetensors: every declared size is checked before it is read."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import TYPE_CHECKING

from audit.errors import CheckpointError
from audit.network.weights._limits import (
    LOAD_ERRORS,
    MAX_HEADER_BYTES,
    MAX_NAME,
    MAX_TENSORS,
    bounded,
    over_limit,
    truncated,
)

if TYPE_CHECKING:
    import torch


def read_safetensors(data: bytes, path: Path) -> dict[str, torch.Tensor]:
    """Parse safetensors after checking every declared size."""
    import safetensors
    import safetensors.torch

    (n_header,) = struct.unpack("<Q", data[:8])
    if n_header > MAX_HEADER_BYTES:
        raise over_limit(path, f"a safetensors header of {n_header} bytes", MAX_HEADER_BYTES)
    if 8 + n_header > len(data):
        raise truncated(path, f"at least {8 + n_header}", len(data))
    try:
        header = json.loads(data[8 : 8 + n_header])
        entries = [header[name] for name in header if name != "__metadata__"]
        ends = [int(entry["data_offsets"][1]) for entry in entries]
    except LOAD_ERRORS as error:
        raise CheckpointError(
            f"checkpoint {path} has a damaged safetensors header: {bounded(str(error))}"
        ) from error
    longest = max(map(len, header), default=0)
    if longest > MAX_NAME:
        raise over_limit(path, f"a name of {longest} characters", MAX_NAME)
    if len(entries) > MAX_TENSORS:
        raise over_limit(path, f"{len(entries)} tensors", MAX_TENSORS)
    expected = 8 + n_header + max(ends, default=0)
    if expected != len(data):
        raise truncated(path, str(expected), len(data))
    try:
        found: dict[str, torch.Tensor] = safetensors.torch.load(data)
    except (safetensors.SafetensorError, *LOAD_ERRORS) as error:
        raise CheckpointError(f"checkpoint {path} is damaged: {bounded(str(error))}") from error
    return found


def safetensors_metadata(path: Path) -> dict[str, str]:
    """The texts in the header of a safetensors file that was read before.

    Raises:
        CheckpointError: It cannot be read.
    """
    import safetensors

    try:
        with safetensors.safe_open(path, framework="pt") as file:
            return dict(file.metadata() or {})
    except (safetensors.SafetensorError, *LOAD_ERRORS) as error:
        raise CheckpointError(f"checkpoint {path} cannot be read: {error}") from error
