"""A checkpoint and its training sample, as measures see them.

One forward pass over the sample gives outputs, features, the birth levels of every filtration that
is wanted, and everything that the reducers of measures keep. Outputs, features and births are
remembered, so that a new statistic on them repeats neither the pass nor the topology.
"""

from __future__ import annotations

import abc
import dataclasses
import functools
import logging
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import torch

from audit.arrays import Features, Logits
from audit.errors import UnavailableError
from audit.measuring._births import BirthReducer, KeptBirths
from audit.measuring._boundary import attempt, forget_locals, told
from audit.measuring._kept import FeaturesReducer, OutputReducer
from audit.measuring._spool import Spool
from audit.measuring.passes import Passes, as_float
from audit.network.features import FeatureTap, find_features
from audit.network.forward import stream_maps
from audit.network.layers import ChosenLayers, LayerSpec, choose_layers
from audit.network.running import (
    Precision,
    arithmetic,
    is_out_of_memory,
    release_memory,
    trim_heap,
)
from audit.network.scores import class_scores
from audit.plugin import (
    Batch,
    FeatureReducer,
    Layer,
    MapReducer,
    MeasureEntry,
    Reducer,
    TrainView,
)
from audit.store import Entry
from audit.topology import Filtration, LayerBirths

if TYPE_CHECKING:
    from torch import Tensor, nn

R = TypeVar("R", bound=Reducer)
T = TypeVar("T")

_log = logging.getLogger("genaudit.measuring")

#: What a view remembers: outputs, features, facts, and births by filtration.
LOGITS, FEATURES, FACTS = "logits", "features", "facts"


@dataclasses.dataclass(frozen=True)
class Wanted:
    """What is taken along on the first pass, because somebody will ask for it.

    Attributes:
        filtrations: Whose births.
        features: Whether penultimate features.
        reducers: Of measures.
    """

    filtrations: tuple[Filtration, ...] = ()
    features: bool = False
    reducers: tuple[type[Reducer], ...] = ()

    @classmethod
    def by(cls, measures: Iterable[MeasureEntry]) -> Wanted:
        """What these measures declare."""
        measures = list(measures)
        return cls(
            tuple(sorted({name for entry in measures for name in entry.filtrations})),
            any(entry.features for entry in measures),
            tuple(dict.fromkeys(r for entry in measures for r in entry.reducers)),
        )


class NetworkView(TrainView):
    """The view of a network and a sample that are at hand; subclasses say where they come from.

    Args:
        wanted: What is taken along on the first pass.

    Attributes:
        notes: What was chosen or converted when the weights were read, in words.
        n_forwarded: Images that went through the network in shared passes so far; the gradients of
            one count as three.
    """

    def __init__(self, wanted: Wanted = Wanted()) -> None:
        self.notes: tuple[str, ...] = ()
        self.n_forwarded = 0.0
        self._wanted = wanted
        self._entries: dict[str, Entry] = {}
        self._births: dict[str, KeptBirths] = {}
        self._lost: set[str] = set()
        self._batch_size: int | None = None
        self._reduced: dict[type[Reducer], Reducer | Exception] = {}

    @property
    @abc.abstractmethod
    def _wanted_layers(self) -> Sequence[str]:
        """Which layers to take maps from, as `choose_layers` is told."""

    @abc.abstractmethod
    def stretches(self) -> Generator[Batch]:
        """The sample in order, batch by batch, on the device; images may be shared with others."""

    @abc.abstractmethod
    def _planned_batch_size(self) -> int:
        """Images per forward pass, unless memory does not suffice."""

    #: In which the network computes in shared passes.
    precision: Precision = "float32"
    #: "cpu" or "cuda".
    device: str = "cpu"

    @property
    def batch_size(self) -> int:
        """Images per forward pass: as planned, or less where memory ran out."""
        if self._batch_size is None:
            self._batch_size = self._planned_batch_size()
        return self._batch_size

    @property
    def memory_format(self) -> torch.memory_format:
        """In which the network and its images lie."""
        return torch.contiguous_format

    def running(self) -> AbstractContextManager[None]:
        """Within it the network runs without gradients, in the precision that is asked for."""
        return arithmetic(self.precision, self.device)

    def own_copy(self, images: Tensor) -> Tensor:
        """A copy of images in the memory format in which the network runs."""
        return images.clone(memory_format=self.memory_format)

    def _spool(self) -> Spool:
        """Where what grows with the sample is set down."""
        return Spool()

    def _recall(self, part: str) -> Entry | None:
        """What is kept of an earlier pass, if anything."""
        return None

    def _keep(self, part: str, entry: Entry) -> None:
        """Keep a product of the pass beyond this view."""

    def _output_reducer(self) -> OutputReducer:
        """What takes the outputs, and checks them where something is known of them."""
        return OutputReducer(self)

    def batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Images and labels of the sample, in order, on the device."""
        with closing(self.stretches()) as stretches:
            for batch in stretches:
                yield batch.images.clone(), batch.labels  # networks may change their input in place

    def scores(self, images: Tensor, module: nn.Module | None = None) -> Tensor:
        """The class scores of prepared images."""
        return class_scores((self.module if module is None else module)(images))

    def maps(
        self, images: Tensor, module: nn.Module, consume: Callable[[Layer, Tensor], None]
    ) -> None:
        """Run a copy of the network, and hand over the feature maps of the chosen layers."""
        specs = self.specs()

        def hand_on(index: int, maps: Tensor) -> None:
            consume(specs[index].layer, as_float(maps))

        with self.running():
            stream_maps(module, specs, self.own_copy(images), hand_on)

    def _first(self, n_images: int) -> Tensor:
        """A few images to try the network on, nobody else's."""
        with closing(self.stretches()) as stretches:
            return next(stretches).images[:n_images].clone()

    @functools.cached_property
    def _chosen(self) -> ChosenLayers:
        """Where feature maps are taken, and what was left out."""
        return choose_layers(self.module, self._first(1), self._wanted_layers)

    def specs(self) -> tuple[LayerSpec, ...]:
        """Where feature maps are taken.

        Raises:
            UnavailableError: The network has no feature maps.
        """
        return self._chosen.specs

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The layers whose feature maps are taken, from shallow to deep."""
        return tuple(spec.layer for spec in self.specs())

    @functools.cached_property
    def _tap(self) -> FeatureTap:
        return find_features(self.module, self._first(2))

    def tap(self) -> FeatureTap:
        """Where features pass by.

        Raises:
            UnavailableError: The network has none.
        """
        return self._tap

    def logits(self) -> Logits:
        """The network's outputs, shape (n, c), float32."""
        return self._part(LOGITS).arrays[LOGITS]

    def features(self) -> Features:
        """The penultimate features, shape (n, d), float32."""
        entry = self._part(FEATURES)
        if entry.meta["unavailable"]:
            raise UnavailableError(entry.meta["unavailable"])
        return entry.arrays[FEATURES]

    def births(self, filtration: Filtration) -> Sequence[LayerBirths]:
        """Birth levels layer by layer, from shallow to deep; each is read when it is asked for."""
        births = self._births_of(filtration)
        if births.meta["unavailable"]:
            raise UnavailableError(births.meta["unavailable"])
        return births

    def _births_of(self, filtration: Filtration) -> KeptBirths:
        """What is kept of a filtration, whether or not there are births."""
        entry = self._part(filtration)
        if filtration not in self._births:
            self._births[filtration] = KeptBirths(
                entry.meta, functools.partial(self._kept_part, filtration, entry)
            )
        return self._births[filtration]

    def _kept_part(
        self, filtration: Filtration, first: Entry, number: int
    ) -> Mapping[str, np.ndarray]:
        """Births in one entry of an earlier pass; made again where one is damaged or gone."""
        entry = first if number == 0 else self._recall(f"{filtration}/{number}")
        if entry is not None:
            return entry.arrays
        if filtration not in self._lost:
            self._lost.add(filtration)
            del self._entries[filtration], self._births[filtration]
            self.run()
        return self._births_of(filtration).part(number)

    def facts(self) -> dict[str, Any]:
        """What the run's record says of the checkpoint: data_config, notes, layers.

        The layers are those of the births that are wanted, whatever was computed before.
        """
        wanted = [self._births_of(filtration).meta for filtration in self._wanted.filtrations]
        wanted.sort(key=lambda meta: -len(meta["layers"]))
        layers = {facts["layer"]: facts for meta in wanted for facts in meta["layers"]}
        left_out = dict.fromkeys(note for meta in wanted for note in meta["left_out"])
        about = self._part(FACTS).meta
        notes = [*about["notes"], *left_out]
        return {**about, "notes": notes, "layers": list(layers.values())}

    def reduced(self, reducer: type[R]) -> R:
        """The reducer after the pass; a pass of its own where it was not announced."""
        if reducer not in self._reduced:
            self._take_along(reducers=(*self._wanted.reducers, reducer))
            self.run()
        found: Any = self._reduced[reducer]
        if isinstance(found, Exception):
            raise found
        return found  # type: ignore[no-any-return]

    def initial_weights(self) -> Mapping[str, Tensor]:
        """The weights before training."""
        raise UnavailableError(
            "the weights before training were not given; set `init` in [[checkpoints]] to the file"
        )

    def _take_along(self, **more: Any) -> None:
        """Announce more for the next pass."""
        self._wanted = dataclasses.replace(self._wanted, **more)

    def _part(self, part: str) -> Entry:
        """A product of the pass, remembered, recalled, or made."""
        if not self._known(part):
            if part == FEATURES:
                self._take_along(features=True)
            elif part not in (LOGITS, FACTS):
                filtrations = dict.fromkeys((*self._wanted.filtrations, part))
                self._take_along(filtrations=tuple(filtrations))
            self.run()
        return self._entries[part]

    def _known(self, part: str) -> bool:
        """Whether a product is there, in memory or kept from an earlier pass."""
        if part not in self._entries:
            entry = self._recall(part) if part not in self._lost else None
            if entry is None:
                return False
            self._entries[part] = entry
        return True

    def run(self) -> None:
        """Make the passes that lack of all that is wanted; what is known is not made again.

        Where memory runs out they begin again with half as many images at a time and with reducers
        made anew, so that none is given anything twice.

        Raises:
            CheckpointError: The network's outputs are no class scores.
            MeasureError: Outputs or activations are not finite.
        """
        self.within_memory(self._run)

    def within_memory(self, step: Callable[[], T]) -> T:
        """A step's result; it is begun again with smaller batches where memory runs out.

        Args:
            step: What leaves nothing behind where it raises.

        Raises:
            Exception: What the step raises; also where a single image takes too much memory.
        """
        while True:
            try:
                return step()
            except Exception as error:
                if not is_out_of_memory(told(error)) or self.batch_size <= 1:
                    raise
                reason = str(forget_locals(error)).partition("\n")[0] or type(error).__name__
            smaller = self.batch_size // 2
            note = f"memory did not suffice for {self.batch_size} images at a time: {smaller} taken"
            _log.warning("%s: %s (%s)", self.checkpoint, note, reason)
            self.notes = (*self.notes, note)
            self._batch_size = smaller
            release_memory()

    def _run(self) -> None:
        """Make the passes once."""
        missing = tuple(f for f in self._wanted.filtrations if not self._known(f))
        reducers: dict[Any, Reducer] = {}
        if not self._known(LOGITS):
            reducers[LOGITS] = self._output_reducer()
        specs, refusal = self._maps_for(missing)
        births = BirthReducer(self, [spec.layer for spec in specs], missing, self._spool())
        if specs:
            reducers["births"] = births
        without = self._features_for(reducers)
        essential = frozenset(reducers)
        refused: dict[type[Reducer], Exception] = {}
        for kind in self._wanted.reducers:
            if kind not in self._reduced:
                self._start(kind, reducers, refused)
        passes = Passes(self, self, reducers, essential)
        try:
            passes.run()
        finally:
            self.n_forwarded += passes.n_images
        if passes.n_images:
            self._check_weights()
        self._reduced |= refused
        for kind in self._wanted.reducers:
            if kind in reducers:
                self._reduced[kind] = passes.errors.get(kind) or reducers[kind]
        trim_heap()
        self._remember(reducers, births, missing, refusal, without)

    def _check_weights(self) -> None:
        """Refuse a network that is another after it was run, where that can be told."""

    def _start(
        self,
        kind: type[Reducer],
        reducers: dict[Any, Reducer],
        refused: dict[type[Reducer], Exception],
    ) -> None:
        """Make a measure's reducer; why it cannot be made is its outcome."""
        reducer, error = attempt(lambda: self._made(kind))
        if error is not None:
            refused[kind] = forget_locals(error)
        elif reducer is not None:
            reducers[kind] = reducer

    def _made(self, kind: type[Reducer]) -> Reducer:
        """A reducer, once all it rides on is known to be there."""
        if issubclass(kind, MapReducer):
            self.specs()
        if issubclass(kind, FeatureReducer):
            self.tap()
        return kind(self)

    def _maps_for(self, filtrations: Sequence[str]) -> tuple[tuple[LayerSpec, ...], str]:
        """The layers to take births from; none, and why, if no filtration is wanted or possible."""
        if not filtrations:
            return (), "not asked for"
        try:
            return self.specs(), ""
        except UnavailableError as error:
            return (), str(error)

    def _features_for(self, reducers: dict[Any, Reducer]) -> str:
        """Let features be taken along if they are wanted; why they cannot be, or ""."""
        if not self._wanted.features or self._known(FEATURES):
            return ""
        try:
            self.tap()
        except UnavailableError as error:
            return str(error)
        reducers[FEATURES] = FeaturesReducer(self)
        return ""

    def _set_down(self, filtration: str, births: KeptBirths) -> Entry:
        """Keep births, the parts beyond the first in entries of their own; the first is returned.

        What is asked for now is read from where the pass set it down.
        """
        for number in range(1, births.n_parts):
            self._keep(f"{filtration}/{number}", Entry(dict(births.part(number)), {}))
        first = dict(births.part(0))
        self._births[filtration] = births
        return Entry(first, births.meta)

    def _remember(
        self,
        reducers: Mapping[Any, Reducer],
        births: BirthReducer,
        filtrations: Sequence[str],
        refusal: str,
        without_features: str,
    ) -> None:
        """Keep the products of the passes."""
        made: dict[str, Entry] = {}
        outputs = reducers.get(LOGITS)
        logits = outputs.result() if isinstance(outputs, OutputReducer) else None
        for filtration in filtrations:
            kept = births.births(filtration, refusal)
            kept.meta["left_out"] = list(self._chosen.notes) if kept.meta["layers"] else []
            made[filtration] = self._set_down(filtration, kept)
        taken = reducers.get(FEATURES)
        if isinstance(taken, FeaturesReducer):
            made[FEATURES] = Entry({FEATURES: taken.result()}, {"unavailable": ""})
        elif without_features:
            made[FEATURES] = Entry({}, {"unavailable": without_features})
        if not self._known(FACTS):
            facts = {"data_config": dataclasses.asdict(self.data_config), "notes": list(self.notes)}
            made[FACTS] = Entry({}, facts)
        if logits is not None:
            made[LOGITS] = Entry({LOGITS: logits}, {})
        for part, entry in made.items():
            self._keep(part, entry)
            self._entries[part] = entry if part in (LOGITS, FEATURES) else Entry({}, entry.meta)
