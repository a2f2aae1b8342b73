"""Feature entropy of all layers at one resolution, so that depth is not mistaken for map size."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from audit.arrays import NO_BIRTH
from audit.errors import UnavailableError
from audit.plugin import (
    Batch,
    Filtration,
    Layer,
    MapReducer,
    MeasureEntry,
    Part,
    TrainView,
    Value,
)
from audit.topology import birth_levels
from audit.topology.entropy import feature_entropy_by_class
from audit.topology.shuffled import chosen_images
from audit_measures._layer_parts import declared_parts, layer_parts
from audit_measures.feature_entropy import LEAST_CLIQUE_SIDE

if TYPE_CHECKING:
    from torch import Tensor

#: Images that are looked at, at most; their levels then take 20 MB for ResNet-50's 3,904 units.
MOST_IMAGES = 5_000
#: A hole needs three rows and columns.
LEAST_CUBICAL_SIDE = 3


def common_grid(layers: Sequence[Layer], filtration: Filtration) -> tuple[int, int] | None:
    """Height and width that the maps of all layers can be pooled to; None if no layer's can.

    The smallest among those that the filtration can use: square maps of 5 × 5 pixels or more under
    "clique", 3 × 3 or more under "cubical".

    Example:
        >>> layers = [Layer("stem", 16, 16, 8), Layer("body", 8, 8, 8), Layer("end", 4, 4, 8)]
        >>> common_grid(layers, "clique"), common_grid(layers, "cubical")
        ((8, 8), (4, 4))
    """
    least = LEAST_CLIQUE_SIDE if filtration == "clique" else LEAST_CUBICAL_SIDE
    usable = [
        layer
        for layer in layers
        if min(layer.height, layer.width) >= least
        and (filtration != "clique" or layer.height == layer.width)
    ]
    if not usable:
        return None
    return min(layer.height for layer in usable), min(layer.width for layer in usable)


class PooledBirths(MapReducer):
    """Birth levels of maps pooled to the common grid."""

    filtration: ClassVar[Filtration]

    def __init__(self, view: TrainView) -> None:
        self.rows = chosen_images(view.labels, MOST_IMAGES)
        self.grid = common_grid(view.layers, self.filtration)
        self._births: dict[str, np.ndarray] = {}
        self._at = np.full(len(view.labels), -1)
        self._at[self.rows] = np.arange(len(self.rows))

    def update(self, batch: Batch, layer: Layer, maps: Tensor) -> None:
        """Pool one batch of maps and keep their levels."""
        from torch import from_numpy
        from torch.nn.functional import adaptive_max_pool2d

        if self.missing(layer):
            return
        assert self.grid is not None  # else every layer is missing
        at = self._at[batch.rows]
        used = from_numpy(np.flatnonzero(at >= 0)).to(maps.device)
        pooled = adaptive_max_pool2d(maps[used].float(), self.grid).contiguous()
        levels = birth_levels(pooled, self.filtration).cpu().numpy()
        if layer.name not in self._births:
            kind = np.min_scalar_type(-self.grid[0] * self.grid[1] - 1)
            self._births[layer.name] = np.full((len(self.rows), layer.units), NO_BIRTH, kind)
        self._births[layer.name][at[at >= 0]] = levels

    def missing(self, layer: Layer) -> str:
        """Why a layer has no levels on the common grid, or ""."""
        size = f"{layer.name}: maps of {layer.height} × {layer.width} pixels"
        if self.filtration == "clique" and layer.height != layer.width:
            return f"{size} are not square, as the clique filtration needs them"
        if self.grid is None or layer.height < self.grid[0] or layer.width < self.grid[1]:
            least = LEAST_CLIQUE_SIDE if self.filtration == "clique" else LEAST_CUBICAL_SIDE
            height, width = self.grid or (least, least)
            return f"{size} are smaller than the grid of {height} × {width} they are compared on"
        return ""

    def births(self, layer: Layer) -> np.ndarray:
        """Levels of a layer on `rows`, shape (n, units)."""
        return self._births[layer.name]


class PooledClique(PooledBirths):
    """Under the clique filtration."""

    filtration = "clique"


class PooledCubical(PooledBirths):
    """Under the cubical filtration."""

    filtration = "cubical"


def _of_layer(view: TrainView, pooled: PooledBirths, layer: Layer) -> Value:
    """Mean feature entropy over the (unit, class) pairs that have a birth on the grid."""
    reason = pooled.missing(layer)
    if reason:
        return Value.undefined(reason)
    labels = view.labels[pooled.rows]
    by_class = feature_entropy_by_class(pooled.births(layer), labels, len(view.class_names))
    found = by_class.feature_entropy[np.isfinite(by_class.feature_entropy)]
    if not len(found):
        return Value.undefined(f"{layer.name}: no unit is born for any class on the grid")
    return Value(float(found.mean()))


def matched_entropy(
    view: TrainView, filtration: Filtration, reducer: type[PooledBirths]
) -> dict[str, Value | float]:
    """Feature entropy H / ε in nats of maps pooled to the same few pixels in every layer.

    Larger maps have more levels and so more room for entropy; here every layer's maps are first
    max-pooled (adaptively) to the smallest map among the chosen layers that the filtration can use,
    so that `depth_slope` shows depth alone. Averaged over (unit, class) pairs with a birth, of
    5,000 images at most.

    Args:
        view: The network and its training sample.
        filtration: "clique" or "cubical".
        reducer: What keeps the births of its pooled maps.

    Returns:
        The parts of `layer_parts`, and "grid": the pixels of a side of the grid (the root of their
        number where it is not square). Layers with smaller maps are undefined.

    Source:
        Ours. Max pooling keeps the order of what it keeps, so that
        the number survives positive rescaling as that of whole maps does.

    Example:
        Layers with maps of 16, 8 and 4 pixels a side are compared on 8 × 8 pixels under "clique",
        where 4 × 4 pixels have a single possible level, and on 4 × 4 under "cubical".
    """
    if filtration == "clique" and all(layer.height != layer.width for layer in view.layers):
        raise UnavailableError(
            "the clique filtration needs square feature maps, and no layer has them"
        )
    pooled = view.reduced(reducer)
    parts: dict[str, Value | float] = {
        **layer_parts([_of_layer(view, pooled, layer) for layer in view.layers])
    }
    if pooled.grid is None:
        return parts | {"grid": Value.undefined("no layer has maps that are large enough")}
    return parts | {"grid": float(np.sqrt(pooled.grid[0] * pooled.grid[1]))}


def _entry(filtration: Filtration, reducer: type[PooledBirths]) -> MeasureEntry:
    """The measure under one filtration."""
    needs = "square maps of 5 × 5 pixels or more" if filtration == "clique" else ""
    return MeasureEntry(
        name=f"feature_entropy_matched.{filtration}",
        summary=f"feature entropy of maps pooled to one size, nats ({filtration} filtration)",
        compute=functools.partial(matched_entropy, filtration=filtration, reducer=reducer),
        version="1",
        direction="none",
        invariance="node-wise",
        cost="topology",
        formula="mean over units and classes of H(birth of adaptive max-pooled map) / ε",
        claim="none; it tells what of the slope over depth is resolution",
        weakness="max pooling keeps peaks and drops what lies between them, and windows that "
        "overlap, where sides are no multiples of the grid's, tie neighbouring pixels",
        needs=needs,
        source="ours; the grid is the smallest usable map of the chosen layers",
        unit="nats",
        parts=(*declared_parts("none"), Part(name="grid", summary="side of the grid, in pixels")),
        reducers=(reducer,),
        default=False,
        order=5,
    )


MEASURES = (_entry("clique", PooledClique), _entry("cubical", PooledCubical))
