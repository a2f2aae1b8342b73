"""One layer of one network without more and more of its units: the entrance for users."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from audit.errors import ConfigError, unknown_name
from audit.network.weights.remote import on_this_machine, weights_place
from audit.plugin.registry import installed
from audit.runs.checkpoints import expand_checkpoints
from audit.runs.class_orders import ClassOrders
from audit.runs.config import AuditConfig, DatasetConfig
from audit.runs.one_network import (
    Checkpoint,
    Dataset,
    checkpoint_config,
    network_view,
    training_images,
)
from audit.runs.training_set import located_options
from audit.topology import FILTRATIONS, Filtration
from audit.units.ablation_orders import chosen_orders
from audit.units.cumulative import CumulativeAblation, cumulative
from audit.units.importance import wanted_by

if TYPE_CHECKING:
    from torch import nn
    from torch.export import ExportedProgram


def cumulative_ablation(
    checkpoint_or_module: Checkpoint | nn.Module | ExportedProgram,
    dataset: Dataset,
    layer: str,
    orders: Sequence[str] | None = None,
    steps: int = 20,
    *,
    filtration: Filtration = "clique",
    images_per_class: int = 100,
    max_classes: int = 20,
    draws: int = 5,
    n_bootstrap: int = 1000,
    transform: Mapping[str, Any] | None = None,
    class_order: str | Sequence[str] | None = None,
    batch_size: int = 64,
    device: str = "auto",
    seed: int = 0,
    base: Path | None = None,
) -> CumulativeAblation:
    """Accuracy and loss on the training sample as more and more units of a layer are zero.

    In each order a share of the units is at zero, from none to all in about equal steps, by masks
    on what comes out of the layer (`audit.ablate`). A unit's feature entropy is its mean over
    the classes in which it is ever born. Units without one stand where the authors' program puts
    them, at the end of high entropy: those that are dead, constant or never born, and those below
    0.1 nats. Likewise units without a value of another criterion stand at its least important end.

    Where the network can be run on stacked masks, one pass over the sample serves all steps of all
    orders, and what follows the layer is computed once for each; else every step takes a pass. The
    orders themselves take one pass for births and activations, and one forward and back for
    `taylor`.

    Args:
        checkpoint_or_module: As `audit.unit_table` takes it; a module is left as it was.
        dataset: As `audit.unit_table` takes it.
        layer: Whose units: a name as unit tables and `genaudit layers` give it, or "last".
        orders: Of `audit.units.importance.CRITERIA`: a criterion's name for both directions, or
            "NAME:highest" or "NAME:lowest" for what goes first; None: all criteria.
        steps: Points of a curve beside the first; no more than there are units.
        filtration: Whose births feature entropy is taken of: "clique" or "cubical".
        images_per_class: Training images of each class; 0 means all.
        max_classes: How many classes are looked at where there are more; 0 means all.
        draws: How often the random order is drawn.
        n_bootstrap: Bootstrap samples of images behind each interval; the same for all orders.
        transform: Overrides of the network's data configuration, as for `audit.unit_table`.
        class_order: Which output of the network means which class, as in `[[checkpoints]]`: None
            is what the checkpoint says of itself, else the training set's own order.
        batch_size: Images per forward pass.
        device: "auto", "cpu" or "cuda".
        seed: Of the choice of images, of random orders, ties and bootstrap samples.
        base: The folder that relative paths inside the checkpoint's section start from; None: the
            working folder.

    Returns:
        Curves, areas, differences of areas, each with 95% intervals over images, and the verdict on
        the claim that units of high feature entropy matter least (`CumulativeAblation`).

    Raises:
        ConfigError: A name, layer, order or option that is unknown, or a layer name that stands for
            several layers.
        DataError: The dataset cannot be used.
        CheckpointError: The weights cannot be read, do not fit, or the head has other classes.
        UnavailableError: No such order exists for the layer.

    Source:
        Claim and orders: Zhao & Zhang 2022, program; curves: Morcos et al., ICLR 2018, figure 3.

    Example:
        >>> import timm
        >>> network = timm.create_model("test_resnet", num_classes=10, in_chans=1)
        >>> size = {"input_size": [1, 32, 32]}
        >>> orders = ["l1_norm:lowest"]
        >>> found = cumulative_ablation(
        ...     network, "digits", "layer2", orders, 4, images_per_class=2, transform=size
        ... )
        >>> found.curves["n_ablated"].tolist()
        [0, 12, 24, 36, 48]
    """
    if filtration not in FILTRATIONS:
        raise unknown_name("filtration", filtration, FILTRATIONS)
    chosen = chosen_orders((orders,) if isinstance(orders, str) else orders)
    images = training_images(dataset, images_per_class, seed, max_classes)
    names = images.sample.class_names
    with network_view(
        checkpoint_or_module,
        images,
        wanted_by((order.criterion for order in chosen), filtration),
        layers=layer,
        transform=transform,
        batch_size=batch_size,
        device=device,
        seed=seed,
        class_order=_order_of_classes(checkpoint_or_module, class_order, names, base),
        base=base,
    ) as view:
        return cumulative(
            view, chosen, steps, filtration=filtration, n_draws=draws, n_bootstrap=n_bootstrap
        )


def _order_of_classes(
    checkpoint: Any, setting: str | Sequence[str] | None, names: Sequence[str], base: Path | None
) -> tuple[str, ...]:
    """Names of the classes in the order of the head's outputs; none where nothing settles it.

    Raises:
        ConfigError: The setting cannot be used.
        CheckpointError: The names inside the checkpoint were asked for, and do not fit.
    """
    config = checkpoint_config(checkpoint)
    in_memory = isinstance(checkpoint, torch.nn.Module | torch.export.ExportedProgram)
    if in_memory and setting is None:
        return ()
    if in_memory and setting == "checkpoint":
        raise ConfigError(
            'class_order = "checkpoint" needs a weights file; a network in memory does not say in '
            "which order its classes are"
        )
    if setting is not None:
        given = tuple(setting) if not isinstance(setting, str) else setting
        config = config.model_copy(update={"class_order": given})
    about = AuditConfig(
        dataset=DatasetConfig(name="given"), checkpoints=(config,), base=base or Path.cwd()
    )
    registry = installed()
    source = (
        next(iter(registry.models.values()))  # it is not asked
        if in_memory
        else registry.model_source(config.model)
    )
    weights = on_this_machine(weights_place(config.weights)) if config.weights else None
    return ClassOrders(about, names).of(config, weights, source)[0]


def of_configuration(path: Path, checkpoint: str) -> dict[str, Any]:
    """What an `audit.toml` says of one of its checkpoints, as arguments of `cumulative_ablation`.

    Args:
        path: The configuration.
        checkpoint: The checkpoint's name, or the path of its file.

    Raises:
        ConfigError: The configuration cannot be used, or has no such checkpoint.
    """
    config = AuditConfig.read(path)
    expanded = expand_checkpoints(config)
    file = Path(checkpoint).expanduser().absolute()
    found = {found.name: found for found in expanded}
    by_file = {f.path.absolute(): f.name for f in expanded if isinstance(f.path, Path)}
    name = by_file.get(file, checkpoint)
    if name not in found:
        raise unknown_name("checkpoint", checkpoint, found)
    _, entry, weights = found[name]
    dataset = installed().dataset(config.dataset.name)
    section = entry.model_copy(update={"weights": str(weights) if weights else None, "name": name})
    return {
        "checkpoint_or_module": section,
        "dataset": {"name": dataset.name, **located_options(config, dataset)},
        "transform": config.dataset.transform,
        "class_order": config.dataset.class_order if entry.class_order is None else None,
        "images_per_class": config.measures.images_per_class,
        "max_classes": config.measures.max_classes,
        "seed": config.seed,
        "base": config.base,
    }
