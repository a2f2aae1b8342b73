"""The units of two networks on the same images, compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from audit.errors import ConfigError, UnavailableError, unknown_name
from audit.measuring.checkpoint import CheckpointView
from audit.measuring.view import Wanted
from audit.plugin import Layer
from audit.runs.one_network import (
    Checkpoint,
    Dataset,
    checkpoint_config,
    network_view,
    training_images,
)
from audit.topology import Filtration
from audit.topology.entropy import feature_entropy_by_class
from audit.topology.units import sampled_unit_frame
from audit.units.across import Answers, compare_layers, compare_tables, state_shares
from audit.units.comparison import UnitComparison
from audit.units.layers import LayerUnits, pair_layers
from audit.units.order import LEAST_RATE
from audit.units.responses import responses_to

if TYPE_CHECKING:
    import pandas as pd
    from torch import nn
    from torch.export import ExportedProgram

    Network: TypeAlias = Checkpoint | nn.Module | ExportedProgram


def compare_units(
    first: Network | pd.DataFrame,
    second: Network | pd.DataFrame,
    dataset: Dataset = None,
    layers: str | Sequence[str] | None = None,
    filtration: Filtration = "clique",
    images_per_class: int = 100,
    *,
    names: tuple[str, str] | None = None,
    transform: Mapping[str, Any] | None = None,
    batch_size: int = 64,
    device: str = "auto",
    seed: int = 0,
    max_classes: int = 20,
    level: float = 0.05,
    least_rate: float = LEAST_RATE,
    n_permutations: int = 999,
) -> UnitComparison:
    """Compare the units of two networks: two trainings of one, or two architectures.

    Three questions, each with a test, an adjusted p-value and a verdict, which is "cannot tell"
    where there is no power (`audit.units.comparison.HYPOTHESES` says what is tested): do the units
    of a layer have the same feature entropies; do both networks put the classes in one order; do
    units that respond alike to the same images share their status? Two unit tables answer the
    first two.

    Layers of one name stand beside each other where both networks have the same names, else those
    of the nearest relative depth. Maps of different sizes are pooled to the smaller one before
    births are taken: larger maps have more levels.

    Args:
        first: A network, as `audit.unit_table` takes it; or a unit table.
        second: Likewise, of the same kind.
        dataset: The training set that both are shown, as `audit.unit_table` takes it; not for
            tables.
        layers: As `audit.unit_table`, for both.
        filtration: "clique" or "cubical".
        images_per_class: Training images of each class; 0 means all.
        names: Of the networks, for the result.
        transform: As `audit.unit_table`, for both.
        batch_size: Images per forward pass.
        device: "auto", "cpu" or "cuda".
        seed: Of the choice of images, and of the permutations.
        max_classes: How many classes are looked at where there are more; 0 means all.
        level: Of the tests, in (0, 1).
        least_rate: Effective rate, in [0, 1], from which on a unit has a number.
        n_permutations: Of the tests.

    Returns:
        `UnitComparison`: tables `layers`, `classes`, `class_order`, `matched`, and `plot()`.

    Raises:
        ConfigError: A name, layer or option that is unknown; one table and one network.
        DataError: The dataset or a table cannot be used, or the tables are not of the same images.
        CheckpointError: Weights cannot be read, or do not fit.
        UnavailableError: No two layers have feature maps this filtration is defined for.

    Example:
        >>> found = audit.compare_units("a.pt", "b.pt", "digits")             # doctest: +SKIP
        >>> found.matched[["layer_first", "spearman", "ceiling", "verdict"]]  # doctest: +SKIP
    """
    import pandas as pd

    asked: dict[str, Any] = {
        "level": level,
        "least_rate": least_rate,
        "n_permutations": n_permutations,
        "seed": seed,
    }
    if isinstance(first, pd.DataFrame) and isinstance(second, pd.DataFrame):
        return compare_tables(first, second, names or ("first", "second"), **asked)
    if isinstance(first, pd.DataFrame) or isinstance(second, pd.DataFrame):
        raise ConfigError("two unit tables or two networks are compared; found one of each")
    if dataset is None:
        raise ConfigError("to compare networks, say on which training set: dataset=…")
    if filtration not in ("clique", "cubical"):
        raise unknown_name("filtration", filtration, ["clique", "cubical"])
    images = training_images(dataset, images_per_class, seed, max_classes)
    options: dict[str, Any] = {
        "layers": layers,
        "transform": transform,
        "batch_size": batch_size,
        "device": device,
        "seed": seed,
    }
    wanted = Wanted((filtration,))
    with (
        network_view(first, images, wanted, **options) as own,
        network_view(second, images, wanted, **options) as other,
    ):
        names = names or _names(first, second)
        return compare_views(own, other, filtration, names, **asked)


def compare_views(
    own: CheckpointView,
    other: CheckpointView,
    filtration: Filtration,
    names: tuple[str, str],
    *,
    level: float = 0.05,
    least_rate: float = LEAST_RATE,
    n_permutations: int = 999,
    seed: int = 0,
) -> UnitComparison:
    """Compare two open networks on the same sample; one pass over it for each.

    Args:
        own: The first network.
        other: The second, on the same images.
        filtration: "clique" or "cubical".
        names: Of the networks.
        level: Of the tests, in (0, 1).
        least_rate: Effective rate, in [0, 1], from which on a unit has a number.
        n_permutations: Of the tests.
        seed: Of the permutations.

    Raises:
        UnavailableError: No two layers have feature maps this filtration is defined for.
    """
    usable = [_usable(view.layers, filtration) for view in (own, other)]
    places = pair_layers(*([layer.name for layer in layers] for layers in usable))
    pairs = [(usable[0][a], usable[1][b]) for a, b in places]
    if not pairs:
        raise UnavailableError(
            "the clique filtration needs square feature maps, and not both networks have them"
        )
    grids = [(min(a.height, b.height), min(a.width, b.width)) for a, b in pairs]
    kept = [
        view.reduced(
            responses_to(
                filtration,
                {pair[which].name: grid for pair, grid in zip(pairs, grids, strict=True)},
            )
        )
        for which, view in enumerate((own, other))
    ]
    present, labels = np.unique(own.labels, return_inverse=True)
    answers = [
        (
            kept[0].answers(a.name)._replace(labels=labels),
            kept[1].answers(b.name)._replace(labels=labels),
        )
        for a, b in pairs
    ]
    units = [
        (_units(a, grid, of_own, len(present)), _units(b, grid, of_other, len(present)))
        for (a, b), grid, (of_own, of_other) in zip(pairs, grids, answers, strict=True)
    ]
    tables = [
        sampled_unit_frame(view.births(filtration), view.labels, view.class_names)
        for view in (own, other)
    ]
    return compare_layers(
        units,
        [own.class_names[label] for label in present],
        names,
        answers=answers,
        states=state_shares(*tables),
        level=level,
        least_rate=least_rate,
        n_permutations=n_permutations,
        seed=seed,
    )


def _usable(layers: Sequence[Layer], filtration: Filtration) -> list[Layer]:
    """The layers that a filtration is defined for."""
    return [one for one in layers if filtration != "clique" or one.height == one.width]


def _units(layer: Layer, grid: tuple[int, int], answers: Answers, n_classes: int) -> LayerUnits:
    """Numbers of a layer's units on maps of one size."""
    found = feature_entropy_by_class(answers.births, answers.labels, n_classes)
    return LayerUnits(
        layer=layer.name,
        size=grid,
        entropy=found.feature_entropy,
        rate=found.effective_rate,
        n_images=np.bincount(answers.labels, minlength=n_classes),
    )


def _names(first: Any, second: Any) -> tuple[str, str]:
    """What the networks are called, told apart where they have one name."""
    configs = [checkpoint_config(given) for given in (first, second)]
    own, other = (
        config.name or (Path(config.weights).stem if config.weights else config.model)
        for config in configs
    )
    return (own, other) if own != other else (f"{own} (first)", f"{other} (second)")
