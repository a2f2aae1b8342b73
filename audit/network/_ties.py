"""Tied parameters: names of one network that stand for the same numbers in memory."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from audit.errors import CheckpointError

if TYPE_CHECKING:
    import torch


def tied_to_given(
    missing: list[str], given: Mapping[str, torch.Tensor], wanted: Mapping[str, torch.Tensor]
) -> dict[str, str]:
    """Missing name → a given name whose numbers in the network hold all of its own.

    `safetensors.torch.save_model` leaves such names out.
    """
    found: dict[str, str] = {}
    spans = {name: _span(tensor) for name, tensor in wanted.items() if name in given}
    for name in missing:
        place, start, stop = _span(wanted[name])
        for other, (home, first, last) in spans.items():
            whole = last - first == wanted[other].numel() * wanted[other].element_size()
            if place and home == place and first <= start and stop <= last and whole:
                found[name] = other
                break
    return found


def check_ties(
    given: Mapping[str, torch.Tensor], wanted: Mapping[str, torch.Tensor], path: Path
) -> None:
    """Refuse different values for names that the network ties.

    Raises:
        CheckpointError: The message names two of them.
    """
    first: dict[tuple[object, ...], str] = {}
    for name, tensor in wanted.items():
        span = _span(tensor)
        if name not in given or not span[0]:
            continue
        key = (*span, tensor.shape, tensor.stride(), tensor.dtype)
        other = first.setdefault(key, name)
        if other != name and not _equal(given[name], given[other]):
            raise CheckpointError(
                f"checkpoint {path} holds different values for {other} and {name}, which the "
                "network ties to each other; check model and model_args"
            )


def _equal(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Whether two tensors hold the same numbers; NaN, which is refused elsewhere, equals NaN."""
    import torch

    if one.data_ptr() == other.data_ptr() and one.stride() == other.stride():
        return one.shape == other.shape
    numbers = [t.nan_to_num() if t.is_floating_point() else t for t in (one, other)]
    return torch.equal(*numbers)


def _span(tensor: torch.Tensor) -> tuple[int, int, int]:
    """The storage of a tensor (0: none) and the bytes of it that it may reach."""
    if tensor.is_meta or not tensor.numel() or tensor.layout is not _strided():
        return (0, 0, 0)
    size = tensor.element_size()
    reach = 1 + sum((n - 1) * step for n, step in zip(tensor.shape, tensor.stride(), strict=True))
    start = int(tensor.storage_offset()) * size
    return (tensor.untyped_storage().data_ptr(), start, start + int(reach) * size)


def _strided() -> torch.layout:
    import torch

    return torch.strided
