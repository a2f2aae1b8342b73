"""How much a network's weights may be changed before its train accuracy falls by a tenth.

What is changed is the network with BatchNorm folded into its weights, on a share of the training
images that is spread evenly over the sample. The size of the change is found by bisection of its
logarithm.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from audit.arrays import Labels
from audit.plugin import TrainView, Value
from audit_measures._folded import folded

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclasses.dataclass(frozen=True)
class Bracket:
    """Where a size is looked for.

    Attributes:
        low: Binary logarithm of the smallest size.
        high: Binary logarithm of the largest.
        n_steps: How often the interval is halved.
    """

    low: float
    high: float
    n_steps: int


@dataclasses.dataclass(frozen=True)
class Share:
    """How many of the sample's images are looked at.

    Attributes:
        share: Of the sample, in (0, 1].
        least: As many at least, as far as there are any.
        most: As many at most.
    """

    share: float
    least: int
    most: int

    def rows(self, n: int) -> Labels:
        """Positions of the chosen images, evenly spaced."""
        chosen = min(n, self.most, max(self.least, math.ceil(n * self.share)))
        rows: Labels = np.arange(chosen) * n // max(chosen, 1)
        return rows


class Changed:
    """A network whose weights are changed, and the images it is tried on.

    Args:
        view: The checkpoint.
        share: How many of its images.

    Attributes:
        network: The folded copy; its parameters are set by `move`.
        weights: Parameter's name → its value before any change.
        batches: Images and labels, in the order of the sample.
        n_images: How many there are.
        n_right: How many of them are classified correctly without any change.
    """

    def __init__(self, view: TrainView, share: Share) -> None:
        first = next(view.module.parameters())
        dtype = torch.float64 if first.dtype == torch.float64 else torch.float32
        self.network: nn.Module = folded(view).to(device=first.device, dtype=dtype)
        self.weights = {name: p.detach().clone() for name, p in self.network.named_parameters()}
        rows = share.rows(len(view.labels))
        batches = [images.to(dtype) for images in images_at(view, rows)]
        labels = torch.from_numpy(view.labels[rows]).to(first.device)
        self.batches = with_labels(batches, labels)
        self.n_images = len(rows)
        right = np.asarray(view.logits()).argmax(1)[rows] == view.labels[rows]
        self.n_right = int(right.sum())
        self._view = view

    @torch.no_grad()
    def move(self, steps: Mapping[str, Tensor]) -> None:
        """Set each parameter to its value before any change, plus a step."""
        for name, parameter in self.network.named_parameters():
            torch.add(self.weights[name], steps[name], out=parameter.data)

    def scores(self, images: Tensor) -> Tensor:
        """Class scores under the changed weights; gradients are recorded where they are asked."""
        return self._view.scores(images.clone(), self.network)


def images_at(view: TrainView, rows: Labels) -> list[Tensor]:
    """The images at these positions of the sample, in batches no larger than the view's own."""
    chosen = np.zeros(len(view.labels), bool)
    chosen[rows] = True
    images, start, size = [], 0, 1
    for batch, _ in view.batches():
        size = max(size, len(batch))
        used = torch.from_numpy(np.flatnonzero(chosen[start : start + len(batch)]))
        start += len(batch)
        images.append(batch[used.to(batch.device)])
    return list(torch.split(torch.cat(images), size))


def with_labels(batches: Sequence[Tensor], labels: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Each batch with its share of the labels."""
    sizes = [len(images) for images in batches]
    return list(zip(batches, torch.split(labels, sizes), strict=True))


def n_right(scores: Tensor, labels: Tensor) -> int:
    """How many images are classified correctly; outputs that are not finite are wrong."""
    finite = torch.isfinite(scores).all(1)
    return int(((scores.argmax(1) == labels) & finite).sum())


def largest_size(
    changed: Changed, bracket: Bracket, n_right_at: Callable[[float], int], letter: str
) -> dict[str, Value | float]:
    """1/size² of the largest size at which accuracy falls by no more than 0.1, and its bracket.

    Args:
        changed: The network.
        bracket: Where the size is looked for.
        n_right_at: Size → how many images are classified correctly.
        letter: What messages call the size.
    """
    if 10 * changed.n_right <= changed.n_images:
        return _without(
            f"{changed.n_right} of {changed.n_images} training images are classified correctly; "
            "an accuracy that falls by 0.1 needs more than a tenth"
        )
    low, high = bracket.low, bracket.high
    for _ in range(bracket.n_steps):
        middle = (low + high) / 2
        fallen = changed.n_right - n_right_at(2.0**middle)
        low, high = (middle, high) if 10 * fallen <= changed.n_images else (low, middle)
    if low == bracket.low:
        return _without(f"train accuracy falls by more than 0.1 even at {letter} = {2.0**high:.4g}")
    if high == bracket.high:
        return _without(f"train accuracy falls by at most 0.1 even at {letter} = {2.0**low:.4g}")
    return {"": 2.0 ** -(low + high), "low": 2.0**low, "high": 2.0**high}


def _without(reason: str) -> dict[str, Value | float]:
    """No number, nor a bracket."""
    return dict.fromkeys(("", "low", "high"), Value.undefined(reason))


def draws(batches: Sequence[tuple[Tensor, Tensor]], n: int) -> list[tuple[Tensor, Tensor]]:
    """The images dealt out to n draws in turn; a draw may get none."""
    images, labels = (torch.cat(parts) for parts in zip(*batches, strict=True))
    return [(images[draw::n], labels[draw::n]) for draw in range(n)]
