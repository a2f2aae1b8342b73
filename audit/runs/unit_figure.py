"""One unit of one network, looked at."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from audit.errors import ConfigError, unknown_name
from audit.measuring.examples import Pick, unit_examples
from audit.measuring.view import Wanted
from audit.runs.one_network import Checkpoint, Dataset, images_of_class, network_view
from audit.topology import Filtration
from audit.units.figure import unit_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from torch import nn
    from torch.export import ExportedProgram


def plot_unit(
    checkpoint_or_module: Checkpoint | nn.Module | ExportedProgram,
    dataset: Dataset,
    layer: str,
    unit: int,
    class_name: str,
    filtration: Filtration = "clique",
    images_per_class: int = 100,
    *,
    n_images: int = 5,
    transform: Mapping[str, Any] | None = None,
    batch_size: int = 64,
    device: str = "auto",
    seed: int = 0,
    confidence: float = 0.95,
) -> Figure:
    """Show what a unit makes of a class: images, its maps, where they are born, and how often.

    The images shown are spread evenly over the order of their birth levels. Only the images of that
    class are read; numbers are those of `audit.unit_table` with the same options.

    Args:
        checkpoint_or_module: As `audit.unit_table`.
        dataset: As `audit.unit_table`.
        layer: Name of one layer, as the unit table has it; or "last".
        unit: Its number, from 0.
        class_name: As the unit table has it.
        filtration: "clique": the graph at birth with its cycle. "cubical": the superlevel set at
            birth with its hole.
        images_per_class: Images of the class; 0 means all.
        n_images: Images shown, at least 1.
        transform: As `audit.unit_table`.
        batch_size: Images per forward pass.
        device: "auto", "cpu" or "cuda".
        seed: Of the choice of images.
        confidence: Of the interval of feature entropy, in (0, 1).

    Returns:
        A matplotlib figure, which a notebook shows and `figure.savefig("unit.png")` writes.

    Raises:
        ConfigError: A layer, unit or class that is not there, or several layers.
        UnavailableError: The filtration is not defined for the layer's maps.
        DataError, CheckpointError: As `audit.unit_table`.
        AuditError: matplotlib is not installed.

    Example:
        >>> figure = audit.plot_unit("a.pt", "digits", "layer4", 7, "3")  # doctest: +SKIP
        >>> figure.savefig("unit.png")                                    # doctest: +SKIP
    """
    if filtration not in ("clique", "cubical"):
        raise unknown_name("filtration", filtration, ["clique", "cubical"])
    if n_images < 1:
        raise ConfigError(f"n_images must be at least 1; found {n_images}")
    images = images_of_class(dataset, class_name, images_per_class, seed)
    with network_view(
        checkpoint_or_module,
        images,
        Wanted((filtration,)),
        layers=layer,
        transform=transform,
        batch_size=batch_size,
        device=device,
        seed=seed,
    ) as view:
        found = [one.name for one in view.layers]
        if len(found) > 1:
            raise ConfigError(f"{layer!r} stands for several layers: {', '.join(found)}; name one")
        pick = Pick(found[0], int(unit), class_name)
        (examples,) = unit_examples(view, filtration, [pick], n_images)
    return unit_figure(examples, confidence)
