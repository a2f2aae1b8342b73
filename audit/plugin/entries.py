"""What plugins hand over: entries, through the hooks of `audit.plugin.hooks`."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias

from audit.plugin.datasets import DataConfig, ImageSplit, Split
from audit.plugin.result import AuditResult
from audit.plugin.values import Measured
from audit.plugin.view import TrainView
from audit.topology.layer_births import Filtration

if TYPE_CHECKING:
    import pandas as pd
    import torch

Direction: TypeAlias = Literal["higher", "lower", "none"]
Invariance: TypeAlias = Literal["node-wise", "layer-uniform", "none"]
Cost: TypeAlias = Literal["weights", "forward", "topology", "backward"]


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
