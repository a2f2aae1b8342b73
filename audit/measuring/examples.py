"""A few images beside a unit's maps of them: what there is to see of its number."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from audit.arrays import NO_BIRTH
from audit.errors import UnavailableError, unknown_name
from audit.measuring.checkpoint import CheckpointView
from audit.plugin import Filtration, Layer
from audit.topology import birth_levels

if TYPE_CHECKING:
    from jaxtyping import Float32, Int32
    from torch import Tensor


class Pick(NamedTuple):
    """A unit to be looked at, and for which class.

    Attributes:
        layer: Name of its layer.
        unit: Its number, from 0.
        class_name: Of the images.
    """

    layer: str
    unit: int
    class_name: str


@dataclasses.dataclass(frozen=True)
class UnitExamples:
    """A unit's births on all sampled images of a class, and its maps of a few of them.

    Attributes:
        checkpoint: Name of the checkpoint.
        pick: Which unit and class.
        filtration: "clique" or "cubical".
        births: Shape (n,), birth level on every sampled image of the class.
        images: Shape (k, height, width, channels), pixels in [0, 1] as the network is shown them.
        maps: Shape (k, h, w), the unit's feature maps of these images.
        levels: Shape (k,), their birth levels.
    """

    checkpoint: str
    pick: Pick
    filtration: Filtration
    births: Int32[np.ndarray, " n"]
    images: Float32[np.ndarray, "k height width channels"]
    maps: Float32[np.ndarray, "k h w"]
    levels: Int32[np.ndarray, " k"]


def spread_over_births(births: np.ndarray, n_images: int) -> np.ndarray:
    """Positions of images that show a distribution of births, in the order of their levels.

    Evenly spaced in the order of levels over those with a birth; where these do not suffice, all of
    them and the first of the others.

    Args:
        births: (n,) integers, from 1, or `NO_BIRTH`.
        n_images: How many, at most.

    Example:
        >>> spread_over_births(np.array([9, -1, 2, 4, 7]), 2).tolist()
        [3, 0]
    """
    born = np.flatnonzero(births != NO_BIRTH)
    born = born[np.argsort(births[born], kind="stable")]
    if len(born) > n_images:
        born = born[((np.arange(n_images) + 0.5) / n_images * len(born)).astype(int)]
    others = np.flatnonzero(births == NO_BIRTH)[: n_images - len(born)]
    return np.concatenate([born, others])


def unit_examples(
    view: CheckpointView, filtration: Filtration, picks: Sequence[Pick], n_images: int
) -> list[UnitExamples]:
    """Look at units: their births on the sample, and one forward pass of a few images.

    Args:
        view: The checkpoint.
        filtration: "clique" or "cubical".
        picks: Which units, and for which classes.
        n_images: Images of each, at most.

    Returns:
        One for each pick. Levels are those of the maps that are shown; in another batch than that
        of the sample the last bits of a map may differ, and a level with them.

    Raises:
        ConfigError: A layer, a unit or a class that is not there.
        UnavailableError: The filtration is not defined for the maps of a layer.
    """
    known = {layer.name: layer for layer in view.layers}
    asked = {pick.layer for pick in picks}
    taken = (layer for layer in view.births(filtration) if layer.layer in asked)
    births = {layer.layer: layer.birth_levels for layer in taken}
    rows: list[np.ndarray] = []
    levels: list[np.ndarray] = []
    for pick in picks:
        _check(pick, known, births, view, filtration)
        of_class = np.flatnonzero(view.labels == view.class_names.index(pick.class_name))
        found = births[pick.layer][of_class, pick.unit]
        levels.append(found)
        rows.append(of_class[spread_over_births(found, n_images)])
    every = np.unique(np.concatenate(rows))
    images = view.images_of(every.tolist())
    wanted = {pick.layer: [p.unit for p in picks if p.layer == pick.layer] for pick in picks}
    maps: dict[tuple[str, int], np.ndarray] = {}

    def consume(layer: Layer, given: Tensor) -> None:
        for unit in wanted.get(layer.name, ()):
            maps[layer.name, unit] = given[:, unit].float().cpu().numpy().copy()

    view.maps(images, view.module, consume)
    pixels = view.pixels(images).permute(0, 2, 3, 1).cpu().numpy()
    result = []
    for pick, chosen, of_class in zip(picks, rows, levels, strict=True):
        at = np.searchsorted(every, chosen)
        own = maps[pick.layer, pick.unit][at]
        shown = np.asarray(birth_levels(own, filtration))
        result.append(
            UnitExamples(view.checkpoint, pick, filtration, of_class, pixels[at], own, shown)
        )
    return result


def _check(
    pick: Pick,
    layers: dict[str, Layer],
    births: dict[str, np.ndarray],
    view: CheckpointView,
    filtration: Filtration,
) -> None:
    """Refuse a unit that is not there.

    Raises:
        ConfigError: No such layer, unit, or class of the sample.
        UnavailableError: The filtration is not defined for the maps of the layer.
    """
    if pick.layer not in layers:
        raise unknown_name("layer", pick.layer, layers, f"there are {', '.join(layers)}")
    layer = layers[pick.layer]
    if not 0 <= pick.unit < layer.units:
        hint = f"layer {pick.layer} has units 0 to {layer.units - 1}"
        raise unknown_name("unit", str(pick.unit), (), hint)
    present = [view.class_names[label] for label in np.unique(view.labels)]
    if pick.class_name not in present:
        some = ", ".join(present[:12]) + (" …" if len(present) > 12 else "")
        raise unknown_name("class", pick.class_name, present, f"there are {some}")
    if pick.layer not in births:
        raise UnavailableError(
            f"the {filtration} filtration is not defined for the maps of layer {pick.layer}, of "
            f"{layer.height} × {layer.width} pixels"
        )
