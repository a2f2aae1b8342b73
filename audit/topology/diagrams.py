"""Whole Betti curves and persistence diagrams of images, and their summaries.

Birth levels need none of this: it serves measures that look at every cycle instead of the first.
All of it is on images of any shape; the clique filtration is for births alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, Literal, NamedTuple

import numpy as np
from gudhi.sklearn.cubical_persistence import CubicalPersistence

from audit.errors import unknown_name
from audit.topology import _cpu, _inputs

CONSTRUCTIONS: Final = ("T", "V")
DIRECTIONS: Final = ("superlevel", "sublevel")
SCALES: Final = ("values", "levels")

_MAPS_PER_CHUNK: Final = 256

Construction = Literal["T", "V"]
Direction = Literal["superlevel", "sublevel"]
Scale = Literal["values", "levels"]


class BettiCurves(NamedTuple):
    """Betti numbers at the end of every level; after a map's last level its last value goes on."""

    beta_0: np.ndarray  # (…, h · w) int32: components
    beta_1: np.ndarray  # (…, h · w) int32: holes
    n_levels: np.ndarray  # (…) int32: distinct values of the map


class Diagram(NamedTuple):
    """Birth and death of every class of one map, in the order in which they are born.

    Columns are birth and death; the one component that never dies has death ∞ (−∞ for values of a
    superlevel filtration).
    """

    h0: np.ndarray  # (k, 2) float64
    h1: np.ndarray  # (k, 2) float64


class Summary(NamedTuple):
    """Summaries of the bars that end, for H₀ and H₁: arrays (m, 2), NaN only as stated.

    `n_pairs`: how many. `total_persistence`: sum of their lengths. `longest_bar`: the largest
    length, 0 if there is none. `persistent_entropy`: −Σ p log p in nats with p a bar's share of
    the total, NaN if there is none.
    """

    n_pairs: np.ndarray
    total_persistence: np.ndarray
    longest_bar: np.ndarray
    persistent_entropy: np.ndarray


def betti_curves(maps: Any, direction: Direction = "superlevel") -> BettiCurves:
    """Components and holes of the level sets of images, level by level, without pairing.

    Pixels touching at a corner are connected (the T-construction). β₁ = β₀ − χ, where χ is a sum
    over pixels of what each sees among its neighbours.

    Args:
        maps: (…, h, w) array or tensor of real numbers, as for `audit.topology.birth_levels`.
        direction: "superlevel": levels run from the largest value down; "sublevel": up.

    Returns:
        `BettiCurves` of int32 arrays.

    Raises:
        ConfigError: An unknown direction.
        DataError: As `audit.topology.birth_levels`.

    Example:
        >>> curves = betti_curves([[1, 9, 2], [8, 3, 7], [1, 6, 1]])
        >>> int(curves.n_levels), curves.beta_1[:7].tolist()
        (7, [0, 0, 0, 1, 0, 0, 0])
    """
    from audit.topology import _kernels

    _check("direction", direction, DIRECTIONS)
    read = _read(maps)
    *batch, h, w = read.array.shape
    beta_0 = np.empty((*batch, h * w), np.int32)
    beta_1, n_levels = np.empty_like(beta_0), np.empty(batch, np.int32)
    integer: Any = np.int32 if read.exact is np.float32 else np.int64
    for index in np.ndindex(*batch[:-1]):
        block = read.chunk(read.array[index].reshape(-1, h, w))
        if direction == "sublevel":
            block = -block
            block.flags.writeable = False
        _kernels.betti_curves(
            block.view(integer),
            integer(np.iinfo(integer).max),
            beta_0[index].reshape(-1, h * w),
            beta_1[index].reshape(-1, h * w),
            n_levels[index].reshape(-1) if batch else n_levels.reshape(1),
        )
    if (n_levels == _inputs.NOT_FINITE).any():
        raise _inputs.first_not_finite(read, n_levels)
    return BettiCurves(beta_0, beta_1, n_levels)


def persistence_diagrams(
    maps: Any,
    direction: Direction = "superlevel",
    construction: Construction = "T",
    scale: Scale = "values",
    *,
    threads: int | None = None,
) -> list[Diagram]:
    """H₀ and H₁ of every image, through GUDHI on threads.

    The diagrams are computed on dense ranks, so that they are exact for any values, and translated.

    Args:
        maps: (…, h, w) array or tensor of real numbers, as for `audit.topology.birth_levels`.
        direction: "superlevel": from the largest value down, births at or above deaths;
            "sublevel": up.
        construction: "T": pixels are squares, and connected where they touch at a corner; "V":
            pixels are vertices, connected along edges only.
        scale: "values", or "levels": dense ranks in the order of entry, from 1.
        threads: Processor threads; by default as for `audit.topology.birth_levels`.

    Returns:
        One `Diagram` for each map, the batch in C order. Classes that are born and die in one
        level are not listed.

    Raises:
        ConfigError: An unknown direction, construction or scale.
        DataError: As `audit.topology.birth_levels`.

    Source:
        Bleile, Garin, Heiss, Maggs & Robins, The persistent homology of dual digital image
        constructions, 2021 (arXiv 2102.11397): the V-construction of f is the T-construction of −f
        inside a border that enters first, with dimension k for 1 − k and each bar [b, d) read as
        [−d, −b).

    Example:
        >>> ring = [[1, 9, 2], [8, 3, 7], [1, 6, 1]]
        >>> persistence_diagrams([ring])[0].h1
        array([[6., 3.]])
    """
    _check("direction", direction, DIRECTIONS)
    _check("construction", construction, CONSTRUCTIONS)
    _check("scale", scale, SCALES)
    read = _read(maps)
    h, w = read.array.shape[-2:]
    flat = read.array.reshape(-1, h, w)
    finite = np.array([np.isfinite(read.chunk(one)).all() for one in flat], bool)
    if not finite.all():
        flags = np.where(finite, 0, _inputs.NOT_FINITE).reshape(read.array.shape[:-2])
        raise _inputs.first_not_finite(read, flags)

    def run(start: int) -> list[Diagram]:
        chunk = read.chunk(flat[start : start + _MAPS_PER_CHUNK])
        return _chunk_diagrams(chunk, direction, construction, scale)

    starts = range(0, len(flat), _MAPS_PER_CHUNK)
    with ThreadPoolExecutor(_cpu.threads_or_default(threads)) as pool:
        return [diagram for part in pool.map(run, starts) for diagram in part]


def summarize(diagrams: Sequence[Diagram]) -> Summary:
    """Summaries of diagrams: of values or of levels, whichever they hold.

    Args:
        diagrams: m diagrams.

    Returns:
        `Summary` of arrays (m, 2): H₀ and H₁. Bars without an end are left out.

    Example:
        >>> bars = Diagram(h0=np.array([[1.0, np.inf]]), h1=np.array([[1.0, 2.0], [1.0, 4.0]]))
        >>> summarize([bars]).total_persistence
        array([[0., 4.]])
    """
    rows = [[_summary_of(bars) for bars in diagram] for diagram in diagrams]
    table = np.array(rows, float).reshape(len(rows), 2, 4)
    n_pairs, total, longest, entropy = np.moveaxis(table, 2, 0)
    return Summary(n_pairs.astype(np.int64), total, longest, entropy)


def _summary_of(bars: np.ndarray) -> tuple[float, float, float, float]:
    """Number, total, longest and entropy of the finite bars (k, 2)."""
    lengths = np.abs(bars[:, 1] - bars[:, 0])
    lengths = lengths[np.isfinite(lengths)]
    if not lengths.size:
        return 0, 0.0, 0.0, np.nan
    share = lengths / lengths.sum()
    entropy = max(0.0, -float(np.sum(share * np.log(share))))
    return lengths.size, float(lengths.sum()), float(lengths.max()), entropy


def _check(kind: str, name: str, known: tuple[str, ...]) -> None:
    """Refuse a name nobody knows."""
    if name not in known:
        raise unknown_name(kind, name, known, hint="known: " + ", ".join(known))


def _read(maps: Any) -> _inputs.Maps:
    """Maps in host memory, of a shape that holds images."""
    read = _inputs.from_tensor(maps) if _inputs.is_tensor(maps) else _inputs.from_numpy(maps)
    _inputs.check_shape(read.array.shape, "cubical")
    return read


def _chunk_diagrams(
    chunk: np.ndarray, direction: Direction, construction: Construction, scale: Scale
) -> list[Diagram]:
    """Diagrams of maps (m, h, w)."""
    values, ranks = [], []
    for feature_map in chunk:
        distinct, rank = np.unique(feature_map, return_inverse=True)
        order = rank.reshape(feature_map.shape).astype(float)
        if direction == "superlevel":
            distinct, order = distinct[::-1], len(distinct) - 1 - order
        values.append(distinct.astype(float))
        ranks.append(order)
    if construction == "V":
        ranks = [np.pad(-order, 1, constant_values=-float(order.size)) for order in ranks]
    gudhi_diagrams = CubicalPersistence(homology_dimensions=[0, 1], n_jobs=1).fit_transform(ranks)
    result = []
    for distinct, order, (h0, h1) in zip(values, ranks, gudhi_diagrams, strict=True):
        if construction == "V":
            outside = -order.min()
            h0, h1 = (-bars[:, ::-1] for bars in (h1, h0))
            h0 = np.where(h0 == outside, np.inf, h0)
            h1 = h1[np.isfinite(h1[:, 0])]  # the border itself is the component that never dies
        result.append(Diagram(*(_translated(b, distinct, direction, scale) for b in (h0, h1))))
    return result


def _translated(
    bars: np.ndarray, distinct: np.ndarray, direction: Direction, scale: Scale
) -> np.ndarray:
    """Bars of ranks from 0 as bars of levels or values, in order of birth and then of death."""
    bars = bars.reshape(-1, 2)
    bars = bars[np.lexsort((bars[:, 1], bars[:, 0]))]
    if scale == "levels":
        return bars + 1
    never = -np.inf if direction == "superlevel" else np.inf
    with_never = np.append(distinct, never)
    position = np.where(np.isinf(bars), len(distinct), bars).astype(np.int64)
    return np.asarray(with_never[position])
