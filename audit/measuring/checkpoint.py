"""The view of a checkpoint by its files: loads and runs it only when the store has no answer."""

from __future__ import annotations

import contextlib
import functools
import itertools
import logging
import os
import threading
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch

from audit.data.split_guard import open_training
from audit.data.transform import eval_transform, load_batch, resolve_data_config
from audit.errors import CheckpointError, MeasureError, Termination
from audit.measuring._ahead import one_ahead
from audit.measuring._boundary import attempt
from audit.measuring._evidence import N_IMAGES, gather
from audit.measuring._kept import OutputReducer
from audit.measuring._sizes import refusal
from audit.measuring._spool import Spool
from audit.measuring._untouched import Untouched
from audit.measuring.class_order import labels_in
from audit.measuring.subject import DOUBT_VERSION, Subject
from audit.measuring.view import NetworkView, Wanted
from audit.network.digests import files_digest, state_digest, tensor_digests
from audit.network.fitting import fit_weights
from audit.network.plain import frozen, plain
from audit.network.running import batch_size_for, halved, lay_out
from audit.network.weights import Weights, listed, read_weights
from audit.network.weights.remote import named_as, on_this_machine
from audit.plugin import PLAIN, Batch, DataConfig, ImageSplit
from audit.store import Entry, Store

if TYPE_CHECKING:
    from torch import Tensor, nn

    from audit.plugin.registry import Registry
    from audit.remote import Location

_log = logging.getLogger("genaudit.measuring")

#: A prepared sample up to this size is set down on disk, for later passes and checkpoints.
_KEEP_BYTES: Final = 512 << 20


class PreparedSample:
    """A sample prepared for networks of one data configuration, each image decoded once.

    Args:
        spool: What is decoded is set down there; None: it is decoded whenever it is asked for.
    """

    def __init__(self, spool: Spool | None) -> None:
        self._spool = spool
        self._lock = threading.Lock()

    def rows(self, start: int, stop: int, load: Callable[[int, int], Tensor]) -> Tensor:
        """A stretch of the sample, nobody else's.

        Args:
            start: Of the stretch.
            stop: After its last image.
            load: Decodes and prepares a stretch.

        Raises:
            DataError: An image cannot be decoded.
            StoreError: What was set down cannot be written or read.
        """
        if self._spool is None:
            return load(start, stop)
        with self._lock:
            known = self._spool.length(_IMAGES)
            if known < stop and known >= start:
                self._spool.append(_IMAGES, load(known, stop).numpy())
            elif known < stop:
                return load(start, stop)
            return torch.from_numpy(self._spool.read(_IMAGES, start, stop))


_IMAGES: Final = "images"
_prepared_samples: dict[tuple[int, str, DataConfig], PreparedSample] = {}


def forget_prepared() -> None:
    """Decode every image anew from here on."""
    _prepared_samples.clear()


class CheckpointView(NetworkView):
    """The view of one checkpoint.

    Args:
        subject: The checkpoint and the sample.
        store: Where costly things are kept.
        wanted: What is taken along on the first pass.
        registry: Where the model source and the dataset are looked up.
        split: The training images, if they are open already.
    """

    def __init__(
        self,
        subject: Subject,
        store: Store,
        wanted: Wanted,
        registry: Registry,
        split: ImageSplit | None = None,
    ) -> None:
        super().__init__(wanted)
        self.checkpoint = subject.name
        self.class_names = subject.head_classes
        self.labels = labels_in(
            subject.class_order, subject.sample.class_names, subject.sample.labels
        )
        self.labels.setflags(write=False)
        self.seed = subject.seed
        self.weights_digest = subject.weights_digest
        self.device, self.precision = subject.device, subject.precision
        self._subject = subject
        self._store = store
        self._source = registry.models[subject.source]
        self._registry = registry
        self._given_split = split
        self._handed_out = False

    @property
    def _wanted_layers(self) -> Sequence[str]:
        return self._subject.layers

    @functools.cached_property
    def _split(self) -> ImageSplit:
        """The training images: of all splits, the only one that is ever opened here."""
        if self._given_split is not None:
            return self._given_split
        entry = self._registry.dataset(self._subject.dataset)
        return open_training(entry, self._subject.dataset_options)

    @property
    def module(self) -> nn.Module:
        """The network with its weights, in eval mode, in float32, on the device.

        Its weights lie in the memory format in which it runs: what a measure computes with it does
        not depend on whether passes were made before.
        """
        module = self._laid_out[0]
        self._handed_out = True
        return module

    @property
    def memory_format(self) -> torch.memory_format:
        """In which the network and its images lie."""
        return self._laid_out[1]

    @functools.cached_property
    def _laid_out(self) -> tuple[nn.Module, torch.memory_format]:
        """The network, and the memory format in which it runs."""
        subject = self._subject
        module = frozen(self._network().float()).to(subject.device)
        self._before = tensor_digests(module)
        self._untouched = Untouched(module)
        blank = torch.zeros(1, *self._config_of(module).input_size, device=subject.device)
        return module, lay_out(module, blank)

    @contextlib.contextmanager
    def lent(self) -> Iterator[None]:
        """Within it a measure may use the network; it must give it back as it was.

        Raises:
            MeasureError: It did not. The network is built anew when it is asked for again.
        """
        self._handed_out = False
        batch_size = self._batch_size
        try:
            yield
        except (KeyboardInterrupt, Termination):
            raise
        except BaseException:
            self._check_untouched()
            raise
        finally:
            # numbers move by some 1e-8 with it: one measure's need of memory is not another's
            self._batch_size = batch_size
        self._check_untouched()

    def _check_untouched(self) -> None:
        """Let go of a network that a measure has changed.

        Raises:
            MeasureError: It has.
        """
        changed = self._untouched.changed() if self._handed_out else []
        if changed:
            # what was found of the modules of that network goes with it
            for name in ("_laid_out", "_chosen", "_tap"):
                self.__dict__.pop(name, None)
            raise MeasureError(
                "it must leave the network and the process as they were; it changed the "
                f"{listed(changed)} (work on a copy)"
            )

    def _check_weights(self) -> None:
        """Refuse a network that changes its own weights while it runs.

        Raises:
            CheckpointError: It does; the message names the first such tensor. Nothing of the pass
                is kept.
        """
        after = tensor_digests(self.module)
        changed = [name for name, digest in self._before.items() if after.get(name) != digest]
        if changed:
            raise CheckpointError(
                f"{self._subject.model} changes its own weights when it is run, even in eval mode: "
                f"{listed(changed)}; no number would be that of the checkpoint"
            )

    def _network(self) -> nn.Module:
        """Build the network and load its weights.

        Raises:
            CheckpointError: They are not those that the run was planned with, or do not fit.
        """
        subject = self._subject
        module = plain(self._source.create(*self._located, subject.weights is None))
        self._check_unchanged(module)
        if subject.weights is not None:
            place = self._weights_here(subject.weights)
            here = on_this_machine(place, subject.weights_digest)
            with named_as(place, here):
                weights = read_weights(here, subject.weights_digest, subject.which, subject.trusted)
                fitted = fit_weights(module, weights, here, subject.model, self._source.adapt)
            self.notes = (*weights.notes, *fitted)
        self.notes += tuple(self._source.remarks(module, subject.model_args))
        return module

    def _weights_here(self, planned: Location) -> Location:
        """The file that was planned with; published weights are fetched where it is not there."""
        if not self._subject.published or not isinstance(planned, Path) or planned.exists():
            return planned
        return self._source.weights_file(*self._located) or planned

    @property
    def _located(self) -> tuple[str, Mapping[str, Any]]:
        """The reference and arguments of the network, relative paths made absolute."""
        subject = self._subject
        return self._source.located(subject.model, subject.model_args, subject.base)

    def _check_unchanged(self, module: nn.Module) -> None:
        """Refuse code or pretrained weights that changed since the run was planned.

        Raises:
            CheckpointError: A digest is another than the one in the keys.
        """
        subject = self._subject
        what, (model, args) = "", self._located
        if subject.source_digest and self._source.digest(model) != subject.source_digest:
            what = f"the code or configuration behind {subject.model}"
        elif subject.weights is None and subject.weights_digest:
            files = self._source.reads(model, args)
            built = subject.built or files is None
            digest = state_digest(module) if built else files_digest(files or ())
            if digest != subject.weights_digest:
                what = f"the pretrained weights of {subject.model}"
        if what:
            raise CheckpointError(
                f"{what} changed after the run was planned, so that its numbers would be kept "
                "under the wrong key; start again when nothing writes to it"
            )

    def initial_weights(self) -> Mapping[str, Tensor]:
        """The weights before training, checked as any weights are, on the device."""
        subject = self._subject
        if subject.init is None:
            return super().initial_weights()
        here = on_this_machine(subject.init, subject.init_digest)
        with named_as(subject.init, here):
            given: Weights = read_weights(here, subject.init_digest, trusted=subject.trusted)
            like = plain(self._source.create(*self._located, False))
            fit_weights(like, given, here, subject.model, self._source.adapt)
        state = like.float().to(subject.device).state_dict()
        return {name: tensor.detach() for name, tensor in state.items()}

    @functools.cached_property
    def data_config(self) -> DataConfig:
        """The network's own data configuration with the run's overrides."""
        return self._config_of(self.module)

    def _config_of(self, module: nn.Module) -> DataConfig:
        subject = self._subject
        return resolve_data_config(self._source, module, subject.model_args, subject.transform)

    def _planned_batch_size(self) -> int:
        """As the run says, or by the memory that activations take."""
        planned = self._subject.batch_size
        if planned == "auto":
            planned = batch_size_for(self.module, self._first(1), self.device)
        taken = halved(planned)
        if taken < planned:
            note = f"killed over {planned} images at a time, perhaps for memory: {taken} taken"
            _log.warning("%s: %s", self.checkpoint, note)
            self.notes = (*self.notes, note)
        return taken

    def _spool(self) -> Spool:
        return Spool(self._store.root / "temporary")

    def stretches(self) -> Generator[Batch]:
        """Images and labels of the sample, in order, on the device.

        While one batch is used, the next is read.
        """
        labels = torch.from_numpy(self.labels.copy())
        prepared = self._prepared()
        edges = itertools.pairwise([*range(0, len(labels), self.batch_size), len(labels)])
        ranges = list(edges)
        steps = (
            functools.partial(prepared.rows, start, stop, self._load) for start, stop in ranges
        )
        with contextlib.closing(one_ahead(steps)) as batches:
            for start, stop in ranges:
                images = next(batches).to(self.device)
                yield Batch(
                    PLAIN, np.arange(start, stop), labels[start:stop].to(self.device), images
                )
                del images  # or it would be alive beside the next one

    def _first(self, n_images: int) -> Tensor:
        """A few images, decoded without the rest of their batch."""
        return self._prepared().rows(0, min(n_images, len(self.labels)), self._load).to(self.device)

    def images_of(self, rows: Sequence[int]) -> Tensor:
        """Some images of the sample, prepared as the network expects them, on the device.

        Args:
            rows: Their positions in the sample; one at least.
        """
        prepared = self._prepared()
        return torch.cat([prepared.rows(row, row + 1, self._load) for row in rows]).to(self.device)

    def evidence(self) -> dict[str, Any]:
        """What speaks for or against the network being run as it was trained; kept like a pass."""
        part = f"evidence/{DOUBT_VERSION}"
        entry = self._recall(part)
        if entry is None:
            found, _ = attempt(self._gathered)
            entry = Entry({}, found or {})
            self._keep(part, entry)
        return entry.meta

    def _gathered(self) -> dict[str, Any]:
        """The evidence, from a few images that are evenly spread over the sample."""
        n_images = len(self.labels)
        rows = np.unique(np.linspace(0, n_images - 1, min(N_IMAGES, n_images)).round().astype(int))
        declared, n_classes = self._declared(), len(self.class_names)
        few = self.images_of(rows.tolist())
        return gather(self.module, few, self.data_config, declared, n_classes)

    def refusal(self, error: Exception) -> CheckpointError | None:
        """Why a pass failed, if the network takes images of another size; see `_sizes`."""
        found, _ = attempt(lambda: refusal(self.module, self.data_config, self._declared(), error))
        return found

    def _declared(self) -> DataConfig | None:
        """How the network itself says that images are prepared, if it does."""
        args = self._subject.model_args
        return attempt(lambda: self._source.data_config(self.module, args))[0]

    def _load(self, start: int, stop: int) -> Tensor:
        """Decode and prepare a stretch of the sample."""
        indices = self._subject.sample.indices[start:stop]
        return load_batch(self._split, indices, eval_transform(self.data_config))

    def _prepared(self) -> PreparedSample:
        """The sample as this network is given it; shared by views that prepare alike."""
        key = (os.getpid(), self._subject.sample.fingerprint, self.data_config)
        if key not in _prepared_samples:
            _prepared_samples.clear()
            channels, height, width = self.data_config.input_size
            n_bytes = 4 * channels * height * width * len(self.labels)
            kept = n_bytes <= _KEEP_BYTES
            _prepared_samples[key] = PreparedSample(self._spool() if kept else None)
        return _prepared_samples[key]

    def _recall(self, part: str) -> Entry | None:
        return self._store.get(self._subject.trace_key(part))

    def _keep(self, part: str, entry: Entry) -> None:
        self._store.put(self._subject.trace_key(part), entry.arrays, entry.meta)

    def _output_reducer(self) -> OutputReducer:
        subject = self._subject
        return OutputReducer(self, subject.model, subject.sample.sample_ids)
