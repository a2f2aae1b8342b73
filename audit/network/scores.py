"""The class scores in what a network returns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from audit.errors import CheckpointError

if TYPE_CHECKING:
    from torch import Tensor


def class_scores(output: Any) -> Tensor:
    """The class scores in what a network returned (some return a tuple; scores come first)."""
    if isinstance(output, (tuple, list)):
        output = output[0]
    if not isinstance(output, torch.Tensor):
        raise CheckpointError(f"the network returns {type(output).__name__}, not class scores")
    return output
