"""Which factors the weights of a network can take without a change of what it computes.

Every element of every tensor carries an atom: the factor by which it would be multiplied. A
convolution, a linear map or a norm makes fresh ones; ReLU, pooling and views pass them on; an
addition ties two; all that is not homogeneous ties its inputs to the factor 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor

from audit.transforms._atoms import ANY, ONE, Atoms
from audit.transforms._trace import Call, Ref, Trace, rerun

Rule: TypeAlias = Callable[["Scales", Call], None]


@dataclass(frozen=True)
class Raw:
    """A value whose elements are those of a parameter, moved but not combined.

    Attributes:
        leaf: The parameter.
        places: Which of its elements each one is.
    """

    leaf: str
    places: Tensor


@dataclass(frozen=True)
class Claim:
    """Elements of a parameter that turn one factor into another: each is made out/in times."""

    raw: Raw
    outs: Tensor
    ins: Tensor


class Scales:
    """The atoms of a traced network.

    Attributes:
        trace: What the network computes.
        atoms: The atoms, and which are one.
        elements: Parameter or buffer → the atom of each element, where it is added or multiplied.
        claims: Parameters whose elements' factors follow from two others.
        producers: Parameter → the atoms of the channels that it makes.
        broken: Parameters that are claimed and used in another way too.
    """

    def __init__(self, trace: Trace, changeable: set[str], rules: Mapping[str, Rule]) -> None:
        self.trace = trace
        self.atoms = Atoms()
        self.elements: dict[str, Tensor] = {}
        self.claims: list[Claim] = []
        self.producers: dict[str, Tensor] = {}
        self.broken: set[str] = set()
        self._labels: dict[int, Tensor] = {}
        self._raws: dict[int, Raw] = {}
        self._claimed: dict[str, Tensor] = {}
        for name in changeable:
            index = trace.leaves[name]
            shape = trace.values[index].shape
            self._raws[index] = Raw(name, torch.arange(math.prod(shape)).view(shape))
        for call in trace.calls:
            follows = any(trace.values[index].follows for index in call.inputs)
            rule = rules.get(call.name, unknown) if follows else _constant
            try:
                rule(self, call)
            except (RuntimeError, IndexError):
                unknown(self, call)  # arguments in a form that the rule does not know
        for index in trace.outputs:
            self.atoms.pin(self.labels(index))
        self.broken |= self._claimed.keys() & self.elements.keys()

    def labels(self, given: Any) -> Tensor:
        """The atoms of a value; axes along which they are equal may have length 1."""
        index = given.index if isinstance(given, Ref) else given
        if index in self._raws:
            raw = self._raws[index]
            if raw.leaf not in self.elements:
                shape = self.trace.values[self.trace.leaves[raw.leaf]].shape
                self.elements[raw.leaf] = self.atoms.new(*shape)
            return self.elements[raw.leaf].reshape(-1)[raw.places]
        if index not in self._labels:
            self.give(index, torch.tensor(ONE))
        return self._labels[index]

    def shape(self, given: Any) -> tuple[int, ...]:
        """The shape of a value."""
        return self.trace.values[given.index if isinstance(given, Ref) else given].shape

    def give(self, index: int, labels: Tensor) -> None:
        """Let a value carry atoms that broadcast to its shape."""
        missing = len(self.shape(index)) - labels.ndim
        labels = labels.view((1,) * missing + tuple(labels.shape))
        labels.expand(self.shape(index))  # raises where they do not
        self._labels[index] = labels

    def raw(self, given: Any) -> Raw | None:
        """The parameter that a value shows, each element once; or None."""
        raw = self._raws.get(given.index) if isinstance(given, Ref) else None
        if raw is None:
            return None
        once = self._no_element(raw.leaf)
        once[raw.places.reshape(-1)] = True
        return raw if int(once.sum()) == raw.places.numel() else None

    def is_raw(self, given: Ref) -> bool:
        """Whether a value shows a parameter."""
        return given.index in self._raws

    def same_elements(self, given: int, output: int) -> None:
        """Let a value show what another does, up to a constant."""
        if given in self._raws:
            self._raws[output] = self._raws[given]
        else:
            self.give(output, self.labels(given))

    def claim(self, raw: Raw, outs: Tensor, ins: Tensor, channels: Tensor) -> None:
        """Let elements of a parameter turn the factors `ins` into the factors `outs`.

        Args:
            raw: The elements.
            outs: Atoms that broadcast to them.
            ins: Likewise.
            channels: The atoms of `outs`, once for each channel.
        """
        taken = self._claimed.setdefault(raw.leaf, self._no_element(raw.leaf))
        if bool(taken[raw.places].any()):
            self.broken.add(raw.leaf)
        taken[raw.places] = True
        shape = raw.places.shape
        ins = torch.where(ins == ANY, ONE, ins)
        self.claims.append(Claim(raw, outs.expand(shape), ins.expand(shape)))
        self.produce(raw.leaf, channels)

    def produce(self, leaf: str, outs: Tensor) -> None:
        """Note the channels that a parameter makes."""
        before = self.producers.get(leaf, torch.zeros(0, dtype=torch.int64))
        self.producers[leaf] = torch.cat([before, outs.reshape(-1)])

    def _no_element(self, leaf: str) -> Tensor:
        """False for every element of a parameter, in a row."""
        return torch.zeros(math.prod(self.shape(self.trace.leaves[leaf])), dtype=torch.bool)

    def move(self, call: Call) -> None:
        """Move the atoms as a call moves the elements."""
        if len(call.inputs) == 1 and call.inputs[0] in self._raws:
            raw = self._raws[call.inputs[0]]
            made = _rerun(call, {call.inputs[0]: raw.places})
            for index, places in zip(call.outputs, made, strict=True):
                self._raws[index] = Raw(raw.leaf, places)
            return
        tensors = {}
        for index in call.inputs:
            tensor = self.trace.values[index].tensor
            full = self.labels(index).expand(tensor.shape)
            tensors[index] = full.contiguous() if tensor.is_floating_point() else tensor.cpu()
        for index, labels in zip(call.outputs, _rerun(call, tensors), strict=True):
            self.give(index, _shortened(labels))


def unknown(scales: Scales, call: Call) -> None:
    """Pin what goes in; what comes out has the factor 1."""
    for index in call.inputs:
        scales.atoms.pin(scales.labels(index))
    _constant(scales, call)


def _constant(scales: Scales, call: Call) -> None:
    """What depends on no weight has the factor 1."""
    for index in call.outputs:
        scales.give(index, torch.tensor(ONE))


def _rerun(call: Call, tensors: Mapping[int, Tensor]) -> Sequence[Tensor]:
    """What a call makes of other tensors, as a sequence."""
    made = rerun(call, tensors)
    return [made] if isinstance(made, Tensor) else made


def _shortened(labels: Tensor) -> Tensor:
    """The same with length 1 along the axes where nothing changes."""
    for axis in range(labels.ndim):
        first = labels.narrow(axis, 0, 1) if labels.shape[axis] else labels
        if labels.shape[axis] > 1 and bool((first == labels).all()):
            labels = first
    return labels
