"""Births of altered and of mixed images, for measures that set them against those of the sample."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np

from audit.data.renditions import CENTRE_CROP, FLIP, MIXED
from audit.plugin import Batch, Filtration, Layer, LayerBirths, MapReducer, TrainView, Value
from audit.topology import birth_levels
from audit.topology.agreement import agreement

if TYPE_CHECKING:
    from torch import Tensor

#: Every tenth image is altered: those passes are made for other measures anyway.
SHARE = 1 / 10
#: So many averages are looked at, evenly over the classes, but two of each class at least: births
#: of more would take memory and time that grow with the sample.
MOST_MIXED = 2000


def _births(maps: Tensor, filtration: Filtration) -> np.ndarray:
    """Births of a batch of maps, shape (b, u), as the shared pass computes them."""
    levels: np.ndarray = birth_levels(maps.float().contiguous(), filtration).cpu().numpy()
    return levels


class AlteredBirths(MapReducer):
    """Births of the middle of every tenth image, enlarged, and of its mirror image.

    Of the seven usual augmentations these two are mild: they change neither brightness nor colour
    and leave nearly all that is seen. Maps of mirror images are mirrored back, as the clique
    filtration tells left from right.
    """

    renditions = (CENTRE_CROP.on(SHARE), FLIP.on(SHARE))
    filtration: ClassVar[Filtration]

    def __init__(self, view: TrainView) -> None:
        self._rows: dict[tuple[str, str], list[np.ndarray]] = {}
        self._births: dict[tuple[str, str], list[np.ndarray]] = {}

    def update(self, batch: Batch, layer: Layer, maps: Tensor) -> None:
        """Keep the births of one batch."""
        if self.filtration == "clique" and layer.height != layer.width:
            return
        key = (batch.rendition.name, layer.name)
        upright = maps.flip(-1) if batch.rendition.name == FLIP.name else maps
        self._rows.setdefault(key, []).append(batch.rows)
        self._births.setdefault(key, []).append(_births(upright, self.filtration))

    def of(self, rendition: str, layer: str) -> tuple[np.ndarray, np.ndarray]:
        """Rows of the sample (m,), and births (m, u) of these images as altered."""
        key = (rendition, layer)
        return np.concatenate(self._rows[key]), np.concatenate(self._births[key])


class CliqueAltered(AlteredBirths):
    """Under the clique filtration."""

    filtration = "clique"


class CubicalAltered(AlteredBirths):
    """Under the cubical filtration."""

    filtration = "cubical"


class MixedBirths(MapReducer):
    """Births of averages of two images of a class, and which two they are.

    The averages come class by class in the order of the ring that `audit.data.renditions.MIXED`
    is: the j-th of a class is of its images j and j + 1, the last of its last and its first.
    """

    renditions = (MIXED,)
    filtration: ClassVar[Filtration]

    def __init__(self, view: TrainView) -> None:
        present = np.unique(view.labels)
        self._members = {int(label): np.flatnonzero(view.labels == label) for label in present}
        self._most = max(2, MOST_MIXED // max(1, len(present)))
        self._n_seen: dict[tuple[str, int], int] = {}
        self._pairs: dict[str, list[tuple[int, int]]] = {}
        self._births: dict[str, list[np.ndarray]] = {}

    def update(self, batch: Batch, layer: Layer, maps: Tensor) -> None:
        """Keep the births of the first averages of each class."""
        if self.filtration == "clique" and layer.height != layer.width:
            return
        kept: list[int] = []
        pairs = self._pairs.setdefault(layer.name, [])
        for at, label in enumerate(batch.labels.tolist()):
            place = self._n_seen.get((layer.name, label), 0)
            self._n_seen[layer.name, label] = place + 1
            if place < self._most:
                rows = self._members[label]
                pairs.append((int(rows[place]), int(rows[(place + 1) % len(rows)])))
                kept.append(at)
        if kept:
            self._births.setdefault(layer.name, []).append(_births(maps[kept], self.filtration))

    def of(self, layer: str) -> tuple[np.ndarray, np.ndarray]:
        """Rows of the sample (m, 2), and births (m, u) of the averages of these two images."""
        pairs = np.array(self._pairs.get(layer, []), np.int64).reshape(-1, 2)
        return pairs, np.concatenate(self._births[layer]) if len(pairs) else np.zeros((0, 0))


class CliqueMixed(MixedBirths):
    """Under the clique filtration."""

    filtration = "clique"


class CubicalMixed(MixedBirths):
    """Under the cubical filtration."""

    filtration = "cubical"


def agreement_of_units(
    layer: LayerBirths, first: np.ndarray, second: np.ndarray, rows: np.ndarray, labels: np.ndarray
) -> tuple[Value, Value]:
    """Agreement beyond the class, Σ (same − others) / Σ (1 − others), and mean of the plain one.

    See `audit.topology.agreement` for the series (n, u) and (m, u), rows (m,) and labels (n,).
    Images that are alone in their class are left out; sums and mean are over the units both of
    whose series vary.
    """
    _, position, counts = np.unique(labels, return_inverse=True, return_counts=True)
    beside = counts[position[rows]] > 1
    if not beside.any():
        reason = "no image that is compared has another of its class"
        return Value.undefined(reason), Value.undefined(reason)
    found = agreement(first, second[beside], rows[beside], labels)
    varies = np.isfinite(found.same + found.others)
    if not varies.any():
        reason = f"{layer.layer}: no unit has births that vary both before and after"
        return Value.undefined(reason), Value.undefined(reason)
    same, others = found.same[varies], found.others[varies]
    room = float((1 - others).sum())
    plain = Value(float(same.mean()))
    if room <= 1e-9 * len(others):
        return Value.undefined(f"{layer.layer}: all images of a class have the same births"), plain
    return Value(float((same - others).sum()) / room), plain
