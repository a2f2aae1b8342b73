"""Numbers that stand for factors yet to be chosen, and which of them must be one."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

#: The factor 1: what is tied to it stays as it is.
ONE = 0

#: An element that is 0 (or infinite) whatever the factor, such as padding.
ANY = -1


class Atoms:
    """A union–find of numbered atoms; the atom `ONE` is the root of all that must not move."""

    def __init__(self) -> None:
        self._parents = np.zeros(1, np.int64)

    @property
    def count(self) -> int:
        """How many there are, `ONE` among them."""
        return len(self._parents)

    def new(self, *shape: int) -> Tensor:
        """Fresh atoms, each free."""
        count = int(np.prod(shape))
        first = len(self._parents)
        self._parents = np.append(self._parents, np.arange(first, first + count))
        return torch.arange(first, first + count).view(shape)

    def roots(self, labels: Tensor) -> Tensor:
        """The atom that stands for each; `ANY` stays."""
        shape, flat = labels.shape, labels.reshape(-1).numpy()
        unique, inverse = np.unique(flat, return_inverse=True)
        found = np.where(unique < 0, ONE, unique)
        while (self._parents[found] != found).any():
            found = self._parents[found]
        found = np.where(unique < 0, unique, found)
        return torch.from_numpy(found[inverse]).view(shape)

    def tie(self, one: Tensor, other: Tensor) -> None:
        """Let two tensors of atoms be equal, element by element."""
        shape = (one + other).shape
        a, b = one.expand(shape), other.expand(shape)
        pairs = torch.stack([a.reshape(-1), b.reshape(-1)])
        pairs = pairs[:, (pairs != ANY).all(0) & (pairs[0] != pairs[1])]
        for x, y in torch.unique(pairs, dim=1).T.tolist():
            low, high = sorted((self._root(x), self._root(y)))
            self._parents[high] = low

    def pin(self, labels: Tensor) -> None:
        """Let every atom be the factor 1."""
        roots = self.roots(torch.unique(labels)).numpy()
        self._parents[roots[roots != ANY]] = ONE

    def same(self, *labels: Tensor) -> Tensor:
        """Tie tensors of atoms to each other; they are broadcast to what this gives."""
        first = labels[0]
        for other in labels[1:]:
            first = torch.maximum(first, other)
        for other in labels:
            self.tie(first, other)
        return first

    def along(self, labels: Tensor, kept: set[int]) -> Tensor:
        """Tie all elements that differ in other axes than those kept; the others get length 1."""
        gone = [axis for axis in range(labels.ndim) if axis not in kept]
        if not gone or not labels.numel():
            return labels
        first = labels.amax(gone, keepdim=True)
        if not bool((first == labels).all()):
            self.tie(first, labels)
        return first

    def pinned(self, labels: Tensor) -> bool:
        """Whether all are the factor 1 as far as is known."""
        return bool((self.roots(torch.unique(labels)) <= ONE).all())

    def _root(self, atom: int) -> int:
        """The root of one atom, to which all on the way are then tied directly."""
        root = atom
        while self._parents[root] != root:
            root = int(self._parents[root])
        while self._parents[atom] != root:
            self._parents[atom], atom = root, int(self._parents[atom])
        return root
