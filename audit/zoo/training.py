"""Train one recipe on the spot."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

import numpy as np
import torch
from torch.nn import functional

from audit.data.transform import eval_transform, load_batch
from audit.files import write_atomically
from audit.network.saving import write_weights
from audit.network.threads import one_math_thread
from audit.network.weights import file_digest
from audit.plugin import DataConfig, ImageSplit
from audit.plugin.registry import installed
from audit.zoo.recipes import Recipe, TrainTask, files_of, recipe_json

if TYPE_CHECKING:
    from torch import Tensor, nn

_MAX_SHIFT: Final = 0.08
_MAX_TURN: Final = 0.25
_PIXEL_NOISE: Final = 0.15


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
    weights, recipe_file = files_of(task)
    network.to(memory_format=torch.contiguous_format)
    write_weights(network, weights, {"recipe": recipe.name})
    content = {
        "recipe": recipe_json(recipe),
        "model_args": model_args,
        "weights_sha256": file_digest(weights),
        "final_loss": loss,
        "train_accuracy_as_trained": train_accuracy,
        "held_out_accuracy": held_out_accuracy,
        "n_held_out": len(held_out.labels),
    }
    write_atomically(recipe_file, (json.dumps(content, indent=1) + "\n").encode())
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


def data_config(side: int, channels: int = 1) -> DataConfig:
    """How the zoo's images are prepared."""
    return DataConfig(
        input_size=(channels, side, side),
        mean=(0.5,) * channels,
        std=(0.5,) * channels,
        interpolation="bilinear",
        crop_pct=1.0,
    )


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
