"""How many holes the superlevel sets of feature maps have, and how evenly their lives are shared.

Births look at the first hole alone; these look at every hole, on dense ranks, so that only the
order of the values matters.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from audit.plugin import PLAIN, Batch, Layer, MapReducer, MeasureEntry, TrainView, Value
from audit.topology.diagrams import betti_curves, persistence_diagrams, summarize
from audit_measures._layer_parts import declared_parts, layer_parts

if TYPE_CHECKING:
    from torch import Tensor

#: Pairing every hole takes tens of microseconds a map; every tenth image is enough for a mean.
SHARE = 1 / 10


class _MeanOverMaps(MapReducer):
    """Mean of a number over all maps of each layer that have more than one value."""

    def __init__(self, view: TrainView) -> None:
        self._sums = {layer.name: 0.0 for layer in view.layers}
        self._n = {layer.name: 0 for layer in view.layers}

    def update(self, batch: Batch, layer: Layer, maps: Tensor) -> None:
        """Add one batch of maps."""
        numbers = self.numbers(maps.float().cpu().flatten(0, 1).numpy())
        defined = numbers[np.isfinite(numbers)]
        self._sums[layer.name] += float(defined.sum())
        self._n[layer.name] += len(defined)

    def numbers(self, maps: np.ndarray) -> np.ndarray:
        """One number for each map (m, h, w), shape (m,); NaN leaves the map out."""
        raise NotImplementedError

    def layers(self) -> list[Value]:
        """The mean of each layer, from shallow to deep."""
        return [
            Value(self._sums[name] / n) if n else Value.undefined(f"{name}: no map has a number")
            for name, n in self._n.items()
        ]


class HoleArea(_MeanOverMaps):
    """Mean number of holes over the levels of each map."""

    def numbers(self, maps: np.ndarray) -> np.ndarray:
        """Area under the curve of β₁ over the levels, divided by their number."""
        curves = betti_curves(maps)
        within = np.arange(curves.beta_1.shape[1]) < curves.n_levels[:, None]
        area = (curves.beta_1 * within).sum(1) / curves.n_levels
        return np.where(curves.n_levels > 1, area, np.nan)


class HoleEntropy(_MeanOverMaps):
    """Entropy of the shares that a map's holes have of their total life."""

    renditions = (PLAIN.on(SHARE),)

    def numbers(self, maps: np.ndarray) -> np.ndarray:
        """Persistent entropy of H₁ on levels, NaN without a hole."""
        diagrams = persistence_diagrams(maps, scale="levels")
        entropy: np.ndarray = summarize(diagrams).persistent_entropy[:, 1]
        return entropy


def hole_area(view: TrainView) -> dict[str, Value]:
    """Mean number of holes of a map's superlevel sets: Σ over levels of β₁ / number of levels.

    Averaged over the maps of a layer that have more than one value, then over layers; at least 0.

    Returns:
        The parts of `layer_parts`. A layer whose maps have one value each is undefined.

    Source:
        The area under the Betti curve of H₁, which is the total persistence, on dense ranks;
        Bleile et al. 2021 (arXiv 2102.11397) for the construction.

    Example:
        A map of 8 levels with one hole at a single level has 1/8.
    """
    return layer_parts(view.reduced(HoleArea).layers())


def hole_entropy(view: TrainView) -> dict[str, Value]:
    """Persistent entropy −Σ p log p of a map's holes, p a hole's share of all lives, in nats.

    Lives are counted in dense ranks; averaged over the maps of every tenth image that have a hole,
    then over layers. 0 for one hole, log k at most for k holes.

    Returns:
        The parts of `layer_parts`. A layer without a hole is undefined.

    Source:
        Chintakunta et al., An entropy-based persistence barcode, Pattern Recognition 48, 2015.

    Example:
        Two holes of equal lives: log 2 = 0.693 nats.
    """
    return layer_parts(view.reduced(HoleEntropy).layers())


MEASURES = (
    MeasureEntry(
        name="hole_area",
        summary="mean number of holes of superlevel sets, over levels, maps and layers",
        compute=hole_area,
        version="1",
        direction="none",
        invariance="node-wise",
        cost="topology",
        formula="mean over maps of sum over levels of beta_1 / number of levels",
        weakness=(
            "maps that are 0 in many places have few levels, so that sparsity moves it; small "
            "holes made by noise count as the others do, level by level"
        ),
        source="area under the Betti curve of H1, which is the total persistence, on dense ranks "
        "and divided by their number; Bleile et al. 2021 (arXiv 2102.11397) for the construction",
        unit="holes",
        parts=declared_parts("none"),
        reducers=(HoleArea,),
        default=False,
        order=10,
    ),
    MeasureEntry(
        name="hole_entropy",
        summary="mean persistent entropy of the holes of feature maps, on every tenth image, nats",
        compute=hole_entropy,
        version="1",
        direction="none",
        invariance="node-wise",
        varies_with=("image-order", "duplicates"),
        cost="topology",
        formula="mean over maps of -sum p log p, p: share of a hole in the lives of all",
        weakness="it grows with the number of holes; maps without any are left out",
        source="Chintakunta et al., An entropy-based persistence barcode, Pattern Recognition 48, "
        "2015; on dense ranks, H1, every tenth image",
        unit="nats",
        parts=declared_parts("none"),
        reducers=(HoleEntropy,),
        default=False,
        order=11,
    ),
)
