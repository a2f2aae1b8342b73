"""What a measure is given: a network and its training sample, and nothing that was held out."""

from __future__ import annotations

import abc
import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from audit.arrays import Features, Labels, Logits
from audit.plugin.datasets import DataConfig
from audit.plugin.reducers import Layer, Reducer
from audit.topology.layer_births import Filtration, LayerBirths

if TYPE_CHECKING:
    import torch

R = TypeVar("R", bound=Reducer)


class TrainView(abc.ABC):
    """All that a measure may see: a network and a sample of its training set.

    Attributes:
        checkpoint: Name of the checkpoint.
        class_names: Name of each class; its position is the label.
        labels: Shape (n,), the class of each sampled training image.
        seed: Of this run; derive every random choice from `generator`.
        weights_digest: SHA-256 that stands for the weights; other weights, another digest.
    """

    checkpoint: str
    class_names: tuple[str, ...]
    labels: Labels
    seed: int
    weights_digest: str

    @property
    @abc.abstractmethod
    def module(self) -> torch.nn.Module:
        """The network in eval mode, its parameters without gradients.

        Leave its weights, buffers, modes and hooks as they are; `private_copy` is yours to change.
        """

    @property
    @abc.abstractmethod
    def data_config(self) -> DataConfig:
        """How images are prepared for this network."""

    @property
    @abc.abstractmethod
    def layers(self) -> tuple[Layer, ...]:
        """The layers whose feature maps are taken, from shallow to deep; their shapes.

        Raises:
            UnavailableError: The network has no feature maps.
        """

    @abc.abstractmethod
    def batches(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Pairs of images, shape (b, channels, height, width), and labels, shape (b,), in order.

        A measure that only needs one look at each batch declares a reducer instead, and shares
        its forward pass with all others.
        """

    @abc.abstractmethod
    def scores(self, images: torch.Tensor, module: torch.nn.Module | None = None) -> torch.Tensor:
        """The class scores of prepared images.

        Args:
            images: Shape (b, channels, height, width), on the device of `module`.
            module: A copy of the network, such as one with other weights; by default the network
                itself. Gradients are recorded where the caller and the module's parameters ask.

        Returns:
            Shape (b, c); of networks that return several things, the first.

        Raises:
            CheckpointError: The network returns no tensor of scores.
        """

    @abc.abstractmethod
    def maps(
        self,
        images: torch.Tensor,
        module: torch.nn.Module,
        consume: Callable[[Layer, torch.Tensor], None],
    ) -> None:
        """Run a copy of the network, and hand over the feature maps of the chosen layers.

        Args:
            images: Shape (b, channels, height, width), on the device of `module`.
            module: A copy of the network, such as one with other weights.
            consume: Called with each layer and its maps, shape (b, units, height, width), in the
                order in which layers are executed. The maps are a view of the live activation:
                read, do not keep.
        """

    @abc.abstractmethod
    def logits(self) -> Logits:
        """The network's class scores on the training sample, shape (n, c); cached."""

    @abc.abstractmethod
    def features(self) -> Features:
        """The penultimate features of the training sample, shape (n, d), float32; cached.

        What the network's classifier is given: timm's `forward_head(…, pre_logits=True)`, else the
        input of the last linear layer.

        Raises:
            UnavailableError: The network has no linear layer at its end.
        """

    @abc.abstractmethod
    def births(self, filtration: Filtration) -> Sequence[LayerBirths]:
        """Birth levels in the chosen layers, from shallow to deep; cached.

        A layer is read when it is asked for: go through them one by one, and keep none, where the
        sample may be large.

        Raises:
            UnavailableError: No layer has feature maps this filtration is defined for.
        """

    @abc.abstractmethod
    def reduced(self, reducer: type[R]) -> R:
        """The measure's reducer after it was given every batch of its versions of the sample.

        Raises:
            Exception: What the reducer raised on the way.
        """

    @abc.abstractmethod
    def initial_weights(self) -> Mapping[str, torch.Tensor]:
        """The weights before training, by the names of the network's state.

        Raises:
            UnavailableError: They were not given (`init` in `[[checkpoints]]`).
        """

    def private_copy(self) -> torch.nn.Module:
        """A copy of the network in eval mode whose weights may be changed and differentiated."""
        return copy.deepcopy(self.module).requires_grad_(True)

    def pixels(self, images: torch.Tensor) -> torch.Tensor:
        """Prepared images before normalisation: pixels in [0, 1], of the same shape."""
        mean, std = self._normalisation(images)
        return (images * std + mean).clamp(0, 1)

    def normalised(self, pixels: torch.Tensor) -> torch.Tensor:
        """Pixels in [0, 1] as the network expects them, of the same shape."""
        mean, std = self._normalisation(pixels)
        return (pixels - mean) / std

    def _normalisation(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean and standard deviation, each of shape (channels, 1, 1)."""
        config = self.data_config
        mean, std = (images.new_tensor(v)[:, None, None] for v in (config.mean, config.std))
        return mean, std

    def generator(self, purpose: str) -> np.random.Generator:
        """A random generator that depends on the run's seed and `purpose` alone.

        What is drawn is thus the same for every checkpoint, and no difference between two of them
        comes from the draw. A number of a checkpoint's own has `weights_digest` in its purpose.
        """
        return np.random.default_rng(list(f"{self.seed}/{purpose}".encode()))
