"""Safetensors: every declared size is checked before it is read."""

from __future__ import annotations

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
from audit.notations import json_of

if TYPE_CHECKING:
    import torch


def header_end(start: bytes, size: int, path: Path) -> int:
    """Where the header of a file of so many bytes ends, by its first eight.

    Raises:
        CheckpointError: The header is over the limit, or longer than the file.
    """
    (n_header,) = struct.unpack("<Q", start[:8])
    if n_header > MAX_HEADER_BYTES:
        raise over_limit(path, f"a safetensors header of {n_header} bytes", MAX_HEADER_BYTES)
    if 8 + n_header > size:
        raise truncated(path, f"at least {8 + n_header}", size)
    return 8 + int(n_header)


def check_header(head: bytes, size: int, path: Path) -> None:
    """Check every size that a header declares against that of the file.

    Args:
        head: The file up to the end of its header.
        size: Bytes of the file.
        path: The file, for messages.

    Raises:
        CheckpointError: It is damaged, over a limit, or not that of a file of this size.
    """
    try:
        header = json_of(head[8:], keys_once=True)
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
    expected = len(head) + max(ends, default=0)
    if expected != size:
        raise truncated(path, str(expected), size)


def read_safetensors(data: bytes, path: Path) -> dict[str, torch.Tensor]:
    """Parse safetensors whose every declared size was checked.

    Raises:
        CheckpointError: It is damaged, over a limit, or not of the size that it declares.
    """
    import safetensors
    import safetensors.torch

    check_header(data[: header_end(data, len(data), path)], len(data), path)
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
