"""What births tell of the class that the mean and the maximum of the same maps do not tell."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from audit.plugin import (
    Batch,
    Filtration,
    Layer,
    LayerBirths,
    MapReducer,
    MeasureEntry,
    TrainView,
    Value,
)
from audit.topology.conditional import conditional_information, quantile_codes
from audit.topology.information import birth_bins
from audit_measures._layer_parts import (
    declared_beside,
    declared_parts,
    layer_parts,
    mean_of_units,
    parts_beside,
    silent_units,
)

if TYPE_CHECKING:
    from torch import Tensor

N_BIRTH_BINS = 6
#: The mean and the maximum are each cut into so many quantile bins; their pairs are the strata.
N_MAGNITUDE_BINS = 4


class Magnitudes(MapReducer):
    """Mean and maximum of every map, in float32: eight bytes for each unit and image."""

    def __init__(self, view: TrainView) -> None:
        self._kept: dict[str, list[np.ndarray]] = {layer.name: [] for layer in view.layers}

    def update(self, batch: Batch, layer: Layer, maps: Tensor) -> None:
        """Keep two numbers for each map."""
        import torch

        # summed in float64, so that the order in which pixels lie does not round otherwise
        mean = maps.mean((2, 3), dtype=torch.float64).float()
        both = torch.stack([mean, maps.amax((2, 3)).float()])
        self._kept[layer.name].append(both.cpu().numpy())

    def of(self, layer: str) -> tuple[np.ndarray, np.ndarray]:
        """Mean and maximum of the maps of a layer, each of shape (n, u)."""
        mean, largest = np.concatenate(self._kept[layer], axis=1)
        return mean, largest


def _of_layer(
    layer: LayerBirths, magnitudes: Magnitudes, labels: np.ndarray
) -> tuple[Value, Value]:
    """Mean information of births given magnitude, and of magnitude alone, over units that vary."""
    kept = ~silent_units(layer)
    mean, largest = (part[:, kept] for part in magnitudes.of(layer.layer))
    strata = quantile_codes(mean, N_MAGNITUDE_BINS) * N_MAGNITUDE_BINS
    strata += quantile_codes(largest, N_MAGNITUDE_BINS)
    births = layer.birth_levels[:, kept].astype(np.int64)
    bins = birth_bins(births, N_BIRTH_BINS)
    reason = f"{layer.layer}: every unit is dead or constant on the sample"
    beyond = conditional_information(bins, strata, labels).information
    alone = conditional_information(strata, np.zeros_like(strata), labels).information
    return mean_of_units(beyond, reason), mean_of_units(alone, reason)


def birth_information_beyond_magnitude(view: TrainView, filtration: Filtration) -> dict[str, Value]:
    """I(birth; class | the map's mean and maximum) − its expectation by chance, in nats.

    Does the shape of a unit's response say more of the class than its strength? The mean and the
    maximum of each map are cut at their quantiles over the sample into 4 bins each; within each of
    the up to 16 strata of a unit, the information of its birth (6 quantile bins, and one for
    never born) on the class is taken, less its exact expectation when births are permuted within
    the stratum. Averaged over the units that are neither dead nor constant. About 0: births say
    nothing that the magnitude does not. It is at most log(classes); slightly negative is chance.

    Args:
        view: The network and its training sample.
        filtration: "clique" or "cubical".

    Returns:
        The parts of `layer_parts`; "magnitude" and "magnitude_last": what the strata alone tell of
        the class, corrected alike. A layer of dead and constant units is undefined; so is
        everything for a single class.

    Source:
        Ours; conditional mutual information with the correction of Vinh,
        Epps & Bailey, JMLR 11, 2010, eq. 24a, within each stratum. No paper claims a direction.

    Example:
        A unit that is born at level 2 for one class and at 9 for the other, at equal means and
        maxima, has log 2 less chance; where its maximum alone tells the classes apart, it has 0.
    """
    present, labels = np.unique(view.labels, return_inverse=True)
    layers = view.births(filtration)
    found: Sequence[tuple[Value, Value]]
    if len(present) < 2:
        reason = f"information on the class needs two classes; the sample has {len(present)}"
        found = [(Value.undefined(reason), Value.undefined(reason))] * len(layers)
    else:
        magnitudes = view.reduced(Magnitudes)
        found = [_of_layer(layer, magnitudes, labels) for layer in layers]
    beyond, alone = ([pair[k] for pair in found] for k in (0, 1))
    return layer_parts(beyond) | parts_beside("magnitude", alone)


def _entry(filtration: Filtration) -> MeasureEntry:
    """The measure under one filtration."""
    return MeasureEntry(
        name=f"birth_information_beyond_magnitude.{filtration}",
        summary=(
            "information of a unit's birth on the class beyond its map's mean and maximum, nats "
            f"({filtration} filtration)"
        ),
        compute=functools.partial(birth_information_beyond_magnitude, filtration=filtration),
        version="1",
        direction="none",
        invariance="node-wise",
        varies_with=("duplicates",),
        cost="topology",
        formula="mean over units of I(birth bin; class | mean bin, maximum bin) - E by chance",
        weakness=(
            "within a stratum the magnitude still varies, so that a little of what it tells is "
            "counted as shape; with few images a class most strata hold too few to tell anything"
        ),
        needs="two classes; square maps under clique",
        source=("ours; chance corrected within strata by Vinh, Epps & Bailey 2010, eq. 24a"),
        unit="nats",
        parts=(
            *declared_parts("none"),
            *declared_beside("magnitude", "information of the mean and maximum alone, nats"),
        ),
        filtrations=(filtration,),
        reducers=(Magnitudes,),
        default=False,
        order=4,
    )


MEASURES = (_entry("clique"), _entry("cubical"))
