"""Places in a forward pass where a tensor passes by: calls of modules, and of functions in them."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

import torch
from torch.overrides import TorchFunctionMode

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclasses.dataclass(frozen=True, slots=True)
class Place:
    """Where a tensor comes out of something.

    Attributes:
        path: Of the module, as `named_modules` gives it; "" for the network itself.
        call: Which call of it within one forward pass, from 0.
        function: Name of a function that is called while that module, and no module inside it,
            runs, such as "relu"; "" where the output is the module's own.
    """

    path: str
    call: int = 0
    function: str = ""

    @property
    def name(self) -> str:
        """`path`, or `path:function`, with `#k` for the k-th call where k > 1."""
        what = f"{self.path}:{self.function}" if self.function else self.path
        return what if self.call == 0 else f"{what}#{self.call + 1}"

    @classmethod
    def named(cls, name: str) -> Place:
        """The place of a name.

        Raises:
            ValueError: What stands behind "#" is no number above 1.

        Example:
            >>> Place.named("layer1.0:relu#2")
            Place(path='layer1.0', call=1, function='relu')
        """
        what, sign, number = name.partition("#")
        if sign and (not number.isdecimal() or int(number) < 2):
            raise ValueError(f"{name!r} has no number of a call behind '#'")
        path, _, function = what.partition(":")
        return cls(path, int(number) - 1 if sign else 0, function)


#: (where, tensors that were given, tensor that came out) → what takes the place of the latter, or
#: None: nothing does.
See: TypeAlias = Callable[[Place, tuple["Tensor", ...], "Tensor"], "Tensor | None"]


@contextlib.contextmanager
def watched(
    module: nn.Module, see: See, paths: Collection[str] | None = None, functions: bool = False
) -> Iterator[None]:
    """Call `see` after each call of a module, or of a function, that returns a tensor.

    No hook outlives the block. Of functions, those are left out that one of torch's own layers
    calls for itself. The network has to be plain Python (see `audit.network.plain`). Calls are
    counted anew whenever the network itself is called.

    Args:
        module: The network.
        see: See `See`. It may compute with tensors, unseen. Where it returns one, the network goes
            on with that in place of what came out.
        paths: Only these modules; every one of them where None.
        functions: Whether functions are watched too, which makes every call a little slower.
    """
    watcher = _Watcher(module, see, paths, functions)
    with watcher.hooks(), _whole_encoders(), watcher if functions else contextlib.nullcontext():
        yield


class _Watcher(TorchFunctionMode):
    """What hooks and intercepted functions report to."""

    def __init__(
        self, module: nn.Module, see: See, paths: Collection[str] | None, functions: bool
    ) -> None:
        super().__init__()
        self._modules = dict(module.named_modules())
        self._see, self._paths, self._functions = see, paths, functions
        self._calls: dict[tuple[str, str], int] = {}
        self._running: list[str] = []
        self._busy = False

    @contextlib.contextmanager
    def hooks(self) -> Iterator[None]:
        """Hooks on every module that has to be watched, for as long as the block lasts."""

        def begin(network: nn.Module, given: Any) -> None:
            self._calls.clear()
            self._running.clear()  # a pass that raised leaves something behind

        network = self._modules[""]
        handles = []
        if not isinstance(network, torch.jit.ScriptModule):  # TorchScript takes no hooks
            handles.append(network.register_forward_pre_hook(begin))
        for path, part in self._modules.items():
            wanted = self._paths is None or path in self._paths
            if self._functions:
                handles.append(part.register_forward_pre_hook(self._enter(path)))
            if wanted or self._functions:
                after = self._leave(path, wanted)
                handles.append(part.register_forward_hook(after, with_kwargs=True))
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _enter(self, path: str) -> Callable[..., None]:
        def before(part: nn.Module, given: Any) -> None:
            self._running.append(path)

        return before

    def _leave(self, path: str, wanted: bool) -> Callable[..., None]:
        def after(part: nn.Module, given: Any, named: Mapping[str, Any], output: Any) -> Any:
            if self._functions:
                self._running.pop()
            if wanted:
                return self._report(path, "", (*given, *named.values()), output)
            return None

        return after

    def __torch_function__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        output = function(*args, **(kwargs or {}))
        if not self._busy and isinstance(output, torch.Tensor):
            path = self._running[-1] if self._running else ""
            name = _plain_name(function)
            if name and not _is_own_layer(self._modules[path]):
                instead = self._report(path, name, args, output)
                return output if instead is None else instead
        return output

    def _report(self, path: str, function: str, given: Any, output: Any) -> Tensor | None:
        """Count a call, and tell of it where a tensor came out; what takes its place, if any."""
        call = self._calls[path, function] = self._calls.get((path, function), -1) + 1
        if not isinstance(output, torch.Tensor):
            return None
        inputs = tuple(value for value in _flat(given) if isinstance(value, torch.Tensor))
        busy, self._busy = self._busy, True
        try:
            return self._see(Place(path, call, function), inputs, output)
        finally:
            self._busy = busy


def _flat(values: Any) -> Iterator[Any]:
    """Values, and those in lists and tuples among them."""
    for value in values:
        if isinstance(value, list | tuple):
            yield from value
        else:
            yield value


def _plain_name(function: Any) -> str:
    """What a function is called, without torch's marks for "in place" and "overload"."""
    name = str(getattr(function, "__name__", "")).partition(".")[0]
    return "" if name in ("__get__", "__set__") else name.strip("_")


def _is_own_layer(module: nn.Module) -> bool:
    """Whether a module is one of torch's own layers, which call functions for themselves."""
    return type(module).__module__.startswith("torch.nn.modules.") and not any(module.children())


@contextlib.contextmanager
def _whole_encoders() -> Iterator[None]:
    """Let `nn.TransformerEncoder` call its blocks, rather than one fused kernel for each."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)
