"""Where each unit stands: how sure its number is, what chance would give, and what it repeats."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Final

import numpy as np

from audit.errors import UnavailableError
from audit.plugin import Batch, Filtration, Layer, LayerBirths, MapReducer, ScoreReducer, TrainView
from audit.topology import birth_levels
from audit.topology.entropy import feature_entropy_by_class
from audit.topology.intervals import unit_interval
from audit.topology.nulls import against_each_random, against_labels
from audit.topology.redundancy import repeated_units
from audit.topology.shuffled import ShuffledBirths, chosen_images
from audit.topology.units import OK, STATUS_NAMES, sampled_unit_frame
from audit.transforms.fresh import fresh_network
from audit.units.layers import SIZES

if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor

#: The state of a unit that is born, and repeats another of its layer.
REDUNDANT: Final = "redundant"
#: What stands in `repeats` for a unit that repeats none.
REPEATS_NONE: Final = -1


class ShuffledMaps(MapReducer):
    """Births of shuffled maps, of 500 images at most."""

    filtration: ClassVar[Filtration]

    def __init__(self, view: TrainView) -> None:
        self.shuffled = ShuffledBirths(view.labels, self.filtration, view.generator)

    def update(self, batch: Batch, layer: Layer, maps: Tensor) -> None:
        """Shuffle one batch of maps and take their births."""
        self.shuffled.add(layer.name, batch.rows, maps)


class RandomUnits(ScoreReducer):
    """Births of the same architecture with weights drawn anew, on 500 images at most."""

    filtration: ClassVar[Filtration]
    passes = 1.0

    def __init__(self, view: TrainView) -> None:
        self._view = view
        self._network = fresh_network(view)
        self._chosen = chosen_images(view.labels)
        self._rows: list[np.ndarray] = []
        self._births: dict[str, list[np.ndarray]] = {}

    def update(self, batch: Batch, scores: Tensor) -> None:
        """Run the images that are chosen through the other network too."""
        from torch import from_numpy

        used = np.flatnonzero(np.isin(batch.rows, self._chosen))
        if not len(used):
            return

        def consume(layer: Layer, maps: Tensor) -> None:
            if self.filtration == "clique" and layer.height != layer.width:
                return
            levels = birth_levels(maps.float().contiguous(), self.filtration).cpu().numpy()
            self._births.setdefault(layer.name, []).append(levels)

        self._rows.append(batch.rows[used])
        images = batch.images[from_numpy(used).to(batch.images.device)]
        self._view.maps(images, self._network, consume)

    def births(self, layer: str) -> tuple[np.ndarray, np.ndarray]:
        """Rows of the sample, shape (n,), and their births, shape (n, u)."""
        return np.concatenate(self._rows), np.concatenate(self._births[layer])


class _ShuffledClique(ShuffledMaps):
    filtration = "clique"


class _ShuffledCubical(ShuffledMaps):
    filtration = "cubical"


class _RandomClique(RandomUnits):
    filtration = "clique"


class _RandomCubical(RandomUnits):
    filtration = "cubical"


_SHUFFLED: Final[dict[Filtration, type[ShuffledMaps]]] = {
    "clique": _ShuffledClique,
    "cubical": _ShuffledCubical,
}
_RANDOM: Final[dict[Filtration, type[RandomUnits]]] = {
    "clique": _RandomClique,
    "cubical": _RandomCubical,
}


def null_reducers(filtration: Filtration) -> tuple[type[ShuffledMaps], type[RandomUnits]]:
    """What rides on the first pass, if units are to be set against chance afterwards."""
    return _SHUFFLED[filtration], _RANDOM[filtration]


def standing(
    view: TrainView,
    filtration: Filtration,
    *,
    confidence: float | None = 0.95,
    nulls: bool = False,
) -> pd.DataFrame:
    """The unit table of a network with an interval, a state, and z-scores against chance.

    Args:
        view: The network and its training sample.
        filtration: "clique" or "cubical".
        confidence: Coverage of the intervals, in (0, 1); None: none, and no unit is looked at for
            redundancy.
        nulls: Whether units are set against the nulls.

    Returns:
        The columns of `audit.topology.units.unit_frame`, one row per layer, unit and class that has
        images; with a `confidence` further

        - lower, upper: in nats, of the feature entropy of the class (`unit_interval`); NaN for
          fewer than ten births.
        - status: beside the states of `unit_frame` "redundant", for units that are born and repeat
          an earlier one of their layer; the other one is kept as "ok".
        - repeats: the number of that other unit, or −1 (`repeated_units`).

        With `nulls` the number of standard deviations that feature entropy lies above chance, all
        NaN where a pair has no number or chance does not vary:

        - shuffled_z: above maps with the same values and no shape (`against_shuffled`).
        - labels_z: above as many images of any class (`against_labels`).
        - random_z: above the units of the same layer and class in a network with random weights
          (`against_each_random`). NaN for all where nothing says how weights are drawn; the reason
          is in `attrs["notes"]`.

        Height and width of each layer's maps are in `attrs["sizes"]`.

    Raises:
        UnavailableError: No layer has feature maps this filtration is defined for.
        ConfigError: A confidence outside (0, 1).
    """
    births = view.births(filtration)
    frame = sampled_unit_frame(births, view.labels, view.class_names)
    notes: list[str] = []
    random: RandomUnits | None = None
    if nulls:
        try:
            random = view.reduced(_RANDOM[filtration])
        except UnavailableError as error:
            notes.append(f"no random_z: {error}")
    found: dict[str, list[np.ndarray]] = {}
    sizes: dict[str, list[int]] = {}
    for layer in births:
        sizes[layer.layer] = [layer.height, layer.width]
        columns: dict[str, np.ndarray] = {}
        if confidence is not None:
            columns |= _sureness(layer, view, confidence)
        if nulls:
            shuffled = view.reduced(_SHUFFLED[filtration]).shuffled
            columns |= _against_chance(layer, view, shuffled, random)
        for name, values in columns.items():
            found.setdefault(name, []).append(values.T.ravel())
    _put(frame, {name: np.concatenate(values) for name, values in found.items()})
    frame.attrs |= {"notes": notes, SIZES: sizes}
    return frame


def _present(view: TrainView) -> np.ndarray:
    """The labels of the classes that have images, ascending."""
    return np.unique(view.labels)


def _sureness(layer: LayerBirths, view: TrainView, confidence: float) -> dict[str, np.ndarray]:
    """Intervals and repeats of one layer, arrays (classes, units)."""
    present = _present(view)
    ends = [
        unit_interval(layer.birth_levels[view.labels == label], confidence=confidence)
        for label in present
    ]
    lower, upper = (np.stack(side) for side in zip(*ends, strict=True))
    repeats = np.tile(repeated_units(layer.birth_levels), (len(present), 1))
    return {"lower": lower, "upper": upper, "repeats": repeats.astype(np.int32)}


def _against_chance(
    layer: LayerBirths, view: TrainView, shuffled: ShuffledBirths, random: RandomUnits | None
) -> dict[str, np.ndarray]:
    """Z-scores of one layer, arrays (classes, units)."""
    present, n_classes = _present(view), len(view.class_names)
    # named by the purpose alone: the draws of images are the same for every layer and checkpoint
    generator = view.generator("draws of labels")
    scores = {
        "shuffled_z": shuffled.scores(layer, n_classes).z[present],
        "labels_z": against_labels(layer.birth_levels, view.labels, n_classes, generator).z[
            present
        ],
    }
    scores["random_z"] = np.full(scores["labels_z"].shape, np.nan)
    if random is not None:
        rows, births = random.births(layer.layer)
        trained, drawn = (
            feature_entropy_by_class(levels, view.labels[rows], n_classes).feature_entropy[present]
            for levels in (layer.birth_levels[rows], births)
        )
        scores["random_z"] = against_each_random(trained, drawn)
    return scores


def _put(frame: pd.DataFrame, columns: dict[str, np.ndarray]) -> None:
    """Put columns into the unit table where a reader looks for them."""
    at = list(frame.columns).index("feature_entropy") + 1
    for number, name in enumerate(name for name in ("lower", "upper") if name in columns):
        frame.insert(at + number, name, columns[name])
    if "repeats" in columns:
        status = frame["status"].cat.add_categories([REDUNDANT])
        again = (status == STATUS_NAMES[OK]) & (columns["repeats"] != REPEATS_NONE)
        frame["status"] = status.where(~again, REDUNDANT)
        frame["repeats"] = columns["repeats"]
    for score in ("shuffled_z", "labels_z", "random_z"):
        if score in columns:
            frame[score] = columns[score]
