"""Weights in other scales."""

from __future__ import annotations

import math
from typing import Literal, TypeAlias, get_args

import numpy as np
import torch
from torch import Tensor, nn

from audit.errors import ConfigError, UnavailableError
from audit.transforms._atoms import ONE
from audit.transforms._copies import WorkingCopy, changeable
from audit.transforms._scale_rules import RULES
from audit.transforms._scales import Scales
from audit.transforms._trace import named_tensors

How: TypeAlias = Literal["node-wise", "layer-uniform"]


@torch.no_grad()
def rescale(
    network: nn.Module,
    image: Tensor,
    how: How = "node-wise",
    seed: int = 0,
    *,
    powers_of_two: bool = True,
    largest: float = 8.0,
) -> nn.Module:
    """A copy that computes the same with weights in other scales.

    What a layer makes is multiplied by positive factors, and what reads it divides by them: the
    weight from unit i to unit o becomes s_o / s_i times as large, its bias s_o times. BatchNorm
    takes any scale in (μ' = s_i·μ, γ' = γ·s_o/s_i, β' = s_o·β). Factors pass through what is
    positively homogeneous (ReLU, leaky ReLU, pooling, padding with zeros, attention's values, a
    product with a gate), are one for all that is added together, and are 1 elsewhere: at the
    image and the outputs, before GELU, SiLU, sigmoid, softmax and norms.

    Args:
        network: The network; it is left as it is.
        image: An input, shape (1, channels, height, width), in the network's dtype and on its
            device.
        how: "node-wise" for a factor per unit, "layer-uniform" for one per layer.
        seed: Of the factors.
        powers_of_two: Whether factors are powers of two, with which products are exact: outputs
            are then equal to the bit, but for underflow.
        largest: Factors lie in [1/largest, largest], uniformly in the logarithm; a power of two is
            never 1.

    Returns:
        The copy, in eval mode. In float64 its outputs were compared with the network's: they agree
        within 1e-8 of the largest. It is then rounded to the dtype of the network. What became of
        which layer is told by `scales`.

    Raises:
        ConfigError: `how` is unknown, or `largest` is below 2 (1 where any factor will do).
        UnavailableError: Nothing can be rescaled, the network cannot be traced, or outputs differ.

    Source:
        Neyshabur, Salakhutdinov & Srebro, Path-SGD, NeurIPS 2015, section 2, for ReLU; Dinh et al.,
        Sharp Minima Can Generalize for Deep Nets, ICML 2017, for one factor per layer.
    """
    copy = WorkingCopy(network, image)
    found = _Factors(copy, how, seed, powers_of_two, largest)
    for name, tensor in named_tensors(copy.module):
        if name in found.of:
            tensor.mul_(found.of[name].to(tensor))
    return copy.finished("rescaled")


@torch.no_grad()
def scales(
    network: nn.Module,
    image: Tensor,
    how: How = "node-wise",
    seed: int = 0,
    *,
    powers_of_two: bool = True,
    largest: float = 8.0,
) -> dict[str, np.ndarray]:
    """The factors by which `rescale` multiplies what a network's layers make.

    The arguments are those of `rescale`.

    Returns:
        Parameter that makes channels, such as "layer1.0.conv1.weight" → the factor of each.
        Parameters all of whose channels stay as they are are left out.
    """
    found = _Factors(WorkingCopy(network, image), how, seed, powers_of_two, largest)
    return found.made


class _Factors:
    """The factors drawn for a network.

    Attributes:
        of: Parameter or buffer → the factor of each element.
        made: Parameter → the factor of each channel that it makes, where one is not 1.
    """

    def __init__(
        self, copy: WorkingCopy, how: How, seed: int, powers_of_two: bool, largest: float
    ) -> None:
        if how not in get_args(How):
            raise ConfigError(f'how must be "node-wise" or "layer-uniform"; found {how!r}')
        if not (largest >= 2 if powers_of_two else largest > 1):
            least = "at least 2" if powers_of_two else "above 1"
            raise ConfigError(f"largest must be {least}; found {largest}")
        found = _scales(copy)
        if how == "layer-uniform":
            for channels in found.producers.values():
                found.atoms.tie(channels, channels[0])
        drawn = _drawn(found, seed, powers_of_two, largest)
        self.of: dict[str, Tensor] = {
            name: drawn[found.atoms.roots(atoms)] for name, atoms in found.elements.items()
        }
        for claim in found.claims:
            shape = copy.trace.values[copy.trace.leaves[claim.raw.leaf]].shape
            whole = self.of.setdefault(claim.raw.leaf, torch.ones(shape, dtype=torch.float64))
            outs, ins = (drawn[found.atoms.roots(atoms)] for atoms in (claim.outs, claim.ins))
            whole.view(-1)[claim.raw.places] = (outs / ins).expand(claim.raw.places.shape)
        self.of = {name: factor for name, factor in self.of.items() if bool((factor != 1).any())}
        made = {name: drawn[found.atoms.roots(a)].numpy() for name, a in found.producers.items()}
        self.made = {
            name: factors for name, factors in sorted(made.items()) if (factors != 1).any()
        }
        if not self.made:
            raise UnavailableError(
                f"{type(copy.module).__name__} has no layer that could be rescaled: none is "
                "followed by functions with f(a·x) = a·f(x) for a > 0 alone, such as ReLU"
            )


def _scales(copy: WorkingCopy) -> Scales:
    """The atoms of a network, with weights that are used in more ways than one left as they are."""
    names = changeable(copy.module)
    while True:
        found = Scales(copy.trace, names, RULES)
        if not found.broken:
            return found
        names -= found.broken


def _drawn(found: Scales, seed: int, powers_of_two: bool, largest: float) -> Tensor:
    """A factor for every root, by the number of its atom."""
    rng = np.random.default_rng(seed)
    if powers_of_two:
        most = int(math.log2(largest))
        exponents = rng.integers(1, most + 1, found.atoms.count) * rng.choice(
            [-1.0, 1.0], found.atoms.count
        )
    else:
        exponents = rng.uniform(-math.log2(largest), math.log2(largest), found.atoms.count)
    exponents[ONE] = 0
    return torch.from_numpy(np.exp2(exponents))
