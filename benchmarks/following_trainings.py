"""Trainings of small networks, followed epoch by epoch, with the held-out accuracy of each.

Recipes are those of the zoos: tasks `digits` and `shapes`, two architectures each, with and without
label noise; by the zoos' one-cycle schedule, and at a constant learning rate, where nothing is
gained by the end alone. Before a network is looked at, the statistics of batch normalisation are
taken anew in a copy, as the zoos do at the end.
"""

from __future__ import annotations

import copy
import dataclasses
import itertools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, get_args

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from audit.following import Follower
from audit.following._apart import same_randomness
from audit.following.logs import Row
from audit.network.threads import one_math_thread
from audit.topology import Filtration
from audit.zoo import training
from audit.zoo.images import held_out_file, training_file, write_images
from audit.zoo.recipes import Recipe
from audit.zoo.tasks import read_task

ARCHITECTURES: Final = {
    "digits": ("test_resnet", "test_efficientnet"),
    "shapes": ("test_byobnet", "test_efficientnet"),
}
NOISES: Final = (0.0, 0.3)
#: Schedule → learning rate: the zoos' own with its peak, or one that does not change.
SCHEDULES: Final[dict[str, float]] = {"one-cycle": 3e-3, "constant": 1e-3}
#: Columns that tell one training from another.
OF_TRAINING: Final = ("task", "architecture", "label_noise", "schedule", "seed")
_BATCH: Final = 32
_HELD_OUT: Final = 800


def plans(n_epochs: int, seeds: int) -> Iterator[tuple[Recipe, str]]:
    """(recipe, schedule) of every training."""
    for task, architectures in ARCHITECTURES.items():
        known = {recipe.architecture: recipe for recipe in read_task(task).recipes()}
        settings = itertools.product(architectures, NOISES, SCHEDULES, range(seeds))
        for architecture, noise, schedule, seed in settings:
            recipe = dataclasses.replace(
                known[architecture],
                label_noise=noise,
                augmentation=False,
                weight_decay=0.05,
                batch_size=_BATCH,
                learning_rate=SCHEDULES[schedule],
                epochs=n_epochs,
                seed=seed,
            )
            yield recipe, schedule


def followed_training(recipe: Recipe, schedule: str, folder: Path) -> pd.DataFrame:
    """One training: a row per epoch, the network before training being epoch 0.

    Args:
        recipe: What is trained.
        schedule: One of `SCHEDULES`.
        folder: Where the images of tasks are kept.

    Returns:
        Columns of `OF_TRAINING`, epoch, training_loss, sample_loss, held_out_accuracy (in [0, 1])
        and, for each filtration, feature_entropy and birth_class_information of the deepest layer
        and their means over layers.
    """
    place = folder / recipe.task
    write_images(read_task(recipe.task), place, [recipe])
    with one_math_thread(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        images, labels, n_classes = training._read(training_file(place, recipe), recipe)
        known = {**recipe.model_args, "num_classes": n_classes, "in_chans": recipe.channels}
        network = training._network(recipe, known, ()).to(memory_format=torch.channels_last)
        torch.manual_seed(recipe.seed)
        loader = DataLoader(TensorDataset(images, labels))
        followers = {
            filtration: Follower(
                network, loader, folder=None, filtration=filtration, budget=None, max_classes=0
            )
            for filtration in get_args(Filtration)
        }
        held_out = _some_held_out(place, recipe)
        rows = []
        for epoch, loss in _losses(network, images, labels, recipe, schedule):
            settled = _settled(network, images, recipe)
            looks = {
                name: follower.after_epoch(epoch, loss, network=settled)
                for name, follower in followers.items()
            }
            accuracy = training._accuracy(settled, *held_out, "cpu")
            rows.append(_row(epoch, loss, accuracy, looks))
    about = {name: getattr(recipe, name) for name in OF_TRAINING if name != "schedule"}
    return pd.DataFrame(rows).assign(**about, schedule=schedule)


def _some_held_out(place: Path, recipe: Recipe) -> tuple[Tensor, Tensor]:
    """Held-out images and labels, so many at most, the same for every network."""
    images, labels, _ = training._read(held_out_file(place), recipe)
    chosen = np.random.default_rng(0).permutation(len(labels))[:_HELD_OUT]
    return images[chosen], labels[chosen]


def _losses(
    network: nn.Module, images: Tensor, labels: Tensor, recipe: Recipe, schedule: str
) -> Iterator[tuple[int, float]]:
    """Train, and stop after each epoch: (its number, its mean loss); the first is before any."""
    optimizer = training._optimizer(network, recipe)
    steps = recipe.epochs * -(-len(images) // recipe.batch_size)
    schedulers = torch.optim.lr_scheduler
    rates: Any = (
        schedulers.OneCycleLR(optimizer, recipe.learning_rate, total_steps=steps)
        if schedule == "one-cycle"
        else schedulers.ConstantLR(optimizer, factor=1.0, total_iters=0)
    )
    yield 0, float("nan")
    for epoch in range(1, recipe.epochs + 1):
        network.train()
        loss = training._epoch(network, images, labels, recipe, "cpu", optimizer, rates)
        yield epoch, loss


def _settled(network: nn.Module, images: Tensor, recipe: Recipe) -> nn.Module:
    """A copy whose statistics of normalisation are those of its weights."""
    settled = copy.deepcopy(network)
    with same_randomness(recipe.seed):
        settled.train()
        training._settle_statistics(settled, images, recipe, "cpu")
    return settled.eval()


def _row(
    epoch: int, loss: float, accuracy: float, looks: Mapping[str, list[Row]]
) -> dict[str, float]:
    """What is kept of one epoch."""
    first = next(iter(looks.values()))[0]
    row = {
        "epoch": epoch,
        "training_loss": loss,
        "sample_loss": first["sample_loss"],
        "held_out_accuracy": accuracy,
    }
    for filtration, found in looks.items():
        for quantity in ("feature_entropy", "birth_class_information"):
            values = np.array([layer[quantity] for layer in found])
            defined = values[np.isfinite(values)]
            row[f"{quantity}.{filtration}.last"] = float(values[-1])
            row[f"{quantity}.{filtration}.mean"] = (
                float(defined.mean()) if defined.size else float("nan")
            )
    return row
