"""Audit a trained zoo, against the labels it was trained on and against clean ones.

Networks that were trained on different labels, or on different shares of the images, have
different training sets: each gets an audit of its own, `audits/NAME.toml`, which `genaudit run`
takes as it is. Their tables become one `ZooTable`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd

from audit.errors import DataError
from audit.files import write_atomically
from audit.folder.columns import directions_of, judged_columns, measure_of
from audit.folder.record import read_run
from audit.folder.tables import ALL_MEASURES, wide_frame
from audit.runs import pipeline
from audit.runs.config import AuditConfig, RunOptions
from audit.runs.study import resolve
from audit.zoo.images import training_file
from audit.zoo.recipes import Recipe, TrainTask, files_of, initial_file, known_of
from audit.zoo.table import AS_TRAINED, CLEAN, Labels, ZooTable
from audit.zoo.tasks import Task

#: Of what lies beside a checkpoint, what the table keeps.
_KNOWN: Final = ("held_out_accuracy", "n_held_out", "train_accuracy_as_trained", "final_loss")
_SEED: Final = 0


def measure_zoo(
    task: Task,
    folder: Path,
    options: RunOptions,
    include: Sequence[str] = ("all",),
    exclude: Sequence[str] = (),
    recipes: Sequence[Recipe] | None = None,
    against: Sequence[Labels] = (AS_TRAINED, CLEAN),
) -> ZooTable:
    """Measure every trained checkpoint of a task's folder.

    Args:
        task: What was trained.
        folder: Where `train_zoo` wrote.
        options: Workers, engine, device, store and progress; `output` is not used.
        include: Measures, or the groups "default" and "all".
        exclude: Measures to leave out.
        recipes: Of the task; by default all.
        against: Labels to audit against; clean ones only matter where some were noisy.

    Raises:
        DataError: A checkpoint is not trained, or failed.
    """
    tasks = [TrainTask(recipe, folder) for recipe in recipes or task.recipes()]
    missing = [one.recipe.name for one in tasks if not files_of(one)[1].exists()]
    if missing:
        raise DataError(
            f"{len(missing)} of {len(tasks)} checkpoints are not trained, the first is "
            f"{missing[0]}: run `genaudit zoo train {task.name}` first"
        )
    tables, about = [], {}
    for labels in against:
        audits = write_audits(task, folder, tasks, labels, include, exclude)
        if not audits:
            continue
        parts = [_audited(path, options) for path in audits]
        for _, known in parts:
            about.update({c: m for c, m in known["measures"].items() if c not in about})
        table = pd.concat([part for part, _ in parts], ignore_index=True)
        tables.append(table.assign(labels=labels))
        versions = parts[0][1]["versions"]
    whole = _with_recipes(pd.concat(tables, ignore_index=True), tasks, about)
    described = {
        "task": task.name,
        "source": task.source,
        "about": task.about,
        "axes": [f"hp.{axis}" for axis in ("architecture", *task.axes)],
        "training": task.training.model_dump(),
        "dataset": {k: v for k, v in task.dataset.items() if not isinstance(v, str) or k == "name"},
        "images_per_class": task.images_per_class,
        "versions": versions,
        "measures": dict(sorted(about.items())),
    }
    return ZooTable(task.name, whole, described)


def write_audits(
    task: Task,
    folder: Path,
    tasks: Sequence[TrainTask],
    labels: Labels,
    include: Sequence[str] = ("default",),
    exclude: Sequence[str] = (),
) -> list[Path]:
    """Write one `audit.toml` per training set.

    Returns:
        Their paths. Clean audits are written only for tasks with label noise.
    """
    clean = labels == CLEAN
    if clean and not any(one.recipe.label_noise for one in tasks):
        return []
    by_file: dict[Path, list[TrainTask]] = {}
    for one in tasks:
        images = training_file(folder, one.recipe, clean=clean)
        by_file.setdefault(images, []).append(one)
    paths = []
    for images, members in by_file.items():
        path = folder / "audits" / f"{images.stem}.toml"
        text = audit_toml(task, members, images, root="..", include=include, exclude=exclude)
        write_atomically(path, text.encode())
        paths.append(path)
    return paths


def audit_toml(
    task: Task,
    members: Sequence[TrainTask],
    images: Path,
    *,
    root: str = ".",
    include: Sequence[str] = ("default",),
    exclude: Sequence[str] = (),
    more: str = "",
) -> str:
    """One configuration of an audit, as a user would write it.

    Args:
        task: What was trained.
        members: The checkpoints that were trained on these images.
        images: The training images.
        root: The task's folder, from the configuration's.
        include: Measures, or groups of them.
        exclude: Measures to leave out.
        more: Sections to add at the end.
    """
    side, channels = task.training.side, task.training.channels
    middle = ", ".join(["0.5"] * channels)
    lines = [
        f"# Written by `genaudit`: the zoo of task {task.name}. `genaudit run` takes it as it is.",
        f"seed = {_SEED}",
        "",
        "[dataset]",
        'name = "arrays"',
        f'path = "{root}/data/{images.name}"',
        f"transform = {{ input_size = [{channels}, {side}, {side}], mean = [{middle}], "
        f'std = [{middle}], interpolation = "bilinear", crop_pct = 1.0 }}',
        "",
        "[measures]",
        f"include = {_value(list(include))}",
        f"exclude = {_value(list(exclude))}",
        f"images_per_class = {task.images_per_class}",
    ]
    for pattern, one in {one.recipe.siblings: one for one in members}.items():
        lines += [
            "",
            "[[checkpoints]]",
            f'model = "{one.recipe.model}"',
            f'weights = "{root}/zoo/{pattern}.safetensors"',
            f'init = "{root}/init/{initial_file(one).name}"',
            f"model_args = {_value(known_of(one)['model_args'])}",
        ]
    held_out = ["", "[held_out]", f'table = "{root}/held_out.csv"', ""]
    return "\n".join([*lines, *held_out, more])


def _value(value: Any) -> str:
    """A value in TOML."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {_value(item)}" for key, item in value.items()) + " }"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_value(item) for item in value) + "]"
    if isinstance(value, bool):
        return str(value).lower()
    return f'"{value}"' if isinstance(value, str) else repr(value)


def _audited(path: Path, options: RunOptions) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Measure one audit's checkpoints: the wide table, and what is known of its columns.

    Raises:
        DataError: A checkpoint failed.
    """
    output = path.with_suffix("")
    here = options.model_copy(update={"output": output})
    study = resolve(AuditConfig.read(path), here)
    tidy = pipeline.measure(study)
    failed = tidy[tidy["measure"] == ALL_MEASURES]
    if len(failed):
        row = failed.iloc[0]
        raise DataError(f"checkpoint {row['checkpoint']} could not be measured: {row['reason']}")
    record = read_run(output, ("measures", "versions"))
    wide = wide_frame(tidy)
    directions, (judged, _) = directions_of(record, wide), judged_columns(record, wide)
    seconds = tidy.groupby("measure")["seconds"].mean()
    versions = dict(zip(tidy["measure"], tidy["version"].astype(str), strict=True))
    gaps = tidy[tidy["value"].isna()]
    reasons = {c: g["reason"].value_counts().to_dict() for c, g in gaps.groupby("measure")}
    measures = {
        column: {
            "measure": measure_of(record, column),
            "version": versions[column],
            "direction": directions[column],
            "judged": column in judged,
            "seconds": round(float(seconds[column]), 4) if np.isfinite(seconds[column]) else None,
            "missing": {str(k): int(v) for k, v in reasons.get(column, {}).items()},
        }
        for column in map(str, wide.columns)
        if column in versions
    }
    return wide, {"measures": measures, "versions": record["versions"]}


def _with_recipes(
    table: pd.DataFrame, tasks: Sequence[TrainTask], measures: dict[str, Any]
) -> pd.DataFrame:
    """The table with what is known of each checkpoint, in the order of the recipes."""
    rows = []
    for one in tasks:
        known = known_of(one)
        rows.append(
            {
                "checkpoint": one.recipe.name,
                "family": one.recipe.architecture,
                **{key: known[key] for key in _KNOWN},
                "train_seconds": known["train_seconds"],
                **one.recipe.hyperparameters,
            }
        )
    known_of_all = pd.DataFrame(rows)
    columns = [column for column in measures if column in table.columns]
    merged = known_of_all.merge(table[["checkpoint", "labels", *sorted(columns)]], on="checkpoint")
    merged.insert(1, "labels", merged.pop("labels"))
    return merged.sort_values("labels", kind="stable", ignore_index=True)
