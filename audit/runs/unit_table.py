"""One network looked at closely: its unit table, without a configuration or a lasting store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import torch

from audit.errors import unknown_name
from audit.measuring.view import Wanted
from audit.plugin import Batch, Layer, MapReducer, TrainView
from audit.runs.one_network import Checkpoint, Dataset, network_view, training_images
from audit.topology import Filtration
from audit.topology.shuffled import ShuffledBirths, sampled_scores
from audit.topology.units import sampled_unit_frame

if TYPE_CHECKING:
    import pandas as pd
    from torch import nn
    from torch.export import ExportedProgram


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
    images = training_images(dataset, images_per_class, seed, max_classes)
    reducers = (_SHUFFLED[filtration],) if nulls else ()
    with network_view(
        checkpoint_or_module,
        images,
        Wanted((filtration,), reducers=reducers),
        layers=layers,
        transform=transform,
        batch_size=batch_size,
        device=device,
        seed=seed,
    ) as view:
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
