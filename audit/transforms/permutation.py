"""Channels and classes in another order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from audit.errors import DataError, UnavailableError
from audit.transforms._copies import WorkingCopy, changeable
from audit.transforms._order_rules import rule
from audit.transforms._orders import Axes, Orders
from audit.transforms._trace import named_tensors


@torch.no_grad()
def permute_channels(network: nn.Module, image: Tensor, seed: int = 0) -> nn.Module:
    """A copy whose hidden channels are in another order, as many of them as can be.

    A channel's weights change places with those of another that the same operations meet: both are
    made by the same layer, read by the same layers, and in the same group of a grouped convolution
    or GroupNorm; what is added together or gated moves together. Every channel that can change
    places does.

    Args:
        network: The network; it is left as it is.
        image: An input, shape (1, channels, height, width), in the network's dtype and on its
            device.
        seed: Of the order.

    Returns:
        The copy, in eval mode. In float64 its outputs were compared with the network's: they agree
        within 1e-8 of the largest. Sums are taken in another order, so not to the bit. Which
        channels moved is told by `orders`.

    Raises:
        UnavailableError: No channel can change places, the network cannot be traced, or the outputs
            differ.
    """
    copy = WorkingCopy(network, image)
    for name, orders_of in _drawn(copy, seed).items():
        _reorder(copy.module, name, orders_of)
    return copy.finished("permuted")


@torch.no_grad()
def orders(network: nn.Module, image: Tensor, seed: int = 0) -> dict[str, dict[int, np.ndarray]]:
    """The orders in which `permute_channels` puts the axes of a network's weights.

    The arguments are those of `permute_channels`.

    Returns:
        Parameter or buffer → axis → for every new index, which it was; axes that stay as they are
        are left out.
    """
    return _drawn(WorkingCopy(network, image), seed)


@torch.no_grad()
def relabel_classes(network: nn.Module, image: Tensor, order: Sequence[int]) -> nn.Module:
    """A copy whose class scores come in another order.

    Args:
        network: The network; it is left as it is. All that it returns is scores.
        image: An input, shape (1, channels, height, width), in the network's dtype and on its
            device.
        order: For every new output, which it was.

    Returns:
        The copy, in eval mode, with the weights that make the scores in that order.

    Raises:
        DataError: `order` does not hold every class once.
        UnavailableError: The weights that make the scores serve other purposes too, or the network
            cannot be traced.
    """
    copy = WorkingCopy(network, image)
    shapes = {copy.trace.values[index].shape for index in copy.trace.outputs}
    classes = {shape[-1] if shape else 0 for shape in shapes}
    if classes != {len(order)} or sorted(order) != list(range(len(order))):
        raise DataError(
            f"order must hold each of the {', '.join(map(str, sorted(classes)))} classes once; "
            f"found {list(order)}"
        )
    found = Orders(copy.trace, changeable(copy.module), rule)
    scores = [found.axes(index) for index in copy.trace.outputs]
    for axes in scores:
        for axis in axes[:-1]:
            found.classes.fix(axis)
        found.classes.tie(scores[0][-1], axes[-1])
    last = scores[0][-1]
    groups = found.exchangeable()
    roots = [] if last is None else found.classes.resolved(last).channels.tolist()
    if not any(set(roots) <= set(group) and len(set(roots)) == len(order) for group in groups):
        raise UnavailableError(
            f"the classes of {type(network).__name__} cannot change places: its scores are not "
            "made by weights that serve nothing else"
        )
    takes = {root: roots[old] for root, old in zip(roots, order, strict=True)}
    for name, orders_of in _orders(found.resolved(), takes).items():
        _reorder(copy.module, name, orders_of)
    return copy.finished("relabelled", torch.as_tensor(order))


def _drawn(copy: WorkingCopy, seed: int) -> dict[str, dict[int, np.ndarray]]:
    """Orders in which every channel that can change places does."""
    found = Orders(copy.trace, changeable(copy.module), rule)
    for index in copy.trace.outputs:
        for axis in found.axes(index):
            found.classes.fix(axis)
    rng = np.random.default_rng(seed)
    takes: dict[int, int] = {}
    for group in found.exchangeable():
        shuffled = rng.permutation(group).tolist()
        takes.update(zip(shuffled, [*shuffled[1:], *shuffled[:1]], strict=True))
    drawn = _orders(found.resolved(), takes)
    if not drawn:
        raise UnavailableError(
            f"{type(copy.module).__name__} has no channels that could change places: each is met "
            "by other operations or weights than every other"
        )
    return drawn


def _orders(
    leaves: Mapping[str, Axes], takes: Mapping[int, int]
) -> dict[str, dict[int, np.ndarray]]:
    """Orders of axes in which each class of channels stands where the one that it takes stood."""
    found: dict[str, dict[int, np.ndarray]] = {}
    for name, axes in leaves.items():
        for dim, axis in enumerate(axes):
            if axis is None:
                continue
            pairs = list(zip(axis.channels.tolist(), axis.roles.tolist(), strict=True))
            where = {pair: index for index, pair in enumerate(pairs)}
            order = [
                where[takes[root], role] if takes.get(root, root) != root else index
                for index, (root, role) in enumerate(pairs)
            ]
            if order != list(range(len(order))):
                found.setdefault(name, {})[dim] = np.array(order)
    return found


def _reorder(network: nn.Module, name: str, orders_of: Mapping[int, np.ndarray]) -> None:
    """Put the axes of one parameter or buffer in other orders, in place."""
    tensor = dict(named_tensors(network))[name]
    for dim, order in orders_of.items():
        tensor.copy_(tensor.index_select(dim, torch.from_numpy(order).to(tensor.device)))
