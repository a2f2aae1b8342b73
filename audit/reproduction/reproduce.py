"""From claims and cases to verdicts, tables and figures; what is there is not computed again."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tqdm import tqdm

from audit.errors import AuditError, ConfigError, UnavailableError, unknown_name
from audit.files import write_atomically
from audit.notations import json_of
from audit.plugin.registry import installed
from audit.reproduction import figures
from audit.reproduction.case import Case
from audit.reproduction.claim import Claim, Outcome, Record, judge
from audit.reproduction.claims import CLAIMS
from audit.reproduction.form import Form
from audit.reproduction.results import ALL, write_results
from audit.reproduction.trained import TrainedCase, TrainingJob, train_and_follow
from audit.runs import pipeline
from audit.runs.config import EngineConfig, RunOptions
from audit.zoo.networks import device_of


class Question(NamedTuple):
    """A claim put to a case: plain data, to be sent to another process."""

    claim: str
    case: Case


def chosen_claims(names: Sequence[str]) -> list[Claim]:
    """Claims by name, each once, in the order of the method.

    Raises:
        ConfigError: An unknown name.
    """
    for name in names:
        if name != ALL and name not in CLAIMS:
            raise unknown_name("claim", name, [*CLAIMS, ALL], f"known: {', '.join(CLAIMS)}, {ALL}")
    return [claim for name, claim in CLAIMS.items() if ALL in names or name in names]


def cases_of(
    form: Form, options: RunOptions, architectures: Sequence[str] = (), sources: Sequence[str] = ()
) -> list[Case]:
    """The cases of a form.

    Args:
        form: Sources, architectures, seeds.
        options: `output` is where networks lie.
        architectures: Only these, by name; none: all.
        sources: Likewise.

    Raises:
        ConfigError: An unknown name.
    """
    by_name = {one.name: one for one in form.architectures}
    by_label = {one.name: one for one in form.sources}
    for kind, names, known in (
        ("architecture", architectures, list(by_name)),
        ("source", sources, list(by_label)),
    ):
        for name in names:
            if name not in known:
                hint = f"there are {', '.join(known)}"
                raise unknown_name(f"{kind} of form {form.name}", name, known, hint)
    folder, device = options.output / "networks", device_of(options.device)
    return [
        TrainedCase(form, architecture, source, seed, folder, device)
        for name, architecture in by_name.items()
        for label, source in by_label.items()
        for seed in range(form.seeds)
        if (not architectures or name in architectures) and (not sources or label in sources)
    ]


def reproduce(
    names: Sequence[str],
    cases: Sequence[Case],
    options: RunOptions,
    figure_format: str | None = "svg",
) -> list[Outcome]:
    """Train what is missing, gather what is missing, judge, and write all of it.

    Into `options.output` go `networks/`, `records/`, `figures/`, `numbers.csv` and `results.json`.

    Args:
        names: Of claims, or "all".
        cases: Whose networks.
        options: Output folder, workers, engine, device and progress.
        figure_format: "svg" or "png"; None draws no figures.

    Returns:
        One outcome for each claim.

    Raises:
        ConfigError: An unknown claim, or figures without matplotlib.
        AuditError: A network could not be trained, or a case not be looked at.
    """
    if figure_format is not None:
        if figure_format not in figures.FORMATS:
            raise unknown_name("format of figures", figure_format, figures.FORMATS)
        figures.require_matplotlib()
    if not cases:
        raise ConfigError("there is no case: the form has no such architecture and source")
    claims = chosen_claims(names)
    pipeline.make_writable(options.output)
    _train(claims, cases, options)
    records = _gather(claims, cases, options)
    outcomes = [judge(claim, records[claim.name]) for claim in claims]
    if figure_format is not None:
        _draw(outcomes, options.output / "figures", figure_format)
    write_results(outcomes, options.output)
    return outcomes


def _train(claims: Sequence[Claim], cases: Sequence[Case], options: RunOptions) -> None:
    """Train every network that a claim needs and that is not there."""
    variants = list(dict.fromkeys(variant for claim in claims for variant in claim.variants))
    jobs: list[TrainingJob] = []
    for case in cases:
        if isinstance(case, TrainedCase):
            case.write_images(variants)
            jobs += [case.job(variant) for variant in variants]
    missing = [job for job in jobs if not job.is_done]
    for _ in _results(train_and_follow, missing, len(jobs), "training", options):
        pass


def _gather(
    claims: Sequence[Claim], cases: Sequence[Case], options: RunOptions
) -> dict[str, list[Record]]:
    """The record of every claim and case, kept ones first."""
    questions = [Question(claim.name, case) for claim in claims for case in cases]
    files = [_record_file(question, options.output) for question in questions]
    records = {
        index: record
        for index, question in enumerate(questions)
        if (record := _kept(question, files[index])) is not None
    }
    missing = [index for index in range(len(questions)) if index not in records]
    asked = [questions[index] for index in missing]
    for position, record in _results(answer, asked, len(questions), "claims", options):
        index = missing[position]
        content = {"about": _about(questions[index]), "record": record.as_json()}
        write_atomically(files[index], (json.dumps(content) + "\n").encode())
        records[index] = record
    found: dict[str, list[Record]] = {claim.name: [] for claim in claims}
    for index, question in enumerate(questions):
        found[question.claim].append(records[index])
    return found


def answer(question: Question) -> Record:
    """What a case gives for a claim."""
    case = question.case
    try:
        case.require_learned()
        found = CLAIMS[question.claim].gather(case)
    except UnavailableError as error:
        return Record(case.cell, case.seed, reason=str(error))
    return Record(case.cell, case.seed, found.numbers, found.intervals, found.series)


def _results(
    function: Callable[[Any], Any],
    tasks: Sequence[Any],
    n_all: int,
    words: str,
    options: RunOptions,
) -> Iterator[tuple[int, Any]]:
    """Run tasks and yield (position, result) as they finish.

    Raises:
        AuditError: A task failed.
    """
    if not tasks:
        return
    chosen = options.engine_of(EngineConfig())
    engine = installed().engine(chosen.name)
    workers = options.workers_of(engine, len(tasks))
    bar = tqdm(total=n_all, initial=n_all - len(tasks), desc=words, disable=not options.progress)
    with bar:
        for position, result in engine.run(function, tasks, workers, chosen.options):
            if isinstance(result, AuditError):
                raise result
            if isinstance(result, BaseException):
                raise AuditError(f"{words} failed: {type(result).__name__}: {result}") from result
            bar.update()
            yield position, result


def _about(question: Question) -> dict[str, Any]:
    """All that decides a record, as JSON holds it."""
    claim = CLAIMS[question.claim]
    about = {"claim": claim.name, "version": claim.version, "case": question.case.about}
    return dict(json.loads(json.dumps(about)))


def _record_file(question: Question, folder: Path) -> Path:
    cell = question.case.cell
    name = re.sub(r"[^\w.-]+", "_", f"{cell.architecture}-{cell.source}-{question.case.seed}")
    return folder / "records" / question.claim / f"{name}.json"


def _kept(question: Question, file: Path) -> Record | None:
    """The record of an earlier call, if it is of the same claim and case."""
    try:
        content = json_of(file.read_text("utf-8"))
        if content["about"] == _about(question):
            return Record.from_json(content["record"])
    except (OSError, ValueError, KeyError, TypeError):
        pass
    return None


def _draw(outcomes: Sequence[Outcome], folder: Path, ending: str) -> None:
    """Draw the figures of every claim that has numbers."""
    folder.mkdir(parents=True, exist_ok=True)
    for outcome in outcomes:
        known = [record for record in outcome.records if not record.reason]
        if known:
            for name, figure in outcome.claim.draw(known).items():
                figures.save(figure, folder / f"{outcome.claim.name}-{name}.{ending}")
