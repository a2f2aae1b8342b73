"""Copies to work on, and the proof that a changed one computes what the original does.

Work is done in float64 whatever the dtype of the network, so that a float32 network is rounded
once, at the end. The proof compares outputs before that rounding.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from audit.errors import UnavailableError
from audit.transforms._trace import Trace, named_tensors

#: Lowest precision met on the way → how far outputs may lie apart, relative to the largest. A
#: network that rounds to less than float64 by itself can be compared no better.
_TOLERANCES = {torch.float64: 1e-8, torch.float32: 1e-4, torch.float16: 5e-2, torch.bfloat16: 0.2}


class WorkingCopy:
    """A copy of a network in float64 and eval mode, and the record of its run on an image.

    What runs is a copy of the copy, so that nothing a network remembers of a run (such as a table
    computed from its weights) is left in what is given away.

    Attributes:
        module: The copy, to be changed in place; it has not run.
        ran: The copy that ran.
        trace: What that computed.
        image: Its input.
    """

    def __init__(self, network: nn.Module, image: Tensor) -> None:
        _refuse(network)
        self._original = network
        try:
            self.module, self.image = _copied(network).double(), image.double()
            self.ran, self.trace = self._run()
        except (RuntimeError, TypeError):  # it fixes a dtype on the way
            self.module, self.image = _copied(network), image
            self.ran, self.trace = self._run()

    def _run(self) -> tuple[nn.Module, Trace]:
        """Another copy, and the record of its run."""
        ran = _copied(self.module)
        return ran, Trace(ran, self.image.clone())

    def finished(self, what: str, order: Tensor | None = None) -> nn.Module:
        """The changed copy in the dtypes of the original, if it computes the same.

        Args:
            what: What was done to it, for the message.
            order: For every class of the new outputs, which it was.

        Raises:
            UnavailableError: It does not.
        """
        self._compare(self._run()[1], what, order)
        known = {name: tensor.dtype for name, tensor in named_tensors(self._original)}
        first = next(iter(known.values()))
        with torch.no_grad():
            for name, tensor in named_tensors(self.module):
                if tensor.is_floating_point():
                    tensor.data = tensor.data.to(known.get(name, first))
        return self.module

    def _compare(self, again: Trace, what: str, order: Tensor | None) -> None:
        """Hold the outputs of a run against those of the first."""
        tolerance = max(_tolerance(self.trace), _tolerance(again))
        for before, after in zip(self.trace.outputs, again.outputs, strict=True):
            old, new = self.trace.values[before].tensor, again.values[after].tensor
            if order is not None:
                old = old.index_select(-1, order)
            scale = float(old.abs().max()) if old.numel() else 0.0
            if not torch.allclose(old, new, rtol=0, atol=tolerance * scale, equal_nan=True):
                apart = float((old - new).abs().max()) / scale if scale else float("inf")
                raise UnavailableError(
                    f"{type(self._original).__name__} cannot be {what}: its outputs move by "
                    f"{apart:.2g} of the largest, more than {tolerance:g}; it uses its weights in "
                    "a way that its operations do not show"
                )


def changeable(network: nn.Module) -> set[str]:
    """Names of the numbers that a network stores: parameters and buffers of its state."""
    stored = {id(tensor) for tensor in network.state_dict(keep_vars=True).values()}
    return {
        name
        for name, tensor in named_tensors(network)
        if tensor.is_floating_point() and id(tensor) in stored
    }


def _refuse(network: nn.Module) -> None:
    """Networks whose weights cannot be changed one by one."""
    for path, module in network.named_modules():
        where = path or "the network"
        if isinstance(module, torch.jit.ScriptModule):
            raise UnavailableError(f"{where} is TorchScript, whose weights cannot be taken apart")
        if "quantized" in type(module).__module__.split("."):
            raise UnavailableError(f"{where} is quantised: its weights cannot take other scales")
    if any(tensor.is_quantized for _, tensor in named_tensors(network)):
        raise UnavailableError("the network is quantised: its weights cannot take other scales")


def _copied(network: nn.Module) -> nn.Module:
    """A deep copy in eval mode, without tables that eval mode keeps of weights."""
    try:
        return copy.deepcopy(network).train().eval()
    except (RuntimeError, TypeError) as error:
        raise UnavailableError(f"{type(network).__name__} cannot be copied: {error}") from error


def _tolerance(trace: Trace) -> float:
    """How far outputs may lie apart after what a run rounds to."""
    met = {value.tensor.dtype for value in trace.values if value.follows}
    return max((_TOLERANCES[dtype] for dtype in met if dtype in _TOLERANCES), default=1e-8)
