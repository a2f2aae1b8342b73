"""The last stage: the reports of an output folder, each on its own."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import pydantic

from audit.errors import DataError, Termination, unknown_name
from audit.folder.record import RUN, read_run, write_run
from audit.folder.result import read_result
from audit.folder.unit_examples import check_examples
from audit.plugin import AuditResult, ReporterEntry
from audit.plugin.registry import Registry
from audit.runs.config import ReportsConfig

#: The part of `run.json` that says what became of each report.
SECTION = "reports"
_log = logging.getLogger("genaudit.reports")


@dataclasses.dataclass(frozen=True)
class ChosenReporter:
    """A reporter that was chosen.

    Attributes:
        entry: The reporter.
        options: Its options, all of which it knows.
    """

    entry: ReporterEntry
    options: Mapping[str, Any]


def choose_reporters(config: ReportsConfig, registry: Registry) -> tuple[ChosenReporter, ...]:
    """The reporters a configuration asks for, in its order; each once.

    Raises:
        ConfigError: A reporter or an option nobody registered; the message has the nearest names.
    """
    for name, options in config.options.items():
        check_options(f"reporter {name!r}", options, registry.reporter(name).options)
    names = config.include
    if names is None:
        names = tuple(name for name, entry in registry.reporters.items() if entry.default)
    return tuple(
        ChosenReporter(registry.reporter(name), config.options.get(name, {}))
        for name in dict.fromkeys(names)
    )


def check_options(owner: str, given: Collection[str], known: Sequence[str]) -> None:
    """Refuse options that an engine or a reporter does not have, before anything is measured.

    Raises:
        ConfigError: An option is not known; the message has the nearest names.
    """
    for option in given:
        if option not in known:
            has = f"its options are {', '.join(known)}" if known else "it has none"
            raise unknown_name(f"option of {owner}:", option, known, has)


def recorded_choice(folder: Path) -> ReportsConfig:
    """What the configuration of an output folder's run says of reports.

    Raises:
        DataError: `run.json` cannot be read, or says it in another form.
    """
    config = read_run(folder).get("config")
    said = config.get("reports") if isinstance(config, Mapping) else None
    try:
        return ReportsConfig.model_validate({} if said is None else said)
    except pydantic.ValidationError as error:
        where = ".".join(["config", "reports", *map(str, error.errors()[0]["loc"])])
        raise DataError(
            f"{folder / RUN}: {where} cannot be used; `genaudit run` writes the file anew"
        ) from error


def report_folder(folder: Path, reporters: Sequence[ChosenReporter]) -> AuditResult:
    """Write the reports of an output folder's tables; one that fails costs its own report only.

    What was written and what failed, with the reason, is recorded in `run.json` under `reports`,
    and is in `failed_reports` of the result.

    Raises:
        DataError: A table, or what is kept of units, cannot be read.
        StoreError: `run.json` cannot be written.
    """
    result = read_result(folder)
    check_examples(folder)
    told = {name: part for name, part in result.run.items() if name != SECTION}
    result = dataclasses.replace(result, run=told)  # a report must not hang on earlier ones
    written: dict[str, list[str]] = {}
    failed: dict[str, str] = {}
    for reporter in reporters:
        files, error = _attempt(reporter, result, folder)
        if error is None:
            written[reporter.entry.name] = [_relative(path, folder) for path in files]
        else:
            failed[reporter.entry.name] = _explain(error)
    record = read_run(folder) | {SECTION: {"written": written, "failed": failed}}
    write_run(folder, record)
    return dataclasses.replace(result, run=record)


def _attempt(
    reporter: ChosenReporter, result: AuditResult, folder: Path
) -> tuple[Sequence[Path], BaseException | None]:
    """The files of one report, or its exception: the boundary where a failure costs one report."""
    try:
        return list(reporter.entry.write(result, folder, reporter.options)), None
    except (KeyboardInterrupt, Termination):
        raise
    except BaseException as error:  # noqa: BLE001  reporters may raise anything
        _log.debug("a reporter failed", exc_info=True)
        return [], error


def _explain(error: BaseException) -> str:
    """An exception in one line, as of checkpoints that fail; torch comes with it, so late."""
    from audit.measuring.task import explain

    return explain(error)


def _relative(path: Path, folder: Path) -> str:
    """A file as seen from the output folder, where it lies in it."""
    path = Path(path)
    return (path.relative_to(folder) if path.is_relative_to(folder) else path).as_posix()
