"""What a folder of checkpoints says of its training: the network, the images, the losses.

timm's `train.py` writes `args.yaml` before the first epoch, a row of `summary.csv` after each, and
then the checkpoint. Of the summary the training loss alone is read: what was held out there is no
business of a follower.
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import yaml

from audit.errors import ConfigError
from audit.files import plain_text
from audit.plugin.registry import installed, installed_with
from audit.runs.config import AuditConfig
from audit.runs.training_set import located_options

ARGUMENTS: Final = "args.yaml"
SUMMARY: Final = "summary.csv"
_LOSS: Final = "train_loss"
#: Arguments of timm's `train.py` that decide how images are prepared.
_PREPARATION: Final = ("mean", "std", "interpolation", "crop_pct")


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainingRun:
    """A training, as far as a follower of its checkpoints has to know it.

    Attributes:
        model: Model reference.
        model_args: Its arguments.
        dataset: The training images, as `audit.Follower` takes them.
        transform: Overrides of the network's data configuration.
        n_epochs: How many epochs there will be, where that is known.
    """

    model: str
    model_args: Mapping[str, Any]
    dataset: Any
    transform: Mapping[str, Any]
    n_epochs: int | None = None


def run_of_config(path: Path) -> TrainingRun:
    """The training behind an `audit.toml`: its `[dataset]` and the first of its `[[checkpoints]]`.

    Raises:
        ConfigError: It cannot be used, or sets `class_order`.
    """
    config = AuditConfig.read(path)
    if config.dataset.class_order is not None:
        raise ConfigError(
            f"{path} sets class_order, which a trajectory does not read: the loss on the sample "
            "needs the classes in the training set's own order"
        )
    first = config.checkpoints[0]
    registry = installed_with(config.plugins)
    options = located_options(config, registry.dataset(config.dataset.name))
    located = registry.model_source(first.model).located
    model, model_args = located(first.model, first.model_args, config.base)
    return TrainingRun(
        model=model,
        model_args=model_args,
        dataset={"name": config.dataset.name, **options},
        transform=config.dataset.transform,
    )


def run_of_arguments(folder: Path, dataset: Any = None) -> TrainingRun:
    """The training behind timm's `args.yaml`.

    Relative paths in it count from where `train.py` was started, so that this has to be started
    there too, or `dataset` given.

    Args:
        folder: Where the file lies.
        dataset: The training images, in place of those that the file names.

    Raises:
        ConfigError: The file is missing or cannot be used, or no dataset reads its images.
    """
    path = folder / ARGUMENTS
    try:
        known = yaml.safe_load(plain_text(path))
    except FileNotFoundError as error:
        raise ConfigError(
            f"{folder} has no {ARGUMENTS}, as timm's train.py writes it, so that what was trained "
            "must be said: give --config audit.toml, whose [dataset] and first [[checkpoints]] do"
        ) from error
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error}") from error
    except (ValueError, RecursionError, yaml.YAMLError) as error:  # whose messages quote the file
        raise ConfigError(f"{path} cannot be read: it is not valid YAML in UTF-8") from error
    if not isinstance(known, Mapping) or not isinstance(known.get("model"), str):
        raise ConfigError(f"{path} must name the model, as timm's train.py writes it")
    if dataset is None:
        dataset = installed().adopted(argparse.Namespace(**known))
    return TrainingRun(
        model=known["model"],
        model_args=_model_args(known),
        dataset=dataset,
        transform=_transform(known),
        n_epochs=_n_epochs(known),
    )


def _model_args(known: Mapping[str, Any]) -> dict[str, Any]:
    """What the network is built with: what decides its weights and its forward pass."""
    found = {
        "num_classes": known.get("num_classes"),
        "in_chans": known.get("in_chans") or (known.get("input_size") or [3])[0],
        "global_pool": known.get("gp"),
        "bn_eps": known.get("bn_eps"),
        **(known.get("model_kwargs") or {}),
    }
    return {name: value for name, value in found.items() if value is not None}


def _transform(known: Mapping[str, Any]) -> dict[str, Any]:
    """Overrides of the data configuration, as timm resolves them."""
    found = {name: known[name] for name in _PREPARATION if known.get(name)}
    if known.get("input_size"):
        found["input_size"] = list(known["input_size"])
    elif known.get("img_size"):
        channels = _model_args(known)["in_chans"]
        found["input_size"] = [channels, known["img_size"], known["img_size"]]
    return found


def _n_epochs(known: Mapping[str, Any]) -> int | None:
    """How many epochs timm's scheduler makes of the arguments."""
    epochs = known.get("epochs")
    if not isinstance(epochs, int):
        return None
    warmup = known.get("warmup_epochs") if known.get("warmup_prefix") else 0
    return epochs + int(known.get("cooldown_epochs") or 0) + int(warmup or 0)


def training_losses(folder: Path) -> dict[int, float]:
    """Epoch → training loss, from `summary.csv`; of lines that are not whole nothing is taken.

    A training that is resumed writes on, at times with another header: the last row of an epoch
    counts.

    Args:
        folder: Where the file lies, if it does.
    """
    try:
        text = plain_text(folder / SUMMARY)
    except (OSError, ValueError):
        return {}
    whole, _, _ = text.rpartition("\n")  # the last line may be half-written
    losses: dict[int, float] = {}
    header: list[str] = []
    for cells in csv.reader(whole.splitlines()):
        if "epoch" in cells:
            header = cells
            continue
        row = dict(zip(header, cells, strict=False))
        try:
            epoch, loss = int(row["epoch"]), float(row[_LOSS])
        except (KeyError, ValueError):
            continue
        if math.isfinite(loss):
            losses[epoch] = loss
    return losses
