"""What a network computes on one image, operation by operation.

The record is made below autograd, where every convolution, view and addition passes, whichever
module, function or operator called it. So it needs no symbolic tracing, and holds for every network
that runs.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.backends import mha
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

from audit.errors import UnavailableError

#: Operations through which a program sees numbers and may choose by them.
_READS_NUMBERS = frozenset({"_local_scalar_dense", "equal", "nonzero", "is_nonzero", "unique"})

#: The name of a call that stands for a change of values through other views of their memory.
ALIASED = "written through another view"


@dataclass(frozen=True)
class Ref:
    """A value among the arguments of a call."""

    index: int


@dataclass
class Value:
    """A tensor at one moment; one that is changed in place becomes another value.

    Attributes:
        tensor: The tensor, held so that its identity is not reused.
        leaf: Name of the parameter or buffer that it is, or "".
        follows: Whether it depends on the image or on a parameter or buffer.
    """

    tensor: Tensor
    leaf: str = ""
    follows: bool = False

    @property
    def shape(self) -> tuple[int, ...]:
        """Its shape."""
        return tuple(self.tensor.shape)


@dataclass(frozen=True)
class Call:
    """One operation.

    Attributes:
        name: Its name without the underscore of in-place variants, such as "relu".
        function: The operation of torch.
        arguments: Its arguments by name, values as `Ref`.
        inputs: Every value among them, in order.
        outputs: The values it made.
    """

    name: str
    function: Any
    arguments: dict[str, Any]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


class Trace(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch gives it no types
    """The record of one forward pass.

    Attributes:
        values: Every tensor that was seen.
        calls: Every operation, in order.
        leaves: Parameter or buffer name → its value.
        image: The value of the input.
        outputs: The values that the network returned.
    """

    def __init__(self, network: nn.Module, image: Tensor) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.values: list[Value] = []
        self.calls: list[Call] = []
        self._current: dict[int, int] = {}
        self._sharing: defaultdict[int, set[int]] = defaultdict(set)
        self.leaves: dict[str, int] = {}
        for name, tensor in named_tensors(network):
            self.leaves[name] = self._new(tensor, leaf=name, follows=True)
        self.image = self._new(image, follows=True)
        with torch.no_grad(), _no_fused_layers(), self:
            returned = network(image)
        made = [leaf for leaf in tree_flatten(returned)[0] if isinstance(leaf, Tensor)]
        self.outputs = [self._index(tensor) for tensor in made]

    def readers(self) -> list[list[int]]:
        """For every value, the calls that read it, once for each time."""
        found: list[list[int]] = [[] for _ in self.values]
        for position, call in enumerate(self.calls):
            for index in call.inputs:
                found[index].append(position)
        return found

    def makers(self) -> dict[int, Call]:
        """Value → the call that made it."""
        return {index: call for call in self.calls for index in call.outputs}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Run an operation and write it down."""
        kwargs = kwargs or {}
        named = _by_name(func, args, kwargs)
        given = tree_map(lambda x: Ref(self._index(x)) if isinstance(x, Tensor) else x, named)
        inputs = tuple(ref.index for ref in tree_flatten(given)[0] if isinstance(ref, Ref))
        follows = any(self.values[index].follows for index in inputs)
        name = func.overloadpacket.__name__
        if func.namespace == "quantized":
            raise UnavailableError("the network is quantised: its weights cannot be changed")
        if name in _READS_NUMBERS and follows:
            raise UnavailableError(
                "a network that chooses what to compute by the numbers it has computed (it calls "
                f"{name}) has no graph that holds for other weights"
            )
        result = func(*args, **kwargs)
        made = [leaf for leaf in tree_flatten(result)[0] if isinstance(leaf, Tensor)]
        written = [named[key] for key in _written(func) if isinstance(named.get(key), Tensor)]
        before = {index for tensor in written for index in self._others(tensor)}
        outputs = [self._new(tensor, follows=follows) for tensor in made]
        seen = {id(tensor) for tensor in made}
        outputs += [self._new(t, follows=follows) for t in written if id(t) not in seen]
        plain = name if name.startswith("__") else name.rstrip("_")
        self.calls.append(Call(plain, func, given, inputs, tuple(outputs)))
        if before:
            self._renew(before, outputs)
        return result

    def _renew(self, before: set[int], written: list[int]) -> None:
        """Give other views of memory that was written to new values, of unknown content."""
        renewed = [self._new(self.values[index].tensor, follows=True) for index in sorted(before)]
        inputs = (*sorted(before), *written)
        arguments = {"values": [Ref(index) for index in inputs]}
        self.calls.append(Call(ALIASED, None, arguments, inputs, tuple(renewed)))

    def _new(self, tensor: Tensor, leaf: str = "", follows: bool = False) -> int:
        """Write down a value; the tensor means this one from now on."""
        self.values.append(Value(tensor, leaf, follows))
        index = len(self.values) - 1
        self._current[id(tensor)] = index
        if tensor.numel():
            self._sharing[_memory(tensor)].add(id(tensor))
        return index

    def _index(self, tensor: Tensor) -> int:
        """The value that a tensor is now; one not met before is a constant, or hides a leaf."""
        if id(tensor) in self._current:
            return self._current[id(tensor)]
        sharing = [self._current[key] for key in self._sharing.get(_memory(tensor), ())]
        for index in sharing:
            known = self.values[index].tensor
            if known.shape == tensor.shape and known.stride() == tensor.stride():
                self._current[id(tensor)] = index
                self.values.append(Value(tensor))  # held so that its identity is not reused
                return index
        index = self._new(tensor, follows=bool(sharing))
        if sharing:
            arguments = {"values": [Ref(other) for other in sharing]}
            self.calls.append(Call(ALIASED, None, arguments, tuple(sharing), (index,)))
        return index

    def _others(self, tensor: Tensor) -> list[int]:
        """Values of other tensors in the same memory."""
        keys = self._sharing.get(_memory(tensor), set()) if tensor.numel() else set()
        return [self._current[key] for key in keys if key != id(tensor)]


def named_tensors(network: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Parameters and buffers with the first name of each."""
    yield from network.named_parameters()
    yield from network.named_buffers()


def _memory(tensor: Tensor) -> int:
    """Where the memory of a tensor begins, whatever part of it the tensor shows."""
    return tensor.untyped_storage().data_ptr()


def _by_name(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """Arguments by the names of the operation's schema, defaults included."""
    named: dict[str, Any] = {}
    for position, argument in enumerate(func._schema.arguments):
        if position < len(args):
            named[argument.name] = args[position]
        elif argument.name in kwargs:
            named[argument.name] = kwargs[argument.name]
        elif argument.has_default_value():
            named[argument.name] = argument.default_value
    return named


def _written(func: Any) -> list[str]:
    """Names of the arguments that an operation changes."""
    return [
        argument.name
        for argument in func._schema.arguments
        if argument.alias_info is not None and argument.alias_info.is_write
    ]


class _no_fused_layers:  # noqa: N801 — used as a context
    """Whole encoder layers in one operation are taken apart while this holds."""

    def __enter__(self) -> None:
        self._before = mha.get_fastpath_enabled()
        mha.set_fastpath_enabled(False)

    def __exit__(self, *_: object) -> None:
        mha.set_fastpath_enabled(self._before)


def rerun(call: Call, tensors: Sequence[Any] | Mapping[int, Any]) -> Any:
    """Run a call again on other tensors, one for each of its values.

    Args:
        call: The call; a view or another way to move elements.
        tensors: Value → the tensor that takes its place.
    """
    arguments = tree_map(lambda x: tensors[x.index] if isinstance(x, Ref) else x, call.arguments)
    return call.function(**arguments)
