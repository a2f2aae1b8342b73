"""From feature maps to birth levels to entropy to unit tables; nothing here knows of networks.

Public modules, in the order in which data flows:

- `births`: `birth_levels`, the one entrance, whatever the backend.
- `layer_births`: what is kept of the maps of one layer.
- `entropy`, `intervals`: feature entropy of birth levels, and its confidence intervals.
- `information`, `conditional`: what a unit's birth level tells of the class, and what it tells
  beyond other numbers of the unit.
- `agreement`: whether two series of births agree image by image, beyond the class.
- `redundancy`: how much the units of a layer repeat each other.
- `spread`: how much of a number's spread lies within classes.
- `profile`: where in depth a quantity arises.
- `nulls`, `shuffled`: feature entropy against chance, and births of shuffled maps taken on a pass.
- `units`: the unit table.
- `cycles`: where a birth lies: the cycle, the hole.
- `diagrams`: whole persistence diagrams and Betti curves.

Modules that begin with an underscore are this folder's own: `_clique` and `_cubical` define the two
filtrations, readable and slow; `_kernels` computes the same births compiled for processors, `_cuda`
for CUDA devices, `_tensor_ops` with plain tensor operations on any device.
"""

from __future__ import annotations

from audit.topology.births import BACKENDS, FILTRATIONS, PRESETS, birth_levels
from audit.topology.layer_births import FLAG_CONSTANT, FLAG_ZERO, Filtration, LayerBirths

__all__ = [
    "birth_levels",
    "FILTRATIONS",
    "PRESETS",
    "BACKENDS",
    "LayerBirths",
    "Filtration",
    "FLAG_CONSTANT",
    "FLAG_ZERO",
]
