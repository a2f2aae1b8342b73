"""A checkpoint and the sample it is audited on, as plain data, and the keys of its numbers.

A key holds all that decides a number, so that a number from the store is what a fresh computation
would give: digests of every file that is read, versions of the plugins and libraries at work, the
images, how they are prepared, and the seed. What only says where things lie is no part of it.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from audit.data.sample import Sample
from audit.network.weights import Which
from audit.remote import Location

if TYPE_CHECKING:
    from audit.network.running import Precision

#: Changes whenever cached births or outputs would differ: kernels, choice of layers, transform,
#: memory format, the rule behind a batch size that is found automatically.
TRACE_VERSION: Final = "4"

#: Changes whenever what reducers are given would: which images go through the network together.
PASSES_VERSION: Final = "1"

#: Changes whenever a column of the unit table would.
UNITS_VERSION: Final = "1"

#: Changes whenever another network would be doubted, or in other words.
DOUBT_VERSION: Final = "1"

#: Libraries whose arithmetic or decoding decides numbers of a forward pass.
TRACE_LIBRARIES: Final = ("torch", "torchvision", "pillow")

#: Libraries whose arithmetic decides numbers of measures beyond that.
MEASURE_LIBRARIES: Final = ("numpy", "scipy", "scikit-learn", "gudhi")


@functools.cache  # reading them takes 60 ms, and what is imported does not change
def installed_libraries() -> dict[str, str]:
    """The versions of the libraries that decide numbers, by name."""
    return {name: metadata.version(name) for name in (*TRACE_LIBRARIES, *MEASURE_LIBRARIES)}


@dataclasses.dataclass(frozen=True, slots=True)
class Provided:
    """Something a plugin provides: what it is, by name and version, and who brought it.

    Attributes:
        name: Of the entry.
        version: Of the entry, as it declares it.
        origin: "distribution version" that brought the plugin, or "".
    """

    name: str
    version: str
    origin: str = ""

    def __str__(self) -> str:
        return f"version {self.version}" + (f" (of {self.origin})" if self.origin else "")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Subject:
    """A checkpoint and the sample it is audited on.

    Plain data, so that it can be sent to another process: plugins are named, not held.

    Attributes:
        name: Of the checkpoint.
        model_source: What builds the network.
        source_digest: Digest of the code behind the reference, or "".
        model: The reference the source understands.
        model_args: Passed on to it.
        weights: The file, a path or URL, or None where the source has published weights. Whoever
            reads it takes a URL through `audit.network.weights.remote`.
        weights_digest: SHA-256 of the file; without one, of the files that the source reads, or
            of the tensors of the network it builds.
        built: Whether `weights_digest` is that of the tensors of the built network.
        published: Whether the source knows where to fetch the file, should it not be there.
        which: Which weights of a file that holds several: "auto", "ema" or "raw".
        base: The folder that relative paths in `model` and `model_args` start from.
        init: The file with the weights before training, a path or URL, or None.
        init_digest: Its SHA-256, or "".
        data_source: What reads the images.
        dataset_options: Its options.
        dataset_locations: Names of those options that only say where files lie.
        sample: Which training images.
        transform: Overrides of the data configuration.
        layers: Which layers to take maps from, as presets, names or patterns.
        batch_size: Images per forward pass, or "auto": by the memory of activations, a rule that
            depends on the network, the size of its images and the device alone.
        precision: In which the network computes in shared passes.
        device: "cpu" or "cuda".
        seed: Of the run.
        class_order: Names of the classes in the order of the head's outputs; empty: as the
            training set has them.
        trusted: Digests among those whose files may name code in their pickles; no part of a key,
            for the same bytes give the same weights.
        class_order_from: What settled that order, in words; empty where nothing did.
        libraries: Versions of the libraries that decide numbers, where the run was planned.
    """

    name: str
    model_source: Provided
    source_digest: str
    model: str
    model_args: Mapping[str, Any]
    weights: Location | None
    weights_digest: str
    built: bool = False
    published: bool = False
    which: Which = "auto"
    base: Path = Path()
    init: Location | None = None
    init_digest: str = ""
    trusted: tuple[str, ...] = ()
    data_source: Provided
    dataset_options: Mapping[str, Any]
    dataset_locations: tuple[str, ...] = ()
    sample: Sample
    transform: Mapping[str, Any]
    layers: tuple[str, ...]
    batch_size: int | Literal["auto"]
    device: str
    seed: int
    precision: Precision = "float32"
    class_order: tuple[str, ...] = ()
    class_order_from: str = ""
    libraries: Mapping[str, str] = dataclasses.field(default_factory=installed_libraries)

    @property
    def source(self) -> str:
        """Name of the model source."""
        return self.model_source.name

    @property
    def dataset(self) -> str:
        """Name of the dataset plugin."""
        return self.data_source.name

    @property
    def head_classes(self) -> tuple[str, ...]:
        """Names of the classes in the order of the head's outputs."""
        return self.class_order or self.sample.class_names

    @property
    def key(self) -> dict[str, Any]:
        """All that decides the forward pass, as a store key."""
        options = {
            name: value
            for name, value in self.dataset_options.items()
            if name not in self.dataset_locations
        }
        return {
            "trace": TRACE_VERSION,
            "weights": self.weights_digest,
            "which": self.which,
            "model": {
                **dataclasses.asdict(self.model_source),
                "digest": self.source_digest,
                "reference": self.model,
                "args": dict(self.model_args),
            },
            "dataset": {**dataclasses.asdict(self.data_source), "options": options},
            "data": self.sample.fingerprint,
            "transform": dict(self.transform),
            "layers": list(self.layers),
            "batch_size": self.batch_size,
            "dtype": self.precision,
            "device": self.device,
            "libraries": {name: self.libraries.get(name) for name in TRACE_LIBRARIES},
        }

    def trace_key(self, part: str) -> dict[str, Any]:
        """The store key of a product of the forward pass: outputs, features, facts, or births."""
        return {**self.key, "part": part}

    def measure_key(self, measure: Provided) -> dict[str, Any]:
        """The store key of a measure's values."""
        return {**self._measured, "measure": dataclasses.asdict(measure)}

    def row_key(self, measures: Sequence[Provided], filtrations: Sequence[str]) -> dict[str, Any]:
        """The store key of all rows of these measures and unit tables together.

        A run that finds this entry reads nothing else of the checkpoint.
        """
        return {
            **self._measured,
            "rows": [dataclasses.asdict(measure) for measure in measures],
            "doubt": DOUBT_VERSION,
            "units": {"version": UNITS_VERSION, "filtrations": list(filtrations)},
        }

    @property
    def _measured(self) -> dict[str, Any]:
        """All that decides a measure beside the measure itself."""
        return {
            **self.key,
            "passes": PASSES_VERSION,
            "seed": self.seed,
            "init": self.init_digest,
            "class_order": list(self.head_classes),
            "libraries": dict(self.libraries),
        }
