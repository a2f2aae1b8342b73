"""What a metamorphic relation is, how one example of it is judged, and maps to try it on."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np
from scipy import ndimage

from audit.topology import birth_levels

#: Relative difference that is allowed where a sum is taken in another order.
ROUNDING = 1e-12


class Same(NamedTuple):
    """Two results that must be equal: to the bit, or within a relative difference."""

    what: str
    one: Any
    other: Any
    rtol: float = 0.0


class Relation(NamedTuple):
    """A theorem about what the program computes; `check` draws one example and computes it."""

    name: str
    says: str
    check: Callable[[np.random.Generator], Iterable[Same]]


def broken(relation: Relation, seed: int) -> str:
    """What differs in the example of this seed; nothing where the relation holds."""
    try:
        found = [
            told for pair in relation.check(np.random.default_rng(seed)) if (told := _of(pair))
        ]
    except Exception as error:  # noqa: BLE001  an example must be computed without any
        return f"{type(error).__name__}: {error}"
    return "; ".join(found)


def _of(pair: Same) -> str:
    """What differs between two results."""
    one, other = np.asarray(pair.one), np.asarray(pair.other)
    if one.shape != other.shape:
        return f"{pair.what}: shapes {one.shape} and {other.shape}"
    if pair.rtol:
        equal = np.isclose(one, other, rtol=pair.rtol, atol=pair.rtol, equal_nan=True)
    else:
        missing = (one != one) & (other != other)
        equal = (one == other) | missing
    if equal.all():
        return ""
    first = tuple(int(k) for k in np.argwhere(~equal)[0])
    return (
        f"{pair.what}: {int((~equal).sum())} of {equal.size} differ, first at {first}: "
        f"{one[first]!r} and {other[first]!r}"
    )


def _noise(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return rng.standard_normal(shape).astype(np.float32)


def _smooth(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    blurred = ndimage.gaussian_filter(_noise(rng, shape), (0,) * (len(shape) - 2) + (1, 1))
    return np.maximum(blurred, 0)


def _signed_zeros(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    noise = _noise(rng, shape)
    return np.where(noise > 0.5, -0.0, np.round(noise, 1)).astype(np.float32)


def _integers(n_values: int) -> Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]:
    def draw(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        return rng.integers(-(n_values // 2), n_values - n_values // 2, shape).astype(np.float32)

    return draw


#: Maps whose values are all distinct, or nearly: noise, and noise that is blurred and rectified.
RANDOM = {"noise": _noise, "smooth, rectified": _smooth}
#: Maps with many equal values.
TIED = {
    "three values": _integers(3),
    "twenty values": _integers(20),
    "sparse, rectified": lambda rng, shape: np.maximum(_noise(rng, shape) - 1, 0),
    "zeros of both signs": _signed_zeros,
}


def square_maps(rng: np.random.Generator, least: int = 2, n: int = 8) -> np.ndarray:
    """(n, side, side) maps of one kind, with up to 12 × 12 pixels."""
    side = int(rng.integers(least, 13))
    return _maps(rng, (n, side, side))


def images(rng: np.random.Generator, n: int = 8) -> np.ndarray:
    """(n, h, w) maps of one kind and any shape, with up to 12 × 12 pixels."""
    h, w = (int(side) for side in rng.integers(1, 13, 2))
    return _maps(rng, (n, h, w))


def _maps(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    kinds = list((RANDOM | TIED).values())
    return kinds[rng.integers(len(kinds))](rng, shape)


def all_births(maps: Any) -> np.ndarray:
    """(k, n): births of n maps in every filtration and preset that is defined for their shape."""
    found = [birth_levels(maps, "cubical")]
    if maps.shape[-1] == maps.shape[-2]:
        found += [birth_levels(maps, "clique", preset) for preset in ("paper", "full")]
    return np.stack([np.asarray(births) for births in found])
