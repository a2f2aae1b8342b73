"""One network and a training sample opened together, without a configuration or a lasting store."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np
import torch

from audit.data.sample import Sample, draw_sample
from audit.data.split_guard import open_training
from audit.errors import ConfigError, DataError, unknown_name
from audit.files import plain_text
from audit.measuring.checkpoint import CheckpointView
from audit.measuring.subject import Provided, Subject
from audit.measuring.view import Wanted
from audit.network.plain import plain
from audit.network.threads import all_of_float32, one_math_thread
from audit.network.weights.remote import place_digest, weights_place
from audit.notations import json_of
from audit.plugin import DataConfig, DatasetEntry, ImageSplit, ModelEntry, hookimpl
from audit.plugin.registry import Registry, installed
from audit.remote import Location
from audit.runs.config import CheckpointConfig, one_or_several
from audit.runs.study import resolve_device
from audit.store import Store

if TYPE_CHECKING:
    from PIL import Image
    from torch import nn
    from torch.export import ExportedProgram

#: What stands for a network outside memory.
Checkpoint: TypeAlias = str | Path | Mapping[str, Any] | CheckpointConfig
#: What stands for a training set.
Dataset: TypeAlias = str | Mapping[str, Any] | ImageSplit | Any


class TrainingImages(NamedTuple):
    """An open training split and the images of it that are looked at.

    Attributes:
        split: The images.
        entry: What reads them, or None: they were given open.
        options: Of the entry.
        sample: Those that are looked at.
    """

    split: ImageSplit
    entry: DatasetEntry | None
    options: Mapping[str, Any]
    sample: Sample


def training_images(
    dataset: Dataset, images_per_class: int, seed: int, max_classes: int = 0
) -> TrainingImages:
    """Open a training set and draw the images that are looked at.

    Args:
        dataset: Name of a dataset plugin; a mapping of `name` and options; an open split; or an
            object that a plugin reads: a dataset of torch, a pair of arrays.
        images_per_class: Of each class; 0 means all.
        seed: Of the choice.
        max_classes: How many classes where there are more; 0 means all.

    Raises:
        ConfigError: No plugin of that name.
        DataError: The training set cannot be used.
    """
    split, entry, options = open_dataset(dataset, installed())
    sample = draw_sample(split, images_per_class or None, seed, None, max_classes or None)
    return TrainingImages(split, entry, options, sample)


def images_of_class(
    dataset: Dataset, class_name: str, images_per_class: int, seed: int
) -> TrainingImages:
    """The same images of one class alone; those of other classes are not even read.

    Args:
        dataset: As `training_images`.
        class_name: The class.
        images_per_class: How many images; 0 means all.
        seed: Of the choice.

    Raises:
        ConfigError: No plugin or class of that name.
        DataError: The training set cannot be used.
    """
    split, entry, options = open_dataset(dataset, installed())
    names = tuple(map(str, split.class_names))
    if class_name not in names:
        some = ", ".join(names[:12]) + (" …" if len(names) > 12 else "")
        raise unknown_name("class", class_name, names, f"there are {some}")
    one = _OneClass(split, names.index(class_name))
    drawn = draw_sample(one, images_per_class or None, seed)
    sample = dataclasses.replace(
        drawn,
        indices=one.members[drawn.indices],
        labels=np.full(len(drawn.labels), names.index(class_name), np.int64),
        class_names=names,
    )
    return TrainingImages(split, entry, options, sample)


class _OneClass(ImageSplit):
    """The images of a split that are of one class."""

    def __init__(self, split: ImageSplit, label: int) -> None:
        self.members = np.flatnonzero(np.asarray(split.labels) == label)
        self.class_names = (split.class_names[label],)
        self.labels = np.zeros(len(self.members), np.int64)
        self.sample_ids = tuple(split.sample_ids[member] for member in self.members)
        self._split = split

    def digest(self, index: int) -> str:
        """As of the whole split."""
        return self._split.digest(int(self.members[index]))

    def load(self, index: int) -> Image.Image:
        """As of the whole split."""
        return self._split.load(int(self.members[index]))


@contextlib.contextmanager
def network_view(
    checkpoint_or_module: Checkpoint | nn.Module | ExportedProgram,
    images: TrainingImages,
    wanted: Wanted,
    *,
    layers: str | Sequence[str] | None = None,
    transform: Mapping[str, Any] | None = None,
    batch_size: int = 64,
    device: str = "auto",
    seed: int = 0,
    class_order: Sequence[str] = (),
    base: Path | None = None,
) -> Iterator[CheckpointView]:
    """The view of one network on these images; what it keeps is gone when it closes.

    Args:
        checkpoint_or_module: A module in memory (it is copied, and left as it was), what
            `torch.export` made of one, a mapping with the keys of `[[checkpoints]]`, or the path of
            a weights file with its recipe beside it.
        images: The training sample.
        wanted: What is taken along on the first pass.
        layers: Whose feature maps; None: the end of each stage.
        transform: Overrides of the network's data configuration.
        batch_size: Images per forward pass.
        device: "auto", "cpu" or "cuda".
        seed: Of all that is drawn.
        class_order: Names of the classes in the order of the head's outputs; none: as the training
            set has them.
        base: The folder that relative paths in the model and its arguments start from; None: the
            working folder.

    Raises:
        ConfigError: A name that is unknown, or a module that no model source recognises and for
            which `transform` does not say how images are prepared.
        CheckpointError: The weights cannot be read, or do not fit.
    """
    registry = installed()
    network = _plain_copy(checkpoint_or_module)
    config = checkpoint_config(checkpoint_or_module)
    if network is None:
        source = registry.model_source(config.model)
    else:
        source = source_in_memory(network, registry)
        registry = Registry({source.name: _Plugin(source)})
    weights: Location | None = weights_place(config.weights) if config.weights else None
    base = base or Path.cwd()
    if weights is None and config.pretrained:
        located = source.located(config.model, config.model_args, base)
        weights = source.weights_file(*located)
    subject = Subject(
        name=config.name or config.model,
        model_source=Provided(source.name, source.version),
        source_digest="",
        model=config.model,
        model_args=config.model_args,
        weights=weights,
        weights_digest=place_digest(weights) if weights else "",
        which=config.which,
        base=base,
        data_source=Provided(images.entry.name if images.entry else "", ""),
        dataset_options=images.options,
        dataset_locations=images.entry.locations if images.entry else (),
        sample=images.sample,
        transform=dict(transform or {}),
        layers=("stages",) if layers is None else one_or_several(layers),
        batch_size=batch_size,
        device=resolve_device(device),
        seed=seed,
        class_order=tuple(class_order),
    )
    with tempfile.TemporaryDirectory() as folder, one_math_thread(), all_of_float32():
        yield CheckpointView(subject, Store(Path(folder)), wanted, registry, images.split)


def checkpoint_config(
    checkpoint: Checkpoint | nn.Module | ExportedProgram,
) -> CheckpointConfig:
    """The section of a configuration that would name this checkpoint.

    Raises:
        ConfigError: A weights file without a recipe beside it, or keys that cannot be used.
    """
    if isinstance(checkpoint, CheckpointConfig):
        return checkpoint
    if isinstance(checkpoint, torch.nn.Module | torch.export.ExportedProgram):
        return CheckpointConfig(model=type(checkpoint).__name__)
    if isinstance(checkpoint, Mapping):
        return CheckpointConfig.model_validate(dict(checkpoint))
    path = Path(checkpoint)
    recipe = path.with_suffix(".json")
    try:
        known = json_of(plain_text(recipe))
        return CheckpointConfig(
            model=known["recipe"]["model"], model_args=known["model_args"], weights=str(path)
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f"a weights file alone does not say its architecture, and {recipe} is no recipe; "
            'give {"model": "resnet18", "weights": PATH, "model_args": {…}} instead'
        ) from error


class _Plugin:
    """A plugin that brings one source of networks."""

    def __init__(self, source: ModelEntry) -> None:
        self._source = source

    @hookimpl
    def genaudit_models(self) -> list[ModelEntry]:
        """The source."""
        return [self._source]


def _plain_copy(given: object) -> nn.Module | None:
    """A copy of a network in memory, or of an exported program's; None for anything else."""
    if isinstance(given, torch.export.ExportedProgram):
        return plain(given)
    if isinstance(given, torch.jit.ScriptModule):
        return given  # a copy has other parameters; its outputs are all that is asked for
    return plain(copy.deepcopy(given)) if isinstance(given, torch.nn.Module) else None


def source_in_memory(network: nn.Module, registry: Registry) -> ModelEntry:
    """A source of this network; the source that recognises it prepares its images.

    Args:
        network: As plain Python, or TorchScript.
        registry: Where the source that recognises it is looked up.
    """
    known = registry.recognised_source(network)
    return ModelEntry(
        name="memory",
        summary="a network in memory",
        version="1",
        matches=lambda reference: True,
        names=tuple,
        create=lambda reference, args, pretrained: network,
        data_config=known.data_config if known else _unrecognised,
    )


def _unrecognised(network: nn.Module, args: Mapping[str, Any]) -> DataConfig:
    """Refuse a network of which nobody knows how its images are prepared."""
    raise ConfigError(
        f"no model source recognises {type(network).__name__}, so that how its images are prepared "
        "must be given: transform={'input_size': [3, 224, 224], 'mean': [0.5], 'std': [0.5]}, with "
        "the numbers it was trained with"
    )


def open_dataset(
    dataset: Dataset, registry: Registry
) -> tuple[ImageSplit, DatasetEntry | None, dict[str, Any]]:
    """The training images that a user names or hands over.

    Args:
        dataset: Name of a dataset plugin; or a mapping of `name` and options; or an open split;
            or an object that a plugin reads.
        registry: Where datasets are looked up.

    Returns:
        The split, what reads it (None for an open split), and its options.

    Raises:
        ConfigError: A name or option that is unknown, or an object that no plugin reads.
        DataError: The dataset cannot be used.
    """
    if isinstance(dataset, ImageSplit):
        return dataset, None, {}
    if isinstance(dataset, str):
        options: dict[str, Any] = {"name": dataset}
    else:
        options = dict(dataset) if isinstance(dataset, Mapping) else registry.adopted(dataset)
    if "name" not in options:
        raise DataError(f"a dataset mapping needs the key 'name'; found {sorted(options)}")
    entry = registry.dataset(str(options.pop("name")))
    return open_training(entry, options), entry, options
