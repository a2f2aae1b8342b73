"""What is kept of feature maps: birth levels, flags and ties, never the maps themselves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from audit.errors import MeasureError
from audit.network.layers import LayerSpec
from audit.topology import FLAG_CONSTANT, FLAG_ZERO, Filtration, birth_levels

if TYPE_CHECKING:
    from torch import Tensor


class Recorder:
    """Collects births, flags and ties of every unit while batches stream by.

    Args:
        layers: Where maps are taken.
        filtrations: Whose births are computed.
    """

    def __init__(self, layers: Sequence[LayerSpec], filtrations: Sequence[Filtration]) -> None:
        self._layers = layers
        self._births: dict[str, list[list[np.ndarray]]] = {
            filtration: [[] for _ in layers] for filtration in filtrations
        }
        self._flags: list[list[np.ndarray]] = [[] for _ in layers]
        self._tied: dict[int, float] = {}

    def consume(self, index: int, maps: Tensor) -> None:
        """Take one batch of one layer's maps.

        Args:
            index: Position of the layer.
            maps: Shape (b, u, h, w); read, not kept.

        Raises:
            MeasureError: An activation is not finite.
        """
        layer = self._layers[index]
        maps = maps.float()
        low, high = maps.amin((2, 3)), maps.amax((2, 3))
        if not (torch.isfinite(low) & torch.isfinite(high)).all():
            raise MeasureError(f"layer {layer.name} gives activations that are not finite")
        constant, zero = low == high, (low == 0) & (high == 0)
        flags = constant * FLAG_CONSTANT + zero * FLAG_ZERO
        self._flags[index].append(flags.to(torch.uint8).cpu().numpy())
        if index not in self._tied:
            self._tied[index] = _tied_rate(maps)
        values: Any = maps if maps.is_cuda else maps.numpy()
        for filtration, births in self._births.items():
            if filtration == "clique" and layer.height != layer.width:
                continue
            levels = birth_levels(values, filtration=filtration)
            births[index].append(np.asarray(levels.cpu() if maps.is_cuda else levels))

    def facts(self) -> list[dict[str, Any]]:
        """What is worth knowing of each layer, for the run's record."""
        return [
            {
                "layer": layer.name,
                "height": layer.height,
                "width": layer.width,
                "units": layer.units,
                "tied_rate": round(self._tied[index], 6),
            }
            for index, layer in enumerate(self._layers)
        ]

    def result(self, filtration: str, refusal: str) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Arrays and meta of a births entry: the layers this filtration is defined for."""
        facts = self.facts()
        arrays: dict[str, np.ndarray] = {}
        kept = [index for index, parts in enumerate(self._births[filtration]) if parts]
        for position, index in enumerate(kept):
            levels = np.concatenate(self._births[filtration][index])
            arrays[f"births_{position}"] = levels.astype(np.min_scalar_type(-int(levels.max()) - 2))
            arrays[f"flags_{position}"] = np.concatenate(self._flags[index])
        if not kept and not refusal:
            refusal = "the clique filtration needs square feature maps, and no layer has them"
        return arrays, {"layers": [facts[index] for index in kept], "unavailable": refusal}


def _tied_rate(maps: Tensor) -> float:
    """Share of pixels that equal another non-zero pixel of their map, in [0, 1]."""
    values = maps.flatten(2).sort(-1).values
    equal = (values[..., 1:] == values[..., :-1]) & (values[..., 1:] != 0)
    tied = torch.zeros_like(values, dtype=torch.bool)
    tied[..., 1:] |= equal
    tied[..., :-1] |= equal
    return float(tied.float().mean())
