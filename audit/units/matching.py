"""Units of one network matched with units of another, by their responses.

Units of two trainings have no names in common. What they have in common are the images: two units
are matched that respond alike to the same ones.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from scipy.optimize import linear_sum_assignment

from audit.errors import DataError

#: Matchings of permuted images that tell what a matching finds by chance.
_CHANCE_MATCHINGS: Final = 9


class Matching(NamedTuple):
    """Pairs of units.

    Attributes:
        first: Shape (k,), units of the first network, ascending.
        second: Shape (k,), the unit of the other network that each is matched with.
        correlation: Shape (k,), how alike their responses are, in [−1, 1].
    """

    first: np.ndarray
    second: np.ndarray
    correlation: np.ndarray


def match_units(first: np.ndarray, second: np.ndarray) -> Matching:
    """Match units one to one so that the sum of the correlations of their responses is largest.

    Correlations are over images and places, after the mean over images was taken off at each place:
    a common border or centre makes no match. Units that respond to all images alike are left out.

    Args:
        first: (m, u, p) responses to m images at p places.
        second: (m, v, p) responses of the other network to the same images at the same places.

    Returns:
        `Matching` of k = min(u, v) pairs, less those left out.

    Raises:
        DataError: Responses to other images or places.

    Source:
        Li, Yosinski, Clune, Lipson & Hopcroft, Convergent learning, ICLR 2016 (bipartite matching
        of units by correlation); the assignment problem as `scipy.optimize` solves it.

    Example:
        >>> responses = np.random.default_rng(0).normal(size=(50, 4, 3))
        >>> match_units(responses, -responses[:, [2, 0, 3, 1]] * -2 + 1).second.tolist()
        [1, 3, 0, 2]
    """
    if first.ndim != 3 or second.ndim != 3 or first.shape[::2] != second.shape[::2]:
        raise DataError(
            "responses must have shapes (images, units, places) with equal images and places; "
            f"found {first.shape} and {second.shape}"
        )
    (own, x), (others, y) = (_standardised(responses) for responses in (first, second))
    return _matching(own, others, x.T @ y)


def matched_by_chance(
    first: np.ndarray,
    second: np.ndarray,
    labels: np.ndarray,
    seed: int = 0,
    n_draws: int = _CHANCE_MATCHINGS,
) -> np.ndarray:
    """Mean correlation of matchings after the other network's images were permuted.

    Within classes, so that what a matching by class alone finds is counted as chance.

    Args:
        first: As `match_units`.
        second: As `match_units`.
        labels: (m,) integers, the class of each image.
        seed: Of the permutations.
        n_draws: Matchings.

    Returns:
        Shape (n_draws,); NaN where no unit is matched.
    """
    (own, x), (others, y) = (_standardised(responses) for responses in (first, second))
    places = first.shape[2]
    by_image = y.reshape(len(labels), places, -1)
    generator = np.random.default_rng(seed)
    found = np.full(n_draws, np.nan)
    for draw in range(n_draws):
        order = np.arange(len(labels))
        for label in np.unique(labels):
            rows = np.flatnonzero(labels == label)
            order[rows] = generator.permutation(rows)
        permuted = by_image[order].reshape(y.shape)
        correlation = _matching(own, others, x.T @ permuted).correlation
        found[draw] = correlation.mean() if len(correlation) else np.nan
    return found


def _standardised(responses: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Units that vary, and their responses (m · p, units) less the mean of a place, at length 1."""
    centred = (responses - responses.mean(axis=0, dtype=np.float64)).astype(np.float32)
    flat = centred.transpose(0, 2, 1).reshape(-1, responses.shape[1])
    size = np.sqrt(np.einsum("ij,ij->j", flat, flat))
    largest = np.abs(responses).max(axis=(0, 2), initial=0).astype(np.float64)
    varies = size > 1e-6 * largest * np.sqrt(max(1, len(flat)))
    return np.flatnonzero(varies), flat[:, varies] / size[varies]


def _matching(own: np.ndarray, others: np.ndarray, correlations: np.ndarray) -> Matching:
    """The best assignment of a matrix of correlations."""
    rows, columns = linear_sum_assignment(correlations, maximize=True)
    return Matching(own[rows], others[columns], correlations[rows, columns])
