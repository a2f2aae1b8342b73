"""What plugins hand over: entries, through the hooks of `audit.plugin.hooks`."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias

from audit.plugin.datasets import DataConfig, ImageSplit, Split
from audit.plugin.parts import Direction, Part, part_named
from audit.plugin.reducers import Reducer
from audit.plugin.result import AuditResult
from audit.plugin.values import Measured
from audit.plugin.view import TrainView
from audit.topology.layer_births import Filtration

if TYPE_CHECKING:
    import pandas as pd
    import torch

Invariance: TypeAlias = Literal["node-wise", "layer-uniform", "none"]
Cost: TypeAlias = Literal["weights", "forward", "topology", "backward"]
Change: TypeAlias = Literal[
    "permutation",
    "folding",
    "image-order",
    "batch-size",
    "duplicates",
    "relabelling",
    "dtype",
    "device",
]


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
        invariance: The weight rescalings that leave it unchanged.
        chains_only: Whether a layer-uniform invariance holds in chains of layers alone: where
            shortcuts join layers, several write what one factor scales, and products move.
        varies_with: Which other changes that keep the network's predictions, or only the order and
            number of its images, move it: channels in another order, BatchNorm folded, images in
            another order, another batch size, every image twice, classes under other numbers,
            float32 for float64, another device. It must survive all that it does not name.
        cost: The dearest thing it needs.
        formula: In one line of plain characters, such as "−Σ p log p".
        claim: Who claims the direction and on what evidence: a paper, or what we measured.
        weakness: What it is known to miss or to mistake, in a sentence.
        needs: What a network or a configuration must have for it, in words; empty if nothing.
        source: Paper, equation, and every deviation.
        unit: Of the number, such as "nats"; empty for counts and plain numbers.
        parts: What else `compute` may give beside "".
        filtrations: Whose births `compute` asks the view for; taken on the shared pass.
        features: Whether `compute` asks the view for penultimate features; likewise.
        reducers: What is kept of shared passes for `compute`, which asks for `view.reduced(…)`.
        passes: Forward passes over the sample that `compute` makes itself, on images of its own;
            those of births, features and reducers are known from their declarations.
        baseline: Whether it is always reported, as a mark to beat.
        control: Whether every measure is tested for what it adds to this one.
        called: What a sentence calls it, such as "parameter count"; by default its name in words.
        diagnostic: Whether it only explains other measures, and is neither judged nor ranked by.
        default: Whether "default" in a configuration includes it.
        order: Its place in reports among measures drawn over depth, lower first.
    """

    name: str
    summary: str
    compute: Callable[[TrainView], Measured]
    version: str
    direction: Direction
    invariance: Invariance
    cost: Cost
    chains_only: bool = False
    varies_with: tuple[Change, ...] = ()
    formula: str = ""
    claim: str = ""
    weakness: str = ""
    needs: str = ""
    source: str = ""
    unit: str = ""
    parts: tuple[Part, ...] = ()
    filtrations: tuple[Filtration, ...] = ()
    features: bool = False
    reducers: tuple[type[Reducer], ...] = ()
    passes: float = 0.0
    baseline: bool = False
    control: bool = False
    called: str = ""
    diagnostic: bool = False
    default: bool = True
    order: int = 100

    def part(self, suffix: str) -> Part | None:
        """The declaration of a part, by its suffix; None if there is none.

        An exact name goes before a pattern. "" is declared by the measure itself.
        """
        if not suffix:
            judged = not self.diagnostic
            return Part(name="", summary=self.summary, direction=self.direction, judged=judged)
        return part_named(suffix, self.parts)

    @property
    def words(self) -> str:
        """What a sentence calls it: `called`, or its name in words."""
        return self.called or self.name.replace("_", " ")


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
        digest: Reference → digest of all code and configuration behind it that `version` does not
            settle; part of every cache key.
        reads: (reference, arguments) → the files that `create` reads with pretrained true, whose
            digests then stand for the weights; None where that cannot be told beforehand, and
            then the network is built and its tensors are digested.
        recognises: Whether a network in memory is of the kind this source builds, so that
            `data_config` can tell how its images are prepared.
        located: (reference, arguments, folder) → both with the relative paths in them counted
            from the folder. What only says where files lie is no part of cache keys.
        weights_file: (reference, arguments) → the local file with the published weights, fetched
            where it is not there yet. It is read with the same care as any weights and fits as a
            whole, and `create` is never asked for pretrained weights; None where there is no such
            file, and `create` loads them by code of its own.
        adapt: (network, state dict) → the state dict under the names of today, where it has those
            of an older layout that this source knows; else unchanged.
        remarks: (network, arguments) → what of the preparation of its images `data_config`
            cannot say, in words.
    """

    name: str
    summary: str
    version: str
    matches: Callable[[str], bool]
    names: Callable[[], Sequence[str]]
    create: Callable[[str, Mapping[str, Any], bool], torch.nn.Module]
    data_config: Callable[[torch.nn.Module, Mapping[str, Any]], DataConfig]
    digest: Callable[[str], str] = lambda reference: ""
    reads: Callable[[str, Mapping[str, Any]], Sequence[Path] | None] = lambda reference, args: None
    recognises: Callable[[torch.nn.Module], bool] = lambda module: False
    located: Callable[[str, Mapping[str, Any], Path], tuple[str, Mapping[str, Any]]] = (
        lambda reference, args, folder: (reference, args)
    )
    weights_file: Callable[[str, Mapping[str, Any]], Path | None] = lambda reference, args: None
    adapt: Callable[[torch.nn.Module, Mapping[str, torch.Tensor]], Mapping[str, torch.Tensor]] = (
        lambda module, state_dict: state_dict
    )
    remarks: Callable[[torch.nn.Module, Mapping[str, Any]], Sequence[str]] = lambda module, args: ()


@dataclasses.dataclass(frozen=True, kw_only=True)
class DatasetEntry:
    """A labelled image dataset.

    Attributes:
        name: As a configuration names it.
        summary: One line: what it reads.
        version: Changes whenever the images or labels it yields do.
        open: (split, options) → the split. Measures are only ever given "train".
        options: Names of the options it accepts.
        locations: Those options that only say where files lie. What is read there is digested, so
            they are no part of cache keys, and a folder that moved is not measured again. The
            first is the one that a bare path stands for.
        open_held_out: Options → held-out images, which are only ever compared with those of the
            training set; the options then say where the held-out images lie. None: as
            `open("held_out", options)`.
        adopt: An object that lives in memory → the options to open it with, or None if it is
            nothing this dataset reads.
    """

    name: str
    summary: str
    version: str
    open: Callable[[Split, Mapping[str, Any]], ImageSplit]
    options: tuple[str, ...] = ()
    locations: tuple[str, ...] = ()
    open_held_out: Callable[[Mapping[str, Any]], ImageSplit] | None = None
    adopt: Callable[[Any], Mapping[str, Any] | None] = lambda given: None


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


def _one_for_each(n_workers: int, options: Mapping[str, Any]) -> float:
    """A device for each worker."""
    return float(n_workers)


@dataclasses.dataclass(frozen=True, kw_only=True)
class EngineEntry:
    """Where tasks run.

    Attributes:
        name: As `--engine` names it.
        summary: One line: where tasks run.
        version: Of the engine.
        run: (function, tasks, n_workers, options) → pairs (position of the task, result or
            exception) as they finish. The function and the tasks can be pickled. A task whose
            process died yields a `MeasureError` saying how. Where `elsewhere` holds, n_workers is
            None unless the user says a number: as many as there is room for.
        options: Names of the options it accepts; `timeout` (seconds) and `memory` (bytes, or a
            size such as "4GiB") are the limits of a task, where an engine keeps them.
        watched: Whether `run` takes a fifth argument: a function that it calls at least once a
            second while it waits, with position of a task under way → seconds since it was given
            to a worker. What the function raises ends the run, as closing the iterator does.
        n_devices: (n_workers, options) → how many CUDA devices so many workers hold together; asked
            where a limit counts them.
        elsewhere: Whether tasks may run on other machines. Tasks are then told what this one has,
            and refuse to run where it is missing. A task's attribute `device` is "cuda" where it
            needs a CUDA device.
    """

    name: str
    summary: str
    version: str
    run: Callable[..., Iterable[tuple[int, Any]]]
    options: tuple[str, ...] = ()
    watched: bool = False
    n_devices: Callable[..., float] = _one_for_each
    elsewhere: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class ReporterEntry:
    """A form of output.

    Attributes:
        name: Of the form, such as "html".
        summary: One line: what it writes.
        version: Of the reporter.
        write: (result, folder, options) → the files written.
        options: Names of the options it accepts.
        default: Whether it writes where a configuration names no reporters.
    """

    name: str
    summary: str
    version: str
    write: Callable[[AuditResult, Path, Mapping[str, Any]], Sequence[Path]]
    options: tuple[str, ...] = ()
    default: bool = True
