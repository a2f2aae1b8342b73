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
from audit.folder.tables import ALL_MEASURES, DOUBT, measures_frame, write_parquet
from audit.measuring.rows import measure_rows, unit_rows
from audit.measuring.subject import Provided
from audit.measuring.task import Outcome, Task, explain, perform, provided
from audit.measuring.view import Wanted
from audit.plugin import AuditResult
from audit.plugin.registry import installed
from audit.ranking.stage import rank_folder
from audit.runs.config import AuditConfig, RunOptions
from audit.runs.kept_examples import keep_examples
from audit.runs.reports import report_folder
from audit.runs.study import Study, describe, resolve

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
    study = resolve(read_config(config_or_path), options)
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

    Tables of later stages that an earlier run left in the folder are removed, unless the
    measures come out as they were.

    Returns:
        The measures table.

    Raises:
        StoreError: The output folder or the store cannot be written.
    """
    folder = study.options.output
    make_writable(folder)
    found = kept_rows(study)
    outcomes = _compute(study, [s for s in study.subjects if s.name not in found])
    rows: list[dict[str, Any]] = [
        _failed_row(name, ALL_MEASURES, "", reason) for name, reason in study.refused.items()
    ]
    units: list[pd.DataFrame] = []
    facts: dict[str, Mapping[str, Any]] = {}
    for subject in study.subjects:
        outcome = outcomes.get(subject.name, Outcome("", {}))
        entry = found.get(subject.name) or _rows_of(study, subject, outcome)
        if outcome.failure or entry is None:
            reason = outcome.failure or "its cache entry was damaged while this ran; run again"
            rows.append(_failed_row(subject.name, ALL_MEASURES, "", reason))
            continue
        doubts = entry.meta["facts"]["doubts"]
        if doubts and study.config.measures.on_doubt == "fail":
            rows.append(_failed_row(subject.name, ALL_MEASURES, "", refusal_of(doubts)))
            continue
        kept, failed = _split(study, outcome)
        numbers = measure_rows(subject.name, kept, entry)
        numbers += [
            _failed_row(subject.name, m.name, m.version, outcome.failures[m.name]) for m in failed
        ]
        kinds = ";".join(doubt["kind"] for doubt in doubts)
        rows += [row | {DOUBT: kinds} for row in numbers]
        units += unit_rows(subject.name, entry)
        facts[subject.name] = entry.meta["facts"]
    frame = measures_frame(rows)
    record = describe(study, facts)
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


def kept_rows(study: Study) -> dict[str, Entry]:
    """Checkpoint → all its rows, where the store has them: one read for each checkpoint."""
    planned, filtrations = _planned(study)
    entries = {s.name: study.store.get(s.row_key(planned, filtrations)) for s in study.subjects}
    return {name: entry for name, entry in entries.items() if entry is not None}


def _planned(study: Study) -> tuple[tuple[Provided, ...], tuple[str, ...]]:
    """The measures of a study, and the filtrations they need."""
    return provided(study.registry, study.measures), Wanted.by(study.measures).filtrations


def _split(study: Study, outcome: Outcome) -> tuple[list[Provided], list[Provided]]:
    """The measures that a task computed, and those that failed."""
    planned, _ = _planned(study)
    failed = [measure for measure in planned if measure.name in outcome.failures]
    return [measure for measure in planned if measure not in failed], failed


def _rows_of(study: Study, subject: Subject, outcome: Outcome) -> Entry | None:
    """What a task has left of one checkpoint."""
    if outcome.failure:
        return None
    kept, _ = _split(study, outcome)
    return study.store.get(subject.row_key(kept, Wanted.by(study.measures).filtrations))


def _compute(study: Study, subjects: Sequence[Subject]) -> dict[str, Outcome]:
    """Run the tasks; checkpoint → what it came to."""
    planned, _ = _planned(study)
    tasks = [Task(subject, planned, study.options.cache) for subject in subjects]
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


def refusal_of(doubts: Sequence[Mapping[str, str]]) -> str:
    """Why a doubtful checkpoint is a failed row."""
    reasons = "; ".join(doubt["reason"] for doubt in doubts)
    return f'doubtful, and on_doubt = "fail" in [measures]: {reasons}'


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
