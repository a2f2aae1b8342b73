"""What a measure is given: a network and its training sample, and nothing that was held out."""

from __future__ import annotations

import abc
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from audit.arrays import Labels, Logits
from audit.plugin.datasets import DataConfig
from audit.topology.layer_births import Filtration, LayerBirths

if TYPE_CHECKING:
    import torch


class TrainView(abc.ABC):
    """All that a measure may see: a network and a sample of its training set.

    Attributes:
        checkpoint: Name of the checkpoint.
        class_names: Name of each class; its position is the label.
        labels: Shape (n,), the class of each sampled training image.
        seed: Of this run; derive every random choice from `generator`.
    """

    checkpoint: str
    class_names: tuple[str, ...]
    labels: Labels
    seed: int

    @property
    @abc.abstractmethod
    def module(self) -> torch.nn.Module:
        """The network in eval mode. Leave its weights, buffers, modes and hooks as they are."""

    @property
    @abc.abstractmethod
    def data_config(self) -> DataConfig:
        """How images are prepared for this network."""

    @abc.abstractmethod
    def batches(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Pairs of images, shape (b, channels, height, width), and labels, shape (b,), in order."""

    @abc.abstractmethod
    def logits(self) -> Logits:
        """The network's outputs on the training sample, shape (n, c); cached."""

    @abc.abstractmethod
    def births(self, filtration: Filtration) -> tuple[LayerBirths, ...]:
        """Birth levels in the chosen layers, from shallow to deep; cached.

        Raises:
            UnavailableError: No layer has feature maps this filtration is defined for.
        """

    def generator(self, purpose: str) -> np.random.Generator:
        """A random generator that depends on the seed, the checkpoint and `purpose` alone."""
        words = f"{self.seed}/{self.checkpoint}/{purpose}".encode()
        return np.random.default_rng(list(words))
