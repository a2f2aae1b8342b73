"""What a run would do, how much of it is cached, and how long the rest may take."""

from __future__ import annotations

import dataclasses
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from tqdm import tqdm

from audit.data.sample import Sample
from audit.errors import CheckpointError
from audit.measuring.passes import planned_passes
from audit.measuring.subject import Provided, Subject
from audit.measuring.task import Outcome, audit_checkpoint, explain, provided
from audit.network.weights import read_weights
from audit.network.weights.remote import named_as, on_this_machine
from audit.plugin.discovery import named_plugins
from audit.plugin.registry import installed_with
from audit.runs import pipeline
from audit.runs.class_orders import order_notes
from audit.runs.config import RunOptions
from audit.runs.durations import about
from audit.runs.measured_tables import refusal_of
from audit.runs.study import Study, resolve
from audit.store import Store, key_digest

_TIMED_PER_CLASS: Final = 3
_MOST_TIMED: Final = 4
_MOST_TRIED: Final = 12


def forecast(config_path: Path, options: RunOptions) -> dict[str, Any]:
    """Check a configuration and foresee its run.

    Networks are loaded and run in a child process, on a few training images, and not all of them:
    of the checkpoints that are not cached, one of each architecture and layout of weights, twelve
    at most. Every weights file is read, and one whose names or shapes are others than those of a
    network that was tried is tried itself. Time is extrapolated, in proportion to the number of
    images, from whole audits of the first four.

    Args:
        config_path: An `audit.toml`.
        options: Where the run would write, and what it would run on.

    Returns:
        dataset, n_images, n_sampled, n_classes, images_of_class (of each class that is looked at),
        skipped and oddities (what the dataset passed over, and what is odd about the pixels of
        the sample: word → how many), excluded, overlap (with held-out images, or None), notes (on
        the training set), measures, passes (forward passes over the sample that each checkpoint
        takes at most), n_checkpoints, n_cached, n_tried, refused, doubts (of those that are
        cached: checkpoint → reasons), held_out_notes, output, seconds and time (in words).
        `refused` says which checkpoints would fail and why.

    Raises:
        ConfigError: The configuration cannot be used.
        DataError: The training set or the held-out table cannot be used.
    """
    study = resolve(pipeline.read_config(config_path), options)
    notes = pipeline.check_held_out(study)
    cached = {
        subject.name: entry.meta["facts"]["doubts"] for subject, entry in pipeline.kept_rows(study)
    }
    pending = [subject for subject in study.subjects if subject.name not in cached]
    layouts, unreadable = _layouts(study, pending)
    tried, failed = _try(study, [s for s in pending if s.name in layouts], layouts)
    n_tried = len(tried) + len(failed)
    doubts = {name: found for name, found in cached.items() if found}
    if study.config.measures.on_doubt == "fail":
        failed |= {name: refusal_of(reasons) for name, reasons in doubts.items()}
    refused = {**study.refused, **unreadable, **failed}
    waiting = [subject for subject in pending if subject.name not in refused]
    seconds = _total(study, waiting, tried)
    return {
        "dataset": study.config.dataset.name,
        "n_images": study.sample.n_available,
        "n_sampled": len(study.sample.labels),
        "n_classes": len(study.sample.class_names),
        "images_of_class": study.sample.images_of_class,
        "skipped": dict(study.sample.skipped),
        "oddities": dict(study.sample.oddities),
        "excluded": dict(study.sample.excluded),
        "overlap": study.overlap.describe() if study.overlap else None,
        "notes": order_notes(study.sample.class_names, study.subjects),
        "measures": [entry.name for entry in study.measures],
        "passes": round(planned_passes(study.measures), 3),
        "n_checkpoints": len(study.names),
        "n_cached": len(cached),
        "n_tried": n_tried,
        "refused": refused,
        "doubts": {n: [d["reason"] for d in of] for n, of in doubts.items() if n not in refused},
        "held_out_notes": notes,
        "output": str(options.output),
        "seconds": seconds,
        "time": _words(seconds),
    }


def _layouts(study: Study, pending: Sequence[Subject]) -> tuple[dict[str, str], dict[str, str]]:
    """Checkpoint → a word for its architecture and the names and shapes of its weights.

    Returns:
        Those words, and for files that cannot be read: checkpoint → why.
    """
    layouts, unreadable = {}, {}
    for subject, found in _in_child(study, layout_of, pending, "reading"):
        if isinstance(found, Exception):
            unreadable[subject.name] = explain(found)
        else:
            layouts[subject.name] = found
    return layouts, unreadable


def layout_of(subject: Subject) -> str:
    """A word that two checkpoints share if one fits wherever the other does."""
    shapes: dict[str, list[int]] = {}
    if subject.weights is not None:
        here = on_this_machine(subject.weights, subject.weights_digest)
        with named_as(subject.weights, here):
            weights = read_weights(here, subject.weights_digest, subject.which, subject.trusted)
        shapes = {name: list(tensor.shape) for name, tensor in weights.state_dict.items()}
    key = {"model": subject.model, "args": dict(subject.model_args), "shapes": shapes}
    return key_digest(key)


@dataclasses.dataclass(frozen=True)
class Trial:
    """A checkpoint on a few images, and the measures to time; none: only whether it runs."""

    subject: Subject
    measures: tuple[Provided, ...]
    plugins: tuple[str, ...] = dataclasses.field(default_factory=named_plugins)


def try_checkpoint(trial: Trial) -> float:
    """Audit a checkpoint on a few images; the seconds it took when all was warm.

    Raises:
        CheckpointError: It cannot be audited; the message is the run's.
    """
    registry = installed_with(trial.plugins)
    measures = [registry.measures[measure.name] for measure in trial.measures]
    seconds = 0.0
    for _ in range(2 if measures else 1):
        with tempfile.TemporaryDirectory() as folder:
            started = time.perf_counter()
            outcome: Outcome = audit_checkpoint(
                trial.subject, measures, Store(Path(folder)), registry
            )
            seconds = time.perf_counter() - started
        if outcome.failure:
            raise CheckpointError(outcome.failure)
    return seconds


def _try(
    study: Study, pending: Sequence[Subject], layouts: dict[str, str]
) -> tuple[dict[str, float], dict[str, str]]:
    """Try one checkpoint of each layout.

    Returns:
        Model → seconds of one checkpoint on the whole sample (NaN where it was not timed), and for
        checkpoints that would fail, those that share the layout of one that did among them:
        checkpoint → why.
    """
    first: dict[str, Subject] = {}
    for subject in pending:
        first.setdefault(layouts[subject.name], subject)
    chosen = list(first.values())[:_MOST_TRIED]
    timed = {subject.model: subject.name for subject in reversed(chosen)}
    timed = dict(list(reversed(timed.items()))[:_MOST_TIMED])
    once = _first_of_each_class(study.sample, 1)
    more = _first_of_each_class(study.sample, _TIMED_PER_CLASS)
    share = len(study.sample.labels) / len(more.labels)
    planned = provided(study.registry, study.measures)
    trials = [
        Trial(dataclasses.replace(s, sample=more), planned)
        if timed.get(s.model) == s.name
        else Trial(dataclasses.replace(s, sample=once), ())
        for s in chosen
    ]
    seconds: dict[str, float] = {}
    failed: dict[str, str] = {}
    for trial, found in _in_child(study, try_checkpoint, trials, "trying"):
        subject = trial.subject
        if isinstance(found, Exception):
            layout = layouts[subject.name]
            alike = subject.weights is None or "does not fit" in str(found)
            failed |= {
                s.name: explain(found)
                for s in pending
                if s.name == subject.name or (alike and layouts[s.name] == layout)
            }
        elif trial.measures:
            seconds[subject.model] = share * found
    return seconds, failed


def _in_child(
    study: Study, function: Any, tasks: Sequence[Any], what: str
) -> Iterator[tuple[Any, Any]]:
    """Run tasks one after the other in a child process; (task, result or exception) as they end."""
    if not tasks:
        return
    engine = study.registry.engine(study.engine.name)
    with tqdm(total=len(tasks), desc=what, disable=not study.options.progress) as bar:
        for index, result in engine.run(function, tasks, 1, study.engine.options):
            yield tasks[index], result
            bar.update()


def _total(study: Study, waiting: Sequence[Subject], per_model: dict[str, float]) -> float:
    """Seconds for all that waits, over the workers."""
    if not waiting:
        return 0.0
    typical = float(np.mean(list(per_model.values()))) if per_model else float("nan")
    counts = Counter(subject.model for subject in waiting)
    work = sum(n * per_model.get(model, typical) for model, n in counts.items())
    return work / max(1, min(study.options.workers, len(waiting)))


def _first_of_each_class(sample: Sample, n: int) -> Sample:
    """The first images of every class of a sample, as a sample of its own."""
    kept = np.concatenate(
        [np.flatnonzero(sample.labels == label)[:n] for label in range(len(sample.class_names))]
    )
    return dataclasses.replace(
        sample,
        indices=sample.indices[kept],
        labels=sample.labels[kept],
        sample_ids=tuple(sample.sample_ids[index] for index in kept),
        fingerprint=f"{sample.fingerprint}/first {n}",
    )


def _words(seconds: float) -> str:
    """A duration a person can plan with."""
    if seconds != seconds:
        return "cannot be told: no checkpoint could be timed"
    if seconds == 0:
        return "nothing left to compute"
    return about(seconds)
