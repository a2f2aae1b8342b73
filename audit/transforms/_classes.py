"""Channels that must move together, and the part each plays among those that do."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

#: The class of all that must stay where it is.
FIXED = 0


@dataclass(frozen=True)
class Axis:
    """What lies along one axis of a tensor: for each index a channel, and its role in it.

    A role other than 0 tells apart what one channel spreads over several indices, such as the
    places of a feature map that was flattened.
    """

    channels: np.ndarray
    roles: np.ndarray

    def __len__(self) -> int:
        return len(self.channels)


class Classes:
    """A union–find of channels, in which a channel may be a part of another."""

    def __init__(self) -> None:
        self._parents = [FIXED]
        self._parts = [0]
        self._roles: dict[tuple[int, ...], int] = {(): 0}
        self._paths: list[tuple[int, ...]] = [()]

    def new(self, count: int) -> Axis:
        """An axis of fresh channels."""
        first = len(self._parents)
        self._parents.extend(range(first, first + count))
        self._parts.extend([0] * count)
        return Axis(np.arange(first, first + count), np.zeros(count, np.int64))

    def role(self, *path: int) -> int:
        """The number of a role."""
        if path not in self._roles:
            self._roles[path] = len(self._paths)
            self._paths.append(path)
        return self._roles[path]

    def composed(self, outer: int, inner: int) -> int:
        """The role in the whole of what has a role in a part."""
        if not outer or not inner:
            return outer or inner
        return self.role(*self._paths[outer], *self._paths[inner])

    def within(self, axis: Axis, role: int) -> Axis:
        """The same channels, each in a further role."""
        roles = [self.composed(int(own), role) for own in axis.roles]
        return Axis(axis.channels, np.array(roles, np.int64))

    def root(self, channel: int) -> tuple[int, int]:
        """The class of a channel and its role in it."""
        parent = self._parents[channel]
        if parent == channel or self._parents[parent] == parent:
            return parent, self._parts[channel]
        root, outer = self.root(parent)
        self._parts[channel] = self.composed(outer, self._parts[channel])
        self._parents[channel] = root
        return root, self._parts[channel]

    def fix(self, axis: Axis | None) -> None:
        """Let nothing on an axis move."""
        if axis is not None:
            self.fix_classes(set(axis.channels.tolist()))

    def fix_classes(self, channels: Iterable[int]) -> None:
        """Let channels, and all that move with them, stay."""
        for channel in channels:
            self._parents[self.root(channel)[0]] = FIXED

    def tie(self, one: Axis | None, other: Axis | None) -> Axis | None:
        """Let two axes move as one."""
        if one is None or other is None:
            self.fix(one or other)
            return None
        for a, r, b, s in zip(
            *(x.tolist() for x in (one.channels, one.roles, other.channels, other.roles)),
            strict=True,
        ):
            if (a, r) != (b, s):
                self._tie(a, r, b, s)
        return one

    def _tie(self, a: int, r: int, b: int, s: int) -> None:
        """Let one channel in its role be another in its own."""
        (one, outer), (other, outer_too) = self.root(a), self.root(b)
        r, s = self.composed(outer, r), self.composed(outer_too, s)
        if one == other:
            if r != s:
                self._parents[one] = FIXED
        elif FIXED in (one, other):
            self._parents[max(one, other)] = FIXED
        elif r == s or not s:
            self._parents[other], self._parts[other] = one, 0 if r == s else r
        elif not r:
            self._parents[one], self._parts[one] = other, s
        else:  # neither is a part of the other
            self._parents[one] = self._parents[other] = FIXED

    def resolved(self, axis: Axis) -> Axis:
        """The same axis by classes and the roles in them."""
        found = [self.root(channel) for channel in axis.channels.tolist()]
        roles = [
            self.composed(outer, own) if root else 0
            for (root, outer), own in zip(found, axis.roles.tolist(), strict=True)
        ]
        return Axis(np.array([root for root, _ in found]), np.array(roles))
