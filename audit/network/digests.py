"""Digests of what stands for a network's weights."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from audit.network.weights import file_digest

if TYPE_CHECKING:
    from torch import nn


def files_digest(paths: Iterable[Path]) -> str:
    """SHA-256 over the names and contents of files."""
    pairs = sorted((path.name, file_digest(path)) for path in paths)
    return hashlib.sha256(repr(pairs).encode()).hexdigest()


def state_digest(module: nn.Module) -> str:
    """SHA-256 over names, types, shapes and values of a network's state."""
    import torch

    digest = hashlib.sha256()
    for name, tensor in module.state_dict().items():
        plain = tensor.detach().cpu().contiguous()
        digest.update(f"{name} {plain.dtype} {tuple(plain.shape)}\n".encode())
        digest.update(plain.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
