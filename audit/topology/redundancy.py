"""How much the births of one unit say of those of another in the same layer."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from scipy.special import gammaln
from scipy.stats import t as student

from audit.topology.agreement import birth_ranks

#: Pairs of permuted units whose correlation is averaged, at least.
_CHANCE_PAIRS: Final = 20_000
#: Rank correlation, of either sign, from which on one unit repeats another.
REPEATS_FROM: Final = 0.9
#: On fewer images Student's t says too little of how far ρ goes by chance.
_LEAST_IMAGES: Final = 20


class Redundancy(NamedTuple):
    """Redundancy between the k units that vary; NaN where k is below 2 or n below 3.

    `correlation`: mean absolute rank correlation of two units, less `by_chance`, its expectation
    for independent units. `effective_share`: effective number of independent units / k, in
    (0, 1]. `n_units`: k.
    """

    correlation: float
    by_chance: float
    effective_share: float
    n_units: int


def redundancy(birth_levels: np.ndarray, generator: np.random.Generator) -> Redundancy:
    """Mean absolute rank correlation between units' births, and their effective number.

    With R the matrix of Spearman's ρ between the units whose births vary (never born ranks after
    every level) and λ its eigenvalues, the effective number is the participation ratio
    (Σ λ)² / Σ λ² = k² / Σ_ij ρ_ij². For independent units and n images E ρ² is exactly
    e = 1 / (n − 1), whatever the ties: for i ≠ j, (ρ_ij² − e) / (1 − e) takes the place of ρ_ij²,
    which is 0 by chance and 1 at most (their sum is not taken below 0). The expectation of |ρ| has
    no such form: births are permuted within each unit, as often as gives 20,000 pairs, so that its
    standard error is below 0.006 / √n.

    Args:
        birth_levels: (n, u) integers, from 1, or `NO_BIRTH`.
        generator: Of the permutations; they do not depend on the order of images or of units.

    Returns:
        `Redundancy`.

    Source:
        Participation ratio: Roy & Vetterli, The effective rank, EUSIPCO 2007, discuss such
        numbers; Gao et al., A theory of multineuronal dimensionality, 2017, for this one.

    Example:
        >>> births = np.array([[1, 1], [2, 2], [3, 3], [4, 4]])
        >>> found = redundancy(births, np.random.default_rng(0))
        >>> round(found.effective_share, 4), found.n_units
        (0.5, 2)
    """
    ranks = birth_ranks(birth_levels)
    n = len(ranks)
    varies = ranks.max(0) > ranks.min(0) if n else np.zeros(ranks.shape[1], bool)
    k = int(varies.sum())
    if k < 2 or n < 3:
        return Redundancy(np.nan, np.nan, np.nan, k)
    standard = _unit_length(ranks[:, varies])
    among = ~np.eye(k, dtype=bool)
    correlations = (standard.T @ standard)[among]
    chance = _absolute_by_chance(ranks[:, varies], generator)
    expected = 1 / (n - 1)
    excess = max(0.0, float((correlations**2 - expected).sum()) / (1 - expected))
    return Redundancy(float(np.abs(correlations).mean()) - chance, chance, k / (k + excess), k)


def repeated_units(
    birth_levels: np.ndarray, least: float = REPEATS_FROM, level: float = 0.05
) -> np.ndarray:
    """Which units repeat an earlier one of their layer.

    Units are gone through by their number. One whose births correlate with those of a unit that was
    kept, |ρ| ≥ r, repeats the one it correlates with most; the others are kept. r is `least` or,
    where images are few, what any of the k (k − 1) / 2 pairs of independent units reaches with
    probability `level` at most (Student's t, Bonferroni). A unit with so few births that its ranks
    could fall in fewer than k (k − 1) / (2 `level`) ways is compared with none, and on fewer than
    20 images no unit is.

    Args:
        birth_levels: (n, u) integers, from 1, or `NO_BIRTH`, over images of all classes.
        least: Absolute Spearman's ρ, in (0, 1].
        level: Probability of a single wrong word in the layer, in (0, 1).

    Returns:
        (u,) integers: the number of the unit that is repeated, or −1.

    Example:
        >>> births = np.random.default_rng(0).integers(1, 30, (40, 3))
        >>> births[:, 2] = births[:, 0] + 1
        >>> repeated_units(births).tolist()
        [-1, -1, 0]
    """
    ranks = birth_ranks(birth_levels)
    n, n_units = ranks.shape
    found = np.full(n_units, -1)
    n_pairs = max(1, n_units * (n_units - 1) // 2)
    told = np.flatnonzero(_log_arrangements(ranks) >= np.log(n_pairs / level)) if n else found[:0]
    if n < _LEAST_IMAGES or len(told) < 2:
        return found
    t = student.isf(level / n_pairs / 2, n - 2)
    threshold = max(least, t / np.sqrt(t**2 + n - 2))
    standard = _unit_length(ranks[:, told])
    sizes = np.abs(standard.T @ standard)
    sizes[sizes < threshold - 1e-12] = 0.0
    kept = np.ones(len(told), bool)
    for position in range(1, len(told)):
        earlier = sizes[position, :position] * kept[:position]
        if earlier.any():
            kept[position] = False
            found[told[position]] = told[int(earlier.argmax())]
    return found


def _log_arrangements(ranks: np.ndarray) -> np.ndarray:
    """Logarithm of the number of orders in which each unit's ranks can fall, shape (u,)."""
    ordered = np.sort(ranks, axis=0)
    total = np.full(ranks.shape[1], gammaln(len(ranks) + 1))
    for unit, column in enumerate(ordered.T):
        counts = np.diff(np.flatnonzero(np.diff(column, prepend=-1)), append=len(column))
        total[unit] -= gammaln(counts + 1).sum()
    return total


def _unit_length(ranks: np.ndarray) -> np.ndarray:
    """Each column less its mean, at Euclidean length 1."""
    centred = ranks - ranks.mean(0)
    standard: np.ndarray = centred / np.linalg.norm(centred, axis=0)
    return standard


def _absolute_by_chance(ranks: np.ndarray, generator: np.random.Generator) -> float:
    """Mean absolute correlation of columns that are permuted independently of each other."""
    ordered = np.sort(ranks, axis=0)
    ordered = _unit_length(ordered[:, np.lexsort(ordered)])  # draws know no images and no units
    k = ordered.shape[1]
    above = np.triu_indices(k, 1)
    repeats = -(-_CHANCE_PAIRS // len(above[0]))
    total = 0.0
    for _ in range(repeats):
        permuted = generator.permuted(ordered, axis=0)
        total += float(np.abs((permuted.T @ permuted)[above]).mean())
    return total / repeats
