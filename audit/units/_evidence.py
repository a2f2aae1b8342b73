"""What is taken of a layer's activations and gradients for criteria of importance."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn import functional

from audit.errors import UnavailableError
from audit.network.places import Place, watched
from audit.network.running import is_out_of_memory
from audit.network.scores import class_scores
from audit.plugin import Batch, Layer, MapReducer, TrainView

if TYPE_CHECKING:
    from torch import Tensor

    from audit.measuring.view import NetworkView
    from audit.network.layers import LayerSpec


class ActivationSums(MapReducer):
    """Sums of the activations of one layer's units; taken on the shared pass.

    Attributes:
        by_class: Shape (c, u): mean over positions, summed over the images of each class.
        zeros: Shape (u,): share of positions that are exactly zero, summed over images.
    """

    def __init__(self, view: TrainView) -> None:
        self._n_classes = len(view.class_names)
        self.by_class = np.empty((0, 0))
        self.zeros = np.empty(0)

    def update(self, batch: Batch, layer: Layer, maps: Tensor) -> None:
        """Add one batch."""
        if not self.zeros.size:
            self.by_class = np.zeros((self._n_classes, layer.units))
            self.zeros = np.zeros(layer.units)
        means = maps.mean((2, 3)).double().cpu().numpy()
        np.add.at(self.by_class, batch.labels.cpu().numpy(), means)
        self.zeros += (maps == 0).double().mean((2, 3)).sum(0).cpu().numpy()


def gate_effects(view: NetworkView, spec: LayerSpec) -> np.ndarray:
    """Σ z ∂L/∂z over the positions of each unit's map z, for each image's loss L.

    Each unit is multiplied by a gate of value 1; the gradient of the loss by the gate is this sum.
    Nothing before the layer is differentiated.

    Returns:
        Shape (n, u), float64, in nats.

    Raises:
        UnavailableError: What follows the layer cannot be differentiated.
    """
    return view.within_memory(lambda: _effects(view, spec))


def _effects(view: NetworkView, spec: LayerSpec) -> np.ndarray:
    """One pass, forward and back to the layer."""
    gates: list[Tensor] = []

    def see(place: Place, given: tuple[Tensor, ...], output: Tensor) -> Tensor | None:
        if place != spec.place:
            return None
        shape = [len(output)] + [1] * (output.ndim - 1)
        shape[spec.reading.unit_axis] = spec.reading.units
        gates[:] = [torch.ones(shape, device=output.device, requires_grad=True)]
        return output * gates[0]

    found: list[np.ndarray] = []
    for images, labels in view.batches():
        own = view.own_copy(images)
        with (
            watched(view.module, see, {spec.place.path}, bool(spec.place.function)),
            torch.enable_grad(),
        ):
            scores = class_scores(view.module(own))
            loss = functional.cross_entropy(scores.float(), labels, reduction="sum")
            try:
                (gradient,) = torch.autograd.grad(loss, gates)
            except RuntimeError as error:
                if is_out_of_memory(error):
                    raise
                reason = str(error).partition("\n")[0]
                raise UnavailableError(
                    f"what follows layer {spec.name!r} cannot be differentiated: {reason}"
                ) from error
        view.n_forwarded += 3.0 * len(images)
        found.append(gradient.flatten(1).double().cpu().numpy())
    return np.concatenate(found)
