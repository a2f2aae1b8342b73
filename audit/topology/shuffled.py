"""Births of shuffled maps, of a bounded number of images, taken batch by batch on a pass."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from audit.errors import DataError
from audit.topology.nulls import NullScores, against_shuffled, shuffled_births

if TYPE_CHECKING:
    from audit.topology.layer_births import Filtration, LayerBirths

#: Shuffles of each image. The mean of eight is off by a third of a standard deviation, for which
#: `against_shuffled` allows.
SHUFFLES: Final = 8
#: Images whose maps are shuffled, at most. Births of eight shuffles of all of ResNet-50's maps
#: then take some 15 MB.
MOST_IMAGES: Final = 500
#: Images that a class keeps where classes are many; fewer say little of a distribution.
_LEAST_OF_CLASS: Final = 25


def chosen_images(labels: np.ndarray, most: int = MOST_IMAGES) -> np.ndarray:
    """Which images of a sample are looked at: all of them, or as many of each class.

    Args:
        labels: (n,) integers.
        most: Number of images, at most.

    Returns:
        Positions in the sample, ascending: all where n is no more than `most`; else evenly spaced
        images of every class, or of evenly spaced classes where there would be fewer than 25.

    Example:
        >>> chosen_images(np.array([0, 0, 0, 0, 1, 1, 1, 1]), most=4).tolist()
        [0, 2, 4, 6]
    """
    if len(labels) <= most:
        return np.arange(len(labels))
    classes = np.unique(labels)
    of_class = max(most // len(classes), min(_LEAST_OF_CLASS, most))
    classes = classes[_evenly(len(classes), max(1, most // of_class))]
    rows = [np.flatnonzero(labels == label) for label in classes]
    return np.sort(np.concatenate([one[_evenly(len(one), of_class)] for one in rows]))


def _evenly(n: int, most: int) -> np.ndarray:
    """Evenly spaced positions, at most so many of n, the first among them."""
    n_taken = min(n, most)
    return np.asarray(np.arange(n_taken) * n // max(n_taken, 1))


class ShuffledBirths:
    """Births of the shuffled maps of some images, in every layer.

    Each image's pixels are permuted in eight ways, the same for all units of maps of one size; an
    image's permutations depend on its position in the sample and on the size, and not on batches.

    Args:
        labels: (n,) integers, of the whole sample.
        filtration: "clique" or "cubical".
        generator: Purpose → random generator, such as a view's.
        most: Number of images, at most.
    """

    def __init__(
        self,
        labels: np.ndarray,
        filtration: Filtration,
        generator: Callable[[str], np.random.Generator],
        most: int = MOST_IMAGES,
    ) -> None:
        self.rows = chosen_images(labels, most)
        self._labels, self._filtration, self._generator = labels, filtration, generator
        self._births: dict[str, np.ndarray] = {}

    def add(self, layer: str, rows: np.ndarray, maps: Any) -> None:
        """Take one batch of one layer's maps.

        Args:
            layer: Its name.
            rows: (b,), the positions of the images in the sample.
            maps: (b, u, h, w) tensor or array.
        """
        n_units, height, width = maps.shape[1:]
        if self._filtration == "clique" and height != width:
            return
        if layer not in self._births:
            most = 64 if self._filtration == "clique" else height * width
            kind = np.min_scalar_type(-most - 1)
            self._births[layer] = np.zeros((SHUFFLES, len(self.rows), n_units), kind)
        at = np.searchsorted(self.rows, rows)
        chosen = (at < len(self.rows)) & (self.rows[np.minimum(at, len(self.rows) - 1)] == rows)
        for image in np.flatnonzero(chosen).tolist():
            orders = self._orders(height, width, int(rows[image]))
            births = shuffled_births(maps[image], orders, self._filtration)
            self._births[layer][:, at[image]] = births

    def scores(self, layer: LayerBirths, n_classes: int) -> NullScores:
        """Feature entropy of a layer's pairs on the chosen images against their shuffled maps.

        Args:
            layer: Births of the whole sample.
            n_classes: Number of classes.

        Raises:
            DataError: No maps of this layer were given.
        """
        if layer.layer not in self._births:
            raise DataError(f"no maps of layer {layer.layer!r} were given")
        return against_shuffled(
            layer.birth_levels[self.rows],
            self._births[layer.layer],
            self._labels[self.rows],
            n_classes,
            self._generator("draws of shuffled maps"),
        )

    def _orders(self, height: int, width: int, row: int) -> np.ndarray:
        """Permutations of an image's pixels, shape (k, h · w)."""
        generator = self._generator(f"shuffled pixels {height} x {width} of image {row}")
        orders: Sequence[np.ndarray] = [
            generator.permutation(height * width) for _ in range(SHUFFLES)
        ]
        return np.stack(orders)
