"""The network with BatchNorm folded into the weights before it, and the weights it then applies.

In eval mode BatchNorm is the affine map y = a·x + b. Folded into the convolution or linear map that
feeds it, it leaves weights a·W, which are what the network applies: two networks that differ in how
they are split between W and a compute the same function, and have the same effective weights. Which
module feeds which BatchNorm is read off the tensors of a forward pass, never off the order of
modules; a BatchNorm that nothing feeds directly (before the convolution, as in pre-activation
networks) stays where it is.

A layer is a convolution or linear map that a forward pass calls, in the order of first calls, or
one of the projections of `nn.MultiheadAttention`. Its weight is read as a matrix, out × (in·k²). A
grouped convolution's matrix is block-diagonal, one block for each group, so its spectral norm is
the largest of its blocks'. Weights that are transformed before use (weight standardisation,
spectral or weight normalization) count as they are used. Embeddings, class tokens, LayerNorm,
GroupNorm, layer scales and biases are no layers.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakKeyDictionary

import numpy as np
import torch
from scipy.linalg import eigvalsh
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.overrides import TorchFunctionMode

from audit.errors import MeasureError, UnavailableError
from audit.plugin import TrainView
from audit.transforms import fold_batchnorm, folds

if TYPE_CHECKING:
    from audit.arrays import Logits as Matrix

_LINEAR: Final = (
    *(nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear),
    *(nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d),
)
_TRANSPOSED: Final = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
_PRODUCTS: Final = frozenset(
    {
        *(torch.conv1d, torch.conv2d, torch.conv3d, nn.functional.linear),
        *(torch.conv_transpose1d, torch.conv_transpose2d, torch.conv_transpose3d),
    }
)


@dataclasses.dataclass(frozen=True)
class EffectiveLayer:
    """One layer's weight as the network applies it.

    Attributes:
        name: Of the module, or of the parameter of a projection.
        blocks: One matrix for each group, shape (out / groups, in / groups · k²), float64.
    """

    name: str
    blocks: tuple[np.ndarray, ...]

    @property
    def matrix(self) -> np.ndarray:
        """All blocks one above the other, as the weight is stored."""
        return np.concatenate(self.blocks)

    def squared_frobenius(self) -> float:
        """Sum of the squared weights."""
        return float(sum(np.square(block).sum() for block in self.blocks))

    def squared_spectral(self) -> float:
        """Square of the largest singular value, from the exact spectrum of the Gram matrix."""
        return max(_largest_eigenvalue(block) for block in self.blocks)

    def minus(self, other: EffectiveLayer) -> EffectiveLayer:
        """The difference of two weights of one layer."""
        pairs = zip(self.blocks, other.blocks, strict=True)
        return EffectiveLayer(self.name, tuple(a - b for a, b in pairs))


@dataclasses.dataclass(frozen=True)
class LayerNorm:
    """A layer's norms: what is kept of a network, whose matrices are not.

    Attributes:
        name: Of the layer.
        squared_frobenius: Sum of its squared weights.
        squared_spectral: Square of its largest singular value.
    """

    name: str
    squared_frobenius: float
    squared_spectral: float


def _largest_eigenvalue(block: Matrix) -> float:
    """Of W·Wᵀ or Wᵀ·W, whichever is smaller; both have it."""
    gram = block @ block.T if block.shape[0] <= block.shape[1] else block.T @ block
    last = len(gram) - 1
    return max(0.0, float(eigvalsh(gram, subset_by_index=[last, last])[0]))


def folded(view: TrainView) -> nn.Module:
    """A copy of the network in float64 on the CPU, in eval mode, with BatchNorm folded.

    Raises:
        UnavailableError: The network is quantised, or has BatchNorm and cannot be traced.
        MeasureError: A weight is not finite.
    """
    return folded_copy(view.module, view)


def folded_copy(module: nn.Module, view: TrainView) -> nn.Module:
    """The same of a module of the view's architecture."""
    refuse_quantised(module)
    network = copy.deepcopy(module).cpu().double().eval().requires_grad_(False)
    for name, tensor in network.named_parameters():
        if not bool(torch.isfinite(tensor).all()):
            raise MeasureError(f"the weights are not finite, first in {name}")
    if not any(isinstance(part, _BatchNorm) for part in network.modules()):
        return network
    image = probe(view)
    return fold_batchnorm(network, image) if folds(network, image).folded else network


def refuse_quantised(module: nn.Module) -> None:
    """Raise where weights are not real numbers.

    Raises:
        UnavailableError: A module is quantised.
    """
    for name, part in module.named_modules():
        if "quantized" in type(part).__module__.split("."):
            raise UnavailableError(
                f"{name or 'the network'} ({type(part).__name__}) is quantised; the measure needs "
                "weights in floating point: give the checkpoint before it was quantised"
            )


def probe(view: TrainView) -> Tensor:
    """One image of fixed noise, float64, to see what a forward pass calls."""
    size = (1, *view.data_config.input_size)
    return torch.from_numpy(np.random.default_rng(0).normal(size=size))


class _Products(TorchFunctionMode):
    """Notes the weights that convolutions and linear maps are computed with."""

    def __init__(self) -> None:
        super().__init__()
        self.weights: list[Tensor] = []

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if func in _PRODUCTS:
            self.weights.append(kwargs["weight"] if "weight" in kwargs else args[1])
        return func(*args, **kwargs)


def _weight_in_use(module: Any, inputs: tuple[Any, ...]) -> Tensor:
    """The weight that a module applies, which may be made anew at each call."""
    if type(module) in _LINEAR:
        stored: Tensor = module.weight
        return stored
    with torch.no_grad(), _Products() as seen:
        module.forward(*inputs)
    weight: Tensor = seen.weights[0] if seen.weights else module.weight
    return weight


def transforms_weight(module: Any) -> bool:
    """Whether a convolution or linear map is computed with another weight than it stores."""
    if type(module) in _LINEAR:
        return False
    if "weight" not in dict(module.named_parameters(recurse=False)):
        return True
    width = module.weight.shape[1] * getattr(module, "groups", 1)
    size = (1, width, *[4 * side for side in module.weight.shape[2:]])
    image = torch.ones(size, dtype=module.weight.dtype, device=module.weight.device)
    return not torch.equal(_weight_in_use(module, (image,)), module.weight)


def _blocks(module: Any, weight: Tensor) -> tuple[np.ndarray, ...]:
    """One matrix for each group."""
    groups = getattr(module, "groups", 1)
    if isinstance(module, _TRANSPOSED):  # stored in × out
        parts = [part.transpose(0, 1) for part in weight.chunk(groups)]
    else:
        parts = list(weight.chunk(groups))
    return tuple(part.detach().flatten(1).double().numpy() for part in parts)


def layers_of(network: nn.Module, image: Tensor) -> list[EffectiveLayer]:
    """The layers of a folded network, in the order in which a forward pass first calls them."""
    found: dict[str, EffectiveLayer] = {}

    def note(name: str) -> Callable[[nn.Module, tuple[Any, ...]], None]:
        def hook(module: Any, inputs: tuple[Any, ...]) -> None:
            if isinstance(module, nn.MultiheadAttention):
                for key in ("in_proj_weight", "q_proj_weight", "k_proj_weight", "v_proj_weight"):
                    weight = getattr(module, key)
                    if weight is not None:
                        found[f"{name}.{key}"] = EffectiveLayer(f"{name}.{key}", _blocks(0, weight))
                # its own output projection is never called as a module
                out = f"{name}.out_proj"
                found[out] = EffectiveLayer(out, _blocks(0, module.out_proj.weight))
            elif name not in found:
                blocks = _blocks(module, _weight_in_use(module, inputs))
                found[name] = EffectiveLayer(name, blocks)

        return hook

    handles = [
        module.register_forward_pre_hook(note(name))
        for name, module in network.named_modules()
        if isinstance(module, (*_LINEAR, nn.MultiheadAttention))
    ]
    try:
        with torch.no_grad():
            network(image)
    finally:
        for handle in handles:
            handle.remove()
    return list(found.values())


def effective_layers(view: TrainView) -> list[EffectiveLayer]:
    """The layers of the view's network.

    Raises:
        UnavailableError: The network is quantised, or has no layer.
        MeasureError: A weight is not finite.
    """
    found = layers_of(folded(view), probe(view))
    if not found:
        raise UnavailableError("the network has no convolution and no linear map")
    return found


def initial_layers(view: TrainView) -> list[EffectiveLayer]:
    """The same layers before training, BatchNorm folded as it was then.

    Raises:
        UnavailableError: The weights before training were not given.
        MeasureError: They do not fit the network.
    """
    start: Mapping[str, Tensor] = view.initial_weights()
    network = copy.deepcopy(view.module)
    try:
        network.load_state_dict(dict(start))
    except RuntimeError as error:
        raise MeasureError(f"the weights before training do not fit the network: {error}") from None
    return layers_of(folded_copy(network, view), probe(view))


_norms: WeakKeyDictionary[TrainView, tuple[LayerNorm, ...]] = WeakKeyDictionary()


def layer_norms(view: TrainView) -> tuple[LayerNorm, ...]:
    """The norms of each layer; computed once for a view, whichever measure asks first.

    Raises:
        UnavailableError: The network is quantised, or has no layer.
        MeasureError: A weight is not finite.
    """
    if view not in _norms:
        _norms[view] = tuple(
            LayerNorm(layer.name, layer.squared_frobenius(), layer.squared_spectral())
            for layer in effective_layers(view)
        )
    return _norms[view]
