"""The class scores in what a network returns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import torch

from audit.errors import CheckpointError

if TYPE_CHECKING:
    from torch import Tensor

#: What networks call their class scores where they return several things by name, best first.
_NAMES: Final = ("logits", "out", "output", "scores", "pred", "cls")
_MAX_DEPTH: Final = 4


def class_scores(output: Any) -> Tensor:
    """The class scores in what a network returned.

    A tensor is taken as it is. Of a mapping, or an object with attributes, the member that is
    called as class scores are (`logits`, `out`, …); of a tuple or list, which may hold one output
    for each of several heads, the first.

    Raises:
        CheckpointError: There is no such tensor; the message says what was returned.
    """
    found = output
    for _ in range(_MAX_DEPTH):
        if isinstance(found, torch.Tensor):
            return found
        inner = _scores_of(found)
        if inner is None:
            break
        found = inner
    raise CheckpointError(
        f"the network returns {_described(output)}, not class scores; needed is a tensor, alone, "
        f"first in a tuple, or under one of the names {', '.join(_NAMES)}"
    )


def _scores_of(output: Any) -> Any:
    """What is inside an output, one level down; None where nothing is known to be."""
    if isinstance(output, Mapping):
        named = (output[name] for name in _NAMES if output.get(name) is not None)
        only = next(iter(output.values())) if len(output) == 1 else None
        return next(named, only)
    if getattr(output, "logits", None) is not None:
        return output.logits
    if isinstance(output, tuple | list) and output:
        return output[0]
    return None


def _described(output: Any) -> str:
    """The type of an output, and the names in it."""
    names = f" with {', '.join(map(str, output))}" if isinstance(output, Mapping) else ""
    return type(output).__name__ + names
