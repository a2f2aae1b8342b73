"""Which channels of a network can change places without a change of what it computes.

Every axis of every tensor carries a channel for each of its indices. A weight makes fresh ones on
each of its axes; operations tie the axes that must move as one, and all that is not known to treat
channels alike keeps them where they are. Channels may change places if the same operations and
weights meet them, in the same roles.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from audit.transforms._classes import FIXED, Axis, Classes
from audit.transforms._trace import Call, Ref, Trace, rerun

Rule: TypeAlias = Callable[["Orders", Call], None]
Axes: TypeAlias = list[Axis | None]


class Orders:
    """The channels of a traced network.

    Attributes:
        trace: What the network computes.
        classes: The channels, and which move together.
        leaves: Parameter or buffer → what lies along each of its axes.
    """

    def __init__(self, trace: Trace, changeable: set[str], rule: Callable[[Call], Rule]) -> None:
        self.trace = trace
        self.classes = Classes()
        self.leaves: dict[str, Axes] = {}
        self._axes: dict[int, Axes] = {}
        self._met: list[tuple[int, Axis]] = []
        for name in sorted(changeable):
            index = trace.leaves[name]
            shape = trace.values[index].shape
            axes: Axes = [self.classes.new(n) if n > 1 else None for n in shape]
            self.leaves[name] = self._axes[index] = axes
        for self._position, call in enumerate(trace.calls):
            if any(trace.values[index].follows for index in call.inputs):
                try:
                    rule(call)(self, call)
                except (RuntimeError, IndexError):
                    unknown(self, call)  # arguments in a form that the rule does not know

    def axes(self, given: Any) -> Axes:
        """What lies along each axis of a value; None for what cannot move."""
        index = given.index if isinstance(given, Ref) else given
        return self._axes.get(index, [None] * len(self.shape(index)))

    def shape(self, given: Any) -> tuple[int, ...]:
        """The shape of a value."""
        return self.trace.values[given.index if isinstance(given, Ref) else given].shape

    def give(self, index: int, axes: Axes) -> None:
        """Let a value carry axes, which must have its lengths."""
        for axis, length in zip(axes, self.shape(index), strict=True):
            if axis is not None and len(axis) != length:
                raise RuntimeError("an axis of another length")
        self._axes[index] = axes

    def meet(self, axis: Axis | None, *place: int) -> None:
        """Note that the present call meets channels at a place, and treats those there alike."""
        if axis is not None:
            self._met.append((hash((self._position, place)), axis))

    def meet_inputs(self, call: Call) -> None:
        """Note all that a call meets."""
        for position, index in enumerate(call.inputs):
            for dim, axis in enumerate(self.axes(index)):
                self.meet(axis, position, dim)

    def exchangeable(self) -> list[list[int]]:
        """Classes of channels that may change places among each other, in groups."""
        resolved = self.resolved()
        self._fix_ambiguous(resolved)
        resolved = self.resolved()
        signatures: defaultdict[int, list[tuple[int, int, int]]] = defaultdict(list)
        for number, axes in enumerate(resolved.values()):
            for dim, axis in enumerate(axes):
                _sign(signatures, (number, dim), axis)
        for key, met in self._met:
            _sign(signatures, (-1, key), self.classes.resolved(met))
        groups: defaultdict[tuple[tuple[int, int, int], ...], list[int]] = defaultdict(list)
        for root in sorted(signatures):
            groups[tuple(sorted(signatures[root]))].append(root)
        return list(groups.values())

    def resolved(self) -> dict[str, Axes]:
        """Parameter or buffer → its axes by classes and roles."""
        return {
            name: [axis and self.classes.resolved(axis) for axis in axes]
            for name, axes in self.leaves.items()
        }

    def _fix_ambiguous(self, resolved: Mapping[str, Axes]) -> None:
        """Let a class stay that lies twice on one axis in one role."""
        for axes in resolved.values():
            for axis in axes:
                if axis is not None:
                    pairs = np.stack([axis.channels, axis.roles])
                    unique, counts = np.unique(pairs, axis=1, return_counts=True)
                    self.classes.fix_classes(unique[0][counts > 1].tolist())


def _sign(
    signatures: defaultdict[int, list[tuple[int, int, int]]],
    key: tuple[int, int],
    axis: Axis | None,
) -> None:
    """Write down at which place and in which role each class lies."""
    if axis is not None:
        for root, role in zip(axis.channels.tolist(), axis.roles.tolist(), strict=True):
            if root != FIXED:
                signatures[root].append((*key, role))


def unknown(orders: Orders, call: Call) -> None:
    """Keep all channels of what goes in where they are."""
    for index in call.inputs:
        for axis in orders.axes(index):
            orders.classes.fix(axis)


def moved(orders: Orders, call: Call) -> None:
    """Follow the channels of each axis through a view or rearrangement."""
    first, *others = call.inputs
    if any(orders.trace.values[index].follows for index in others):
        unknown(orders, call)
        return
    found: list[Axes] = [[None] * len(orders.shape(index)) for index in call.outputs]
    for dim, axis in enumerate(orders.axes(first)):
        if axis is None:
            continue
        numbers, places = (
            _rerun(orders, call, tensor) for tensor in _numbered(orders.shape(first), dim, axis)
        )
        for axes, number, place in zip(found, numbers, places, strict=True):
            _place(orders, axes, axis, number, place)
    for index, axes in zip(call.outputs, found, strict=True):
        orders.give(index, axes)


def _numbered(shape: tuple[int, ...], dim: int, axis: Axis) -> tuple[Tensor, Tensor]:
    """For every element its index along an axis, and its place on all others."""
    along = [-1 if other == dim else 1 for other in range(len(shape))]
    numbers = torch.arange(len(axis)).view(along).expand(shape).contiguous()
    rest = [1 if other == dim else length for other, length in enumerate(shape)]
    places = torch.arange(int(np.prod(rest))).view(rest).expand(shape).contiguous()
    return numbers, places


def _rerun(orders: Orders, call: Call, tensor: Tensor) -> list[Tensor]:
    """What a call makes of another tensor in the place of the first it reads."""
    values = orders.trace.values
    tensors = {index: values[index].tensor.cpu() for index in call.inputs[1:]}
    made = rerun(call, {**tensors, call.inputs[0]: tensor})
    return [made] if isinstance(made, Tensor) else list(made)


def _place(orders: Orders, axes: Axes, axis: Axis, numbers: Tensor, places: Tensor) -> None:
    """Put the channels of one axis on the axis of the result along which they lie now."""
    channels = torch.from_numpy(axis.channels)[numbers]
    varying = _varying(channels)
    if len(varying) != 1 or axes[varying[0]] is not None:
        orders.classes.fix_classes(torch.unique(channels).tolist())
        for dim in varying:
            orders.classes.fix(axes[dim])
        return
    (dim,) = varying
    rows, where, roles = (
        tensor.movedim(dim, 0).reshape(tensor.shape[dim], -1)
        for tensor in (channels, places, torch.from_numpy(axis.roles)[numbers])
    )
    steady = bool((roles == roles[:, :1]).all())
    spread = where if steady else torch.cat([where, roles], 1)
    found = roles[:, 0].tolist() if steady else [0] * len(rows)
    if not bool((spread == spread[:1]).all()):
        found = [
            orders.classes.composed(role, orders.classes.role(hash(row.tobytes())))
            for role, row in zip(found, spread.contiguous().numpy(), strict=True)
        ]
    axes[dim] = Axis(rows[:, 0].numpy(), np.array(found, np.int64))


def _varying(numbers: Tensor) -> list[int]:
    """The axes along which a tensor varies."""
    return [
        dim
        for dim in range(numbers.ndim)
        if numbers.shape[dim] > 1 and not bool((numbers == numbers.narrow(dim, 0, 1)).all())
    ]


def tied(orders: Orders, axes: list[Axis | None]) -> Axis | None:
    """Let several axes move as one."""
    if not axes:
        return None
    first, *others = axes
    for other in others:
        first = orders.classes.tie(first, other)
    return first
