"""What a measure keeps of a pass over the training sample, batch by batch.

A measure that needs feature maps, features, class scores or per-sample gradients declares a
reducer. All reducers of all measures ride on the same forward passes: each is made once for a
checkpoint, is given every batch, and keeps sums, counts or histograms, never the batches.
"""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from audit.errors import PluginError
from audit.plugin.datasets import DataConfig

if TYPE_CHECKING:
    import torch
    from jaxtyping import Int64

    from audit.plugin.view import TrainView


@dataclasses.dataclass(frozen=True, slots=True)
class Layer:
    """A layer whose feature maps are taken.

    Attributes:
        name: Path of the module, with `#k` for its k-th call (k > 1) in a forward pass.
        height: Of the feature map, in pixels.
        width: Of the feature map, in pixels.
        units: Number of channels.
    """

    name: str
    height: int
    width: int
    units: int


@dataclasses.dataclass(frozen=True)
class Batch:
    """Images on their way through the network.

    Attributes:
        rendition: Which rendition of the sample they belong to, as the reducer declares it.
        rows: Shape (b,): the position of each image in the sample; empty where an image is made
            of several.
        labels: Shape (b,), the class of each image, on the device.
        images: Shape (b, channels, height, width), prepared as the network expects.
    """

    rendition: Rendition
    rows: Int64[np.ndarray, " b"]
    labels: torch.Tensor
    images: torch.Tensor


class Alteration(abc.ABC):
    """A rendition of the sample in the making: batches in, altered batches out."""

    @abc.abstractmethod
    def feed(self, batch: Batch) -> Iterable[Batch]:
        """The altered batches that a batch of the sample gives: none, one or more.

        The images given are shared: return new tensors, or the same ones unchanged.
        """

    def end(self) -> Iterable[Batch]:
        """The altered batches that are left when the sample has ended."""
        return ()


@dataclasses.dataclass(frozen=True)
class Rendition:
    """The training sample as it is, altered, or mixed: what a pass is made over.

    Two renditions are the same if all their fields are equal; reducers of the same rendition share
    its forward pass. `audit.data.renditions` has the usual ones.

    Attributes:
        name: One word, such as "flip".
        share: Of the sample's images that are used, evenly spaced, in (0, 1]. A pass over a share
            of the sample costs that share of a pass, and two shares of one rendition are two
            passes; but all forward passes over the plain sample are one, over the whole of it.
        start: View → what alters the sample's batches; None leaves them as they are. Randomness
            comes from `view.generator`, drawn for the whole sample beforehand, so that neither
            batches nor share change what is drawn for an image.
        mixes: Whether its images are made of several; a share of such a rendition is one of its
            own.
        same_as: Data configuration → the rendition that is identical for such images (saturation of
            grey images is no change), so that it is not computed again; None: no other.
    """

    name: str
    share: float = 1.0
    start: Callable[[TrainView], Alteration] | None = None
    mixes: bool = False
    same_as: Callable[[DataConfig], Rendition | None] | None = None

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1:
            raise PluginError(
                f"rendition {self.name!r} must use a share of the sample in (0, 1]; "
                f"found {self.share}"
            )

    def on(self, share: float) -> Rendition:
        """The same rendition of a share of the sample, in (0, 1].

        Raises:
            PluginError: The share is outside.
        """
        return dataclasses.replace(self, share=share)


#: The sample as it is.
PLAIN = Rendition("plain")


class Reducer(abc.ABC):
    """What one measure keeps of a pass; subclass one of the kinds below.

    Class attributes:
        renditions: Of the sample, those it is given. For every stretch of the sample, the images as
            they are (`PLAIN`) come before altered ones.
        passes: Forward passes over the sample that it makes itself, through a network of its own or
            to differentiate by images; a backward pass counts as two.

    Args:
        view: The checkpoint; neither births nor outputs of it are known yet.
    """

    renditions: ClassVar[tuple[Rendition, ...]] = (PLAIN,)
    passes: ClassVar[float] = 0.0

    @abc.abstractmethod
    def __init__(self, view: TrainView) -> None: ...


class MapReducer(Reducer):
    """Keeps something of the feature maps of the chosen layers."""

    @abc.abstractmethod
    def update(self, batch: Batch, layer: Layer, maps: torch.Tensor) -> None:
        """Take one batch of one layer's maps, in the order in which layers are executed.

        Args:
            batch: The images.
            layer: Where the maps are from.
            maps: Shape (b, units, height, width), on the device. They are a view of the live
                activation: read, do not keep.
        """


class FeatureReducer(Reducer):
    """Keeps something of the penultimate features."""

    @abc.abstractmethod
    def update(self, batch: Batch, features: torch.Tensor) -> None:
        """Take one batch of features, shape (b, d), on the device."""


class ScoreReducer(Reducer):
    """Keeps something of the network's class scores."""

    @abc.abstractmethod
    def update(self, batch: Batch, scores: torch.Tensor) -> None:
        """Take one batch of class scores, shape (b, c), on the device."""


class GradientReducer(Reducer):
    """Keeps something of the gradients of each image's loss.

    Such a pass costs about three forward passes; take a share of the sample where that is enough.
    """

    @abc.abstractmethod
    def update(self, batch: Batch, gradients: Mapping[str, torch.Tensor]) -> None:
        """Take the gradients of a few images.

        Args:
            batch: The images: as few of them as memory asks for.
            gradients: Parameter's name → the gradient of each image's cross-entropy with its
                label, shape (b, *shape of the parameter), on the device.
        """
