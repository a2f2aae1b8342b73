"""One task: audit one checkpoint, leaving every number in the store."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from audit.errors import AuditError, StoreError, UnavailableError
from audit.measuring.rows import checked_values
from audit.measuring.subject import Subject
from audit.measuring.unit_tables import keep_units
from audit.measuring.view import CheckpointView
from audit.network.threads import one_math_thread
from audit.plugin import MeasureEntry, Value
from audit.plugin.registry import Registry, installed
from audit.store import Store
from audit.topology import Filtration

T = TypeVar("T")
_log = logging.getLogger("genaudit.measuring")


@dataclasses.dataclass(frozen=True, slots=True)
class Outcome:
    """What one task came to; the numbers themselves are in the store.

    Attributes:
        failure: Why the checkpoint could not be audited at all, or "".
        failures: Measure → why it failed on this checkpoint.
    """

    failure: str
    failures: Mapping[str, str]


def filtrations_of(measures: Sequence[MeasureEntry]) -> tuple[Filtration, ...]:
    """The filtrations that these measures need, sorted."""
    return tuple(sorted({name for entry in measures for name in entry.filtrations}))


def explain(error: BaseException) -> str:
    """An exception in one line: our own errors by their message, others with their type."""
    text = " ".join(str(error).split())
    return text if isinstance(error, AuditError) else f"{type(error).__name__}: {text}"


@dataclasses.dataclass(frozen=True, slots=True)
class Task:
    """A subject, the names of the measures it needs, and the store's folder: plain data."""

    subject: Subject
    measures: tuple[str, ...]
    cache: Path


def perform(task: Task) -> Outcome:
    """Run one task in whatever process this is, with the plugins installed here."""
    registry = installed()
    measures = [registry.measures[name] for name in task.measures]
    return audit_checkpoint(task.subject, measures, Store(task.cache), registry)


def audit_checkpoint(
    subject: Subject, measures: Sequence[MeasureEntry], store: Store, registry: Registry
) -> Outcome:
    """Compute what the store lacks of one checkpoint.

    Args:
        subject: The checkpoint and the training sample.
        measures: What to compute.
        store: Where numbers go.
        registry: Where plugins are looked up.
    """
    failures: dict[str, str] = {}

    def steps() -> None:
        started = time.perf_counter()
        view = CheckpointView(subject, store, filtrations_of(measures), registry)
        view.logits()
        for filtration in filtrations_of(measures):
            keep_units(subject, view, filtration, store)
        seconds = round(time.perf_counter() - started, 4)
        store.note({"checkpoint": subject.name, "stage": "trace", "seconds": seconds})
        for entry in measures:
            if store.get(subject.measure_key(entry.name, entry.version)) is None:
                reason = _keep_measure(subject, view, entry, store)
                if reason:
                    failures[entry.name] = reason

    with one_math_thread():
        _, error = _attempt(steps)
    if error is None:
        return Outcome("", failures)
    with contextlib.suppress(StoreError):  # the reason counts, not that it could not be noted
        store.note({"checkpoint": subject.name, "stage": "failed", "reason": explain(error)})
    return Outcome(explain(error), failures)


def _attempt(step: Callable[[], T]) -> tuple[T | None, Exception | None]:
    """A step's result, or its exception: the boundary where a failure becomes one row."""
    try:
        return step(), None
    except Exception as error:  # noqa: BLE001  networks and plugins may raise anything
        _log.debug("a step failed", exc_info=True)
        return None, error


def _keep_measure(subject: Subject, view: CheckpointView, entry: MeasureEntry, store: Store) -> str:
    """Compute one measure into the store; returns why it failed, or ""."""
    started = time.perf_counter()
    values, error = _attempt(lambda: checked_values(entry.compute(view)))
    if isinstance(error, UnavailableError):
        values = {"": Value.unavailable(str(error))}
    elif error is not None:
        return explain(error)
    assert values is not None
    seconds = round(time.perf_counter() - started, 4)
    meta = {
        "seconds": seconds,
        "values": {
            suffix: [None if math.isnan(v.value) else v.value, v.status, v.reason]
            for suffix, v in values.items()
        },
    }
    store.put(subject.measure_key(entry.name, entry.version), {}, meta)
    store.note({"checkpoint": subject.name, "measure": entry.name, "seconds": seconds})
    return ""
