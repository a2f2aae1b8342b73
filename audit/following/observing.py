"""One look at a network: what each chosen layer says of a fixed sample, and the loss on it."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Generator, Sequence
from typing import TYPE_CHECKING, Final

import numpy as np
import torch

from audit.errors import CheckpointError
from audit.following.sample import FixedSample
from audit.measuring.view import NetworkView, Wanted
from audit.network.layers import ChosenLayers
from audit.plugin import PLAIN, Batch, DataConfig
from audit.topology import Filtration, LayerBirths
from audit.topology.entropy import feature_entropy_by_class
from audit.topology.information import birth_class_information
from audit.topology.units import CONSTANT, DEAD, NEVER_BORN, OK, unit_status

if TYPE_CHECKING:
    from torch import nn

#: In a graph of four vertices the only cycle is the square: its birth level says nothing.
_LEAST_CLIQUE_SIDE: Final = 5


@dataclasses.dataclass(frozen=True, kw_only=True)
class LayerObservation:
    """What one layer says of the sample; numbers are means, NaN where there is none.

    Attributes:
        layer: Path of the module.
        feature_entropy: In nats, over the (unit, class) pairs that have one.
        birth_entropy: In nats, over the same pairs.
        effective_rate: In [0, 1], over the (unit, class) pairs whose maps vary in space.
        birth_class_information: In nats, chance taken off, over the units that are neither dead
            nor constant on the sample.
        n_units: Units of the layer.
        n_silent: Of these, dead or constant on the whole sample.
        reason: Why a number is NaN; else "".
    """

    layer: str
    feature_entropy: float
    birth_entropy: float
    effective_rate: float
    birth_class_information: float
    n_units: int
    n_silent: int
    reason: str


@dataclasses.dataclass(frozen=True)
class Observation:
    """What one look at a network gives.

    Attributes:
        layers: From shallow to deep.
        sample_loss: Mean cross-entropy on the sample, in nats.
        sample_accuracy: Share of correct answers on the sample, in [0, 1].
    """

    layers: tuple[LayerObservation, ...]
    sample_loss: float
    sample_accuracy: float


class FollowedView(NetworkView):
    """The view of a network and a fixed sample.

    Args:
        network: In eval mode, its parameters without gradients, where the sample is.
        sample: The images.
        layers: Which layers to take maps from, as `choose_layers` is told.
        filtration: Whose births are taken.
        batch_size: Images per forward pass.
        seed: Of the run.
        chosen: What `layers` stand for, where it is known from an earlier look.
    """

    def __init__(
        self,
        network: nn.Module,
        sample: FixedSample,
        layers: Sequence[str],
        filtration: Filtration,
        batch_size: int,
        seed: int = 0,
        chosen: ChosenLayers | None = None,
    ) -> None:
        super().__init__(Wanted((filtration,)))
        self.checkpoint, self.weights_digest, self.seed = type(network).__name__, "", seed
        self.labels, self.class_names = sample.labels, sample.class_names
        self.device = sample.images.device.type
        self._network, self._sample = network, sample
        self._layers, self._known_layers = layers, chosen
        self._asked_batch_size = batch_size

    @property
    def module(self) -> nn.Module:
        """The network."""
        return self._network

    @property
    def data_config(self) -> DataConfig:
        """How the sample was prepared."""
        return self._sample.config

    @property
    def _wanted_layers(self) -> Sequence[str]:
        return self._layers

    @functools.cached_property
    def _chosen(self) -> ChosenLayers:
        return self._known_layers or super()._chosen

    @property
    def chosen(self) -> ChosenLayers:
        """The layers, for the next look at the same network."""
        return self._chosen

    def _planned_batch_size(self) -> int:
        return self._asked_batch_size

    def stretches(self) -> Generator[Batch]:
        """The sample in order."""
        labels = torch.from_numpy(self.labels).to(self._sample.images.device)
        for start in range(0, len(labels), self.batch_size):
            part = slice(start, min(start + self.batch_size, len(labels)))
            rows = np.arange(part.start, part.stop)
            yield Batch(PLAIN, rows, labels[part], self._sample.images[part])


def observe(view: FollowedView, filtration: Filtration) -> Observation:
    """Look at a network once: one forward pass over the sample.

    Args:
        view: The network and the sample.
        filtration: "clique" or "cubical".

    Raises:
        UnavailableError: The network has no feature maps for this filtration.
        MeasureError: Activations are not finite.
        CheckpointError: The outputs are no class scores for these labels.
    """
    layers = tuple(
        observed_layer(layer, view.labels, filtration) for layer in view.births(filtration)
    )
    loss, accuracy = _loss_and_accuracy(view.logits(), view.labels)
    return Observation(layers, loss, accuracy)


def observed_layer(
    births: LayerBirths, labels: np.ndarray, filtration: Filtration
) -> LayerObservation:
    """What one layer says of the sample.

    Args:
        births: Of every unit on every image.
        labels: Shape (n,), the class of each image.
        filtration: "clique", whose births on maps of 4 × 4 pixels have a single possible level, so
            that they have no entropy here; or "cubical".

    Source:
        Feature entropy: Zhao & Zhang 2022 (arXiv 2103.09716). The means over units and classes are
        ours, and those of the measures of the same names.
    """
    present, compact = np.unique(labels, return_inverse=True)
    codes = unit_status(births.flags, births.birth_levels, compact, len(present))
    whole = unit_status(births.flags, births.birth_levels, np.zeros_like(compact), 1)[0]
    by_class = feature_entropy_by_class(births.birth_levels, compact, len(present))
    born, varies = codes == OK, (codes == OK) | (codes == NEVER_BORN)
    speaks = (whole != DEAD) & (whole != CONSTANT)
    reasons = []
    if filtration == "clique" and births.height < _LEAST_CLIQUE_SIDE:
        born = np.zeros_like(born)
        reasons.append(
            f"maps of {births.height} × {births.width} pixels have a single birth level under the "
            f"clique filtration; {_LEAST_CLIQUE_SIDE} × {_LEAST_CLIQUE_SIDE} are the least"
        )
    elif not born.any():
        reasons.append("no unit is born for any class")
    if not speaks.any():
        reasons.append("every unit is dead or constant on the sample")
    information = np.full(len(speaks), np.nan)
    if len(present) > 1:
        found = birth_class_information(births.birth_levels, compact, len(present))
        information = found.information
    else:
        reasons.append("information on the class needs two classes; the sample has 1")
    return LayerObservation(
        layer=births.layer,
        feature_entropy=_mean(by_class.feature_entropy[born]),
        birth_entropy=_mean(by_class.birth_entropy[born]),
        effective_rate=_mean(by_class.effective_rate[varies]),
        birth_class_information=_mean(information[speaks]),
        n_units=len(speaks),
        n_silent=int((~speaks).sum()),
        reason="; ".join(reasons),
    )


def _mean(numbers: np.ndarray) -> float:
    """The mean; NaN of none."""
    return float(numbers.mean()) if numbers.size else float("nan")


def _loss_and_accuracy(logits: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
    """Mean cross-entropy in nats, and the share of correct answers.

    Raises:
        CheckpointError: The outputs are no class scores for these labels.
    """
    if logits.ndim != 2 or logits.shape[1] <= labels.max():
        raise CheckpointError(
            f"the network gives outputs of shape {logits.shape[1:]} for each image, but the sample "
            f"has labels up to {labels.max()}: one score for each class is needed"
        )
    scores = torch.from_numpy(logits).double()
    truth = torch.from_numpy(labels)
    loss = torch.nn.functional.cross_entropy(scores, truth)
    return float(loss), float((scores.argmax(1) == truth).double().mean())
