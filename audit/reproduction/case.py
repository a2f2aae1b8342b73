"""A case: networks of one architecture, source and seed, and the images they are looked at on.

Claims ask a case for networks and views and do not know where these come from: trained here
(`trained`), or brought by a person (`given`).
"""

from __future__ import annotations

import abc
import copy
import dataclasses
import functools
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import torch
from torch.nn.modules.batchnorm import _BatchNorm

from audit.measuring.view import Wanted
from audit.network.fitting import fit_weights
from audit.network.plain import plain
from audit.network.threads import one_math_thread
from audit.network.weights import read_weights
from audit.plugin.registry import installed
from audit.reproduction.course import Course
from audit.reproduction.form import Variant
from audit.runs.one_network import TrainingImages, network_view
from audit.topology import Filtration

if TYPE_CHECKING:
    from torch import nn

    from audit.measuring.checkpoint import CheckpointView

#: The paper's filtration; its preset is the default of every function of births.
FILTRATION: Final[Filtration] = "clique"
#: Images that statistics of normalisation are taken on anew.
_SETTLED_ON: Final = 256
_NOTHING: Final = Wanted()
#: Every activation that gives maps; the last of them belongs to the last convolution.
ACTIVATIONS: Final = "all-activations"


@dataclasses.dataclass(frozen=True, order=True)
class Cell:
    """An architecture on a source of images.

    Attributes:
        architecture: Its name.
        source: Its name.
    """

    architecture: str
    source: str

    def __str__(self) -> str:
        return f"{self.architecture} on {self.source}"


class Case(abc.ABC):
    """The networks of one cell and seed; plain data until it is asked, so that it can be sent.

    Attributes:
        cell: Architecture and source.
        seed: Of random weights, and of what is drawn.
        device: "cpu" or "cuda".
        steps: Points of an ablation curve.
        model: Reference of the architecture.
    """

    cell: Cell
    seed: int
    device: str
    steps: int
    model: str

    @property
    @abc.abstractmethod
    def model_args(self) -> Mapping[str, Any]:
        """Arguments of the architecture."""

    @property
    @abc.abstractmethod
    def about(self) -> Mapping[str, Any]:
        """All that decides this case's numbers, as JSON holds it."""

    @property
    @abc.abstractmethod
    def images(self) -> TrainingImages:
        """The training images that networks are looked at on."""

    @property
    @abc.abstractmethod
    def transform(self) -> Mapping[str, Any]:
        """How they are prepared."""

    @property
    @abc.abstractmethod
    def weights(self) -> Path:
        """The weights of the trained network."""

    @abc.abstractmethod
    def course(self, variant: Variant) -> Course:
        """How a training went.

        Raises:
            UnavailableError: It is not known here.
        """

    @property
    def class_order(self) -> tuple[str, ...]:
        """Names of the classes in the order of the head's outputs; none: as the images have it."""
        return ()

    def require_labels(self) -> None:  # noqa: B027  # labels are known unless a case says not
        """Refuse a case of which it is not known which output means which class.

        Raises:
            UnavailableError: It is not known.
        """

    def require_learned(self) -> None:  # noqa: B027  # what a person brings is taken for trained
        """Refuse a case whose network has not learned.

        Raises:
            UnavailableError: It has not.
        """

    @functools.cached_property
    def _initial(self) -> nn.Module:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            source = installed().model_source(self.model)
            return plain(source.create(self.model, dict(self.model_args), False)).eval()

    def random(self) -> nn.Module:
        """The architecture with random weights, as it is before training, in eval mode."""
        return copy.deepcopy(self._initial)

    def trained(self) -> nn.Module:
        """The trained network, in eval mode."""
        return self.loaded(self.weights)

    def loaded(self, weights: Path) -> nn.Module:
        """The architecture with weights of a file, in eval mode.

        Raises:
            CheckpointError: They cannot be read, or do not fit.
        """
        network = self.random()
        adapt = installed().model_source(self.model).adapt
        fit_weights(network, read_weights(weights), weights, self.model, adapt)
        return network

    @contextmanager
    def view(
        self, network: nn.Module, wanted: Wanted = _NOTHING, layer: str = ACTIVATIONS
    ) -> Iterator[CheckpointView]:
        """What measures see of a network on the images of this case.

        Args:
            network: Left as it is.
            wanted: What is taken along on the first pass.
            layer: Whose feature maps.
        """
        with network_view(
            network,
            self.images,
            wanted,
            layers=layer,
            transform=self.transform,
            device=self.device,
            seed=self.seed,
            class_order=self.class_order,
        ) as view:
            yield view

    @functools.cached_property
    def last_layer(self) -> str:
        """The activation of the last convolution: the last of all activations that are maps."""
        with self.view(self.random()) as view:
            return view.layers[-1].name

    def settled(self, network: nn.Module) -> nn.Module:
        """A network with statistics of normalisation taken on some images; changed in place."""
        if not has_statistics(network):
            return network
        stride = max(1, len(self.images.sample.labels) // _SETTLED_ON)
        with self.view(network) as view:
            few = [images[::stride].cpu() for images, _ in view.batches()]
        return settle(network, few)


def has_statistics(network: nn.Module) -> bool:
    """Whether a network normalises by statistics that training gathers."""
    return any(isinstance(part, _BatchNorm) for part in network.modules())


def settle(network: nn.Module, batches: Sequence[torch.Tensor]) -> nn.Module:
    """Take the statistics of BatchNorm on images; the network is changed in place.

    With those of an untrained network, which are none of its own, activations have any scale and
    any share of zeros.

    Args:
        network: In eval mode afterwards.
        batches: Each of shape (b, channels, height, width), prepared.
    """
    with one_math_thread(), torch.random.fork_rng(devices=[]):
        torch.optim.swa_utils.update_bn(batches, network)
    return network.eval()
