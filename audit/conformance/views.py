"""A training view of arrays in memory."""

from __future__ import annotations

import copy
from collections.abc import Generator, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from audit.errors import DataError
from audit.measuring.view import NetworkView, Wanted
from audit.network.digests import state_digest
from audit.network.plain import frozen, plain
from audit.plugin import PLAIN, Batch, DataConfig, MeasureEntry


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
        measures: Those that will be asked for; what they declare is taken along on one pass.

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
        measures: Sequence[MeasureEntry] = (),
    ) -> None:
        super().__init__(Wanted.by(measures))
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
        self.device = images.device.type
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
        labels = torch.from_numpy(self.labels).to(self._images.device)
        for start in range(0, len(labels), self.batch_size):
            stop = min(start + self.batch_size, len(labels))
            yield Batch(PLAIN, np.arange(start, stop), labels[start:stop], self._images[start:stop])
