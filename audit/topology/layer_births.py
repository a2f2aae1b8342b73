"""What is kept of the feature maps of one layer: birth levels and flags."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Literal, TypeAlias

from audit.arrays import MapFlags, UnitBirths

if TYPE_CHECKING:
    pass

Filtration: TypeAlias = Literal["clique", "cubical"]
#: Bits of `LayerBirths.flags`: the map has one value everywhere; that value is zero.
FLAG_CONSTANT = 1
FLAG_ZERO = 2


@dataclasses.dataclass(frozen=True, slots=True)
class LayerBirths:
    """Birth levels of every unit of one layer on every image of the training sample.

    Attributes:
        layer: Path of the module, with `#k` for its k-th call (k > 1) in a forward pass.
        height: Of the feature map, in pixels.
        width: Of the feature map, in pixels.
        birth_levels: Shape (n, u), int32; `NO_BIRTH` where no hole is ever enclosed.
        flags: Shape (n, u), uint8: `FLAG_CONSTANT`, `FLAG_ZERO`.
        tied_rate: Share of pixels that equal another non-zero pixel of their map, in [0, 1],
            over the first batch: reduced precision makes it large.
    """

    layer: str
    height: int
    width: int
    birth_levels: UnitBirths
    flags: MapFlags
    tied_rate: float
