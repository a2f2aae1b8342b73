"""An audit from configuration to report: settle, measure, then the stages on the output folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from tqdm import tqdm

from audit import correlation
from audit.correlation.stage import correlate_folder
from audit.errors import DataError, StoreError
from audit.files import write_atomically
from audit.folder.csv_files import write_csv
from audit.folder.currency import file_sha256
from audit.folder.record import (
    ACCURACIES,
    CORRELATIONS,
    MEASURES,
    RANKING,
    RUN,
    UNITS,
    read_run,
    write_run,
)
from audit.folder.tables import ALL_MEASURES, measures_frame, write_parquet
from audit.measuring.rows import measure_rows
from audit.measuring.task import Outcome, Task, explain, filtrations_of, perform
from audit.measuring.unit_tables import read_units, units_key
from audit.plugin import AuditResult
from audit.plugin.registry import installed
from audit.ranking.stage import rank_folder
from audit.runs.config import AuditConfig, RunOptions
from audit.runs.reports import report_folder
from audit.runs.study import Study, describe, resolve

if TYPE_CHECKING:
    from audit.measuring.subject import Subject


def run(
    config_or_path: AuditConfig | Mapping[str, Any] | str | Path,
    output: str | Path | None = None,
    *,
    options: RunOptions | None = None,
) -> AuditResult:
    """Audit checkpoints: measure, correlate where accuracies are known, rank, report.

    Args:
        config_or_path: A configuration, a mapping like one (relative paths start from the current
            folder), or the path of an `audit.toml` (relative paths start from its folder).
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
    study = resolve(read_config(config_or_path), options, installed())
    folder = options.output
    held_out = study.config.held_out
    check_held_out(study)
    measures = measure(study)
    if held_out is None:
        for name in (ACCURACIES, CORRELATIONS):
            (folder / name).unlink(missing_ok=True)
    audited = measures.loc[measures["measure"] != ALL_MEASURES, "checkpoint"].nunique()
    if audited and held_out is not None:
        correlate_folder(folder)
    if audited:
        rank_folder(folder)
    return report_folder(folder, study.reporters)


def read_config(source: AuditConfig | Mapping[str, Any] | str | Path) -> AuditConfig:
    """A configuration from what `run` accepts."""
    if isinstance(source, AuditConfig):
        return source
    if isinstance(source, Mapping):
        return AuditConfig.parse(source, Path.cwd(), "the configuration")
    return AuditConfig.read(Path(source))


def check_held_out(study: Study) -> list[str]:
    """Find out before hours of work whether the held-out table can be used; returns its notes.

    Raises:
        ConfigError: Its format is unknown.
        DataError: It cannot be read, or names checkpoints that are not there.
    """
    held_out = study.config.held_out
    if held_out is None:
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

    Tables of later stages that an earlier run left in the folder are removed, unless the
    measures come out as they were.

    Returns:
        The measures table.

    Raises:
        StoreError: The output folder or the store cannot be written.
    """
    folder = study.options.output
    make_writable(folder)
    outcomes = _compute(study, pending(study))
    rows: list[dict[str, Any]] = [
        _failed_row(name, ALL_MEASURES, "", reason) for name, reason in study.refused.items()
    ]
    units: list[pd.DataFrame] = []
    for subject in study.subjects:
        outcome = outcomes.get(subject.name, Outcome("", {}))
        if outcome.failure:
            rows.append(_failed_row(subject.name, ALL_MEASURES, "", outcome.failure))
            continue
        rows += _rows_of(study, subject, outcome)
        tables = [read_units(subject, f, study.store) for f in filtrations_of(study.measures)]
        units += [table for table in tables if table is not None]
    frame = measures_frame(rows)
    record = describe(study)
    before = file_sha256(folder / MEASURES)
    write_csv(frame, folder / MEASURES)
    _write_units(units, folder / UNITS)
    if file_sha256(folder / MEASURES) == before and (folder / RUN).exists():
        earlier = read_run(folder)
        record |= {name: earlier[name] for name in ("correlation", "ranking") if name in earlier}
    else:
        for name in (ACCURACIES, CORRELATIONS, RANKING):
            (folder / name).unlink(missing_ok=True)
    write_run(folder, record)
    return frame


def pending(study: Study) -> list[Subject]:
    """The checkpoints of which the store lacks something."""
    return [subject for subject in study.subjects if missing_measures(study, subject)]


def missing_measures(study: Study, subject: Subject) -> list[str]:
    """What the store lacks of one checkpoint: measures, and unit tables as `units.<filtration>`."""
    missing = [
        entry.name
        for entry in study.measures
        if study.store.get(subject.measure_key(entry.name, entry.version)) is None
    ]
    return missing + [
        f"units.{filtration}"
        for filtration in filtrations_of(study.measures)
        if study.store.get(units_key(subject, filtration)) is None
    ]


def _compute(study: Study, subjects: Sequence[Subject]) -> dict[str, Outcome]:
    """Run the tasks; checkpoint → what it came to."""
    names = tuple(entry.name for entry in study.measures)
    tasks = [Task(subject, names, study.options.cache) for subject in subjects]
    if not tasks:
        return {}
    outcomes: dict[str, Outcome] = {}
    engine = study.registry.engine(study.engine.name)
    workers = min(study.options.workers, len(tasks))
    bar = tqdm(
        total=len(study.subjects),
        initial=len(study.subjects) - len(tasks),
        desc="measuring",
        unit="checkpoint",
        disable=not study.options.progress,
    )
    with bar:
        for index, result in engine.run(perform, tasks, workers, study.engine.options):
            failed = isinstance(result, BaseException)
            outcomes[subjects[index].name] = Outcome(explain(result), {}) if failed else result
            bar.update()
    return outcomes


def _rows_of(study: Study, subject: Subject, outcome: Outcome) -> list[dict[str, Any]]:
    """Every row of one checkpoint that was audited."""
    rows: list[dict[str, Any]] = []
    for entry in study.measures:
        if entry.name in outcome.failures:
            reason = outcome.failures[entry.name]
            rows.append(_failed_row(subject.name, entry.name, entry.version, reason))
            continue
        found = study.store.get(subject.measure_key(entry.name, entry.version))
        if found is None:
            reason = "its cache entry was damaged while this ran; run again"
            rows.append(_failed_row(subject.name, entry.name, entry.version, reason))
        else:
            rows += measure_rows(subject, entry, found)
    return rows


def _failed_row(checkpoint: str, measure: str, version: str, reason: str) -> dict[str, Any]:
    """A row that says why there is no number."""
    return {
        "checkpoint": checkpoint,
        "measure": measure,
        "version": version,
        "value": float("nan"),
        "status": "failed",
        "reason": reason,
        "seconds": float("nan"),
    }


def _write_units(units: Sequence[pd.DataFrame], path: Path) -> None:
    """All unit tables below each other; words as categories, so that the file stays small."""
    if not units:
        path.unlink(missing_ok=True)
        return
    frame = pd.concat(units, ignore_index=True)
    for column in ("checkpoint", "filtration", "layer", "class_name", "status"):
        frame[column] = frame[column].astype("category")
    write_parquet(frame, path)


def make_writable(folder: Path) -> None:
    """Find out before hours of work whether results can be written.

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
