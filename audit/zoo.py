"""A small zoo trained on the spot: a factorial grid of recipes, one checkpoint file for each.

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

import numpy as np
import pandas as pd
import torch
from torch.nn import functional

from audit.contracts import DataConfig, ImageSplit
from audit.errors import CheckpointError
from audit.files import write_atomically
from audit.images import eval_transform, load_batch
from audit.loading import file_digest, write_weights
from audit.registry import installed
from audit.table import write_csv
from audit.views import one_math_thread

if TYPE_CHECKING:
    from torch import Tensor, nn

#: Changes whenever the same recipe would train another network.
ZOO_VERSION: Final = "1"

_MAX_SHIFT: Final = 0.08
_MAX_TURN: Final = 0.25
_PIXEL_NOISE: Final = 0.15


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
    weights, record = _paths(task)
    try:
        known = json.loads(record.read_text("utf-8"))
        return bool(
            known["recipe"] == _record(task.recipe)
            and known["weights_sha256"] == file_digest(weights)
        )
    except (OSError, ValueError, KeyError, CheckpointError):
        return False


def train(task: TrainTask) -> str:
    """Train one recipe and write its two files. Returns the checkpoint's name.

    Raises:
        ConfigError: The dataset or the architecture is unknown.
        StoreError: A file cannot be written.
    """
    recipe = task.recipe
    registry = installed()
    dataset = registry.dataset(recipe.dataset)
    training = dataset.open("train", recipe.dataset_options)
    held_out = dataset.open("held_out", recipe.dataset_options)
    with one_math_thread(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        images = _tensor(training, recipe.side)
        model_args = {"num_classes": len(training.class_names), "in_chans": images.shape[1]}
        source = registry.model_source(recipe.model)
        network = source.create(recipe.model, model_args, False)
        network.to(memory_format=torch.channels_last)  # a quarter less time on a CPU
        labels = torch.from_numpy(noisy_labels(training, recipe.label_noise, recipe.seed))
        loss = _fit(network, images, labels, recipe)
        train_accuracy = _accuracy(network, images, labels)
        held_out_accuracy = _accuracy(
            network, _tensor(held_out, recipe.side), torch.from_numpy(held_out.labels)
        )
    weights, record = _paths(task)
    network.to(memory_format=torch.contiguous_format)
    write_weights(network, weights, {"recipe": recipe.name})
    content = {
        "recipe": _record(recipe),
        "model_args": model_args,
        "weights_sha256": file_digest(weights),
        "final_loss": loss,
        "train_accuracy_as_trained": train_accuracy,
        "held_out_accuracy": held_out_accuracy,
        "n_held_out": len(held_out.labels),
    }
    write_atomically(record, (json.dumps(content, indent=1) + "\n").encode())
    return recipe.name


def noisy_labels(split: ImageSplit, rate: float, seed: int) -> np.ndarray:
    """The split's labels with a share of them moved to another class, uniformly.

    Args:
        split: The training images.
        rate: Share of labels that change, in [0, 1).
        seed: The same seed and rate give the same labels, whatever the network.
    """
    rng = np.random.default_rng([seed, 7])
    labels = split.labels.copy()
    chosen = rng.permutation(len(labels))[: round(rate * len(labels))]
    n_classes = len(split.class_names)
    labels[chosen] = (labels[chosen] + rng.integers(1, n_classes, len(chosen))) % n_classes
    return labels


def held_out_table(tasks: Sequence[TrainTask], path: Path) -> pd.DataFrame:
    """Collect the zoo's held-out accuracies and hyperparameters into a CSV, and return it."""
    rows = []
    for task in tasks:
        known = json.loads(_paths(task)[1].read_text("utf-8"))
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


def data_config(side: int, channels: int = 1) -> DataConfig:
    """How the zoo's images are prepared."""
    return DataConfig(
        input_size=(channels, side, side),
        mean=(0.5,) * channels,
        std=(0.5,) * channels,
        interpolation="bilinear",
        crop_pct=1.0,
    )


def _paths(task: TrainTask) -> tuple[Path, Path]:
    """The weights file and the record beside it."""
    name = task.recipe.name
    return task.folder / f"{name}.safetensors", task.folder / f"{name}.json"


def _record(recipe: Recipe) -> dict[str, Any]:
    """The recipe as JSON holds it."""
    return {"version": ZOO_VERSION, **dataclasses.asdict(recipe)}


def _tensor(split: ImageSplit, side: int) -> Tensor:
    """Every image of a split, prepared: shape (n, 1, side, side)."""
    return load_batch(split, range(len(split.labels)), eval_transform(data_config(side)))


def _fit(network: nn.Module, images: Tensor, labels: Tensor, recipe: Recipe) -> float:
    """Train in place; returns the mean loss of the last epoch, in nats."""
    n_steps = recipe.epochs * -(-len(images) // recipe.batch_size)
    optimizer = torch.optim.AdamW(
        network.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay, fused=True
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, recipe.learning_rate, total_steps=n_steps
    )
    total = 0.0
    network.train()
    for _ in range(recipe.epochs):
        total = 0.0
        for index in torch.split(torch.randperm(len(images)), recipe.batch_size):
            batch = _augment(images[index]) if recipe.augmentation else images[index]
            batch = batch.contiguous(memory_format=torch.channels_last)
            loss = functional.cross_entropy(network(batch), labels[index])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
            total += loss.item() * len(index)
    return total / len(images)


def _augment(images: Tensor) -> Tensor:
    """Shift, turn and scale each image a little, and add noise."""
    n = len(images)
    angle = (torch.rand(n) * 2 - 1) * _MAX_TURN
    scale = 1 + (torch.rand(n) * 2 - 1) * _MAX_SHIFT
    shift = (torch.rand(n, 2) * 2 - 1) * 2 * _MAX_SHIFT
    cos, sin = scale * angle.cos(), scale * angle.sin()
    matrix = torch.stack(
        [torch.stack([cos, -sin, shift[:, 0]], 1), torch.stack([sin, cos, shift[:, 1]], 1)], 1
    )
    grid = functional.affine_grid(matrix, list(images.shape), align_corners=False)
    moved = functional.grid_sample(images, grid, padding_mode="border", align_corners=False)
    return moved + _PIXEL_NOISE * torch.randn_like(moved)


def _accuracy(network: nn.Module, images: Tensor, labels: Tensor) -> float:
    """Share of images whose highest score is their label's."""
    network.eval()
    with torch.inference_mode():
        right = [
            (network(batch).argmax(1) == truth).sum().item()
            for batch, truth in zip(torch.split(images, 128), torch.split(labels, 128), strict=True)
        ]
    return float(sum(right) / len(labels))
