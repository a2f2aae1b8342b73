"""Write weights as safetensors, whole or not at all; equal weights give equal bytes."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from audit.files import write_atomically

if TYPE_CHECKING:
    import torch


def write_weights(
    module_or_state: torch.nn.Module | Mapping[str, torch.Tensor],
    path: Path,
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write safetensors so that the file is there whole or not at all; equal input, equal bytes.

    Raises:
        StoreError: The file cannot be written; the message says how many bytes it needs.
    """
    import safetensors.torch

    state = (
        module_or_state if isinstance(module_or_state, Mapping) else module_or_state.state_dict()
    )
    plain = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in state.items()}
    data = _with_metadata(safetensors.torch.save(plain), metadata or {})
    write_atomically(path, data)


def _with_metadata(data: bytes, metadata: Mapping[str, str]) -> bytes:
    """The same tensors with sorted metadata: safetensors itself writes them in random order."""
    (n_header,) = struct.unpack("<Q", data[:8])
    entries = json.loads(data[8 : 8 + n_header])
    if metadata:
        entries = {"__metadata__": dict(sorted(metadata.items())), **entries}
    header = json.dumps(entries, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)
    return struct.pack("<Q", len(header)) + header + data[8 + n_header :]
