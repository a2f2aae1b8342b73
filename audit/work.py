"""One task: audit one checkpoint, leaving every number in the store."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd

from audit.contracts import Filtration, LayerBirths, Measured, MeasureEntry, Value
from audit.errors import AuditError, MeasureError, StoreError, UnavailableError
from audit.registry import Registry, installed
from audit.store import Entry, Store
from audit.units import unit_frame
from audit.views import CheckpointView, Subject, one_math_thread

T = TypeVar("T")
_log = logging.getLogger("genaudit.work")

#: Changes whenever a column of the unit table would.
UNITS_VERSION = "1"


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
            _keep_units(subject, view, filtration, store)
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
    values, error = _attempt(lambda: _values(entry.compute(view)))
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


def _values(measured: Measured) -> dict[str, Value]:
    """Suffix → number of what a measure returned, checked.

    Raises:
        MeasureError: It is no number, nor a mapping of names to numbers.
    """
    parts = measured if isinstance(measured, Mapping) else {"": measured}
    if not parts:
        raise MeasureError("the measure returned no number")
    found: dict[str, Value] = {}
    for suffix, part in parts.items():
        try:
            value = Value.of(part)
            number = float(value.value)
        except (TypeError, ValueError) as error:
            what = f"{type(part).__name__} for {suffix!r}" if suffix else type(part).__name__
            raise MeasureError(f"the measure returned {what}, not a number") from error
        if value.status != "ok":
            found[str(suffix)] = dataclasses.replace(value, value=math.nan)
        else:
            found[str(suffix)] = Value.of(number)
    return found


def measure_rows(subject: Subject, entry: MeasureEntry, found: Entry) -> list[dict[str, Any]]:
    """Rows of the measures table from what the store holds of one measure."""
    rows = []
    for suffix, (number, status, reason) in found.meta["values"].items():
        rows.append(
            {
                "checkpoint": subject.name,
                "measure": f"{entry.name}.{suffix}" if suffix else entry.name,
                "version": entry.version,
                "value": math.nan if number is None else number,
                "status": status,
                "reason": reason,
                "seconds": found.meta["seconds"],
            }
        )
    return rows


def units_key(subject: Subject, filtration: str) -> dict[str, Any]:
    """The store key of the unit table."""
    return subject.trace_key(f"units.{filtration}") | {"version": UNITS_VERSION}


def _keep_units(
    subject: Subject, view: CheckpointView, filtration: Filtration, store: Store
) -> None:
    """Compute the unit table of one filtration into the store."""
    key = units_key(subject, filtration)
    if store.get(key) is not None:
        return
    try:
        layers: tuple[LayerBirths, ...] = view.births(filtration)
    except UnavailableError:
        layers = ()
    frame = unit_frame(layers, view.labels, view.class_names)
    arrays: dict[str, np.ndarray] = {}
    words: dict[str, list[str]] = {}
    for column in frame:
        values = frame[column]
        if pd.api.types.is_numeric_dtype(values):
            arrays[str(column)] = values.to_numpy()
        else:
            codes, names = pd.factorize(values)
            arrays[str(column)] = codes.astype(np.int32)
            words[str(column)] = [str(name) for name in names]
    store.put(key, arrays, {"words": words, "columns": [str(column) for column in frame]})


def read_units(subject: Subject, filtration: str, store: Store) -> pd.DataFrame | None:
    """The unit table of one filtration from the store, or None where it is not there.

    Returns:
        Columns checkpoint, filtration, layer, unit, class_name, n_images, effective_rate,
        birth_entropy, feature_entropy, status.
    """
    entry = store.get(units_key(subject, filtration))
    if entry is None:
        return None
    columns: dict[str, Any] = {}
    for column in entry.meta["columns"]:
        values = entry.arrays[column]
        if column in entry.meta["words"]:
            columns[column] = pd.Categorical.from_codes(values, entry.meta["words"][column])
        else:
            columns[column] = values
    frame = pd.DataFrame(columns)
    frame.insert(0, "filtration", filtration)
    frame.insert(0, "checkpoint", subject.name)
    return frame
