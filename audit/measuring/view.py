"""A checkpoint and its training sample, as measures see them; what is costly comes from the store.

One forward pass over the sample gives the outputs and the birth levels of every filtration that is
wanted. Both are cached, so a new statistic on them repeats neither the pass nor the topology.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final

import numpy as np
import torch

from audit.arrays import Logits
from audit.data.transform import eval_transform, load_batch, resolve_data_config
from audit.errors import CheckpointError, MeasureError, UnavailableError
from audit.measuring.recorder import Recorder
from audit.measuring.subject import Subject
from audit.network.fitting import fit_weights
from audit.network.forward import stream_maps
from audit.network.layers import LayerSpec, choose_layers
from audit.network.scores import class_scores
from audit.network.weights import read_weights
from audit.plugin import DataConfig, ImageSplit, TrainView
from audit.topology import Filtration, LayerBirths

if TYPE_CHECKING:
    from torch import Tensor, nn

    from audit.plugin.registry import Registry
    from audit.store import Store

#: A prepared sample up to this size stays in memory between passes.
_KEEP_BYTES: Final = 512 << 20


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
            outputs.append(class_scores(output).float().cpu())
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
