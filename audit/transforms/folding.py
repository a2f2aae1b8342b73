"""BatchNorm put into the convolution or linear map before it."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.fusion import fuse_conv_bn_weights, fuse_linear_bn_weights

from audit.errors import UnavailableError
from audit.transforms._copies import WorkingCopy
from audit.transforms._trace import Call, Ref, Trace, rerun

_MAPS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
_VIEWS = frozenset({"view", "_unsafe_view", "reshape", "transpose", "permute", "clone", "t"})
_VIEWS |= {"squeeze", "unsqueeze", "alias", "detach", "contiguous"}


@dataclass(frozen=True)
class Folds:
    """What folding does to a network.

    Attributes:
        folded: BatchNorm → the convolution or linear map that takes it in, as dotted paths.
        left: BatchNorm → why it stays.
    """

    folded: dict[str, str] = field(default_factory=dict)
    left: dict[str, str] = field(default_factory=dict)


def folds(network: nn.Module, image: Tensor) -> Folds:
    """Which BatchNorms `fold_batchnorm` folds into what, and which stay, with the reason.

    Args:
        network: The network; it is left as it is.
        image: An input, shape (1, channels, height, width).

    Raises:
        UnavailableError: The network cannot be traced.
    """
    copy = WorkingCopy(network, image)
    return _found(copy.ran, copy.trace)


@torch.no_grad()
def fold_batchnorm(network: nn.Module, image: Tensor) -> nn.Module:
    """A copy without the BatchNorms that follow a convolution or linear map and nothing else reads.

    With a = γ / √(σ² + ε), the weights W of the map before become a·W and its bias c becomes
    a·(c − μ) + β; a map without a bias is given one. What feeds what is read off the tensors of a
    forward pass, not off the order of modules, so a BatchNorm before an activation that precedes
    the convolution, after a concatenation, or shared between branches stays; `folds` lists both.
    `nn.BatchNorm` becomes `nn.Identity`; one that carries its activation (timm's `BatchNormAct2d`)
    becomes an `nn.Sequential` of its children under their names.

    Args:
        network: The network; it is left as it is.
        image: An input, shape (1, channels, height, width), in the network's dtype and on its
            device.

    Returns:
        The copy, in eval mode. In float64 its outputs were compared with the network's: they agree
        within 1e-8 of the largest. It is then rounded to the dtype of the network.

    Raises:
        UnavailableError: There is no BatchNorm that could be folded, the network cannot be traced,
            or the outputs differ.
    """
    copy = WorkingCopy(network, image)
    found = _found(copy.ran, copy.trace)
    if not found.folded:
        reasons = "; ".join(sorted(set(found.left.values()))) or "it has none"
        raise UnavailableError(
            f"{type(network).__name__} has no BatchNorm that can be folded: {reasons}"
        )
    for norm, source in found.folded.items():
        _fold(copy.module, source, norm)
    return copy.finished("folded")


def _found(network: nn.Module, trace: Trace) -> Folds:
    """The same as `folds`, of a network that was traced already."""
    found = Folds()
    norms = {path: m for path, m in network.named_modules() if isinstance(m, _BatchNorm)}
    calls = _norm_calls(trace)
    sources = _Sources(network, trace)
    for path, norm in norms.items():
        own = calls.get(id(norm.running_mean), []) if norm.running_mean is not None else []
        if norm.running_mean is None or norm.running_var is None:
            found.left[path] = "it normalises by the statistics of the batch"
        elif len(own) != 1:
            found.left[path] = f"it is called {len(own)} times"
        else:
            source = sources.of(own[0])
            if isinstance(source, str) and source not in sources.paths:
                found.left[path] = source
            else:
                found.folded[path] = source
    return found


def _norm_calls(trace: Trace) -> dict[int, list[Call]]:
    """Running mean → the calls of BatchNorm that use it, in eval mode."""
    found: dict[int, list[Call]] = {}
    for call in trace.calls:
        mean = call.arguments.get("running_mean")
        if isinstance(mean, Ref) and not call.arguments.get("training", False):
            found.setdefault(id(trace.values[mean.index].tensor), []).append(call)
    return found


class _Sources:
    """Looks for the map whose output a BatchNorm alone reads.

    Attributes:
        paths: Paths of the modules that a BatchNorm can be folded into.
    """

    def __init__(self, network: nn.Module, trace: Trace) -> None:
        maps = (*_MAPS, *_TRANSPOSED)
        self._owners = {
            id(module.weight): path
            for path, module in network.named_modules()
            if isinstance(module, maps) and isinstance(module.weight, nn.Parameter)
        }
        self.paths = set(self._owners.values())
        self._trace = trace
        self._readers = trace.readers()
        self._makers = trace.makers()

    def of(self, norm: Call) -> str:
        """Path of the map, or why there is none."""
        if any(self._shared(norm.arguments.get(key)) for key in ("weight", "bias")):
            return "it shares its weights"
        views: list[Call] = []
        index = norm.arguments["input"].index
        while True:
            if len(self._readers[index]) != 1 or index in self._trace.outputs:
                return "something else reads its input too"
            maker = self._makers.get(index)
            if maker is None or maker.name not in _VIEWS:
                break
            views.append(maker)
            index = maker.inputs[0]
        weight = self._weight(maker) if maker else None
        path = self._owners.get(id(weight), "") if weight is not None else ""
        if maker is None or not path:
            return "its input is not the output of a convolution or linear map"
        keeps = _keeps_channels(self._trace, maker, views[::-1], norm)
        return path if keeps else "its channels are not those of the map before it"

    def _shared(self, argument: Any) -> bool:
        """Whether a parameter is read more than once."""
        return isinstance(argument, Ref) and len(self._readers[argument.index]) != 1

    def _weight(self, call: Call) -> Tensor | None:
        """The parameter that a convolution or product reads as it is, and nothing else reads."""
        keys = {"convolution": "weight", "linear": "weight", "addmm": "mat2", "mm": "mat2"}
        argument = call.arguments.get(keys.get(call.name, ""))
        bias = call.arguments.get(
            "bias", call.arguments.get("self") if "add" in call.name else None
        )
        if not isinstance(argument, Ref) or self._shared(bias):
            return None
        index = argument.index
        maker = self._makers.get(index)
        if maker is not None and maker.name in ("t", "transpose") and not self._shared(argument):
            index = maker.inputs[0]
        once = len(self._readers[index]) == 1
        return self._trace.values[index].tensor if once else None


def _keeps_channels(trace: Trace, source: Call, views: Sequence[Call], norm: Call) -> bool:
    """Whether the norm's channels are those that the map makes, in their order."""
    made = trace.values[source.outputs[0]].tensor
    axis = 1 if source.name == "convolution" else made.ndim - 1
    shape = [-1 if dim == axis else 1 for dim in range(made.ndim)]
    numbers = torch.arange(made.shape[axis], device=made.device).view(shape).expand(made.shape)
    numbers = numbers.contiguous()
    for view in views:
        numbers = rerun(view, [numbers] * len(trace.values))
    expected = torch.arange(numbers.shape[1], device=made.device)
    expected = expected.view([-1 if dim == 1 else 1 for dim in range(numbers.ndim)])
    return bool((numbers == expected).all()) and made.shape[axis] == numbers.shape[1]


@torch.no_grad()
def _fold(network: nn.Module, source_path: str, norm_path: str) -> None:
    """Fold one BatchNorm of a network into the map at a path, in place."""
    source: Any = network.get_submodule(source_path)
    norm: Any = network.get_submodule(norm_path)
    statistics = (norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias)
    fused: tuple[nn.Parameter, ...]
    if isinstance(source, nn.Linear):
        fused = fuse_linear_bn_weights(source.weight, source.bias, *_affine(statistics))
    elif isinstance(source, _TRANSPOSED):
        fused = _fused_transposed(source, statistics)
    else:
        fused = fuse_conv_bn_weights(source.weight, source.bias, *statistics)
    for key, tensor in zip(("weight", "bias"), fused, strict=True):
        tensor.requires_grad_(source.weight.requires_grad)
        setattr(source, key, tensor)
    children = OrderedDict(norm.named_children())
    network.set_submodule(norm_path, nn.Sequential(children) if children else nn.Identity())


def _affine(statistics: tuple[Any, ...]) -> tuple[Any, ...]:
    """Statistics with a scale of 1 and a shift of 0 where there are none."""
    mean, variance, eps, weight, bias = statistics
    weight = torch.ones_like(variance) if weight is None else weight
    return mean, variance, eps, weight, torch.zeros_like(mean) if bias is None else bias


def _fused_transposed(source: Any, statistics: tuple[Any, ...]) -> tuple[nn.Parameter, ...]:
    """A transposed convolution of groups, whose outputs lie on the second axis of each group."""
    mean, variance, eps, weight, bias = _affine(statistics)
    scale = weight / (variance + eps).sqrt()
    before = torch.zeros_like(mean) if source.bias is None else source.bias
    blocks = source.weight.unflatten(0, (source.groups, -1))
    per_group = scale.view(source.groups, 1, -1, *[1] * (source.weight.ndim - 2))
    fused = (blocks * per_group).flatten(0, 1)
    return nn.Parameter(fused), nn.Parameter((before - mean) * scale + bias)
