"""An audit from configuration to report: settle, measure, then the stages on the output folder."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from audit import correlation
from audit.correlation.stage import correlate_folder
from audit.errors import AuditError, DataError, MeasureError, StoreError
from audit.files import refusals_typed, remove_leftovers, write_atomically
from audit.folder.record import ACCURACIES, CORRELATIONS
from audit.folder.tables import ALL_MEASURES
from audit.measuring.machine import look
from audit.measuring.subject import Provided
from audit.measuring.task import Outcome, Task, explain, perform, provided
from audit.measuring.view import Wanted
from audit.plugin import AuditResult
from audit.plugin.registry import installed
from audit.ranking.stage import rank_folder
from audit.runs.config import AuditConfig, RunOptions
from audit.runs.engines import run_watched
from audit.runs.kept_examples import keep_examples
from audit.runs.longest_first import expected_lengths, longest_first
from audit.runs.measured_tables import MeasuredTables
from audit.runs.progress import Progress
from audit.runs.reports import report_folder
from audit.runs.run_limits import RunLimits, RunStoppedError
from audit.runs.study import Study, resolve

if TYPE_CHECKING:
    from audit.measuring.subject import Subject
    from audit.store import Entry


def run(
    config_or_path: AuditConfig | Mapping[str, Any] | str | Path,
    output: str | Path | None = None,
    *,
    options: RunOptions | None = None,
) -> AuditResult:
    """Audit checkpoints: measure, correlate where accuracies are known, rank, report.

    Args:
        config_or_path: A configuration, a mapping like one (relative paths start from the current
            folder; its `dataset` may be an object that a plugin reads, such as one of torch), or
            the path of an `audit.toml` (relative paths start from its folder).
        output: The output folder; goes before `options.output`.
        options: Where to write and what to run on.

    Returns:
        The tables, which also lie in the output folder. Checkpoints that failed are in
        `.failed`, and are not ranked; reports that failed are in `.failed_reports`.

    Raises:
        ConfigError: The configuration cannot be used.
        DataError: The training set or the held-out table cannot be used.
        StoreError: The output folder or the store cannot be written.

    Example:
        >>> result = audit.run("audit.toml")            # doctest: +SKIP
        >>> result.ranking.head(3)                      # doctest: +SKIP
    """
    options = options or RunOptions()
    if output is not None:
        options = options.model_copy(update={"output": Path(output)})
    with refusals_typed():
        return _run(read_config(config_or_path), options)


def _run(config: AuditConfig, options: RunOptions) -> AuditResult:
    """All stages, one after another."""
    study = resolve(config, options)
    folder = options.output
    held_out = study.config.held_out
    has_table = held_out is not None and held_out.table is not None
    check_held_out(study)
    measures = measure(study)
    if not has_table:
        for name in (ACCURACIES, CORRELATIONS):
            (folder / name).unlink(missing_ok=True)
    audited = measures.loc[measures["measure"] != ALL_MEASURES, "checkpoint"].nunique()
    if audited and has_table:
        correlate_folder(folder)
    if audited:
        rank_folder(folder, study.config.card, abstain=study.config.ranking.abstain)
    if study.config.reports.unit_examples:
        keep_examples(study)
    return report_folder(folder, study.reporters)


def read_config(source: AuditConfig | Mapping[str, Any] | str | Path) -> AuditConfig:
    """A configuration from what `run` accepts."""
    if isinstance(source, AuditConfig):
        return source
    if isinstance(source, Mapping):
        dataset = source.get("dataset")
        if dataset is not None and not isinstance(dataset, str | int | float | Mapping | list):
            source = {**source, "dataset": installed().adopted(dataset)}
        return AuditConfig.parse(source, Path.cwd(), "the configuration")
    return AuditConfig.read(Path(source))


def check_held_out(study: Study) -> list[str]:
    """Find out before hours of work whether the held-out table can be used; returns its notes.

    Raises:
        ConfigError: Its format is unknown.
        DataError: It cannot be read, or names checkpoints that are not there.
    """
    held_out = study.config.held_out
    if held_out is None or held_out.table is None:
        return []
    path = study.config.path(held_out.table)
    if held_out.format == "table":
        return list(correlation.read_held_out(path, study.names).notes)
    study.registry.held_out_format(held_out.format)
    if not path.is_file():
        raise DataError(f"held-out table {path} does not exist")
    return [f"published results, joined after measuring: {path}"]


def measure(study: Study) -> pd.DataFrame:
    """Compute what the store lacks, and write `measures.csv`, `units.parquet` and `run.json`.

    They are written now and then while it goes on, and when it is interrupted: checkpoints that
    are not finished are absent then, and `run.json` says `"complete": false`. Tables of later
    stages that an earlier run left in the folder are removed, unless the measures come out as they
    were.

    Returns:
        The measures table.

    Raises:
        StoreError: The output folder or the store cannot be written.
    """
    make_writable(study.options.output)
    tables = MeasuredTables(study, _planned(study)[0])
    found = set()
    for subject, entry in kept_rows(study):
        tables.add_kept(subject, entry)
        found.add(subject.name)
    if len(found) < len(study.subjects):
        study.store.remove_leftovers()  # a run that computes nothing looks through no store
    try:
        _compute(study, [s for s in study.subjects if s.name not in found], tables)
    except BaseException:
        tables.save()
        raise
    return tables.write()


def kept_rows(study: Study) -> Iterator[tuple[Subject, Entry]]:
    """Each checkpoint of which the store has all rows, with them: one read for each that has."""
    planned, filtrations = _planned(study)
    entries = study.store.each(s.row_key(planned, filtrations) for s in study.subjects)
    for subject, entry in zip(study.subjects, entries, strict=True):
        if entry is not None:
            yield subject, entry


def _planned(study: Study) -> tuple[tuple[Provided, ...], tuple[str, ...]]:
    """The measures of a study, and the filtrations they need."""
    return provided(study.registry, study.measures), Wanted.by(study.measures).filtrations


def _compute(study: Study, subjects: Sequence[Subject], tables: MeasuredTables) -> None:
    """Run the tasks, those first that are expected to take longest, and fill the tables."""
    planned, _ = _planned(study)
    options, chosen = study.options, study.engine
    # The ledger of a bucket is an object for every task, and all of them would be asked for.
    is_read = len(subjects) > 1 and isinstance(study.store.location, Path)
    lengths = expected_lengths(subjects, study.store.ledger() if is_read else ())
    subjects = longest_first(subjects, lengths)
    engine = study.registry.engine(chosen.name)
    tasks = [_task(study, subject, planned, engine.elsewhere) for subject in subjects]
    workers = options.workers_of(engine, len(tasks))
    counted = options.max_gpu_hours is not None
    n_devices = engine.n_devices(workers, chosen.options) if counted else 0.0
    limits = RunLimits(options.max_hours, options.max_gpu_hours, n_devices)
    if limits and workers == 0:
        workers = 1  # what is under way in this process could not be given up
    drawn = options.progress and bool(tasks)
    progress = Progress(options.output, study.names, study.refused, lengths, drawn)

    def watch(running: Mapping[int, float]) -> None:
        progress.watch({subjects[index].name: seconds for index, seconds in running.items()})
        tables.save_if_due()
        limits.check()

    ends = run_watched(engine, perform, tasks, workers, chosen.options, watch)
    waiting = {subject.name for subject in subjects}
    with progress, contextlib.closing(ends):
        try:
            for index, result in ends:
                if isinstance(result, AuditError) and not isinstance(result, MeasureError):
                    raise result  # of the worker, not of the checkpoint: see `perform`
                failed = isinstance(result, BaseException)
                outcome = Outcome(explain(result), {}) if failed else result
                waiting.remove(subjects[index].name)
                progress.finish(subjects[index].name, tables.add(subjects[index], outcome))
                tables.save_if_due()
                if waiting:
                    limits.check()
        except RunStoppedError as stop:
            for name in waiting:
                tables.add_stopped(name, str(stop))
            progress.stop(str(stop))


def _task(study: Study, subject: Subject, planned: tuple[Provided, ...], elsewhere: bool) -> Task:
    """The work on one checkpoint; `elsewhere`: another machine may do it, in another folder."""
    if not elsewhere:
        return Task(subject, planned, study.options.cache)
    place = study.store.location
    where = place.absolute() if isinstance(place, Path) else place
    return Task(subject, planned, where, look(subject, study.store))


def make_writable(folder: Path) -> None:
    """Find out before hours of work whether results can be written; tidy up after killed runs.

    Raises:
        StoreError: They cannot; the message says why.
    """
    probe = folder / ".genaudit-probe"
    try:
        write_atomically(probe, b"")
    except StoreError as error:
        cause = error.__cause__
        reason = cause.strerror if isinstance(cause, OSError) else cause
        raise StoreError(
            f"output folder {folder} cannot be written: {reason}; choose another with -o"
        ) from error
    probe.unlink(missing_ok=True)
    remove_leftovers(folder)
