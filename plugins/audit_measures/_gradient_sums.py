"""What is kept of the gradients of each training image's loss."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch

from audit.errors import UnavailableError
from audit.plugin import PLAIN, Batch, GradientReducer, TrainView, Value
from audit_measures._folded import refuse_quantised

if TYPE_CHECKING:
    from torch import Tensor, nn


def refuse_without_gradients(module: nn.Module) -> None:
    """Raise where a network has no gradients that mean something.

    Raises:
        UnavailableError: It is quantised, in half precision, or without parameters.
    """
    refuse_quantised(module)
    parameters = list(module.parameters())
    if not parameters:
        raise UnavailableError("the network has no parameters, hence no gradients")
    half = next((p.dtype for p in parameters if p.dtype in (torch.float16, torch.bfloat16)), None)
    if half is not None:
        raise UnavailableError(
            f"gradients need weights in float32; the network's are {half}, in which they underflow"
        )


class GradientSums(GradientReducer):
    """Sum, and sum of squares, of the gradients of a tenth of the sample's images, in float64.

    Attributes:
        n: How many images.
        total: Parameter's name → sum of the gradients, of its shape.
        squares: Sum of the squared lengths of the gradients.
    """

    renditions = (PLAIN.on(0.1),)

    def __init__(self, view: TrainView) -> None:
        refuse_without_gradients(view.module)
        self.n = 0
        self.total: dict[str, Tensor] = {}
        self.squares = 0.0

    def update(self, batch: Batch, gradients: Mapping[str, Tensor]) -> None:
        """Add the gradients of a few images."""
        self.n += len(batch.rows)
        for name, gradient in gradients.items():
            for row in gradient:  # one by one, or float64 would need twice the memory
                exact = row.double()
                self.squares += float(exact.square().sum())
                if name in self.total:
                    self.total[name] += exact
                else:
                    self.total[name] = exact.clone()

    def mean(self) -> dict[str, Tensor]:
        """Parameter's name → gradient of the mean loss."""
        return {name: total / self.n for name, total in self.total.items()}

    @functools.cached_property
    def squared_mean(self) -> float:
        """Squared length of the gradient of the mean loss."""
        return sum(float(total.square().sum()) for total in self.total.values()) / self.n**2

    @property
    def trouble(self) -> str:
        """Why there is no number, or ""."""
        if not self.n:
            return "the training sample holds no image"
        if not torch.isfinite(torch.tensor(self.squares)):
            return "the gradient of an image is not finite"
        return ""


def sums_of(view: TrainView, least: int = 1) -> GradientSums | Value:
    """The sums, or why they give no number.

    Args:
        view: The checkpoint.
        least: Images that are needed.
    """
    sums = view.reduced(GradientSums)
    if sums.trouble:
        return Value.undefined(sums.trouble)
    if sums.n < least:
        return Value.undefined(
            f"needs the gradients of {least} images or more; a tenth of the sample is {sums.n}"
        )
    return sums
