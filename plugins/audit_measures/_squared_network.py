"""The network with squared weights, for networks that are piecewise linear, and only for those.

In eval mode BatchNorm is the affine map y = a·x + b, a = γ / √(σ² + ε), b = β − a·μ. Where it alone
reads a convolution it is folded into that first (weights a·W, bias a·c + b) and squared then, which
describes the function: with a bias c of the convolution, squaring both one after the other would
give a²·c² + b² for (a·c + b)². One that cannot be folded is squared like any other map: y =
a²·x + b².
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from audit.errors import UnavailableError
from audit.transforms import fold_batchnorm

_AFFINE = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
_NORM = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)

#: Homogeneity is tried at this scale: large enough that a cap such as ReLU6's is met.
_SCALE = 2.0**20


def _probe(shape: tuple[int, ...]) -> Tensor:
    """A fixed signed input, float64."""
    return torch.from_numpy(np.random.default_rng(0).normal(size=shape))


def _homogeneous(function: Callable[[Tensor], Any], shape: tuple[int, ...]) -> bool:
    """Whether f(s·x) = s·f(x) for a signed x; sigmoid gates, GELU, norms and caps fail."""
    x = _probe(shape)
    with torch.no_grad():
        y, scaled = function(x.clone()), function(x * _SCALE)
    if not isinstance(y, Tensor):
        return False
    return torch.allclose(scaled, y * _SCALE, rtol=1e-9, atol=1e-9 * _SCALE * _largest(y))


def _largest(x: Tensor) -> float:
    """Largest absolute value."""
    return float(x.abs().max()) if x.numel() else 0.0


def _uses_weight_as_is(module: nn.Module, x: Tensor) -> bool:
    """Whether the output is linear in weight and bias (false under weight standardisation)."""
    if type(module) in _AFFINE:
        return True
    doubled = copy.deepcopy(module)
    with torch.no_grad():
        for parameter in doubled.parameters():
            parameter.mul_(2)
        return torch.allclose(doubled.forward(x), 2 * module.forward(x), rtol=1e-9, atol=1e-12)


def _refusal(module: nn.Module, inputs: tuple[Any, ...]) -> str:
    """Why a module that was called has no place in a squared network, or ""."""
    own = {key for key, _ in module.named_parameters(recurse=False)}
    if isinstance(module, _NORM):
        batch_statistics = module.running_mean is None or module.running_var is None
        return "normalises by the statistics of the batch" if batch_statistics else ""
    if isinstance(module, _AFFINE):
        as_is = "weight" in own <= {"weight", "bias"} and _uses_weight_as_is(module, inputs[0])
        return "" if as_is else "transforms its weight before use"
    if own:
        return "has parameters that are not those of a convolution, a linear map or BatchNorm"
    if any(module.children()):
        return ""
    if not inputs or not isinstance(inputs[0], Tensor):
        return "takes no tensor as its first input"
    # forward, not a call: the hooks that brought us here must not run again
    if _homogeneous(module.forward, tuple(inputs[0].shape)):
        return ""
    return "is not f(a·x) = a·f(x) for a > 0, as ReLU and pooling are"


def _first_refusal(network: nn.Module, image: Tensor) -> str:
    """The first module called that has no place in a squared network, and why; or ""."""
    found: list[str] = []

    def watch(path: str) -> Callable[[nn.Module, tuple[Any, ...]], None]:
        def hook(module: nn.Module, inputs: tuple[Any, ...]) -> None:
            reason = "" if found else _refusal(module, inputs)
            if reason:
                found.append(f"{path or 'the network'} ({type(module).__name__}) {reason}")

        return hook

    handles = [
        module.register_forward_pre_hook(watch(path)) for path, module in network.named_modules()
    ]
    with torch.no_grad():
        network(image)
    for handle in handles:
        handle.remove()
    return found[0] if found else ""


def _make_affine(norm: Any) -> None:
    """Rewrite a BatchNorm as y = a·x + b: weight a, bias b, no statistics."""
    scale = 1 / (norm.running_var + norm.eps).sqrt()
    if norm.weight is not None:
        scale = scale * norm.weight
    shift = -scale * norm.running_mean
    if norm.bias is not None:
        shift = shift + norm.bias
    norm.weight, norm.bias = nn.Parameter(scale), nn.Parameter(shift)
    norm.running_mean, norm.running_var = torch.zeros_like(scale), torch.ones_like(scale)
    norm.eps = torch.finfo(torch.float64).tiny  # which 1 swallows; older torch refuses 0


def _without_biases(network: nn.Module) -> nn.Module:
    """A copy whose convolutions, linear maps and affine norms have no constant term."""
    linear = copy.deepcopy(network)
    for module in linear.modules():
        if isinstance(module, (*_AFFINE, *_NORM)) and module.bias is not None:
            module.bias.zero_()
    return linear


@torch.no_grad()
def squared_output(module: nn.Module, input_size: tuple[int, int, int]) -> float | str:
    """Sum of the outputs of the network with squared weights at an all-ones input.

    Args:
        module: A network in eval mode; it is copied.
        input_size: Channels, height and width of its input.

    Returns:
        The sum, at least 0, infinite on overflow; or why there is none.
    """
    network = copy.deepcopy(module).cpu().double()
    tensors = (*network.parameters(), *network.buffers())
    if not all(bool(torch.isfinite(tensor).all()) for tensor in tensors):
        return "the weights are not finite"
    shape = (1, *input_size)
    refusal = _first_refusal(network, _probe(shape))
    if refusal:
        return f"the network is not piecewise linear: {refusal}"
    with contextlib.suppress(UnavailableError):  # there is nothing to fold
        network = fold_batchnorm(network, _probe(shape))
    for part in network.modules():
        if isinstance(part, _NORM):
            _make_affine(part)
    if not _homogeneous(_without_biases(network), shape):
        name = type(network).__name__
        return f"the network is not piecewise linear: what {name} computes between its modules"
    for parameter in network.parameters():
        parameter.square_()
    return float(network(torch.ones(shape, dtype=torch.float64)).sum())
