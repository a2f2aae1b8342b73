"""A factorial grid of recipes, one checkpoint file for each.

Beside every `NAME.safetensors` lies `NAME.json`: the recipe, the file's digest, and the accuracies
on both splits. A recipe whose two files are there and match is not trained again.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pandas as pd

from audit.errors import CheckpointError
from audit.folder.csv_files import write_csv
from audit.network.weights import file_digest

if TYPE_CHECKING:
    pass

#: Changes whenever the same recipe would train another network.
ZOO_VERSION: Final = "1"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recipe:
    """How one checkpoint is trained.

    Attributes:
        model: Architecture, by timm name.
        label_noise: Share of training labels replaced by another class, in [0, 1).
        augmentation: Whether images are shifted, turned and noised at random.
        weight_decay: Of AdamW.
        batch_size: Images per step.
        epochs: Passes over the training split.
        learning_rate: Peak of a one-cycle schedule.
        side: Height and width of the input, in pixels.
        seed: Of the weights, the order of images, the noise and the augmentation.
        dataset: Name of the dataset plugin.
        dataset_options: Its options.
    """

    model: str
    label_noise: float
    augmentation: bool
    weight_decay: float
    batch_size: int
    epochs: int
    learning_rate: float
    side: int
    seed: int
    dataset: str
    dataset_options: dict[str, Any]

    @property
    def name(self) -> str:
        """Of the checkpoint: the architecture and its place in the grid."""
        return (
            f"{self.model}-noise{self.label_noise:g}-aug{int(self.augmentation)}"
            f"-decay{self.weight_decay:g}-batch{self.batch_size}"
        )

    @property
    def hyperparameters(self) -> dict[str, Any]:
        """The axes of the grid, as columns `hp.*`."""
        return {
            "hp.model": self.model,
            "hp.label_noise": self.label_noise,
            "hp.augmentation": int(self.augmentation),
            "hp.weight_decay": self.weight_decay,
            "hp.batch_size": self.batch_size,
        }


@dataclasses.dataclass(frozen=True, slots=True)
class TrainTask:
    """A recipe and the folder its files go to: plain data, to be sent to another process."""

    recipe: Recipe
    folder: Path


def factorial_grid(
    models: Sequence[str],
    label_noise: Sequence[float],
    augmentation: Sequence[bool],
    weight_decay: Sequence[float],
    batch_size: Sequence[int],
    **fixed: Any,
) -> list[Recipe]:
    """Every combination of the five axes; `fixed` are the recipe's other fields."""
    return [
        Recipe(
            model=model,
            label_noise=noise,
            augmentation=augment,
            weight_decay=decay,
            batch_size=batch,
            **fixed,
        )
        for model, noise, augment, decay, batch in itertools.product(
            models, label_noise, augmentation, weight_decay, batch_size
        )
    ]


def is_trained(task: TrainTask) -> bool:
    """Whether both files of a recipe are there, whole and of this recipe."""
    weights, recipe_file = files_of(task)
    try:
        known = json.loads(recipe_file.read_text("utf-8"))
        return bool(
            known["recipe"] == recipe_json(task.recipe)
            and known["weights_sha256"] == file_digest(weights)
        )
    except (OSError, ValueError, KeyError, CheckpointError):
        return False


def held_out_table(tasks: Sequence[TrainTask], path: Path) -> pd.DataFrame:
    """Collect the zoo's held-out accuracies and hyperparameters into a CSV, and return it."""
    rows = []
    for task in tasks:
        known = json.loads(files_of(task)[1].read_text("utf-8"))
        rows.append(
            {
                "checkpoint": task.recipe.name,
                "held_out_accuracy": known["held_out_accuracy"],
                "n_held_out": known["n_held_out"],
                "family": task.recipe.model,
                **task.recipe.hyperparameters,
            }
        )
    frame = pd.DataFrame(rows)
    write_csv(frame, path)
    return frame


def files_of(task: TrainTask) -> tuple[Path, Path]:
    """The weights file and the recipe beside it."""
    name = task.recipe.name
    return task.folder / f"{name}.safetensors", task.folder / f"{name}.json"


def recipe_json(recipe: Recipe) -> dict[str, Any]:
    """The recipe as JSON holds it."""
    return {"version": ZOO_VERSION, **dataclasses.asdict(recipe)}
