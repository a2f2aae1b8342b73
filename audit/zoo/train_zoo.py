"""Train every recipe of a task that is not trained yet."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from tqdm import tqdm

from audit.errors import AuditError
from audit.plugin.registry import installed
from audit.runs import pipeline
from audit.runs.config import EngineConfig, RunOptions
from audit.runs.engines import check_engine_options
from audit.zoo.images import write_images
from audit.zoo.recipes import Recipe, TrainTask, held_out_table, is_trained
from audit.zoo.tasks import Task


def train_zoo(
    task: Task, folder: Path, options: RunOptions, recipes: Sequence[Recipe] | None = None
) -> pd.DataFrame:
    """Train a task's zoo into a folder, as far as it is missing; what is there is kept.

    Args:
        task: What to train.
        folder: Of the task: `data/`, `init/`, `zoo/` and `held_out.csv` are written into it.
        options: Workers, engine, device and progress.
        recipes: Of the task; by default all.

    Returns:
        The held-out accuracies, as `held_out.csv` holds them.

    Raises:
        AuditError: A network could not be trained; the message says which and why.
    """
    from audit.zoo.networks import device_of

    pipeline.make_writable(folder)
    recipes = task.recipes() if recipes is None else recipes
    write_images(task, folder, recipes)
    device = device_of(options.device)
    tasks = [TrainTask(recipe, folder, device) for recipe in recipes]
    missing = [one for one in tasks if not is_trained(one)]
    if missing:
        _train(missing, len(tasks), options)
    return held_out_table(tasks, folder / "held_out.csv")


def _train(missing: Sequence[TrainTask], n_all: int, options: RunOptions) -> None:
    """Train what is missing."""
    from audit.zoo.training import train

    bar = tqdm(
        total=n_all,
        initial=n_all - len(missing),
        desc="training",
        unit="checkpoint",
        disable=not options.progress,
    )
    chosen = options.engine_of(EngineConfig())
    check_engine_options(chosen, installed())
    engine = installed().engine(chosen.name)
    workers = options.workers_of(engine, len(missing))
    with bar:
        for index, result in engine.run(train, missing, workers, chosen.options):
            if isinstance(result, BaseException):
                name = missing[index].recipe.name
                raise AuditError(f"checkpoint {name} could not be trained: {result}") from result
            bar.update()
