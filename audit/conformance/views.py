"""A training view of arrays in memory, and a small network that can be rescaled by hand."""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Generator, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from audit.errors import DataError
from audit.measuring.view import NetworkView, Wanted
from audit.network.digests import state_digest
from audit.network.plain import frozen, plain
from audit.plugin import PLAIN, Batch, DataConfig


class ArrayView(NetworkView):
    """A `TrainView` of a network and images in memory, for tests and for a first look at a measure.

    The passes are those of a real audit; what they give is remembered in memory.

    Args:
        module: A network; a copy of it is put in eval mode.
        images: Shape (n, channels, height, width), prepared as the network expects.
        labels: Shape (n,), the class of each image.
        class_names: Name of each class; by default their numbers up to the largest label.
        data_config: How the images were prepared; by default mean 0 and standard deviation 1.
        layers: Which layers to take feature maps from (see `audit.network.layers`).
        batch_size: Images per forward pass.
        checkpoint: Name of the checkpoint.
        seed: Of every random choice.
        initial: The network before training.

    Raises:
        DataError: Images and labels do not fit each other.
    """

    def __init__(
        self,
        module: nn.Module,
        images: Tensor,
        labels: Sequence[int] | np.ndarray,
        *,
        class_names: Sequence[str] | None = None,
        data_config: DataConfig | None = None,
        layers: Sequence[str] = ("stages",),
        batch_size: int = 16,
        checkpoint: str = "arrays",
        seed: int = 0,
        initial: nn.Module | None = None,
    ) -> None:
        super().__init__(Wanted())
        self.labels = np.asarray(labels, np.int64)
        if images.ndim != 4 or self.labels.shape != (len(images),):
            raise DataError(
                "images must have shape (n, channels, height, width) and labels (n,); "
                f"found {tuple(images.shape)} and {self.labels.shape}"
            )
        n_classes = int(self.labels.max(initial=-1)) + 1
        self.class_names = tuple(class_names or map(str, range(n_classes)))
        self.checkpoint, self.seed = checkpoint, seed
        self._module = frozen(plain(copy.deepcopy(module)))
        self.weights_digest = state_digest(self._module)
        self._images = images
        self._config = data_config
        self._layers = layers
        self._asked_batch_size = batch_size
        self._initial = initial

    @property
    def module(self) -> nn.Module:
        """The copy, in eval mode."""
        return self._module

    @property
    def data_config(self) -> DataConfig:
        """As given, or plain pixels."""
        if self._config is not None:
            return self._config
        channels, height, width = self._images.shape[1:]
        return DataConfig((channels, height, width), (0.0,) * channels, (1.0,) * channels)

    @property
    def _wanted_layers(self) -> Sequence[str]:
        return self._layers

    def initial_weights(self) -> Mapping[str, Tensor]:
        """The state of the network before training, where it was given."""
        return super().initial_weights() if self._initial is None else self._initial.state_dict()

    def _planned_batch_size(self) -> int:
        return self._asked_batch_size

    def stretches(self) -> Generator[Batch]:
        """Images and labels, in order."""
        labels = torch.from_numpy(self.labels)
        for start in range(0, len(labels), self.batch_size):
            stop = min(start + self.batch_size, len(labels))
            yield Batch(PLAIN, np.arange(start, stop), labels[start:stop], self._images[start:stop])


class ReferenceNetwork(nn.Module):
    """Three convolutions with ReLU, average pooling and a linear map; no normalization.

    Small enough to rescale by hand: see `rescaled`.

    Args:
        seed: Of its weights; the global random state is not used. The default spreads the
            predictions on the images of `reference_view` over all three classes.
    """

    def __init__(self, seed: int = 68) -> None:
        super().__init__()
        # on no device, or the usual initialization would use the global random state
        self.conv1 = nn.Conv2d(3, 6, 3, padding=1, device="meta")
        self.conv2 = nn.Conv2d(6, 8, 3, padding=1, device="meta")
        self.conv3 = nn.Conv2d(8, 8, 3, padding=1, device="meta")
        self.head = nn.Linear(8, 3, device="meta")
        self.relu1, self.relu2, self.relu3 = nn.ReLU(), nn.ReLU(), nn.ReLU()
        self.pool = nn.MaxPool2d(2)
        self.to_empty(device="cpu")
        generator = np.random.default_rng(seed)
        with torch.no_grad():
            for parameter in self.parameters():
                fan_in = max(1, math.prod(parameter.shape[1:]))
                drawn = generator.normal(size=tuple(parameter.shape)) / math.sqrt(fan_in / 2)
                parameter.copy_(torch.from_numpy(drawn))
            # or one class would win everywhere, by what all images have in common
            self.head.weight.sub_(self.head.weight.mean(1, keepdim=True))
            self.head.bias.mul_(0.1)

    def forward(self, images: Tensor) -> Tensor:
        """Outputs, shape (n, 3)."""
        features = self.relu1(self.conv1(images))
        features = self.pool(self.relu2(self.conv2(features)))
        logits: Tensor = self.head(self.relu3(self.conv3(features)).mean((2, 3)))
        return logits


def rescaled(
    network: ReferenceNetwork,
    how: Literal["node-wise", "layer-uniform"],
    seed: int = 0,
    powers_of_two: bool = True,
) -> ReferenceNetwork:
    """The same function with other weights: each ReLU's inputs times α > 0, its outputs times 1/α.

    Args:
        network: Left as it is.
        how: "node-wise" draws one α per unit, "layer-uniform" one per layer.
        seed: Of the factors.
        powers_of_two: Whether α is 2 to an integer power, so that every product is exact.
    """
    network = copy.deepcopy(network)
    generator = np.random.default_rng(seed)
    layers: list[Any] = [network.conv1, network.conv2, network.conv3, network.head]
    with torch.no_grad():
        for layer, following in itertools.pairwise(layers):
            n_units = len(layer.weight)
            power = generator.uniform(-3, 3, n_units if how == "node-wise" else 1)
            if powers_of_two:
                power = np.where(power < 0, np.floor(power), np.ceil(power))
            factor = torch.from_numpy(2.0**power).float().expand(n_units)
            layer.weight *= factor.reshape(-1, *[1] * (layer.weight.ndim - 1))
            layer.bias *= factor
            following.weight /= factor.reshape(1, -1, *[1] * (following.weight.ndim - 2))
    return network


def reference_view(network: ReferenceNetwork | None = None) -> ArrayView:
    """A reference network on 24 images of 16 × 16 pixels, smoothed noise on plain colours.

    The labels are what the reference network as it comes predicts, but for two images.

    Args:
        network: In its place, such as one that was `rescaled`.
    """
    generator = np.random.default_rng(1)
    noise = torch.from_numpy(generator.random((24, 3, 18, 18))).float()
    colours = torch.from_numpy(generator.random((24, 3, 1, 1))).float()
    images = (nn.functional.avg_pool2d(noise, 3, 1) + 2 * colours) / 3
    images = (images - 0.5) / 0.25
    with torch.no_grad():
        labels = ReferenceNetwork()(images).argmax(1).numpy()
    labels[:2] = (labels[:2] + 1) % 3
    return ArrayView(
        network or ReferenceNetwork(),
        images,
        labels,
        data_config=DataConfig((3, 16, 16), (0.5,) * 3, (0.25,) * 3),
        checkpoint="reference",
    )
