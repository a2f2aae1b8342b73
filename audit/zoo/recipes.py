"""A recipe: how one checkpoint is trained, and the files that come of it.

Beside every `NAME.safetensors` lies `NAME.json`: the recipe, the file's digest, and the accuracies
on both splits. A recipe whose two files are there and match is not trained again.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Literal

import pandas as pd

from audit.errors import CheckpointError
from audit.folder.csv_files import write_csv
from audit.network.weights import file_digest
from audit.notations import json_of
from audit.plugin.discovery import named_plugins

#: Changes whenever the same recipe would train another network.
ZOO_VERSION: Final = "2"

Axis = Literal[
    "label_noise",
    "train_share",
    "augmentation",
    "weight_decay",
    "batch_size",
    "learning_rate",
    "dropout",
    "optimizer",
    "epochs",
    "stop_at_loss",
]
#: How names of checkpoints call an axis.
_SHORT: Final[dict[str, str]] = {
    "label_noise": "noise",
    "train_share": "share",
    "augmentation": "aug",
    "weight_decay": "decay",
    "batch_size": "batch",
    "learning_rate": "lr",
    "dropout": "drop",
    "optimizer": "",
    "epochs": "epochs",
    "stop_at_loss": "stop",
}

#: The axes that decide the training set; they come first in a checkpoint's name.
_OF_IMAGES: Final = ("label_noise", "train_share")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recipe:
    """How one checkpoint is trained; `audit.zoo.tasks.Training` says what the settings mean.

    Attributes:
        task: Name of the task.
        architecture: In the checkpoint's name.
        model: Model reference.
        model_args: Its arguments.
        axes: The settings that the task varies.
    """

    task: str
    architecture: str
    model: str
    model_args: dict[str, Any]
    axes: tuple[str, ...]
    side: int
    channels: int
    epochs: int
    label_noise: float
    augmentation: bool
    weight_decay: float
    batch_size: int
    learning_rate: float
    dropout: float
    train_share: float
    optimizer: str
    stop_at_loss: float
    seed: int

    @property
    def name(self) -> str:
        """Of the checkpoint: the architecture and its place in the grid."""
        settings = [self._called(axis) for axis in _SHORT if axis in self.axes]
        return "-".join([self.architecture, *settings])

    def _called(self, axis: str) -> str:
        value = getattr(self, axis)
        return f"{_SHORT[axis]}{value if isinstance(value, str) else f'{float(value):g}'}"

    @property
    def siblings(self) -> str:
        """A glob of the names of all checkpoints of this architecture and training set."""
        own = [self._called(axis) for axis in _OF_IMAGES if axis in self.axes]
        return "-".join([self.architecture, *own, "*"])

    @property
    def variant(self) -> str:
        """Of the training images: which labels and which share of them it was trained on."""
        return f"noise{self.label_noise:g}-share{self.train_share:g}"

    @property
    def hyperparameters(self) -> dict[str, Any]:
        """The axes of the grid, as columns `hp.*`."""
        values = {axis: getattr(self, axis) for axis in self.axes}
        plain = {a: int(v) if isinstance(v, bool) else v for a, v in values.items()}
        return {"hp.architecture": self.architecture, **{f"hp.{a}": v for a, v in plain.items()}}


@dataclasses.dataclass(frozen=True, slots=True)
class TrainTask:
    """A recipe and the task's folder: plain data, to be sent to another process.

    Attributes:
        recipe: What to train.
        folder: Of the task: `data/` holds its images, `zoo/` its checkpoints.
        device: "cpu" or "cuda".
        plugins: Names of the plugins to load beside those that come along.
    """

    recipe: Recipe
    folder: Path
    device: str = "cpu"
    plugins: tuple[str, ...] = dataclasses.field(default_factory=named_plugins)


def is_trained(task: TrainTask) -> bool:
    """Whether both files of a recipe are there, whole and of this recipe."""
    weights, recipe_file = files_of(task)
    try:
        known = json_of(recipe_file.read_text("utf-8"))
        return bool(
            known["recipe"] == recipe_json(task.recipe)
            and known["weights_sha256"] == file_digest(weights)
        )
    except (OSError, ValueError, KeyError, TypeError, CheckpointError):
        return False


def known_of(task: TrainTask) -> dict[str, Any]:
    """What the file beside a trained checkpoint says."""
    return dict(json_of(files_of(task)[1].read_text("utf-8")))


def held_out_table(tasks: Sequence[TrainTask], path: Path) -> pd.DataFrame:
    """Collect the zoo's held-out accuracies and hyperparameters into a CSV, and return it."""
    rows = []
    for task in tasks:
        known = known_of(task)
        rows.append(
            {
                "checkpoint": task.recipe.name,
                "held_out_accuracy": known["held_out_accuracy"],
                "n_held_out": known["n_held_out"],
                "family": task.recipe.architecture,
                **task.recipe.hyperparameters,
            }
        )
    frame = pd.DataFrame(rows)
    write_csv(frame, path)
    return frame


def files_of(task: TrainTask) -> tuple[Path, Path]:
    """The weights file and the recipe beside it."""
    name, zoo = task.recipe.name, task.folder / "zoo"
    return zoo / f"{name}.safetensors", zoo / f"{name}.json"


def initial_file(task: TrainTask) -> Path:
    """The weights before training: all recipes of an architecture start from the same."""
    return task.folder / "init" / f"{task.recipe.architecture}.safetensors"


def recipe_json(recipe: Recipe) -> dict[str, Any]:
    """The recipe as JSON holds it."""
    return {"version": ZOO_VERSION, **dataclasses.asdict(recipe), "axes": list(recipe.axes)}
