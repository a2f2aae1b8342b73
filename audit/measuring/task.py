"""One task: audit one checkpoint, leaving every number in the store."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd

from audit.errors import (
    AuditError,
    CheckpointError,
    MeasureError,
    PluginError,
    StoreError,
    UnavailableError,
    in_words,
)
from audit.measuring._boundary import attempt
from audit.measuring.checkpoint import CheckpointView
from audit.measuring.doubt import find_doubts
from audit.measuring.machine import Seen, check_machine
from audit.measuring.rows import checked_values, measured_meta, row_entry
from audit.measuring.subject import Provided, Subject, installed_libraries
from audit.measuring.view import Wanted
from audit.network.threads import all_of_float32, one_math_thread
from audit.plugin import MeasureEntry, Value
from audit.plugin.discovery import named_plugins
from audit.plugin.registry import Registry, installed_with
from audit.remote import Location
from audit.shown import bounded
from audit.store import Store
from audit.topology import Filtration
from audit.topology.units import sampled_unit_frame

if TYPE_CHECKING:
    from audit.topology import LayerBirths


@dataclasses.dataclass(frozen=True, slots=True)
class Outcome:
    """What one task came to; the numbers themselves are in the store.

    Attributes:
        failure: Why the checkpoint could not be audited at all, or "".
        failures: Measure → why it failed on this checkpoint.
    """

    failure: str
    failures: Mapping[str, str]


def explain(error: BaseException) -> str:
    """An exception in one line: our own errors by their message, others with their type."""
    if isinstance(error, AuditError):
        return " ".join(str(error).split())
    return " ".join(bounded(in_words(error)).split())


def provided(registry: Registry, measures: Iterable[MeasureEntry]) -> tuple[Provided, ...]:
    """Measures by name, version and who brought them."""
    return tuple(
        Provided(entry.name, entry.version, registry.origin("genaudit_measures", entry.name))
        for entry in measures
    )


@dataclasses.dataclass(frozen=True, slots=True)
class Task:
    """A subject, the measures it needs, and where the store lies: plain data.

    Attributes:
        subject: What is audited.
        measures: What is computed.
        cache: The store's folder, or its URL.
        seen: What the machine that planned it has; None: it runs there.
        plugins: Names of the plugins to load beside those that come along.
    """

    subject: Subject
    measures: tuple[Provided, ...]
    cache: Location
    seen: Seen | None = None
    plugins: tuple[str, ...] = dataclasses.field(default_factory=named_plugins)

    @property
    def device(self) -> str:
        """Where it computes: "cpu" or "cuda"."""
        return self.subject.device


def perform(task: Task) -> Outcome:
    """Run one task in whatever process this is, with the plugins that it names.

    What is wrong with the checkpoint is in the outcome; what is wrong with this worker, so that
    every task would fail here alike, is raised.

    Raises:
        ConfigError: A plugin that it names is not installed here.
        PluginError: A plugin or library here is another than the one the run was planned with.
        StoreError: This machine does not see the store.
        DataError: It does not see the training set.
        ConfigError: It lacks the device.
    """
    registry = installed_with(task.plugins)
    check_versions(task, registry)
    measures = [registry.measures[measure.name] for measure in task.measures]
    store = Store(task.cache)
    if task.seen is not None:
        try:
            check_machine(task.seen, store, task.device)
        except CheckpointError as error:
            return Outcome(explain(error), {})
    return audit_checkpoint(task.subject, measures, store, registry)


def check_versions(task: Task, registry: Registry) -> None:
    """Refuse to work with other plugins or libraries than the run was planned with.

    Raises:
        PluginError: One is missing here or has another version; both versions are named.
    """
    subject = task.subject
    hooks: dict[str, tuple[str, Mapping[str, Any], tuple[Provided, ...]]] = {
        "measure": ("genaudit_measures", registry.measures, task.measures),
        "model source": ("genaudit_models", registry.models, (subject.model_source,)),
        "dataset": ("genaudit_datasets", registry.datasets, (subject.data_source,)),
    }
    for kind, (hook, entries, planned) in hooks.items():
        for wanted in planned:
            entry: Any = entries.get(wanted.name)
            found = entry and Provided(
                wanted.name, entry.version, registry.origin(hook, wanted.name)
            )
            if found != wanted:
                raise PluginError(
                    f"{kind} {wanted.name!r} has {found or 'no plugin'} in this worker, but the "
                    f"run was planned with {wanted}: install the same plugins everywhere"
                )
    here = installed_libraries()
    for name, version in subject.libraries.items():
        if here.get(name) != version:
            raise PluginError(
                f"this worker has {name} {here.get(name)}, but the run was planned with {name} "
                f"{version}: install the same versions everywhere"
            )


def audit_checkpoint(
    subject: Subject, measures: Sequence[MeasureEntry], store: Store, registry: Registry
) -> Outcome:
    """Compute what the store lacks of one checkpoint.

    Args:
        subject: The checkpoint and the training sample.
        measures: What to compute.
        store: Where numbers go: each measure for itself, and all rows together.
        registry: Where plugins are looked up.
    """
    failures: dict[str, str] = {}

    def work() -> None:
        _Work(subject, measures, store, registry, failures).run()

    with one_math_thread(), all_of_float32():
        _, error = attempt(work)
    if error is None:
        return Outcome("", failures)
    with contextlib.suppress(StoreError):  # the reason counts, not that it could not be noted
        store.note({"checkpoint": subject.name, "stage": "failed", "reason": explain(error)})
        store.flush()
    return Outcome(explain(error), failures)


class _Work:
    """What `audit_checkpoint` does, step by step."""

    def __init__(
        self,
        subject: Subject,
        measures: Sequence[MeasureEntry],
        store: Store,
        registry: Registry,
        failures: dict[str, str],
    ) -> None:
        self._failures = failures
        self._subject, self._store = subject, store
        self._entries = dict(zip(provided(registry, measures), measures, strict=True))
        self._found: dict[Provided, dict[str, Any]] = {}
        store.survey(subject.key)
        keys = [subject.measure_key(measure) for measure in self._entries]
        for measure, entry in zip(self._entries, store.get_many(keys), strict=True):
            if entry is not None:
                self._found[measure] = entry.meta
        every = Wanted.by(measures)
        missing = Wanted.by(self._entries[m] for m in self._entries if m not in self._found)
        self._filtrations = every.filtrations
        wanted = dataclasses.replace(missing, filtrations=every.filtrations)
        self._view = CheckpointView(subject, store, wanted, registry)

    def run(self) -> None:
        """Make the passes, then compute each measure and the unit tables.

        Nothing is left to do where another run has put the rows of the same measures meanwhile.
        """
        every = tuple(self._entries)
        row_key = self._subject.row_key(every, self._filtrations)
        if len(self._found) == len(every) and self._store.has(row_key):
            return
        started = time.perf_counter()
        _, error = attempt(self._view.run)
        if error is not None:
            raise error if isinstance(error, AuditError) else self._view.refusal(error) or error
        self._note(stage="passes", seconds=_since(started), passes=self._passes())
        for measure, entry in self._entries.items():
            if measure not in self._found:
                self._measure(measure, entry)
        kept = [measure for measure in self._entries if measure in self._found]
        units: dict[str, pd.DataFrame] = {f: self._units(f) for f in self._filtrations}
        values = {measure.name: self._found[measure] for measure in kept}
        facts = {**self._view.facts(), "doubts": self._doubts()}
        rows = row_entry(values, units, facts)
        self._store.put(self._subject.row_key(kept, self._filtrations), rows.arrays, rows.meta)
        n_images, seconds = len(self._view.labels), _since(started)
        self._note(stage="audited", model=self._subject.model, images=n_images, seconds=seconds)
        self._store.flush()

    def _passes(self) -> float:
        """Forward passes over the sample that were made."""
        return round(self._view.n_forwarded / max(1, len(self._view.labels)), 4)

    def _measure(self, measure: Provided, entry: MeasureEntry) -> None:
        """Compute one measure into the store, or note why it failed."""
        started = time.perf_counter()

        def compute() -> dict[str, Value]:
            with self._view.lent():
                return checked_values(self._view.within_memory(lambda: entry.compute(self._view)))

        values, error = attempt(compute)
        if isinstance(error, UnavailableError):
            values = {"": Value.unavailable(str(error))}
        elif error is not None or values is None:
            self._failures[measure.name] = explain(error or MeasureError("it gave nothing"))
            return
        meta = measured_meta(values, _since(started))
        self._store.put(self._subject.measure_key(measure), {}, meta)
        self._note(measure=measure.name, seconds=meta["seconds"])
        self._found[measure] = meta

    def _units(self, filtration: Filtration) -> pd.DataFrame:
        """The unit table of one filtration; empty where no layer has births."""
        try:
            layers: Sequence[LayerBirths] = self._view.births(filtration)
        except UnavailableError:
            layers = ()
        return sampled_unit_frame(layers, self._view.labels, self._view.class_names)

    def _doubts(self) -> list[dict[str, str]]:
        """Why the checkpoint is doubtful, if it is."""
        view, own = self._view, self._subject.sample.class_names
        found = find_doubts(view.logits(), view.labels, view.class_names, own, view.evidence())
        return [dataclasses.asdict(doubt) for doubt in found]

    def _note(self, **what: Any) -> None:
        self._store.note({"checkpoint": self._subject.name, **what})


def _since(started: float) -> float:
    """Seconds since then."""
    return round(time.perf_counter() - started, 4)
