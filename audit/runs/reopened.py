"""Checkpoints of an audit that lies in an output folder, opened again to be looked at closely."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from audit.errors import CheckpointError, ConfigError, DataError, unknown_name
from audit.folder.record import RUN, read_run
from audit.measuring.checkpoint import CheckpointView
from audit.measuring.view import Wanted
from audit.network.threads import all_of_float32, one_math_thread
from audit.runs.checkpoints import expand_checkpoints
from audit.runs.config import AuditConfig, RunOptions
from audit.runs.study import Study, resolve


def reopened(folder: Path, checkpoints: Sequence[str], options: RunOptions | None = None) -> Study:
    """What an audit was made from, for some of its checkpoints.

    Nothing that was held out is opened.

    Args:
        folder: The output folder.
        checkpoints: Their names.
        options: Where the store lies, and the device; births that the store holds are not computed
            again.

    Raises:
        ConfigError: A checkpoint that is not there, or a training set that was an object in memory.
        DataError: The folder holds no audit, or the training set is another by now.
        CheckpointError: Weights cannot be read, or are others by now.
    """
    record = read_run(folder)
    config = _config(record, folder)
    named = {found.name: found for found in expand_checkpoints(config)}
    chosen = []
    for name in checkpoints:
        if name not in named:
            raise unknown_name("checkpoint", name, named)
        _, entry, path = named[name]
        chosen.append(
            entry.model_copy(update={"name": name, "weights": str(path) if path else None})
        )
    config = config.model_copy(update={"checkpoints": tuple(chosen), "held_out": None})
    options = options or RunOptions()
    study = resolve(config, options.model_copy(update={"output": folder}))
    _check_unchanged(study, record, folder)
    return study


@contextlib.contextmanager
def reopened_view(study: Study, checkpoint: str, wanted: Wanted) -> Iterator[CheckpointView]:
    """The view of one checkpoint of `reopened`.

    Args:
        study: What `reopened` found.
        checkpoint: Its name.
        wanted: What is taken along on a pass, if one is made.

    Raises:
        CheckpointError: Its weights cannot be read.
    """
    if checkpoint in study.refused:
        raise CheckpointError(f"{checkpoint}: {study.refused[checkpoint]}")
    subject = next(subject for subject in study.subjects if subject.name == checkpoint)
    with one_math_thread(), all_of_float32():
        yield CheckpointView(subject, study.store, wanted, study.registry)


def _config(record: Mapping[str, Any], folder: Path) -> AuditConfig:
    """The configuration of a run record.

    Raises:
        ConfigError: It cannot be used here.
        DataError: The record does not say it.
    """
    content, base = record.get("config"), record.get("base")
    if not isinstance(content, Mapping) or not isinstance(base, str):
        raise DataError(f"{folder / RUN} does not say what was audited; `genaudit run` writes it")
    for name, value in (content.get("dataset") or {}).items():
        if isinstance(value, str) and value.endswith(" in memory"):
            raise ConfigError(
                f"the training set of this audit was {value} ([dataset] {name}), which no file "
                "holds; give the object to audit.unit_table, plot_unit or compare_units"
            )
    content = {name: part for name, part in content.items() if name not in ("base", "held_out")}
    return AuditConfig.parse(content, Path(base), str(folder / RUN))


def _check_unchanged(study: Study, record: Mapping[str, Any], folder: Path) -> None:
    """Refuse images or weights that are no longer those of the run.

    Raises:
        DataError: The sample is another.
        CheckpointError: Weights are others.
    """
    fingerprint = (record.get("dataset") or {}).get("fingerprint")
    if fingerprint != study.sample.fingerprint:
        raise DataError(
            f"the training set is another than the one that {folder} was made from; "
            "`genaudit run` measures it anew"
        )
    known = {
        str(entry["checkpoint"]): entry.get("weights_digest")
        for entry in record.get("checkpoints") or ()
    }
    for subject in study.subjects:
        if known.get(subject.name) != subject.weights_digest:
            raise CheckpointError(
                f"the weights of {subject.name} are others than those that {folder} was made "
                "from; `genaudit run` measures them anew"
            )
