"""What feature entropy would be by chance: of shuffled maps, shuffled labels, random weights.

A shuffled map has the values of the map and none of its shape. A unit whose feature entropy lies
below that of its shuffled maps meets the class with a common spatial pattern; one that does not
shows no more than its values, however low the number. Images drawn without regard to the class
have the unit's maps and nothing in common: a unit whose feature entropy for a class lies below
theirs has a pattern of that class, and not one that it shows to every image.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from audit.errors import DataError
from audit.topology._levels import checked_pair
from audit.topology._resamples import resampled_entropy
from audit.topology.births import birth_levels
from audit.topology.entropy import feature_entropy_by_class

if TYPE_CHECKING:
    import torch

#: Below this z a unit is below chance; by chance alone 5% are.
LEVEL: Final = -1.645


class NullScores(NamedTuple):
    """Feature entropy of each (class, unit) against chance; arrays (c, u).

    `z` is NaN where a pair has no feature entropy, where more than half of the draws have none, or
    where all draws are equal.
    """

    z: np.ndarray
    feature_entropy: np.ndarray
    null_mean: np.ndarray
    null_sd: np.ndarray


def shuffled_births(
    maps: np.ndarray | torch.Tensor, permutations: np.ndarray, filtration: str = "clique"
) -> np.ndarray:
    """Birth levels of one image's maps after their pixels were permuted.

    Args:
        maps: (u, h, w) array or tensor.
        permutations: (k, h · w), each a permutation of the pixels; the same one is applied to the
            maps of all units.
        filtration: "clique" or "cubical".

    Returns:
        (k, u) integers, from 1, or `NO_BIRTH`.

    Raises:
        DataError: Shapes that do not fit each other, or as `birth_levels`.

    Example:
        >>> ring = np.array([[[1, 9, 2], [8, 3, 7], [1, 6, 1.0]]])
        >>> order = np.array([[0, 1, 2, 3, 4, 5, 6, 7, 8], [4, 1, 2, 3, 0, 5, 6, 7, 8]])
        >>> shuffled_births(ring, order, "cubical").ravel().tolist()
        [4, 4]
    """
    if len(maps.shape) != 3 or permutations.shape[1:] != (maps.shape[1] * maps.shape[2],):
        raise DataError(
            "maps must have shape (units, height, width) and permutations (draws, height * width); "
            f"found {tuple(maps.shape)} and {permutations.shape}"
        )
    n_units, height, width = maps.shape
    flat: Any = maps.reshape(n_units, height * width)
    shape = (n_units, len(permutations), height, width)
    if isinstance(maps, np.ndarray):
        return np.asarray(birth_levels(flat[:, permutations].reshape(shape), filtration).T)
    import torch

    index = torch.from_numpy(permutations.ravel()).to(maps.device)
    found: Any = birth_levels(flat.index_select(1, index).reshape(shape), filtration)
    return np.asarray(found.cpu().numpy().T)


def against_shuffled(
    birth_levels: np.ndarray,
    shuffled: np.ndarray,
    labels: np.ndarray,
    n_classes: int,
    generator: np.random.Generator,
    n_rounds: int = 8,
) -> NullScores:
    """How far feature entropy lies below or above that of shuffled maps, in standard deviations.

    z = (H − m) / (s √(1 + 1/k)). A draw of the null takes one of the k shuffles of every image; in
    each round k draws use every shuffle once. m is their mean over all rounds, s² their variance
    times k / (k − 1), for what lies between the shuffles of one image is seen in k of them only,
    and 1 + 1/k stands for the error of m, whose k shuffles are drawn too. H is the plug-in number;
    real and shuffled maps are as many, so that its bias is much the same in both.

    Args:
        birth_levels: (n, u) integers, from 1, or `NO_BIRTH`.
        shuffled: (k, n, u), of the same images' maps after shuffling; k at least 2.
        labels: (n,) integers in [0, n_classes).
        n_classes: Number of classes.
        generator: Of the draws; what is drawn for an image depends on its position alone.
        n_rounds: Of k draws each.

    Returns:
        `NullScores` of arrays (n_classes, u).

    Raises:
        DataError: Shapes that do not fit, fewer than two shuffles, or a label outside the range.
    """
    births, labels = checked_pair(birth_levels, labels, n_classes)
    if shuffled.ndim != 3 or shuffled.shape[1:] != births.shape or len(shuffled) < 2:
        raise DataError(
            "shuffled births must have shape (shuffles, images, units) with two shuffles at least; "
            f"found {shuffled.shape} for births of shape {births.shape}"
        )
    k, n, n_units = shuffled.shape
    real = feature_entropy_by_class(births, labels, n_classes).feature_entropy
    order = np.tile(np.arange(k), (n_rounds, n, 1))
    choices = generator.permuted(order, axis=2).transpose(0, 2, 1).reshape(n_rounds * k, n)
    mean, sd = np.full((2, n_classes, n_units), np.nan)
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        of_class = shuffled[:, rows].reshape(-1, n_units)
        drawn = choices[:, rows] * len(rows) + np.arange(len(rows))
        draws = np.stack(list(resampled_entropy(of_class, drawn)))
        mean[label], sd[label] = _moments(draws)
    sd *= np.sqrt(k / (k - 1))
    z = np.divide(real - mean, sd, out=np.full(real.shape, np.nan), where=sd > 0)
    return NullScores(z / np.sqrt(1 + 1 / k), real, mean, sd)


def against_random_units(trained: np.ndarray, random: np.ndarray) -> float:
    """How far the mean of trained units lies from random units, in their standard deviations.

    Args:
        trained: (u,) feature entropy of each unit; NaN is left out.
        random: (v,) the same of units with random weights.

    Returns:
        (mean of trained − mean of random) / standard deviation of random units; NaN where no
        trained unit, or fewer than two random ones have a number, or those do not differ.

    Example:
        >>> round(against_random_units(np.array([1.0, np.nan]), np.array([2.0, 4.0])), 4)
        -1.4142
    """
    trained, random = trained[np.isfinite(trained)], random[np.isfinite(random)]
    if not len(trained) or len(random) < 2 or (random == random[0]).all():
        return float("nan")
    return float((trained.mean() - random.mean()) / random.std(ddof=1))


def against_labels(
    birth_levels: np.ndarray,
    labels: np.ndarray,
    n_classes: int,
    generator: np.random.Generator,
    n_draws: int = 100,
) -> NullScores:
    """How far feature entropy of a class lies from that of as many images of any class.

    z = (H − m) / (s √(1 + 1/k)), m and s over k draws, without replacement and from the whole
    sample, of as many images as the class has. H and its null have one number of images, so that
    the bias of the plug-in number is much the same in both.

    Args:
        birth_levels: (n, u) integers, from 1, or `NO_BIRTH`.
        labels: (n,) integers in [0, n_classes).
        n_classes: Number of classes.
        generator: Of the draws.
        n_draws: Their number k.

    Returns:
        `NullScores` of arrays (n_classes, u); z is NaN for all pairs of a sample of one class.

    Raises:
        DataError: Shapes that do not fit, or a label outside the range.

    Example:
        >>> births = np.repeat([[2, 3], [5, 3], [8, 7], [9, 7]], 5, axis=0)
        >>> labels = np.repeat([0, 0, 1, 1], 5)
        >>> z = against_labels(births, labels, 2, np.random.default_rng(0)).z
        >>> (z < -2).tolist()
        [[True, True], [True, True]]
    """
    births, labels = checked_pair(birth_levels, labels, n_classes)
    real = feature_entropy_by_class(births, labels, n_classes).feature_entropy
    counts = np.bincount(labels, minlength=n_classes)
    mean, sd = np.full((2, *real.shape), np.nan)
    for size in np.unique(counts[counts > 0]):
        drawn = [generator.permutation(len(labels))[:size] for _ in range(n_draws)]
        moments = _moments(np.stack(list(resampled_entropy(births, drawn))))
        mean[counts == size], sd[counts == size] = moments
    z = np.divide(real - mean, sd, out=np.full(real.shape, np.nan), where=sd > 0)
    return NullScores(z / np.sqrt(1 + 1 / n_draws), real, mean, sd)


def against_each_random(trained: np.ndarray, random: np.ndarray) -> np.ndarray:
    """How far each trained unit lies from the random units of its layer, in their deviations.

    Args:
        trained: (c, u) feature entropy by class.
        random: (c, v) the same of units with random weights, on the same images.

    Returns:
        (c, u): (number − mean of random) / standard deviation of random; NaN where the unit has no
        number, or fewer than two random ones of that class have, or those do not differ.

    Example:
        >>> against_each_random(np.array([[1.0, np.nan]]), np.array([[2.0, 4.0]])).round(4)
        array([[-1.4142,     nan]])
    """
    found = np.full(trained.shape, np.nan)
    for of_class, (numbers, others) in enumerate(zip(trained, random, strict=True)):
        known = others[np.isfinite(others)]
        if len(known) > 1 and not (known == known[0]).all():
            found[of_class] = (numbers - known.mean()) / known.std(ddof=1)
    return found


def _moments(draws: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of draws (r, u); NaN where over half of them are NaN."""
    known = np.isfinite(draws)
    n = known.sum(axis=0)
    enough = 2 * n >= len(draws)
    counted = np.maximum(n, 1)
    mean = np.where(known, draws, 0).sum(axis=0) / counted
    square = np.where(known, (draws - mean) ** 2, 0).sum(axis=0) / np.maximum(n - 1, 1)
    equal = square <= (1e-12 * np.abs(mean)) ** 2  # what rounding leaves of equal draws
    return np.where(enough, mean, np.nan), np.where(enough & ~equal, np.sqrt(square), np.nan)
