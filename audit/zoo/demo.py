"""The demonstration: a small zoo, trained, audited, ranked without its accuracies, and judged."""

from __future__ import annotations

from typing import Final

from audit.files import write_atomically
from audit.plugin import AuditResult
from audit.plugin.parts import owner_of
from audit.plugin.registry import installed
from audit.ranking import load_card
from audit.runs import pipeline
from audit.runs.config import AuditConfig, RunOptions
from audit.zoo.images import training_file
from audit.zoo.measuring import audit_toml
from audit.zoo.recipes import TrainTask
from audit.zoo.tasks import Task, read_task
from audit.zoo.train_zoo import train_zoo

#: The card that ranks.
CARD: Final = "default"
#: Ranked as if no accuracy were known; the known ones then say how good the ranking was.
_RANKING: Final = (
    f'[ranking]\ncard = "{CARD}"    # rank by it, and use no accuracy\n'
    "[reports]\nunit_examples = true    # show a few units, with training images, in the report\n"
)


def demo(options: RunOptions, task: Task | None = None) -> AuditResult:
    """Train the zoo where it is not trained yet, and audit it.

    Everything lies in the output folder: images, checkpoints with their recipes, `audit.toml`, the
    store, the tables and the report. What is there is not computed again.

    Args:
        options: Where to write and what to run on.
        task: One training set for all its checkpoints; by default the shipped task `demo`.

    Raises:
        AuditError: A network could not be trained; the message says which and why.
    """
    folder = options.output
    task = task or read_task("demo")
    train_zoo(task, folder, options)
    tasks = [TrainTask(recipe, folder) for recipe in task.recipes()]
    images = training_file(folder, tasks[0].recipe)
    config = folder / "audit.toml"
    text = audit_toml(task, tasks, images, include=measures_to_rank_by(), more=_RANKING)
    write_atomically(config, text.encode())
    return pipeline.run(AuditConfig.read(config), options=options)


def measures_to_rank_by() -> list[str]:
    """The default measures, and those that the card needs besides, by name."""
    known = installed().measures
    columns = [measure.name for measure in load_card(CARD).measures]
    needed = {owner_of(column, known) for column in columns}
    return ["default", *sorted(name for name in needed if name and not known[name].default)]
