"""Which images a network can take that cannot take those it is given."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import torch

from audit.errors import CheckpointError
from audit.measuring._boundary import attempt

if TYPE_CHECKING:
    from torch import nn

    from audit.plugin import DataConfig

#: Sides that networks are trained with, the usual ones first.
_SIDES: Final = (
    *(224, 32, 28, 64, 96, 256, 384, 299, 16, 48, 128, 160, 192, 240, 288, 320, 336, 448, 512),
    *(8, 20, 24, 36, 40, 56, 72, 80, 112, 144, 176, 208),
)


def refusal(
    module: nn.Module, config: DataConfig, declared: DataConfig | None, error: Exception
) -> CheckpointError | None:
    """The error for a network that runs on images of another size; None where none is known.

    Args:
        module: In eval mode.
        config: How images are prepared.
        declared: How the network itself says that images are prepared, or None.
        error: What it raised on them.
    """
    size = config.input_size
    if isinstance(error, torch.OutOfMemoryError) or _takes(module, size):
        return None
    tried = [declared.input_size] if declared else []
    tried += [(size[0], side, side) for side in _SIDES]
    tried += [(channels, *size[1:]) for channels in (3, 1)]
    needed = next((list(other) for other in tried if other != size and _takes(module, other)), None)
    if needed is None:
        return None
    said = " ".join(str(error).split())
    refused = CheckpointError(
        f"the network cannot take images of input_size = {list(size)}, but it can those of "
        f"{needed}: set input_size in transform of [dataset] to the size it was trained with, or "
        f"model_args (such as img_size or in_chans) to this one; it raised {type(error).__name__}: "
        f"{said}"
    )
    refused.__cause__ = error
    return refused


def _takes(module: nn.Module, size: Sequence[int]) -> bool:
    """Whether a network runs on one black image of this size."""
    device = next((part.device for part in module.parameters()), None)

    def forward() -> None:
        with torch.inference_mode():
            module(torch.zeros(1, *size, device=device))

    _, error = attempt(forward)
    return error is None
