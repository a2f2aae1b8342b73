"""Digests of weights: of the files they lie in, or of the tensors of a network in memory."""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from audit.errors import CheckpointError
from audit.network.weights import file_digest

if TYPE_CHECKING:
    from torch import Tensor, nn


def files_digest(paths: Iterable[Path]) -> str:
    """SHA-256 over the name and the content of every file, as hexadecimal digits.

    Neither the order in which they are given nor the folders they lie in matter.

    Raises:
        CheckpointError: One cannot be read.
    """
    found = sorted(set(paths), key=lambda path: (path.name, str(path)))
    content = [[path.name, file_digest(path)] for path in found]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def state_digest(module: nn.Module) -> str:
    """SHA-256 over name, type, shape and bytes of every tensor of a network.

    Those of its state dict, and buffers that it leaves out. Neither the device nor the layout in
    memory matters, nor the order of names. What is no tensor, such as a rate of dropout, is
    decided by the code that builds the network, and not digested.

    Raises:
        CheckpointError: An entry of the state dict is no tensor, or one without plain bytes.
    """
    digest = hashlib.sha256()
    for name, tensor in _tensors(module):
        head = json.dumps([name, str(tensor.dtype), list(tensor.shape)])
        digest.update(head.encode() + b"\n")
        digest.update(_content(tensor))
    return digest.hexdigest()


def tensor_digests(module: nn.Module) -> dict[str, str]:
    """Name → SHA-256 of every dense tensor in the state dict of a network.

    Other entries, and buffers that are no part of the weights, are left out.
    """
    return {
        name: hashlib.sha256(_content(value)).hexdigest() for name, value in _plain_state(module)
    }


def fingerprints(module: nn.Module) -> dict[str, int]:
    """Name → CRC-32 of every dense tensor in the state dict: a tenth of a second for 100 MB.

    It shows that a tensor changed by accident, and is no proof against intent.
    """
    return {name: zlib.crc32(_content(value)) for name, value in _plain_state(module)}


def _plain_state(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Name and value of every dense tensor in the state dict."""
    import torch

    for name, value in module.state_dict().items():
        dense = isinstance(value, torch.Tensor) and value.layout == torch.strided
        if dense and not (value.is_quantized or value.is_meta):
            yield name, value


def _tensors(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """The tensors of a network by name, in alphabetical order."""
    import torch

    found = {**dict(module.named_buffers(remove_duplicate=False)), **module.state_dict()}
    for name, value in sorted(found.items()):
        dense = isinstance(value, torch.Tensor) and value.layout == torch.strided
        if not dense or value.is_quantized or value.is_meta:
            raise CheckpointError(
                f"the weights of {type(module).__name__} must be dense tensors to be digested; "
                f"{name} is {_kind(value)}"
            )
        yield name, value


def _kind(value: object) -> str:
    """What an entry is that has no plain bytes."""
    import torch

    if not isinstance(value, torch.Tensor):
        return f"a {type(value).__name__}"
    if value.is_meta:
        return "a tensor on the device 'meta', which holds no numbers"
    return "quantized" if value.is_quantized else f"a tensor of layout {value.layout}"


def _content(tensor: Tensor) -> memoryview:
    """The bytes of a tensor in row-major order."""
    import torch

    with torch._C.DisableTorchFunctionSubclass():  # a class of its own may do anything
        plain = torch.Tensor.as_subclass(torch.Tensor.detach(tensor), torch.Tensor)
    plain = plain.cpu().resolve_conj().resolve_neg().contiguous()
    return plain.reshape(-1).view(torch.uint8).numpy().data
