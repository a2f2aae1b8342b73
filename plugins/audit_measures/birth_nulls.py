"""Feature entropy against chance: maps whose pixels are shuffled, and networks never trained."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar, Final

import numpy as np

from audit.plugin import (
    Batch,
    Filtration,
    Layer,
    LayerBirths,
    MapReducer,
    MeasureEntry,
    Part,
    ScoreReducer,
    TrainView,
    Value,
)
from audit.topology import birth_levels
from audit.topology.entropy import feature_entropy_by_class
from audit.topology.nulls import LEVEL, against_random_units
from audit.topology.shuffled import ShuffledBirths, chosen_images
from audit.transforms import fresh_network
from audit_measures._layer_parts import declared_parts, layer_parts

if TYPE_CHECKING:
    from torch import Tensor

#: Of the sample's images that go through the network with random weights, and how many at least.
SHARE: Final = 1 / 5
LEAST_IMAGES: Final = 50


class ShuffledMaps(MapReducer):
    """Births of shuffled maps of 500 images at most."""

    filtration: ClassVar[Filtration]

    def __init__(self, view: TrainView) -> None:
        self.shuffled = ShuffledBirths(view.labels, self.filtration, view.generator)

    def update(self, batch: Batch, layer: Layer, maps: Tensor) -> None:
        """Shuffle one batch of maps and take their births."""
        self.shuffled.add(layer.name, batch.rows, maps)


class ShuffledClique(ShuffledMaps):
    """Under the clique filtration."""

    filtration = "clique"


class ShuffledCubical(ShuffledMaps):
    """Under the cubical filtration."""

    filtration = "cubical"


def _by_layer(
    view: TrainView,
    filtration: Filtration,
    reducer: type[ShuffledMaps],
    number: Callable[[np.ndarray], float],
) -> dict[str, Value | float]:
    """A number of the z-scores of each layer's pairs, and how many pairs have one."""
    shuffled = view.reduced(reducer).shuffled
    values: list[Value] = []
    n_pairs = 0
    for layer in view.births(filtration):
        z = shuffled.scores(layer, len(view.class_names)).z
        known = z[np.isfinite(z)]
        n_pairs += len(known)
        why = f"{layer.layer}: no pair of a unit and a class has births that differ by chance"
        values.append(Value(number(known)) if len(known) else Value.undefined(why))
    return {**layer_parts(values), "pairs": float(n_pairs)}


def units_below_chance(
    view: TrainView, filtration: Filtration, reducer: type[ShuffledMaps]
) -> dict[str, Value | float]:
    """Share of (unit, class) pairs whose feature entropy lies below that of shuffled maps.

    A pair counts where z < −1.645, see `shuffled_null`; in [0, 1], and 0.05 by chance alone.

    Args:
        view: The network and its training sample.
        filtration: "clique" or "cubical".
        reducer: What keeps the births of shuffled maps.

    Returns:
        The parts of `layer_parts`, and "pairs": how many pairs have a z. Pairs without births, or
        whose null does not vary, are left out; a layer of such pairs is undefined.

    Source:
        Ours. The level is the 5% quantile of the normal distribution.

    Example:
        Where units of a layer of white noise are compared with shuffled white noise, the share is
        between 0.02 and 0.09 (clique and cubical, 7 to 14 pixels a side, 10 to 50 images a class).
    """
    return _by_layer(view, filtration, reducer, lambda z: float((z < LEVEL).mean()))


def shuffled_null(
    view: TrainView, filtration: Filtration, reducer: type[ShuffledMaps]
) -> dict[str, Value | float]:
    """Mean z-score of feature entropy against maps whose pixels are shuffled; 0 is chance.

    Every map's pixels are permuted in eight ways, which keeps its values and destroys its shape,
    and z = (H/ε − mean) / (sd · √(1 + 1/8)) for each unit and class, over draws that take one
    shuffle of each image. Below 0: the common spatial pattern of the class makes births more alike
    than values alone do. In standard deviations, so that it grows with the images.

    Args:
        view: The network and its training sample.
        filtration: "clique" or "cubical".
        reducer: What keeps the births of shuffled maps, of 500 images at most.

    Returns:
        The parts of `layer_parts`, and "pairs": how many pairs have a z.

    Source:
        Ours; `audit.topology.nulls.against_shuffled` says how the eight shuffles are used.

    Example:
        A unit whose maps for a class all have their hole at level 5, where shuffled maps have
        theirs anywhere (2.0 ± 0.1 nats), has H = 0 and z = −2.0 / (0.1 · 1.06) = −18.9.
    """
    return _by_layer(view, filtration, reducer, lambda z: float(z.mean()))


class RandomNetwork(ScoreReducer):
    """Births of the same architecture with random weights, on a fifth of the images."""

    passes = SHARE

    def __init__(self, view: TrainView) -> None:
        self._view = view
        self._network = fresh_network(view)
        most = max(LEAST_IMAGES, int(SHARE * len(view.labels)))
        self._chosen = chosen_images(view.labels, most)
        self._rows: list[np.ndarray] = []
        self._births: dict[tuple[Filtration, str], list[np.ndarray]] = {}

    def update(self, batch: Batch, scores: Tensor) -> None:
        """Run those that are chosen through the other network too."""
        from torch import from_numpy

        used = np.flatnonzero(np.isin(batch.rows, self._chosen))
        if not len(used):
            return
        found: dict[tuple[Filtration, str], np.ndarray] = {}

        def consume(layer: Layer, maps: Tensor) -> None:
            values = maps.float().contiguous()
            found["cubical", layer.name] = _levels(values, "cubical", layer)
            if layer.height == layer.width:
                found["clique", layer.name] = _levels(values, "clique", layer)

        images = batch.images[from_numpy(used).to(batch.images.device)]
        self._view.maps(images, self._network, consume)
        self._rows.append(batch.rows[used])
        for key, births in found.items():
            self._births.setdefault(key, []).append(births)

    def births(self, filtration: Filtration, layer: str) -> tuple[np.ndarray, np.ndarray]:
        """Rows of the sample, shape (n,), and their births, shape (n, u)."""
        rows = np.concatenate(self._rows)
        return rows, np.concatenate(self._births[filtration, layer])


def _levels(maps: Tensor, filtration: Filtration, layer: Layer) -> np.ndarray:
    """Birth levels of maps as small integers, shape (b, u)."""
    levels = birth_levels(maps, filtration).cpu().numpy()
    return np.asarray(levels.astype(np.min_scalar_type(-layer.height * layer.width - 1)))


def random_weights_null(view: TrainView, filtration: Filtration) -> dict[str, Value | float]:
    """Z of trained units' mean feature entropy against units with random weights; 0 is chance.

    The architecture is drawn anew (`audit.transforms.fresh`), the same for every checkpoint of a
    run, and shown a fifth of the sample, 50 images at least, evenly spaced over some classes. For
    each layer, z = (mean of the trained units − mean of the random ones) / standard deviation of
    the random ones, each unit's number the mean of H/ε over the classes for which it is born, on
    the same images. Negative: training lowered it.

    Args:
        view: The network and its training sample.
        filtration: "clique" or "cubical".

    Returns:
        The parts of `layer_parts`, and "n_images": how many images were shown. A layer whose random
        units are not born, or do not differ, is undefined.

    Raises:
        UnavailableError: A parameter that nothing draws anew, by its name.

    Source:
        Zhao & Zhang 2022, who tell random from trained units by feature entropy. Deviation: units
        drawn by the architecture's own initialization, in every layer; as a z-score.

    Example:
        Trained units of 2.0 nats on average against random ones of 2.5 ± 0.25: z = −2.
    """
    random = view.reduced(RandomNetwork)
    values: list[Value] = []
    n_images = 0
    for layer in view.births(filtration):
        rows, births = random.births(filtration, layer.layer)
        n_images = len(rows)
        values.append(_against_random(view, layer, rows, births))
    return {**layer_parts(values), "n_images": float(n_images)}


def _against_random(
    view: TrainView, layer: LayerBirths, rows: np.ndarray, random: np.ndarray
) -> Value:
    """Z of one layer."""
    trained = layer.birth_levels[rows]
    z = against_random_units(*(_of_units(view, births, rows) for births in (trained, random)))
    if np.isfinite(z):
        return Value(z)
    return Value.undefined(
        f"{layer.layer}: z needs a trained unit with a birth and two random ones that differ"
    )


def _of_units(view: TrainView, births: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Mean feature entropy (u,) over classes; NaN where a unit is born for none."""
    by_class = feature_entropy_by_class(births, view.labels[rows], len(view.class_names))
    known = np.isfinite(by_class.feature_entropy)
    total = np.where(known, by_class.feature_entropy, 0).sum(axis=0)
    n = known.sum(axis=0)
    return np.asarray(np.divide(total, n, out=np.full(len(n), np.nan), where=n > 0))


def _entries(filtration: Filtration, reducer: type[ShuffledMaps]) -> tuple[MeasureEntry, ...]:
    """The measures of this theme under one filtration."""
    entry = functools.partial(
        MeasureEntry,
        version="1",
        direction="none",
        invariance="node-wise",
        cost="topology",
        filtrations=(filtration,),
        default=False,
    )
    needs = "square feature maps" if filtration == "clique" else ""
    pairs = Part(name="pairs", summary="(unit, class) pairs with a z-score")
    of_shuffles = functools.partial(
        entry,
        varies_with=("image-order", "duplicates", "dtype", "device"),
        needs=needs,
        reducers=(reducer,),
        parts=(*declared_parts("none"), pairs),
        claim="none; it says which units' entropy means anything, not which network is better",
    )
    return (
        of_shuffles(
            name=f"units_below_chance.{filtration}",
            summary=f"share of units with less entropy than shuffled maps ({filtration} "
            "filtration)",
            compute=functools.partial(units_below_chance, filtration=filtration, reducer=reducer),
            formula="share of (unit, class) pairs with z < −1.645",
            weakness="by chance alone it is 0.05, and it grows with the number of images a class, "
            "so that only equal samples compare",
            source="ours: shuffled pixels, one-sided 5% level",
            unit="share of pairs",
            order=6,
        ),
        of_shuffles(
            name=f"shuffled_null.{filtration}",
            summary=f"mean z of feature entropy against shuffled maps ({filtration} filtration)",
            compute=functools.partial(shuffled_null, filtration=filtration, reducer=reducer),
            formula="mean of z = (H/ε − m) / (s √(1 + 1/8)), m and s over shuffled maps",
            weakness="smooth maps differ from shuffled ones whatever they show, and a few units "
            "far from chance move the mean",
            source="ours: eight shuffles of each image's pixels",
            unit="standard deviations",
            order=7,
        ),
        entry(
            name=f"random_weights_null.{filtration}",
            summary=f"z of mean feature entropy against random weights ({filtration} filtration)",
            compute=functools.partial(random_weights_null, filtration=filtration),
            varies_with=("folding", "image-order", "duplicates", "dtype", "device"),
            formula="(mean of trained units − mean of random units) / sd of random units",
            claim="none for generalization; Zhao & Zhang 2022: trained units have less than random",
            weakness="one draw of the weights, by each module's own default and with BatchNorm at "
            "mean 0 and variance 1, which need not be how this network's training began",
            needs=f"modules that can draw their parameters anew{', and ' + needs if needs else ''}",
            source="Zhao & Zhang 2022 (arXiv 2103.09716); as a z-score, on a fifth of the images",
            unit="standard deviations",
            parts=(*declared_parts("none"), Part(name="n_images", summary="images shown to both")),
            reducers=(RandomNetwork,),
            order=8,
        ),
    )


MEASURES = (*_entries("clique", ShuffledClique), *_entries("cubical", ShuffledCubical))
