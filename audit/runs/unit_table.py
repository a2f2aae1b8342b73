"""One network looked at closely: its unit table, without a configuration or a lasting store."""

from __future__ import annotations

import copy
import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

import torch

from audit.data.sample import draw_sample
from audit.data.split_guard import open_training
from audit.errors import ConfigError, DataError, unknown_name
from audit.measuring.checkpoint import CheckpointView
from audit.measuring.subject import Provided, Subject
from audit.measuring.view import Wanted
from audit.network.plain import plain
from audit.network.threads import all_of_float32, one_math_thread
from audit.network.weights import content_digest
from audit.plugin import (
    Batch,
    DataConfig,
    DatasetEntry,
    ImageSplit,
    Layer,
    MapReducer,
    ModelEntry,
    TrainView,
    hookimpl,
)
from audit.plugin.registry import Registry, installed
from audit.runs.config import CheckpointConfig, one_or_several
from audit.runs.study import resolve_device
from audit.store import Store
from audit.topology import Filtration
from audit.topology.shuffled import ShuffledBirths, sampled_scores
from audit.topology.units import sampled_unit_frame

if TYPE_CHECKING:
    import pandas as pd
    from torch import nn
    from torch.export import ExportedProgram

Checkpoint: TypeAlias = str | Path | Mapping[str, Any] | CheckpointConfig
Dataset: TypeAlias = str | Mapping[str, Any] | ImageSplit | Any


def unit_table(
    checkpoint_or_module: Checkpoint | nn.Module | ExportedProgram,
    dataset: Dataset,
    layers: str | Sequence[str] | None = None,
    filtration: Filtration = "clique",
    images_per_class: int = 100,
    *,
    transform: Mapping[str, Any] | None = None,
    batch_size: int = 64,
    device: str = "auto",
    seed: int = 0,
    max_classes: int = 20,
    nulls: bool = False,
) -> pd.DataFrame:
    """Feature entropy of every unit of one network for every class.

    Args:
        checkpoint_or_module: A module in memory (it is copied, and left as it was), compiled or
            wrapped as it may be, or what `torch.export` made of one; or a mapping
            with the keys of `[[checkpoints]]` (model, weights, model_args, pretrained); or the
            path of a weights file with its recipe beside it, as `genaudit demo` writes.
        dataset: Name of a dataset plugin; or a mapping of `name` and options; or an open split;
            or an object that a plugin reads: a dataset of torch, a pair of arrays.
        layers: Whose feature maps are taken: "stages" (the end of each stage; where None), "last",
            "all-conv", "all-activations", the path of a module, a pattern of paths, a regular
            expression after "re:"; or several of these.
        filtration: "clique" or "cubical".
        images_per_class: Training images of each class; 0 means all.
        transform: Overrides of the network's data configuration (`input_size`, `mean`, `std`,
            `interpolation`, `crop_pct`); the first three are required for a module that no model
            source recognises.
        batch_size: Images per forward pass.
        device: "auto", "cpu" or "cuda".
        seed: Of the choice of images.
        max_classes: How many classes are looked at where there are more; 0 means all.
        nulls: Whether every unit is set against its own shuffled maps. On the same pass; the births
            of eight shuffles of 500 images at most are taken and kept, which takes about eight
            times as long as theirs alone and some 15 MB for ResNet-50.

    Returns:
        Columns layer, unit, class_name, n_images, effective_rate (in [0, 1]), birth_entropy and
        feature_entropy (nats; NaN where no image has a birth), status ("ok", "dead", "constant",
        "never_born"); one row per layer, unit and class. With `nulls` also shuffled_z: how many
        standard deviations feature entropy lies above that of shuffled maps, on the images that
        were shuffled (`audit.topology.nulls.against_shuffled`); below −1.645 is less than chance,
        NaN where a class has none of those images or its births do not vary by chance.

    Raises:
        ConfigError: A name, layer or option that is unknown, or a module that no model source
            recognises and for which `transform` does not say how images are prepared.
        DataError: The dataset cannot be used.
        CheckpointError: The weights cannot be read, or do not fit.
        UnavailableError: No layer has feature maps this filtration is defined for.

    Example:
        >>> import timm
        >>> network = timm.create_model("test_resnet", num_classes=10, in_chans=1)
        >>> size = {"input_size": [1, 32, 32]}
        >>> frame = unit_table(network, "digits", images_per_class=2, transform=size)
        >>> list(frame.columns[:4])
        ['layer', 'unit', 'class_name', 'n_images']
    """
    if filtration not in ("clique", "cubical"):
        raise unknown_name("filtration", filtration, ["clique", "cubical"])
    registry = installed()
    split, entry, options = open_dataset(dataset, registry)
    network = _plain_copy(checkpoint_or_module)
    config = _config(checkpoint_or_module)
    if network is None:
        source = registry.model_source(config.model)
    else:
        source = source_in_memory(network, registry)
        registry = Registry({source.name: _Plugin(source)})
    weights = Path(config.weights).expanduser() if config.weights else None
    if weights is None and config.pretrained:
        located = source.located(config.model, config.model_args, Path.cwd())
        weights = source.weights_file(*located)
    subject = Subject(
        name=config.name or config.model,
        model_source=Provided(source.name, source.version),
        source_digest="",
        model=config.model,
        model_args=config.model_args,
        weights=weights,
        weights_digest=content_digest(weights) if weights else "",
        which=config.which,
        base=Path.cwd(),
        data_source=Provided(entry.name if entry else "", ""),
        dataset_options=options,
        dataset_locations=entry.locations if entry else (),
        sample=draw_sample(split, images_per_class or None, seed, None, max_classes or None),
        transform=dict(transform or {}),
        layers=("stages",) if layers is None else one_or_several(layers),
        batch_size=batch_size,
        device=resolve_device(device),
        seed=seed,
    )
    with tempfile.TemporaryDirectory() as folder, one_math_thread(), all_of_float32():
        reducers = (_SHUFFLED[filtration],) if nulls else ()
        wanted = Wanted((filtration,), reducers=reducers)
        view = CheckpointView(subject, Store(Path(folder)), wanted, registry, split)
        births = view.births(filtration)
        frame = sampled_unit_frame(births, view.labels, view.class_names)
        for reducer in reducers:
            shuffled = view.reduced(reducer).shuffled
            frame["shuffled_z"] = sampled_scores(births, view.labels, shuffled)
        return frame


class _ShuffledMaps(MapReducer):
    """Births of shuffled maps."""

    filtration: ClassVar[Filtration] = "clique"

    def __init__(self, view: TrainView) -> None:
        self.shuffled = ShuffledBirths(view.labels, self.filtration, view.generator)

    def update(self, batch: Batch, layer: Layer, maps: torch.Tensor) -> None:
        """Shuffle one batch of maps and take their births."""
        self.shuffled.add(layer.name, batch.rows, maps)


class _ShuffledCubical(_ShuffledMaps):
    """Under the cubical filtration."""

    filtration = "cubical"


_SHUFFLED: Mapping[Filtration, type[_ShuffledMaps]] = {
    "clique": _ShuffledMaps,
    "cubical": _ShuffledCubical,
}


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


def _config(checkpoint: Checkpoint | nn.Module | ExportedProgram) -> CheckpointConfig:
    """The section of a configuration that would name this checkpoint."""
    if isinstance(checkpoint, CheckpointConfig):
        return checkpoint
    if isinstance(checkpoint, torch.nn.Module | torch.export.ExportedProgram):
        return CheckpointConfig(model=type(checkpoint).__name__)
    if isinstance(checkpoint, Mapping):
        return CheckpointConfig.model_validate(dict(checkpoint))
    path = Path(checkpoint)
    recipe = path.with_suffix(".json")
    try:
        known = json.loads(recipe.read_text("utf-8"))
        return CheckpointConfig(
            model=known["recipe"]["model"], model_args=known["model_args"], weights=str(path)
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f"a weights file alone does not say its architecture, and {recipe} is no recipe; "
            'give {"model": "resnet18", "weights": PATH, "model_args": {…}} instead'
        ) from error


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
