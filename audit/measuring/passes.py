"""The shared passes: all reducers of all measures ride on the same forward passes.

The sample is read once. Every stretch of it goes through the network once for each rendition that
somebody rides on, and whatever is wanted of that rendition (feature maps, features, scores) is
handed over from the same pass. Renditions that are identical for the images at hand are run once.
"""

from __future__ import annotations

import contextlib
import functools
import math
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Protocol

import torch

from audit.measuring._boundary import attempt, forget_locals
from audit.measuring._riders import (
    Part,
    Rider,
    Stream,
    parts_of,
    riders_of,
    slice_of,
    stream_of,
)
from audit.network.forward import stream_maps
from audit.network.gradients import image_gradients
from audit.network.running import is_out_of_memory
from audit.network.scores import class_scores
from audit.plugin import (
    PLAIN,
    Batch,
    DataConfig,
    FeatureReducer,
    GradientReducer,
    MapReducer,
    MeasureEntry,
    Reducer,
    Rendition,
    ScoreReducer,
    TrainView,
)

if TYPE_CHECKING:
    from torch import Tensor, nn

    from audit.network.features import FeatureTap
    from audit.network.layers import LayerSpec

#: Forward passes that the gradients of each image cost: forward, and twice that backward.
GRADIENT_PASSES: Final = 3.0


class Network(Protocol):
    """What the passes need of a view."""

    @property
    def module(self) -> nn.Module:
        """The network."""

    @property
    def data_config(self) -> DataConfig:
        """How its images are prepared."""

    def specs(self) -> Sequence[LayerSpec]:
        """Where feature maps are taken."""

    def tap(self) -> FeatureTap:
        """Where features pass by."""

    @property
    def batch_size(self) -> int:
        """Images per forward pass."""

    def stretches(self) -> Generator[Batch]:
        """The sample in order, batch by batch."""

    def running(self) -> contextlib.AbstractContextManager[None]:
        """Within it the network runs, in the precision that is asked for."""

    def own_copy(self, images: Tensor) -> Tensor:
        """A copy of images in the memory format in which the network runs."""


def planned_passes(entries: Iterable[MeasureEntry], config: DataConfig | None = None) -> float:
    """Forward passes over the sample that these measures cost together.

    One is the pass that everybody shares; renditions, gradients and what measures do by themselves
    come on top, as declared. A single image more or less is not counted.

    Args:
        entries: The measures.
        config: How images are prepared, where it is known: some renditions of grey images are no
            change.
    """
    entries = list(entries)
    forward, gradients = {PLAIN}, set[Rendition]()
    reducers = {reducer for entry in entries for reducer in entry.reducers}
    for reducer in reducers:
        streams = gradients if issubclass(reducer, GradientReducer) else forward
        streams |= {stream_of(reducer, rendition, config) for rendition in reducer.renditions}
    own = sum(entry.passes for entry in entries) + sum(reducer.passes for reducer in reducers)
    shared = math.fsum(stream.share for stream in forward)
    return shared + GRADIENT_PASSES * math.fsum(stream.share for stream in gradients) + own


class Passes:
    """The passes that some reducers need.

    Args:
        view: The checkpoint, as reducers and alterations are given it.
        network: The same checkpoint's network and sample.
        reducers: Key → reducer. Reducers that fail are left behind, the others go on.
        essential: Keys of those whose failure ends the passes.

    Attributes:
        errors: Key → what its reducer raised.
        n_images: Images that went forward through the network so far; the gradients of one count as
            three.
    """

    def __init__(
        self,
        view: TrainView,
        network: Network,
        reducers: Mapping[Any, Reducer],
        essential: frozenset[Any] = frozenset(),
    ) -> None:
        self.errors: dict[Any, Exception] = {}
        self.n_images = 0.0
        self._network = network
        self._keys = {id(reducer): key for key, reducer in reducers.items()}
        streams: dict[Rendition, Stream] = {}
        for key, reducer in reducers.items():
            riders, error = attempt(
                functools.partial(riders_of, reducer, network.data_config, key in essential)
            )
            if error is not None:
                self.errors[key] = forget_locals(error)
            for identity, rider in riders or ():
                streams.setdefault(identity, Stream(identity, [])).riders.append(rider)
        self._streams = sorted(streams.values(), key=lambda stream: stream.rendition != PLAIN)
        for stream in self._streams:
            start = stream.rendition.start
            if start is not None and stream.riders:
                alteration, error = attempt(functools.partial(start, view))
                stream.alteration = alteration
                self._note(stream, error)

    def run(self) -> None:
        """Make the passes.

        Raises:
            Exception: What an essential reducer raised, or the network on the sample as it is; and
                whatever ran out of memory, as long as batches can be made smaller. Reducers are
                then of no use any more: some have seen what others have not.
        """
        if not any(stream.riders for stream in self._streams):
            return
        with contextlib.closing(self._network.stretches()) as stretches:
            for stretch in stretches:
                for stream in self._streams:
                    if stream.riders and len((part := stream.part_of(stretch)).images):
                        self._feed(stream, part)
        for stream in self._streams:
            alteration = stream.alteration
            if stream.riders and alteration is not None:
                made, error = attempt(functools.partial(_all_of, alteration.end))
                self._note(stream, error)
                self._forward_all(stream, made or [])

    def _feed(self, stream: Stream, stretch: Batch) -> None:
        """One stretch of the sample through one rendition's pass."""
        alteration = stream.alteration
        if alteration is None:
            self._forward(stream, stretch)
            return
        made, error = attempt(functools.partial(_all_of, alteration.feed, stretch))
        self._note(stream, error)
        self._forward_all(stream, made or [])

    def _forward_all(self, stream: Stream, batches: Sequence[Batch]) -> None:
        """Altered batches through the network; what goes wrong costs those who ride on them."""
        for batch in batches:
            _, error = attempt(functools.partial(self._forward, stream, batch))
            self._note(stream, error)

    def _note(self, stream: Stream, error: Exception | None) -> None:
        """Leave all riders of a rendition behind where there is an error.

        Raises:
            Exception: The error, where one of them is essential.
        """
        if error is not None:
            for rider in list(stream.riders):
                self._leave(rider, error)

    def _leave(self, rider: Rider, error: Exception) -> None:
        """Leave a reducer behind on all renditions."""
        if rider.essential or (is_out_of_memory(error) and self._network.batch_size > 1):
            raise error
        self.errors.setdefault(self._keys[id(rider.reducer)], forget_locals(error))
        for stream in self._streams:
            stream.riders = [r for r in stream.riders if r.reducer is not rider.reducer]

    def _forward(self, stream: Stream, batch: Batch) -> None:
        """One batch through the network, and to everyone who rides on this rendition."""
        backward = [r for r in stream.riders if isinstance(r.reducer, GradientReducer)]
        forward = [r for r in stream.riders if not isinstance(r.reducer, GradientReducer)]
        if forward:
            self._activations(forward, batch)
        if backward:
            self._gradients(backward, batch)

    def _activations(self, riders: Sequence[Rider], batch: Batch) -> None:
        """Feature maps, features and scores of one forward pass, to all who want some of them."""
        module = self._network.module
        wanted = [type(rider.reducer) for rider in riders]
        specs = self._network.specs() if _any(wanted, MapReducer) else ()
        tap = self._network.tap() if _any(wanted, FeatureReducer) else None
        parts = parts_of(riders, batch)
        self.n_images += len(batch.images) * (2 if tap is not None and not tap.path else 1)

        def consume(index: int, maps: Tensor) -> None:
            for part in parts:
                if isinstance(part.rider.reducer, MapReducer):
                    self._hand(part, (specs[index].layer, part.of(as_float(maps))))

        images = self._network.own_copy(batch.images)  # networks may change their input in place
        with self._network.running():
            with tap.open(module, images) if tap is not None else _no_features() as features:
                scores = class_scores(stream_maps(module, specs, images, consume))
            for part in parts:
                if isinstance(part.rider.reducer, FeatureReducer):
                    self._hand(part, (part.of(as_float(features[0])),))
                if isinstance(part.rider.reducer, ScoreReducer):
                    self._hand(part, (part.of(as_float(scores)),))

    def _gradients(self, riders: Sequence[Rider], batch: Batch) -> None:
        """Gradients of each image's loss, made once for all who want them.

        What goes wrong costs no other reducer.
        """
        self.n_images += GRADIENT_PASSES * len(batch.images)

        def hand_on() -> None:
            network = self._network.module
            for rows, gradients in image_gradients(network, batch.images, batch.labels):
                for part in parts_of(riders, slice_of(batch, rows)):
                    self._hand(part, ({name: part.of(g) for name, g in gradients.items()},))

        _, error = attempt(hand_on)
        if error is not None:
            for rider in riders:
                self._leave(rider, error)

    def _hand(self, part: Part, what: tuple[Any, ...]) -> None:
        """Hand something to one reducer, if it still rides."""
        reducer: Any = part.rider.reducer
        if self._keys[id(reducer)] in self.errors:
            return
        _, error = attempt(lambda: reducer.update(part.batch, *what))
        if error is not None:
            self._leave(part.rider, error)


def as_float(tensor: Tensor) -> Tensor:
    """Half precision as float32, which holds it exactly; NumPy knows no bfloat16."""
    return tensor.float() if tensor.dtype in (torch.bfloat16, torch.float16) else tensor


def _no_features() -> contextlib.AbstractContextManager[list[Tensor]]:
    """What stands for a tap where nobody wants features."""
    return contextlib.nullcontext([])


def _all_of(make: Callable[..., Iterable[Batch]], *given: Batch) -> list[Batch]:
    """All batches that an alteration makes; a generator runs inside."""
    return list(make(*given))


def _any(kinds: Sequence[type], kind: type) -> bool:
    """Whether one of these classes is of a kind."""
    return any(issubclass(one, kind) for one in kinds)
