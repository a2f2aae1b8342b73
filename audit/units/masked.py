"""What a network answers without more and more of a layer's units, in as few passes as can be.

Whatever comes before the layer does not depend on the mask. So the network is run once on the
images with many masks at a time, by `torch.func.vmap`: up to the layer on the images alone, and
from there on all masked outputs, stacked. Where a network cannot be run so (it writes an ablated
branch into another tensor in place, or looks at values), every mask takes a pass of its own.
"""

from __future__ import annotations

import contextlib
import dataclasses
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

import numpy as np
import torch
from jaxtyping import Bool, Float32
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel

from audit.network.places import Place, watched
from audit.network.running import is_out_of_memory, rows_within
from audit.network.scores import class_scores
from audit.units.ablation import silenced

if TYPE_CHECKING:
    from torch import Tensor

    from audit.measuring.view import NetworkView
    from audit.network.layers import LayerSpec

#: Stacked outputs may differ from those of a pass of one mask by this, relative to the largest.
_ROUNDING: Final = 1e-4
#: So many masked outputs at a time, whatever the memory: processors are slower on more of them.
_MOST_ROWS: Final = {"cpu": 512, "cuda": 4096}
#: What a network raises that cannot be run on stacked outputs.
_REFUSALS: Final = (RuntimeError, NotImplementedError, ValueError, TypeError)


@dataclasses.dataclass(frozen=True)
class Outcomes:
    """What a network answers under each of m masks on each of n images.

    Attributes:
        correct: Shape (m, n): whether the highest score is the label's.
        losses: Shape (m, n): cross-entropy with the label, in nats.
        n_passes: Forward passes over the sample, counted at the first layer.
        n_tails: Masked outputs that went through what follows the layer, divided by n.
        note: Why masks were not stacked; "" where they were.
    """

    correct: Bool[np.ndarray, "m n"]
    losses: Float32[np.ndarray, "m n"]
    n_passes: float
    n_tails: float
    note: str


def outcomes(view: NetworkView, spec: LayerSpec, masks: Bool[np.ndarray, "m u"]) -> Outcomes:
    """Run the network with each of several sets of units of one layer at zero.

    Args:
        view: The network and its training sample.
        spec: The layer.
        masks: Shape (m, u), true for units that give zero.

    Raises:
        CheckpointError: The network returns no class scores.
    """
    planned = view.batch_size

    def run() -> Outcomes:
        return _Masked(view, spec, masks, view.batch_size / planned).run()

    return view.within_memory(run)


class _Masked:
    """A network whose layer is masked by whatever mask is set.

    Args:
        view: The network and its sample.
        spec: The layer.
        masks: Shape (m, u).
        share: Of the memory that may be taken.
    """

    def __init__(self, view: NetworkView, spec: LayerSpec, masks: np.ndarray, share: float) -> None:
        self._view, self._spec = view, spec
        self._masks = torch.from_numpy(masks).to(view.device)
        self._mask = self._masks[0]
        self._share = share
        self._rows = 1
        self._n_images = self._n_rows = 0
        self._note = ""

    def run(self) -> Outcomes:
        """All masks on all images."""
        n, m = len(self._view.labels), len(self._masks)
        correct, losses = np.empty((m, n), bool), np.empty((m, n), np.float32)
        start = 0
        with self._watched(), self._view.running():
            for images, labels in self._parts():
                stop = start + len(images)
                for position, scores in self._scores(images):
                    which = slice(position, position + len(scores))
                    flat = scores.flatten(0, 1).float()
                    truth = labels.repeat(len(scores))
                    loss = functional.cross_entropy(flat, truth, reduction="none")
                    right = flat.argmax(1) == truth
                    shape = (len(scores), len(images))
                    correct[which, start:stop] = right.view(shape).cpu().numpy()
                    losses[which, start:stop] = loss.view(shape).cpu().numpy()
                start = stop
        self._view.n_forwarded += self._n_images
        return Outcomes(correct, losses, self._n_images / n, self._n_rows / n, self._note)

    def _see(self, place: Place, given: tuple[Tensor, ...], output: Tensor) -> Tensor | None:
        if place != self._spec.place:
            return None
        return silenced(output, self._mask, self._spec.reading.unit_axis)

    def _watched(self) -> contextlib.AbstractContextManager[None]:
        place = self._spec.place
        return watched(self._view.module, self._see, {place.path}, bool(place.function))

    def _parts(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Images and labels, so few that all masks can be stacked if that is possible at all."""
        size = 0
        for images, labels in self._view.batches():
            if not size:
                self._try_stacking(images)
                fit = max(1, self._rows // len(self._masks))
                size = len(images) if self._note else min(len(images), fit)
            yield from zip(torch.split(images, size), torch.split(labels, size), strict=True)

    def _scores(self, images: Tensor) -> Iterator[tuple[int, Tensor]]:
        """Position of the first of some masks, and scores under these, shape (k, b, c)."""
        if self._note:
            for position, mask in enumerate(self._masks):
                yield position, self._one(images, mask)[None]
            return
        size = max(1, self._rows // len(images))
        for position in range(0, len(self._masks), size):
            yield position, self._stacked(images, self._masks[position : position + size])

    def _one(self, images: Tensor, mask: Tensor) -> Tensor:
        """Scores under one mask, shape (b, c)."""
        self._n_images += len(images)
        self._n_rows += len(images)
        return self._forward(images, mask)

    def _forward(self, images: Tensor, mask: Tensor) -> Tensor:
        self._mask = mask
        return class_scores(self._view.module(self._view.own_copy(images)))

    def _stacked(self, images: Tensor, masks: Tensor) -> Tensor:
        """Scores under several masks, shape (k, b, c); the images are run up to the layer once."""
        self._n_images += len(images)
        self._n_rows += len(images) * len(masks)

        def forward(mask: Tensor) -> Tensor:
            return self._forward(images, mask)

        # fused attention has no batched form; of what is slow in one torch warns
        with sdpa_kernel(SDPBackend.MATH), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "There is a performance drop", UserWarning)
            found: Tensor = torch.func.vmap(forward)(masks)
        return found

    def _try_stacking(self, images: Tensor) -> None:
        """Learn whether masks can be stacked, and how many fit, from one image."""
        few = images[:1]
        fit = int(self._rows_that_fit(few) * self._share)
        self._rows = max(1, min(_MOST_ROWS[self._view.device], fit))
        middle = self._masks[len(self._masks) // 2]
        some = torch.stack([self._masks[0], middle, self._masks[-1]])
        apart = torch.stack([self._one(few, mask) for mask in some])
        try:
            together = self._stacked(few, some)
        except _REFUSALS as error:
            if is_out_of_memory(error):
                raise
            self._note = f"masks are not stacked: {str(error).partition(chr(10))[0]}"
            return
        scale = float(apart.abs().nan_to_num(0, 0, 0).amax())
        same = together.shape == apart.shape and torch.allclose(
            together, apart, rtol=0, atol=_ROUNDING * scale, equal_nan=True
        )
        if not same:
            self._note = "masks are not stacked: stacked outputs are not those of single masks"

    def _rows_that_fit(self, few: Tensor) -> int:
        """How many masked outputs may go through what follows the layer at a time."""
        largest, reached = 0, False

        def see(place: Place, given: tuple[Tensor, ...], output: Tensor) -> None:
            nonlocal largest, reached
            reached = reached or place == self._spec.place
            if reached:
                largest = max(largest, output.nbytes // len(few))

        functions = bool(self._spec.place.function)
        with watched(self._view.module, see, None, functions):
            self._forward(few, self._masks[0])
        self._n_images += len(few)
        self._n_rows += len(few)
        return rows_within(largest, self._view.device)
