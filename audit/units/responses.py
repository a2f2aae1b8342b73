"""What the units of a network answer to its sample: births on maps of one size, and responses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Final

import numpy as np

from audit.plugin import Batch, Filtration, Layer, MapReducer, TrainView
from audit.topology import birth_levels
from audit.topology.shuffled import chosen_images
from audit.units.across import Answers

if TYPE_CHECKING:
    from torch import Tensor

#: Responses are mean activations on a grid of so many places a side, or fewer on small maps.
_PLACES: Final = 4


class UnitResponses(MapReducer):
    """Births of all images and responses to 500 of them, layer by layer.

    Class attributes:
        filtration: Of the births.
        grids: Layer → height and width that its maps are pooled to (adaptive max-pooling) before
            births are taken. Other layers are passed over.
    """

    filtration: ClassVar[Filtration]
    grids: ClassVar[Mapping[str, tuple[int, int]]]

    def __init__(self, view: TrainView) -> None:
        self._labels = view.labels
        self.rows = chosen_images(view.labels)
        self._births: dict[str, list[np.ndarray]] = {}
        self._responses: dict[str, list[np.ndarray]] = {}

    def update(self, batch: Batch, layer: Layer, maps: Tensor) -> None:
        """Take births and responses of one batch of one layer's maps."""
        from torch import from_numpy
        from torch.nn.functional import adaptive_avg_pool2d, adaptive_max_pool2d

        grid = self.grids.get(layer.name)
        if grid is None:
            return
        values = maps.float()
        pooled = (
            values if grid == (layer.height, layer.width) else adaptive_max_pool2d(values, grid)
        )
        levels = birth_levels(pooled.contiguous(), self.filtration).cpu().numpy()
        kind = np.min_scalar_type(-grid[0] * grid[1] - 1)
        self._births.setdefault(layer.name, []).append(levels.astype(kind))
        used = from_numpy(np.flatnonzero(np.isin(batch.rows, self.rows))).to(values.device)
        places = min(_PLACES, *grid)
        means = adaptive_avg_pool2d(values[used], places).flatten(2)
        self._responses.setdefault(layer.name, []).append(means.cpu().numpy())

    def answers(self, layer: str) -> Answers:
        """What was kept of a layer."""
        return Answers(
            births=np.concatenate(self._births[layer]),
            responses=np.concatenate(self._responses[layer]),
            labels=self._labels,
            rows=self.rows,
        )


def responses_to(
    filtration: Filtration, grids: Mapping[str, tuple[int, int]]
) -> type[UnitResponses]:
    """A reducer of these births and layers."""
    return type("ChosenResponses", (UnitResponses,), {"filtration": filtration, "grids": grids})
