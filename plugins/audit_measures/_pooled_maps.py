"""Feature maps reduced to a few numbers a unit, of a bounded number of images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from audit.plugin import Batch, Layer, MapReducer, TrainView
from audit_measures._features import spaced

if TYPE_CHECKING:
    from torch import Tensor

#: Side of the grid that the maps of the first layer are reduced to.
GRID: Final = 4


class PooledMaps(MapReducer):
    """The spatial mean of every map of each layer, of 2000 images at most, evenly spaced."""

    def __init__(self, view: TrainView) -> None:
        self.rows = spaced(len(view.labels))
        self._kept: dict[str, list[np.ndarray]] = {layer.name: [] for layer in view.layers}

    def update(self, batch: Batch, layer: Layer, maps: Tensor) -> None:
        """Keep one number a map."""
        used = np.flatnonzero(np.isin(batch.rows, self.rows))
        if used.size and layer.name in self._kept:
            self._kept[layer.name].append(self.pooled(maps[used.tolist()].double()).cpu().numpy())

    def pooled(self, maps: Tensor) -> Tensor:
        """Maps (b, u, h, w) as vectors (b, d)."""
        return maps.mean((2, 3))

    def of(self, layer: str) -> np.ndarray:
        """What is kept of a layer, shape (n, d)."""
        return np.concatenate(self._kept[layer])


class FirstMaps(PooledMaps):
    """Maxima of the first layer's maps on a grid of 4 × 4, of 2000 images at most."""

    def __init__(self, view: TrainView) -> None:
        super().__init__(view)
        self.first = view.layers[0].name
        self._kept = {self.first: []}

    def pooled(self, maps: Tensor) -> Tensor:
        """The grid of each map, one after the other."""
        from torch.nn import functional

        return functional.adaptive_max_pool2d(maps, GRID).flatten(1)
