"""Train one recipe on the spot."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np
import torch
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm

from audit.errors import AuditError
from audit.files import write_atomically
from audit.network.saving import write_weights
from audit.network.threads import one_math_thread
from audit.network.weights import file_digest
from audit.plugin.registry import installed
from audit.zoo.images import held_out_file, training_file
from audit.zoo.recipes import Recipe, TrainTask, files_of, initial_file, recipe_json

if TYPE_CHECKING:
    from torch import Tensor, nn

_MAX_SHIFT: Final = 0.08
_MAX_TURN: Final = 0.25
_PIXEL_NOISE: Final = 0.15
_MOMENTUM: Final = 0.9
#: Gradients are clipped to this norm, so that no recipe of a grid diverges.
_MAX_GRADIENT: Final = 1.0
_EVAL_BATCH: Final = 128

#: Called with the network in training mode and the number of the epoch that ended, 0 before the
#: first; draws nothing from torch's global generator, and leaves the network as it is.
AfterEpoch: TypeAlias = "Callable[[nn.Module, int], None]"


def train(task: TrainTask, after_epoch: AfterEpoch | None = None) -> str:
    """Train one recipe and write its two files. Returns the checkpoint's name.

    Args:
        task: What to train.
        after_epoch: Looks at the network after every epoch.

    Raises:
        ConfigError: The architecture is unknown.
        AuditError: Training diverged, or the architecture does not take its arguments.
        StoreError: A file cannot be written.
    """
    recipe = task.recipe
    began = time.perf_counter()
    with one_math_thread(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        images, labels, n_classes = _read(training_file(task.folder, recipe), recipe)
        model_args = {**recipe.model_args, "num_classes": n_classes, "in_chans": recipe.channels}
        network = _network(recipe, model_args)
        if not initial_file(task).exists():
            write_weights(network, initial_file(task), {"architecture": recipe.architecture})
        network.to(task.device).to(memory_format=torch.channels_last)
        torch.manual_seed(recipe.seed)  # architectures draw a different number of weights
        loss, epochs = _fit(network, images, labels, recipe, task.device, after_epoch)
        known = {
            "recipe": recipe_json(recipe),
            "model_args": model_args,
            "final_loss": loss,
            "epochs_trained": epochs,
            "train_accuracy_as_trained": _accuracy(network, images, labels, task.device),
        }
        truth = _read(held_out_file(task.folder), recipe)
        known["held_out_accuracy"] = _accuracy(network, truth[0], truth[1], task.device)
        known["n_held_out"] = len(truth[1])
    weights, recipe_file = files_of(task)
    network.to("cpu").to(memory_format=torch.contiguous_format)
    write_weights(network, weights, {"recipe": recipe.name})
    known["weights_sha256"] = file_digest(weights)
    known["train_seconds"] = round(time.perf_counter() - began, 2)
    write_atomically(recipe_file, (json.dumps(known, indent=1) + "\n").encode())
    return recipe.name


def _network(recipe: Recipe, model_args: dict[str, Any]) -> nn.Module:
    """The architecture with fresh weights; dropout is no part of what a checkpoint needs."""
    dropout = {"drop_rate": recipe.dropout} if recipe.dropout else {}
    source = installed().model_source(recipe.model)
    return source.create(recipe.model, {**model_args, **dropout}, False)


def _read(path: Path, recipe: Recipe) -> tuple[Tensor, Tensor, int]:
    """Images in [−1, 1], shape (n, channels, side, side), labels, and the number of classes."""
    with np.load(path) as arrays:
        pixels = torch.from_numpy(arrays["images"]).to(torch.float32)
        labels = torch.from_numpy(arrays["labels"])
        n_classes = len(arrays["class_names"])
    images = (pixels / 255 - 0.5) / 0.5
    images = images.unsqueeze(1) if recipe.channels == 1 else images.permute(0, 3, 1, 2)
    return images.contiguous(memory_format=torch.channels_last), labels, n_classes


def _optimizer(network: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(
            network.parameters(),
            lr=recipe.learning_rate,
            momentum=_MOMENTUM,
            weight_decay=recipe.weight_decay,
            nesterov=True,
        )
    return torch.optim.AdamW(
        network.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay, fused=True
    )


def _fit(
    network: nn.Module,
    images: Tensor,
    labels: Tensor,
    recipe: Recipe,
    device: str,
    after_epoch: AfterEpoch | None,
) -> tuple[float, int]:
    """Train in place; returns the mean loss of the last epoch, in nats, and the epochs taken."""
    n_steps = recipe.epochs * -(-len(images) // recipe.batch_size)
    optimizer = _optimizer(network, recipe)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, recipe.learning_rate, total_steps=n_steps
    )
    loss, epoch = float("nan"), 0
    look = after_epoch or (lambda network, epoch: None)
    network.train()
    look(network, epoch)
    for epoch in range(1, recipe.epochs + 1):
        loss = _epoch(network, images, labels, recipe, device, optimizer, schedule)
        if not np.isfinite(loss):
            raise AuditError(f"training diverged in epoch {epoch}: lower the learning rate")
        look(network, epoch)
        if loss <= recipe.stop_at_loss:
            break
    _settle_statistics(network, images, recipe, device)
    return loss, epoch


def _settle_statistics(network: nn.Module, images: Tensor, recipe: Recipe, device: str) -> None:
    """Take the statistics of batch normalisation anew, over one pass with the final weights.

    After few steps the running averages still remember earlier weights, and a network that fits
    its images in training mode fails on them in evaluation mode. Source: Wu & Johnson, "Rethinking
    'Batch' in BatchNorm", 2021, arXiv:2105.07576, section 3 ("precise BatchNorm").
    """
    normalisers = [m for m in network.modules() if isinstance(m, _BatchNorm)]
    if not normalisers:
        return
    momenta = [normaliser.momentum for normaliser in normalisers]
    for normaliser in normalisers:
        normaliser.reset_running_stats()
        normaliser.momentum = None  # a cumulative average
    with torch.no_grad():
        for index in torch.split(torch.randperm(len(images)), recipe.batch_size):
            batch = _augment(images[index]) if recipe.augmentation else images[index]
            network(batch.to(device).contiguous(memory_format=torch.channels_last))
    for normaliser, momentum in zip(normalisers, momenta, strict=True):
        normaliser.momentum = momentum


def _epoch(
    network: nn.Module,
    images: Tensor,
    labels: Tensor,
    recipe: Recipe,
    device: str,
    optimizer: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler,
) -> float:
    """One pass over the training images; returns the mean loss."""
    total = torch.zeros((), device=device)
    for index in torch.split(torch.randperm(len(images)), recipe.batch_size):
        batch = _augment(images[index]) if recipe.augmentation else images[index]
        batch = batch.to(device).contiguous(memory_format=torch.channels_last)
        loss = functional.cross_entropy(network(batch), labels[index].to(device))
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(network.parameters(), _MAX_GRADIENT)
        optimizer.step()
        schedule.step()
        total += loss.detach() * len(index)
    return float(total) / len(images)


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


def _accuracy(network: nn.Module, images: Tensor, labels: Tensor, device: str) -> float:
    """Share of images whose highest score is their label's."""
    network.eval()
    with torch.inference_mode():
        right = [
            (network(batch.to(device)).argmax(1).cpu() == truth).sum().item()
            for batch, truth in zip(
                torch.split(images, _EVAL_BATCH), torch.split(labels, _EVAL_BATCH), strict=True
            )
        ]
    return float(sum(right) / len(labels))
