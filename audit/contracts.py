"""What plugins provide and what they are given.

A plugin hands over entries (`ModelEntry`, `DatasetEntry`, `MeasureEntry`, `HeldOutEntry`,
`EngineEntry`, `ReporterEntry`) through the hooks of `audit.hookspecs`. A measure is given a
`TrainView`: the network and its training sample, and nothing that was held out.
"""

from __future__ import annotations

import abc
import dataclasses
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias

import numpy as np

from audit.arrays import Labels, Logits, MapFlags, UnitBirths

if TYPE_CHECKING:
    import pandas as pd
    import torch
    from PIL import Image

Direction: TypeAlias = Literal["higher", "lower", "none"]
Invariance: TypeAlias = Literal["node-wise", "layer-uniform", "none"]
Cost: TypeAlias = Literal["weights", "forward", "topology", "backward"]
Status: TypeAlias = Literal["ok", "undefined", "unavailable", "failed"]
Split: TypeAlias = Literal["train", "held_out"]
Filtration: TypeAlias = Literal["clique", "cubical"]

#: Bits of `LayerBirths.flags`: the map has one value everywhere; that value is zero.
FLAG_CONSTANT = 1
FLAG_ZERO = 2


@dataclasses.dataclass(frozen=True, slots=True)
class Value:
    """A measured number, or the reason why there is none.

    Attributes:
        value: The number; NaN unless `status` is "ok".
        status: "ok"; "undefined" (the formula has no value here); "unavailable" (an input it
            needs was not given); "failed" (an error).
        reason: Why there is no number, in words a user can act on; empty when "ok".
    """

    value: float
    status: Status = "ok"
    reason: str = ""

    @classmethod
    def undefined(cls, reason: str) -> Value:
        """The formula has no value here."""
        return cls(math.nan, "undefined", reason)

    @classmethod
    def unavailable(cls, reason: str) -> Value:
        """Something the measure needs was not given, or this architecture does not have it."""
        return cls(math.nan, "unavailable", reason)

    @classmethod
    def of(cls, value: Value | float) -> Value:
        """Wrap a bare number; one that is not finite becomes "undefined"."""
        if isinstance(value, Value):
            return value
        number = float(value)
        if math.isfinite(number):
            return cls(number)
        return cls.undefined(f"the measure gave {number} and no reason")


@dataclasses.dataclass(frozen=True, slots=True)
class DataConfig:
    """How an image becomes the network's input.

    Attributes:
        input_size: Channels (1 or 3), height and width in pixels.
        mean: Per channel, in [0, 1], subtracted after scaling pixels to [0, 1].
        std: Per channel, divided by.
        interpolation: "nearest", "bilinear" or "bicubic".
        crop_pct: Share of the resized image that the centre crop keeps, in (0, 1].
    """

    input_size: tuple[int, int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: str = "bicubic"
    crop_pct: float = 1.0


class ImageSplit(abc.ABC):
    """One split of a labelled image dataset, read lazily.

    Attributes:
        class_names: Name of each class; its position is the label.
        labels: Shape (n,), the class of each image.
        sample_ids: A stable name for each image, unique in the split.
    """

    class_names: tuple[str, ...]
    labels: Labels
    sample_ids: tuple[str, ...]

    @abc.abstractmethod
    def digest(self, index: int) -> str:
        """SHA-256 of the stored content of one image, as hexadecimal digits."""

    @abc.abstractmethod
    def load(self, index: int) -> Image.Image:
        """Decode one image.

        Raises:
            DataError: It cannot be decoded; the message names the image.
        """

    def stamp(self, index: int) -> str:
        """What changes when the image may have: a cheap stand-in for `digest`, or ''."""
        return ""


@dataclasses.dataclass(frozen=True, slots=True)
class LayerBirths:
    """Birth levels of every unit of one layer on every image of the training sample.

    Attributes:
        layer: Path of the module, with `#k` for its k-th call (k > 1) in a forward pass.
        height: Of the feature map, in pixels.
        width: Of the feature map, in pixels.
        birth_levels: Shape (n, u), int32; `NO_BIRTH` where no hole is ever enclosed.
        flags: Shape (n, u), uint8: `FLAG_CONSTANT`, `FLAG_ZERO`.
        tied_rate: Share of pixels that equal another non-zero pixel of their map, in [0, 1],
            over the first batch: reduced precision makes it large.
    """

    layer: str
    height: int
    width: int
    birth_levels: UnitBirths
    flags: MapFlags
    tied_rate: float


class TrainView(abc.ABC):
    """All that a measure may see: a network and a sample of its training set.

    Attributes:
        checkpoint: Name of the checkpoint.
        class_names: Name of each class; its position is the label.
        labels: Shape (n,), the class of each sampled training image.
        seed: Of this run; derive every random choice from `generator`.
    """

    checkpoint: str
    class_names: tuple[str, ...]
    labels: Labels
    seed: int

    @property
    @abc.abstractmethod
    def module(self) -> torch.nn.Module:
        """The network in eval mode. Leave its weights, buffers, modes and hooks as they are."""

    @property
    @abc.abstractmethod
    def data_config(self) -> DataConfig:
        """How images are prepared for this network."""

    @abc.abstractmethod
    def batches(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Pairs of images, shape (b, channels, height, width), and labels, shape (b,), in order."""

    @abc.abstractmethod
    def logits(self) -> Logits:
        """The network's outputs on the training sample, shape (n, c); cached."""

    @abc.abstractmethod
    def births(self, filtration: Filtration) -> tuple[LayerBirths, ...]:
        """Birth levels in the chosen layers, from shallow to deep; cached.

        Raises:
            UnavailableError: No layer has feature maps this filtration is defined for.
        """

    def generator(self, purpose: str) -> np.random.Generator:
        """A random generator that depends on the seed, the checkpoint and `purpose` alone."""
        words = f"{self.seed}/{self.checkpoint}/{purpose}".encode()
        return np.random.default_rng(list(words))


Measured: TypeAlias = "Value | float | Mapping[str, Value | float]"


@dataclasses.dataclass(frozen=True, kw_only=True)
class MeasureEntry:
    """A number per checkpoint, computed from its weights and the training set alone.

    Attributes:
        name: Lower case, words joined by `_`; `.` separates variants.
        summary: One line: what quantity it is.
        compute: View → the number; or a mapping of suffix → number for measures that come in
            parts ("" is the measure itself, "layer_1" becomes `name.layer_1`).
        version: Changes whenever a published number moves.
        direction: Which values predict better generalization.
        invariance: The weight rescalings that leave it unchanged (evaluation.md).
        cost: The dearest thing it needs.
        source: Paper, equation, and every deviation.
        filtrations: Whose births `compute` asks the view for; taken in one forward pass.
        baseline: Whether it is always reported, as a mark to beat.
        diagnostic: Whether it only explains other measures, and is neither judged nor ranked by.
        default: Whether "default" in a configuration includes it.
    """

    name: str
    summary: str
    compute: Callable[[TrainView], Measured]
    version: str
    direction: Direction
    invariance: Invariance
    cost: Cost
    source: str = ""
    filtrations: tuple[Filtration, ...] = ()
    baseline: bool = False
    diagnostic: bool = False
    default: bool = True


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelEntry:
    """A source of networks.

    Attributes:
        name: Of the source, such as "timm".
        summary: One line: which references it understands.
        version: Of what builds the networks; part of every cache key.
        matches: Whether a reference from a configuration is meant for this source.
        names: References it can list (for suggestions and `genaudit models`).
        create: (reference, arguments, pretrained) → the network, on the CPU.
        data_config: (network, its input channels, or None if unknown) → how images are prepared.
        digest: Reference → digest of the code behind it where `version` does not settle it.
    """

    name: str
    summary: str
    version: str
    matches: Callable[[str], bool]
    names: Callable[[], Sequence[str]]
    create: Callable[[str, Mapping[str, Any], bool], torch.nn.Module]
    data_config: Callable[[torch.nn.Module, Mapping[str, Any]], DataConfig]
    digest: Callable[[str], str] = lambda reference: ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class DatasetEntry:
    """A labelled image dataset.

    Attributes:
        name: As a configuration names it.
        summary: One line: what it reads.
        version: Changes whenever the images or labels it yields do.
        open: (split, options) → the split. Measures are only ever given "train".
        options: Names of the options it accepts.
    """

    name: str
    summary: str
    version: str
    open: Callable[[Split, Mapping[str, Any]], ImageSplit]
    options: tuple[str, ...] = ()


class KnownCheckpoint(NamedTuple):
    """What a table of published results is joined by.

    Attributes:
        checkpoint: Its name.
        model: The reference it was built from.
        image_size: Height of its input in pixels, or None if unknown.
    """

    checkpoint: str
    model: str
    image_size: int | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class HeldOutEntry:
    """A form in which held-out accuracies are published.

    Attributes:
        name: As `[held_out] format` names it.
        summary: One line: which files it reads.
        version: Changes whenever the accuracies it yields do.
        read: (file, checkpoints) → columns checkpoint, held_out_accuracy in [0, 1] and others;
            and notes for the user. Checkpoints without a result have no row.
    """

    name: str
    summary: str
    version: str
    read: Callable[[Path, Sequence[KnownCheckpoint]], tuple[pd.DataFrame, Sequence[str]]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class EngineEntry:
    """Where tasks run.

    Attributes:
        name: As `--engine` names it.
        summary: One line: where tasks run.
        version: Of the engine.
        run: (function, tasks, n_workers) → pairs (position of the task, result or exception) as
            they finish. The function and the tasks can be pickled. A task whose process died
            yields a `MeasureError` saying how.
    """

    name: str
    summary: str
    version: str
    run: Callable[[Callable[[Any], Any], Sequence[Any], int], Iterable[tuple[int, Any]]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class ReporterEntry:
    """A form of output.

    Attributes:
        name: Of the form, such as "html".
        summary: One line: what it writes.
        version: Of the reporter.
        write: (result, folder) → the files written.
    """

    name: str
    summary: str
    version: str
    write: Callable[[AuditResult, Path], Sequence[Path]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class AuditResult:
    """The tables of one audit.

    Attributes:
        measures: Columns checkpoint, measure, version, value, status, reason, seconds.
        ranking: Columns predicted_rank, checkpoint, score, lower, upper, tied_with.
        correlations: One row of statistics per measure; empty without held-out accuracies.
        held_out: Columns checkpoint, held_out_accuracy, optional train_accuracy, family and
            hp.*; empty where none is known.
        run: What `run.json` holds: versions, digests, configuration, seeds, device, sample.
        output: The output folder.
    """

    measures: pd.DataFrame
    ranking: pd.DataFrame
    correlations: pd.DataFrame
    held_out: pd.DataFrame
    run: Mapping[str, Any]
    output: Path

    @property
    def failed(self) -> dict[str, str]:
        """Checkpoint → reason, for every checkpoint that could not be audited."""
        rows = self.measures[
            (self.measures["measure"] == "all") & (self.measures["status"] == "failed")
        ]
        return dict(zip(rows["checkpoint"], rows["reason"], strict=True))

    def _repr_html_(self) -> str:
        """The ranking as a table, for notebooks."""
        html: str = self.ranking.to_html(index=False, float_format="{:.4f}".format)
        return html
