"""A network, images and labels: what a measure is given, and what changes are made to."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Sequence
from typing import Final

import numpy as np
import torch
from torch import Tensor, nn

from audit.arrays import Labels
from audit.conformance.networks import ReferenceNetwork, ReferenceResidual
from audit.conformance.views import ArrayView
from audit.errors import ConfigError
from audit.network.scores import class_scores
from audit.plugin import DataConfig, MeasureEntry

#: Images of a reference setting, and the side of their squares in pixels.
N_IMAGES: Final = 24
SIDE: Final = 16


@dataclasses.dataclass(frozen=True, kw_only=True)
class Setting:
    """A network, images and labels.

    Attributes:
        network: Left as it is by everyone.
        images: Shape (n, channels, height, width), prepared as the network expects.
        labels: Shape (n,), the class of each image.
        class_names: Name of each class.
        data_config: How the images were prepared.
        layers: Which layers feature maps are taken from.
        batch_size: Images per forward pass.
        seed: Of the random choices of measures.
        initial: The network before training, if it is known.
    """

    network: nn.Module
    images: Tensor
    labels: Labels
    class_names: tuple[str, ...]
    data_config: DataConfig | None = None
    layers: Sequence[str] = ("stages",)
    batch_size: int = 16
    seed: int = 0
    initial: nn.Module | None = None

    def view(self, measures: Sequence[MeasureEntry] = ()) -> ArrayView:
        """What a measure is given; what these measures declare is taken along on one pass."""
        return ArrayView(
            self.network,
            self.images,
            self.labels,
            class_names=self.class_names,
            data_config=self.data_config,
            layers=self.layers,
            batch_size=self.batch_size,
            checkpoint="reference",
            seed=self.seed,
            initial=self.initial,
            measures=measures,
        )

    def to(self, *where: torch.dtype | str) -> Setting:
        """The same in another precision or on another device."""
        network = copy.deepcopy(self.network)
        images = self.images
        for place in where:
            network, images = network.to(place), images.to(place)
        return dataclasses.replace(self, network=network, images=images)


def reference_images(
    n: int = N_IMAGES, size: tuple[int, int, int] = (3, SIDE, SIDE), seed: int = 1
) -> Tensor:
    """Smoothed noise on plain colours, before normalisation: float32 in [0, 1].

    Args:
        n: Number of images.
        size: Channels, height and width.
        seed: Of the noise and the colours.
    """
    channels, height, width = size
    generator = np.random.default_rng(seed)
    noise = torch.from_numpy(generator.random((n, channels, height + 2, width + 2))).float()
    colours = torch.from_numpy(generator.random((n, channels, 1, 1))).float()
    return (nn.functional.avg_pool2d(noise, 3, 1) + 2 * colours) / 3


def reference_setting(network: nn.Module | None = None, n_images: int = N_IMAGES) -> Setting:
    """A reference network on images of 16 × 16 pixels, in float32.

    The labels are what the network as it comes predicts, but for two images.

    Args:
        network: A `ReferenceNetwork` (by default) or a `ReferenceResidual`, or one made of it.
        n_images: Number of images.
    """
    kind = type(network) if isinstance(network, ReferenceResidual) else ReferenceNetwork
    images = (reference_images(n_images) - 0.5) / 0.25
    with torch.no_grad():
        labels = kind().eval()(images).argmax(1).numpy()
    labels[:2] = (labels[:2] + 1) % 3
    return Setting(
        network=network or ReferenceNetwork(),
        images=images,
        labels=labels,
        class_names=("0", "1", "2"),
        data_config=DataConfig((3, SIDE, SIDE), (0.5,) * 3, (0.25,) * 3),
        initial=kind(seed=1),
    )


def reference_view(network: nn.Module | None = None) -> ArrayView:
    """The view of a `reference_setting`."""
    return reference_setting(network).view()


def setting_of(
    network: nn.Module,
    config: DataConfig | None = None,
    *,
    images: Tensor | None = None,
    labels: Sequence[int] | np.ndarray | None = None,
    layers: Sequence[str] = ("stages",),
    seed: int = 0,
) -> Setting:
    """A setting for any network.

    Args:
        network: The network.
        config: How its images are prepared; needed where none are given.
        images: Prepared images; by default 24 of smoothed noise.
        labels: The class of each image; by default numbers from 0 in turn, of up to four classes.
        layers: Which layers feature maps are taken from.
        seed: Of the random choices of measures.

    Raises:
        ConfigError: Neither images nor how to prepare them.
    """
    if images is None:
        if config is None:
            raise ConfigError(
                "no model source knows how images are prepared for this network; give `images`, "
                "prepared as it expects"
            )
        mean, std = (torch.tensor(v)[:, None, None] for v in (config.mean, config.std))
        images = (reference_images(N_IMAGES, config.input_size) - mean) / std
    n_classes = _n_classes(network, images)
    if labels is None:
        labels = np.arange(len(images)) % min(4, n_classes)
    return Setting(
        network=network,
        images=images,
        labels=np.asarray(labels, np.int64),
        class_names=tuple(map(str, range(n_classes))),
        data_config=config,
        layers=layers,
        seed=seed,
    )


@torch.no_grad()
def _n_classes(network: nn.Module, images: Tensor) -> int:
    """How many class scores the network gives.

    Raises:
        ConfigError: It does not take such images.
    """
    try:
        scores = class_scores(copy.deepcopy(network).eval()(images[:1].clone()))
    except (RuntimeError, AssertionError, ValueError) as error:
        shape = " × ".join(map(str, images.shape[1:]))
        raise ConfigError(
            f"the network does not take images of {shape} (channels, height, width): {error}"
        ) from error
    return scores.shape[1]
