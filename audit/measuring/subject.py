"""A checkpoint and the sample it is audited on, as plain data, and the keys of its numbers."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from audit.data.sample import Sample

if TYPE_CHECKING:
    from pathlib import Path


#: Changes whenever cached births or outputs would differ: kernels, choice of layers, transform.
TRACE_VERSION: Final = "2"


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
