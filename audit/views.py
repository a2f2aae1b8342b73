"""A checkpoint and its training sample, as measures see them; what is costly comes from the store.

One forward pass over the sample gives the outputs and the birth levels of every filtration that is
wanted. Both are cached, so a new statistic on them repeats neither the pass nor the topology.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch

from audit.activations import LayerSpec, choose_layers, stream_maps
from audit.arrays import Logits
from audit.contracts import (
    DataConfig,
    Filtration,
    ImageSplit,
    LayerBirths,
    TrainView,
)
from audit.errors import CheckpointError, MeasureError, UnavailableError
from audit.images import eval_transform, load_batch, resolve_data_config
from audit.loading import fit_weights, read_weights
from audit.recorder import Recorder
from audit.sample import Sample

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor, nn

    from audit.registry import Registry
    from audit.store import Store

#: Changes whenever cached births or outputs would differ: kernels, choice of layers, transform.
TRACE_VERSION: Final = "2"

#: A prepared sample up to this size stays in memory between passes.
_KEEP_BYTES: Final = 512 << 20


@dataclasses.dataclass(frozen=True, kw_only=True)
class Subject:
    """A checkpoint and the sample it is audited on.

    Plain data, so that it can be sent to another process: plugins are named, not held.

    Attributes:
        name: Of the checkpoint.
        source: Name of the model source that builds the network.
        source_version: Its version.
        source_digest: Digest of the code behind the reference, or "".
        model: The reference the source understands.
        model_args: Passed on to it.
        weights: The file, or None where the source fetches published weights.
        weights_digest: SHA-256 of the file; "pretrained" without one.
        dataset: Name of the dataset plugin.
        dataset_options: Its options.
        sample: Which training images.
        transform: Overrides of the data configuration.
        layers: Paths of the layers to take maps from, or None: chosen by rule.
        batch_size: Images per forward pass.
        device: "cpu" or "cuda".
        seed: Of the run.
    """

    name: str
    source: str
    source_version: str
    source_digest: str
    model: str
    model_args: Mapping[str, Any]
    weights: Path | None
    weights_digest: str
    dataset: str
    dataset_options: Mapping[str, Any]
    sample: Sample
    transform: Mapping[str, Any]
    layers: tuple[str, ...] | None
    batch_size: int
    device: str
    seed: int

    @property
    def key(self) -> dict[str, Any]:
        """All that decides the numbers of any measure, as a store key."""
        return {
            "trace": TRACE_VERSION,
            "weights": self.weights_digest,
            "model": {
                "source": self.source,
                "version": self.source_version,
                "digest": self.source_digest,
                "reference": self.model,
                "args": dict(self.model_args),
            },
            "data": self.sample.fingerprint,
            "transform": dict(self.transform),
            "layers": list(self.layers) if self.layers is not None else None,
            "batch_size": self.batch_size,
            "dtype": "float32",
            "device": self.device,
        }

    def measure_key(self, measure: str, version: str) -> dict[str, Any]:
        """The store key of a measure's values."""
        return {**self.key, "measure": measure, "version": version, "seed": self.seed}

    def trace_key(self, part: str) -> dict[str, Any]:
        """The store key of a product of the forward pass: "logits", "facts", or births."""
        return {**self.key, "part": part}


class CheckpointView(TrainView):
    """The view of one checkpoint; loads and runs the network only when the store has no answer.

    Args:
        subject: The checkpoint and the sample.
        store: Where costly things are kept.
        filtrations: Those whose births are taken along with the outputs.
        registry: Where the model source and the dataset are looked up.
        split: The training images, if they are open already.
    """

    def __init__(
        self,
        subject: Subject,
        store: Store,
        filtrations: Sequence[Filtration],
        registry: Registry,
        split: ImageSplit | None = None,
    ) -> None:
        self.checkpoint = subject.name
        self.class_names = subject.sample.class_names
        self.labels = subject.sample.labels.copy()
        self.labels.setflags(write=False)
        self.seed = subject.seed
        self.notes: tuple[str, ...] = ()
        self._subject = subject
        self._store = store
        self._filtrations = tuple(filtrations)
        self._source = registry.models[subject.source]
        self._registry = registry
        self._given_split = split

    @functools.cached_property
    def _split(self) -> ImageSplit:
        """The training images: of all splits, the only one that is ever opened here."""
        if self._given_split is not None:
            return self._given_split
        entry = self._registry.dataset(self._subject.dataset)
        return entry.open("train", self._subject.dataset_options)

    @functools.cached_property
    def module(self) -> nn.Module:
        """The network with its weights, in eval mode, in float32, on the device."""
        return self._network().float().eval().requires_grad_(False).to(self._subject.device)

    def _network(self) -> nn.Module:
        """Build the network and load its weights."""
        subject = self._subject
        module = self._source.create(subject.model, subject.model_args, subject.weights is None)
        if subject.weights is not None:
            weights = read_weights(subject.weights, subject.weights_digest)
            self.notes = (*weights.notes, *fit_weights(module, weights, subject.weights))
        return module

    @functools.cached_property
    def data_config(self) -> DataConfig:
        """The network's own data configuration with the run's overrides."""
        subject = self._subject
        return resolve_data_config(self._source, self.module, subject.model_args, subject.transform)

    def batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Images and labels of the sample, in order, on the device."""
        labels = torch.from_numpy(self.labels.copy())
        images = self._prepared()
        for start in range(0, len(labels), self._subject.batch_size):
            stop = min(start + self._subject.batch_size, len(labels))
            batch = images[start:stop] if images is not None else self._load(start, stop)
            # a copy: networks may change their input in place, and the sample is shared
            batch = batch.to(self._subject.device, copy=True)
            yield batch, labels[start:stop].to(self._subject.device)

    def _load(self, start: int, stop: int) -> Tensor:
        """Decode and prepare a stretch of the sample."""
        indices = self._subject.sample.indices[start:stop]
        return load_batch(self._split, indices, eval_transform(self.data_config))

    def _prepared(self) -> Tensor | None:
        """The whole sample, prepared, if it fits in memory; shared by views that prepare alike."""
        channels, height, width = self.data_config.input_size
        if 4 * channels * height * width * len(self.labels) > _KEEP_BYTES:
            return None
        key = (self._subject.sample.fingerprint, self.data_config)
        if key not in _prepared_samples:
            _prepared_samples.clear()
            _prepared_samples[key] = self._load(0, len(self.labels))
        return _prepared_samples[key]

    def logits(self) -> Logits:
        """The network's outputs, shape (n, c), float32."""
        entry = self._store.get(self._subject.trace_key("logits"))
        if entry is None:
            self._trace()
            entry = self._store.get(self._subject.trace_key("logits"))
        if entry is None:
            raise MeasureError(f"the store at {self._store.root} does not keep what is written")
        return entry.arrays["logits"]

    def births(self, filtration: Filtration) -> tuple[LayerBirths, ...]:
        """Birth levels layer by layer, from shallow to deep."""
        entry = self._store.get(self._subject.trace_key(filtration))
        if entry is None:
            self._filtrations = tuple(dict.fromkeys((*self._filtrations, filtration)))
            self._trace()
            entry = self._store.get(self._subject.trace_key(filtration))
        if entry is None:
            raise MeasureError(f"the store at {self._store.root} does not keep what is written")
        if entry.meta["unavailable"]:
            raise UnavailableError(entry.meta["unavailable"])
        return tuple(
            LayerBirths(
                layer=facts["layer"],
                height=facts["height"],
                width=facts["width"],
                birth_levels=entry.arrays[f"births_{index}"].astype(np.int32),
                flags=entry.arrays[f"flags_{index}"],
                tied_rate=facts["tied_rate"],
            )
            for index, facts in enumerate(entry.meta["layers"])
        )

    def generator(self, purpose: str) -> np.random.Generator:
        """A random generator that depends on seed, weights and purpose, not on file names."""
        words = f"{self.seed}/{self._subject.weights_digest}/{purpose}".encode()
        return np.random.default_rng(list(words))

    def _trace(self) -> None:
        """One forward pass over the sample; outputs, births and facts go into the store."""
        layers, refusal = self._layers()
        recorder = Recorder(layers, self._filtrations)
        outputs: list[Tensor] = []
        for images, _ in self.batches():
            output = stream_maps(self.module, layers, images, recorder.consume)
            outputs.append(_class_scores(output).float().cpu())
        logits = torch.cat(outputs).numpy()
        self._check_outputs(logits)
        for filtration in self._filtrations:
            arrays, meta = recorder.result(filtration, refusal)
            self._store.put(self._subject.trace_key(filtration), arrays, meta)
        facts = {
            "data_config": dataclasses.asdict(self.data_config),
            "notes": list(self.notes),
            "layers": recorder.facts(),
        }
        self._store.put(self._subject.trace_key("facts"), {}, facts)
        self._store.put(self._subject.trace_key("logits"), {"logits": logits})

    def _layers(self) -> tuple[tuple[LayerSpec, ...], str]:
        """The layers to take maps from; none, and why, if no filtration is wanted or possible."""
        if not self._filtrations:
            return (), "not asked for"
        images, _ = next(self.batches())
        try:
            return choose_layers(self.module, images[:1], self._subject.layers), ""
        except UnavailableError as error:
            return (), str(error)

    def _check_outputs(self, logits: Logits) -> None:
        """Refuse outputs that cannot be class scores of this dataset."""
        n_classes = len(self.class_names)
        if logits.ndim != 2 or logits.shape[1] != n_classes:
            raise CheckpointError(
                f"the head of {self._subject.model} gives outputs of shape {logits.shape[1:]}, "
                f"but the training set has {n_classes} classes; check the dataset, or "
                "model_args.num_classes"
            )
        broken = np.flatnonzero(~np.isfinite(logits).all(axis=1))
        if broken.size:
            raise MeasureError(
                f"the outputs are not finite for {broken.size} of {len(logits)} training images, "
                f"first for {self._subject.sample.sample_ids[broken[0]]!r}"
            )


_prepared_samples: dict[tuple[str, DataConfig], Tensor] = {}


def _class_scores(output: Any) -> Tensor:
    """The class scores in what a network returned (some return a tuple; scores come first)."""
    if isinstance(output, (tuple, list)):
        output = output[0]
    if not isinstance(output, torch.Tensor):
        raise CheckpointError(f"the network returns {type(output).__name__}, not class scores")
    return output


@contextlib.contextmanager
def one_math_thread() -> Iterator[None]:
    """Run torch's CPU arithmetic on one thread: sums then do not depend on the machine's cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
