"""What a run would do, how much of it is cached, and how long the rest may take."""

from __future__ import annotations

import dataclasses
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from tqdm import tqdm

from audit.data.sample import Sample
from audit.measuring.subject import Subject
from audit.measuring.task import audit_checkpoint
from audit.plugin.registry import installed
from audit.runs import pipeline
from audit.runs.config import RunOptions
from audit.runs.study import Study, resolve
from audit.store import Store

_TIMED_PER_CLASS: Final = 3
_MOST_TIMED: Final = 4


def forecast(config_path: Path, options: RunOptions) -> dict[str, Any]:
    """Check a configuration and foresee its run.

    Time is extrapolated, in proportion to the number of images, from real audits of a few
    training images: one checkpoint of each architecture that is not cached (of four at most).

    Args:
        config_path: An `audit.toml`.
        options: Where the run would write, and what it would run on.

    Returns:
        dataset, n_images, n_sampled, excluded, measures, n_checkpoints, n_cached, refused,
        held_out_notes, output, seconds and time (in words). `refused` says which checkpoints
        would fail and why: all that are not cached are loaded and run on a few images.

    Raises:
        ConfigError: The configuration cannot be used.
        DataError: The training set or the held-out table cannot be used.
    """
    study = resolve(pipeline.read_config(config_path), options, installed())
    notes = pipeline.check_held_out(study)
    pending = pipeline.pending(study)
    refused = dict(study.refused) | _try(study, pending)
    waiting = [subject for subject in pending if subject.name not in refused]
    seconds = _total(study, waiting, _seconds_per_model(study, waiting))
    return {
        "dataset": study.config.dataset.name,
        "n_images": study.sample.n_available,
        "n_sampled": len(study.sample.labels),
        "excluded": dict(study.sample.excluded),
        "measures": [entry.name for entry in study.measures],
        "n_checkpoints": len(study.names),
        "n_cached": len(study.subjects) - len(pending),
        "refused": refused,
        "held_out_notes": notes,
        "output": str(options.output),
        "seconds": seconds,
        "time": _words(seconds),
    }


def _try(study: Study, pending: Sequence[Subject]) -> dict[str, str]:
    """Load each checkpoint that is not cached and run it on one image of every class.

    Returns:
        Checkpoint → why it would fail.
    """
    refused: dict[str, str] = {}
    sample = _first_of_each_class(study.sample, 1)
    for subject in tqdm(
        pending, desc="trying", unit="checkpoint", disable=not study.options.progress
    ):
        with tempfile.TemporaryDirectory() as folder:
            small = dataclasses.replace(subject, sample=sample)
            outcome = audit_checkpoint(small, (), Store(Path(folder)), study.registry)
        if outcome.failure:
            refused[subject.name] = outcome.failure
    return refused


def _seconds_per_model(study: Study, waiting: Sequence[Subject]) -> dict[str, float]:
    """Model → seconds of one checkpoint on the whole sample."""
    first = {subject.model: subject for subject in reversed(waiting)}
    sample = _first_of_each_class(study.sample, _TIMED_PER_CLASS)
    share = len(study.sample.labels) / len(sample.labels)
    found: dict[str, float] = {}
    for model, subject in list(first.items())[:_MOST_TIMED]:
        small = dataclasses.replace(subject, sample=sample)
        for warm in (False, True):
            with tempfile.TemporaryDirectory() as folder:
                started = time.perf_counter()
                store = Store(Path(folder))
                audit_checkpoint(small, study.measures, store, study.registry)
                if warm:
                    found[model] = share * (time.perf_counter() - started)
    return found


def _total(study: Study, waiting: Sequence[Subject], per_model: dict[str, float]) -> float:
    """Seconds for all that waits, over the workers."""
    if not waiting:
        return 0.0
    typical = float(np.mean(list(per_model.values())))
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
    if seconds == 0:
        return "nothing left to compute"
    if seconds < 90:
        return f"about {max(1, round(seconds))} seconds"
    if seconds < 5400:
        return f"about {round(seconds / 60)} minutes"
    return f"about {seconds / 3600:.1f} hours"
