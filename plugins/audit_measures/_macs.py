"""Counting multiply–accumulates, whatever kernels torch would choose to compute them with.

Which kernel runs attention or a recurrent layer depends on the processor, on torch's version and on
global switches. Some kernels are one operation that torch's counter has no formula for, and counts
as nothing; others pad their operands, and count for more. So the composed form, made of matrix
products, is asked for while counting, and operations that are reached all the same (from scripted
code, or because a network calls them itself) are given formulas.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from math import prod
from typing import Any, TypeAlias

import torch
from torch.backends import mha, opt_einsum
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention
from torch.overrides import TorchFunctionMode
from torch.utils.flop_counter import FlopCounterMode

Shape: TypeAlias = Sequence[int]

#: The names under which a network can call attention before a kernel for it is chosen.
_ATTENTION = (
    scaled_dot_product_attention,
    torch.ops.aten.scaled_dot_product_attention,
    torch.ops.aten.scaled_dot_product_attention.default,
)


def _attention(query: Shape, key: Shape, value: Shape, *_: Any, **__: Any) -> int:
    """Scores of every query with every key, and as many weighted values; masks save nothing."""
    return 2 * prod(query[:-1]) * key[-2] * (query[-1] + value[-1])


def _multi_head(
    query: Shape,
    key: Shape,
    value: Shape,
    width: int,
    n_heads: int,
    weight: Shape,
    bias: Shape,
    last_weight: Shape,
    *_: Any,
    **__: Any,
) -> int:
    """Projections of queries, keys and values, attention, and the projection of what it gives."""
    ends = prod(query[:-1]) * (width * width + prod(last_weight))
    others = (prod(key[:-1]) + prod(value[:-1])) * width * width
    return 2 * (ends + others) + _attention(query, key, value)


def _encoder_layer(
    tokens: Shape, width: int, n_heads: int, weight: Shape, bias: Shape, *others: Any, **_: Any
) -> int:
    """Multi-head attention of the tokens with themselves, and two linear maps of each."""
    last_weight: Shape = others[0]
    first: Shape = others[9]
    second: Shape = others[11]
    attention = _multi_head(tokens, tokens, tokens, width, n_heads, weight, bias, last_weight)
    return 2 * prod(tokens[:-1]) * (prod(first) + prod(second)) + attention


def _recurrent_layer(
    steps: Shape, weight_input: Shape, weight_hidden: Shape, *_: Any, **__: Any
) -> int:
    """Two matrix–vector products a step; for one layer in one direction."""
    return 2 * prod(steps[:-1]) * (prod(weight_input) + prod(weight_hidden))


def _recurrent_layers(steps: Shape, weights: Sequence[Shape], *_: Any, **__: Any) -> int:
    """A matrix–vector product a step with every weight of every layer and direction."""
    matrices = [prod(weight) for weight in weights if len(weight) == 2]
    return 2 * prod(steps[:-1]) * sum(matrices)


def _product(left: Shape, right: Shape, *_: Any, **__: Any) -> int:
    """Of a matrix, or each of a batch, or a vector, with a matrix or a vector."""
    columns = right[-1] if len(right) > 1 else 1
    return 2 * prod(left) * columns


def _added_product(added: Shape, left: Shape, right: Shape, *_: Any, **__: Any) -> int:
    """A product to which something is added."""
    return _product(left, right)


#: Operations of torch.ops.aten for which torch's counter has no formula, or none that holds for
#: every layout. Two operations per multiply–accumulate, as torch counts.
_FORMULAS: dict[str, Callable[..., int]] = {
    "_scaled_dot_product_flash_attention_for_cpu": _attention,
    "_scaled_dot_product_flash_attention": _attention,
    "_scaled_dot_product_efficient_attention": _attention,
    "_scaled_dot_product_cudnn_attention": _attention,
    "_scaled_dot_product_fused_attention_overrideable": _attention,
    "_scaled_dot_product_attention_math_for_mps": _attention,
    "_native_multi_head_attention": _multi_head,
    "_triton_multi_head_attention": _multi_head,
    "_transformer_encoder_layer_fwd": _encoder_layer,
    "mkldnn_rnn_layer": _recurrent_layer,
    "_cudnn_rnn": _recurrent_layers,
    "miopen_rnn": _recurrent_layers,
    "mv": _product,
    "dot": _product,
    "vdot": _product,
    "_int_mm": _product,
    "addmv": _added_product,
    "addbmm": _added_product,
    "_addmm_activation": _added_product,
}


class _ComposedAttention(TorchFunctionMode):
    """Attention as matrix products, also where a network chooses its own kernel in its forward."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Call the function; if it is attention, with no kernel but the composed one allowed."""
        chosen = any(func is name for name in _ATTENTION)
        with sdpa_kernel(SDPBackend.MATH) if chosen else contextlib.nullcontext():
            return func(*args, **(kwargs or {}))


@contextlib.contextmanager
def _composed() -> Iterator[None]:
    """Ask torch for matrix products instead of fused kernels; its switches are put back.

    The order of a product of three or more factors is the written one, whether or not a package is
    installed that would find a cheaper one.
    """
    before = mha.get_fastpath_enabled()
    mha.set_fastpath_enabled(False)
    try:
        # What torch gives as context managers has no types.
        flags: Any = opt_einsum.flags
        with sdpa_kernel(SDPBackend.MATH), flags(enabled=False), _ComposedAttention():
            yield
    finally:
        mha.set_fastpath_enabled(before)


def multiply_accumulates(module: torch.nn.Module, image: torch.Tensor) -> float:
    """Multiply–accumulates of the convolutions, matrix products and attention of a forward pass.

    Args:
        module: The network.
        image: Its input.

    Returns:
        The count; 0 where nothing was counted.
    """
    aten = torch.ops.aten
    formulas = {getattr(aten, name): _FORMULAS[name] for name in _FORMULAS if hasattr(aten, name)}
    counter = FlopCounterMode(display=False, custom_mapping=formulas)
    with torch.no_grad(), _composed(), counter:
        module(image)
    return counter.get_total_flops() / 2
