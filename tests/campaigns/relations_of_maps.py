"""Relations of birth levels, Betti curves and diagrams of feature maps.

In the sentences x is a map, b(x) its birth level and v(x) its birth value, which is the b-th
largest of the distinct values that enter: those of the pixels (cubical), or the edge weights
max(x[i, j], x[j, i]), i < j (clique). Both are −∞ or "never" for a map without a birth.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from audit.arrays import NO_BIRTH
from audit.topology import birth_levels
from audit.topology.cycles import birth_cycle
from audit.topology.diagrams import betti_curves, persistence_diagrams
from tests.campaigns.relation import Relation, Same, all_births, images, square_maps

Found = Iterator[Same]
FILTRATIONS = ("clique", "cubical")


def entering(feature_map: np.ndarray, filtration: str) -> np.ndarray:
    """The distinct values that enter, largest first."""
    if filtration == "clique":
        upper = np.triu_indices(len(feature_map), 1)
        feature_map = np.maximum(feature_map, feature_map.T)[upper]
    return np.unique(feature_map)[::-1]


def birth_values(maps: np.ndarray, filtration: str) -> np.ndarray:
    """v(x) of each map."""
    births = birth_levels(maps, filtration, "full")
    return np.array(
        [
            -np.inf if birth == NO_BIRTH else entering(x, filtration)[birth - 1]
            for x, birth in zip(maps, births, strict=True)
        ]
    )


def either(rng: np.random.Generator) -> tuple[str, np.ndarray]:
    """A filtration, and maps for which it is defined."""
    filtration = FILTRATIONS[rng.integers(2)]
    return filtration, square_maps(rng) if filtration == "clique" else images(rng)


def increasing(rng: np.random.Generator) -> Found:
    maps = square_maps(rng)
    values, rank = np.unique(maps, return_inverse=True)
    more = np.unique(rng.standard_cauchy(2 * len(values) + 8))
    other = np.sort(rng.choice(more, len(values), replace=False))
    yield Same("births", all_births(maps), all_births(other[rank.reshape(maps.shape)]))


def number_types(rng: np.random.Generator) -> Found:
    side = rng.integers(2, 13)
    integers = rng.integers(-128, 128, (8, side, side)) // rng.choice([1, 30])
    expected = all_births(integers.astype(np.float64))
    for kind in (np.int8, np.int16, np.int64, np.float16, np.float32):
        yield Same(kind.__name__, expected, all_births(integers.astype(kind)))
    for kind in (torch.bfloat16, torch.float16, torch.int32):
        yield Same(str(kind), expected, all_births(torch.from_numpy(integers).to(kind)))


def transposed(rng: np.random.Generator) -> Found:
    maps = square_maps(rng)
    yield Same("births", all_births(maps), all_births(maps.transpose(0, 2, 1)))


def turned(rng: np.random.Generator) -> Found:
    maps = images(rng)
    other = np.rot90(maps, rng.integers(4), axes=(1, 2))
    if rng.random() < 0.5:
        other = other[:, ::-1]
    yield Same("births", birth_levels(maps, "cubical"), birth_levels(other, "cubical"))


def vertices_renamed(rng: np.random.Generator) -> Found:
    maps = square_maps(rng)
    order = rng.permutation(maps.shape[1])
    other = maps[:, order][:, :, order]
    yield Same("births", all_births(maps)[1:], all_births(other)[1:])


def larger_entry_alone(rng: np.random.Generator) -> Found:
    maps = square_maps(rng)
    weights = np.maximum(maps, maps.transpose(0, 2, 1))
    lower = rng.random(maps.shape[1:]) < 0.5
    other = np.where(np.triu(lower, 1) | np.tril(~lower.T, -1), weights - 7, weights)
    rows = np.arange(maps.shape[1])
    other[:, rows, rows] = 9 * rng.standard_normal((len(maps), len(rows)))
    yield Same("births", all_births(maps)[1:], all_births(other)[1:])


def border_below(rng: np.random.Generator) -> Found:
    maps = images(rng)
    widths = [(0, 0), *rng.integers(0, 4, (2, 2)).tolist()]
    other = np.pad(maps, widths, constant_values=maps.min() - 1)
    yield Same("births", birth_levels(maps, "cubical"), birth_levels(other, "cubical"))


def border_above(rng: np.random.Generator) -> Found:
    maps = images(rng)
    other = np.pad(maps, [(0, 0), (1, 1), (1, 1)], constant_values=maps.max() + 1)
    yield Same("births", np.ones(len(maps)), birth_levels(other, "cubical"))


def vertex_last(rng: np.random.Generator) -> Found:
    maps = square_maps(rng)
    other = np.pad(maps, [(0, 0), (0, 1), (0, 1)], constant_values=maps.min() - 1)
    yield Same(
        "births", birth_levels(maps, "clique", "full"), birth_levels(other, "clique", "full")
    )


def cone(rng: np.random.Generator) -> Found:
    maps = square_maps(rng)
    other = np.pad(maps, [(0, 0), (0, 1), (0, 1)], constant_values=maps.max() + 1)
    yield Same("births", np.full((2, len(maps)), NO_BIRTH), all_births(other)[1:])


def stretched(rng: np.random.Generator) -> Found:
    maps = images(rng)
    other = maps
    for axis in (1, 2):
        other = np.repeat(other, rng.integers(1, 4, maps.shape[axis]), axis=axis)
    yield Same("births", birth_levels(maps, "cubical"), birth_levels(other, "cubical"))


def twin(rng: np.random.Generator) -> Found:
    maps = square_maps(rng)
    n = maps.shape[1]
    v = int(rng.integers(n))
    rows = [*range(n), v]
    other = maps[:, rows][:, :, rows]
    for x, y in zip(maps, other, strict=True):
        y[v, n] = y[n, v] = entering(x, "clique")[0]
    yield Same(
        "births", birth_levels(maps, "clique", "full"), birth_levels(other, "clique", "full")
    )


def rectified(rng: np.random.Generator) -> Found:
    filtration, maps = either(rng)
    threshold = rng.choice(maps.ravel())
    births = birth_levels(maps, filtration, "full")
    expected = np.where(birth_values(maps, filtration) > threshold, births, NO_BIRTH)
    other = np.maximum(maps, threshold)
    yield Same(filtration, expected, birth_levels(other, filtration, "full"))


def capped(rng: np.random.Generator) -> Found:
    filtration, maps = either(rng)
    births = birth_levels(maps, filtration, "full")
    expected, other = births.copy(), maps.copy()
    for k, birth in enumerate(births):
        values = entering(maps[k], filtration)
        before = int(rng.integers(len(values) if birth == NO_BIRTH else max(1, birth - 1)))
        other[k] = np.minimum(maps[k], values[before])
        if birth != NO_BIRTH:
            expected[k] = birth - before
    yield Same(filtration, expected, birth_levels(other, filtration, "full"))


def side_by_side(rng: np.random.Generator) -> Found:
    filtration, one = either(rng)
    other = rng.permutation(one)[:, :, :: rng.choice([-1, 1])]
    n, h, w = one.shape
    low = one.min() - 1
    if filtration == "clique":
        both = np.full((n, 2 * h, 2 * w), low)
        both[:, :h, :w], both[:, h:, w:] = one, other
    else:
        both = np.concatenate([one, np.full((n, h, 1), low), other], axis=2)
    expected = np.maximum(birth_values(one, filtration), birth_values(other, filtration))
    yield Same(filtration, expected, birth_values(both, filtration))


def stack(rng: np.random.Generator) -> Found:
    filtration, maps = either(rng)
    births = birth_levels(maps, filtration)
    order = rng.permutation(len(maps))
    yield Same("each alone", births, [birth_levels(x, filtration) for x in maps])
    yield Same("in another order", births[order], birth_levels(maps[order], filtration))
    folded = maps.reshape(2, 4, *maps.shape[1:]).transpose(1, 0, 2, 3)
    yield Same("axes exchanged", births.reshape(2, 4).T, birth_levels(folded, filtration))
    for threads in (1, 3):
        other = birth_levels(maps, filtration, threads=threads)
        yield Same(f"{threads} threads", births, other)


def presets(rng: np.random.Generator) -> Found:
    maps = square_maps(rng)
    n = maps.shape[1]
    cubical, paper, full = all_births(maps)
    most = min(51, int(np.ceil(0.8 * n * (n - 1) / 2)))
    yield Same("clique", np.where((full >= 2) & (full <= most), full, NO_BIRTH), paper)
    yield Same("cubical", cubical, birth_levels(maps, "cubical", "full"))


def bars(rng: np.random.Generator) -> Found:
    maps = images(rng)
    curves = betti_curves(maps)
    diagrams = persistence_diagrams(maps, scale="levels", threads=1)
    level = np.arange(1, maps[0].size + 1)[:, None]
    for k, diagram in enumerate(diagrams):
        told = level[: curves.n_levels[k]]
        for beta, found in ((curves.beta_0, diagram.h0), (curves.beta_1, diagram.h1)):
            alive = ((found[:, 0] <= told) & (told < found[:, 1])).sum(1)
            yield Same(f"Betti numbers of map {k}", alive, beta[k, : len(told)])
    first = np.where(curves.beta_1.any(1), (curves.beta_1 > 0).argmax(1) + 1, NO_BIRTH)
    yield Same("births", first, birth_levels(maps, "cubical"))


def alexander(rng: np.random.Generator) -> Found:
    maps = images(rng)
    framed = np.pad(maps, [(0, 0), (1, 1), (1, 1)], constant_values=maps.min() - 1)
    holes = persistence_diagrams(maps, threads=1)
    basins = persistence_diagrams(framed, "sublevel", "V", threads=1)
    for k, (hole, basin) in enumerate(zip(holes, basins, strict=True)):
        pairs = basin.h0[np.isfinite(basin.h0).all(1)][:, ::-1]
        ordered = pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))]
        yield Same(f"H₁ of map {k}", hole.h1[np.lexsort((hole.h1[:, 1], hole.h1[:, 0]))], ordered)


def chordless(rng: np.random.Generator) -> Found:
    maps = square_maps(rng, least=4, n=3)
    births = birth_levels(maps, "clique", "full")
    for x, birth in zip(maps, births, strict=True):
        found = birth_cycle(x, "full")
        yield Same("level", birth, NO_BIRTH if found is None else found.level)
        if found is None:
            continue
        weights = np.maximum(x, x.T)[np.ix_(found.cycle, found.cycle)]
        steps = np.abs(np.subtract.outer(range(len(weights)), range(len(weights))))
        beside = (steps == 1) | (steps == len(weights) - 1)
        joined = (weights >= entering(x, "clique")[birth - 1]) & (steps > 0)
        yield Same("edges among the vertices of the cycle", joined, beside)
        yield Same("four vertices or more", len(weights) >= 4, True)


RELATIONS = (
    Relation("increasing", "b(f ∘ x) = b(x) for strictly increasing f", increasing),
    Relation("number types", "b(x) is that of x in any type that holds it exactly", number_types),
    Relation("transposed", "b(xᵀ) = b(x) of square maps", transposed),
    Relation("turned", "cubical: b(g x) = b(x) for all 8 symmetries g of the square", turned),
    Relation("vertices", "clique: b(P x Pᵀ) = b(x) for permutation matrices P", vertices_renamed),
    Relation(
        "larger entry",
        "clique: b depends on max(x[i, j], x[j, i]), i < j, alone: not on the smaller of the two "
        "entries, nor on the diagonal",
        larger_entry_alone,
    ),
    Relation("border below", "cubical: a border below every value leaves b(x)", border_below),
    Relation("border above", "cubical: a border above every value gives b = 1", border_above),
    Relation("vertex last", "clique: a vertex whose edges enter last leaves b(x)", vertex_last),
    Relation(
        "cone",
        "clique: a vertex joined to all others first makes a cone, which is never born",
        cone,
    ),
    Relation("stretched", "cubical: rows and columns repeated at will leave b(x)", stretched),
    Relation(
        "twin",
        "clique: a copy of a vertex, joined to it at level 1, is dominated and leaves b(x)",
        twin,
    ),
    Relation("rectified", "b(max(x, t)) = b(x) where v(x) > t, else never", rectified),
    Relation(
        "capped",
        "b(min(x, t)) = b(x) − (number of distinct values above t) for t > v(x) among the values",
        capped,
    ),
    Relation(
        "side by side",
        "v(x ⊔ y) = max(v(x), v(y)) of two images parted by a column, or two graphs parted by "
        "edges, that enter last",
        side_by_side,
    ),
    Relation("stack", "births of a stack are those of each map alone, in any order", stack),
    Relation(
        "presets",
        "the paper's clique births are the full ones at levels 2 … min(51, ⌈0.8 n (n − 1) / 2⌉); "
        "cubical births have no presets",
        presets,
    ),
    Relation(
        "bars",
        "βₖ(level) = number of bars of Hₖ alive at it, and b(x) is the first level with β₁ > 0",
        bars,
    ),
    Relation(
        "Alexander duality",
        "H₁ of {x ≥ t}, 8-connected, is reduced H₀ of {x < t} and the outside, 4-connected, with "
        "births and deaths exchanged",
        alexander,
    ),
    Relation(
        "chordless",
        "clique: the shortest cycle at birth is an induced one of four vertices or more",
        chordless,
    ),
)
