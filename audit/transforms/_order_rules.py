"""What each operation does with the channels of what goes in, by its name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import torch

from audit.transforms._classes import Axis
from audit.transforms._moving import (
    ATTENTION,
    BATCH_NORM,
    COPIES,
    MOVING,
    REDUCING,
    SPATIAL,
    reduced_axes,
)
from audit.transforms._order_products import add, added_product, convolved, matrix_product, part_of
from audit.transforms._orders import Axes, Orders, Rule, moved, tied, unknown
from audit.transforms._trace import Call, Ref

_REDUCING: Final = REDUCING | {"var", "std", "var_mean", "std_mean", "logsumexp", "prod"}


#: Functions of each element that torch does not mark as such.
_POINTWISE: Final = frozenset(
    {"hardtanh", "hardswish", "hardsigmoid", "silu", "gelu", "mish", "elu", "leaky_relu", "relu"}
    | {"softplus", "threshold", "sigmoid", "tanh", "clamp", "celu", "prelu", "_prelu_kernel"}
)


def rule(call: Call) -> Rule:
    """What to do with the channels at a call."""
    if call.name in _RULES:
        return _RULES[call.name]
    pointwise = call.function is not None and torch.Tag.pointwise in call.function.tags
    return _elementwise if pointwise or call.name in _POINTWISE else unknown


def _elementwise(orders: Orders, call: Call) -> None:
    """A function of each element, or of those at one place of several tensors."""
    orders.meet_inputs(call)
    for output in call.outputs:
        length = orders.shape(output)
        axes: Axes = []
        for dim in range(len(length)):
            met = [
                orders.axes(index)[place]
                for index in call.inputs
                for place in [dim - len(length) + len(orders.shape(index))]
                if place >= 0 and orders.shape(index)[place] > 1
            ]
            axes.append(tied(orders, met))
        orders.give(output, axes)


def _kept(orders: Orders, call: Call) -> None:
    """Softmax and copies: what lies along the axes stays."""
    orders.meet_inputs(call)
    orders.give(call.outputs[0], orders.axes(call.inputs[0]))


def _turned(orders: Orders, call: Call) -> None:
    """A transposition, without a look at the elements."""
    axes = orders.axes(call.inputs[0])
    places = list(range(len(axes)))
    if call.name == "permute":
        places = [dim % len(axes) for dim in call.arguments["dims"]]
    else:
        one, other = (call.arguments.get(key, dim) for dim, key in enumerate(("dim0", "dim1")))
        if axes[1:]:
            places[one], places[other] = places[other], places[one]
    orders.give(call.outputs[0], [axes[place] for place in places])


def _joined(orders: Orders, call: Call) -> None:
    """A concatenation: the axes that are not joined move as one."""
    dim = call.arguments.get("dim", 0) % len(orders.shape(call.outputs[0]))
    parts = [orders.axes(ref) for ref in call.arguments["tensors"]]
    lengths = [orders.shape(ref)[dim] for ref in call.arguments["tensors"]]
    joined = [
        part[dim] or Axis(*torch.zeros(2, length, dtype=torch.int64).numpy())
        for part, length in zip(parts, lengths, strict=True)
    ]
    made: Axes = [
        None if other == dim else tied(orders, [part[other] for part in parts])
        for other in range(len(parts[0]))
    ]
    made[dim] = Axis(*(_concatenated(joined, key) for key in ("channels", "roles")))
    orders.give(call.outputs[0], made)


def _concatenated(axes: list[Axis], key: str) -> Any:
    """The channels or roles of several axes in a row."""
    return torch.cat([torch.from_numpy(getattr(axis, key)) for axis in axes]).numpy()


def _stacked(orders: Orders, call: Call) -> None:
    """Tensors along a new axis."""
    parts = [orders.axes(ref) for ref in call.arguments["tensors"]]
    axes = [tied(orders, list(along)) for along in zip(*parts, strict=True)]
    axes.insert(call.arguments.get("dim", 0) % (len(axes) + 1), None)
    orders.give(call.outputs[0], axes)


def _padded(orders: Orders, call: Call) -> None:
    """Constants around: a padded axis stays."""
    axes = list(orders.axes(call.inputs[0]))
    pads = call.arguments["pad"]
    for pair in range(len(pads) // 2):
        if any(pads[2 * pair : 2 * pair + 2]):
            orders.classes.fix(axes[-1 - pair])
            axes[-1 - pair] = None
    orders.give(call.outputs[0], axes)


def _by_channel(orders: Orders, call: Call) -> None:
    """Pooling and interpolation over places."""
    orders.meet_inputs(call)
    axes = list(orders.axes(call.inputs[0]))
    for dim in range(len(axes) - SPATIAL[call.name], len(axes)):
        orders.classes.fix(axes[dim])
        axes[dim] = None
    for output in call.outputs:
        orders.give(output, axes)


def _reduced(orders: Orders, call: Call) -> None:
    """A sum, mean or extreme over axes, in any order."""
    if len(call.inputs) > 1:
        _elementwise(orders, call)
        return
    orders.meet_inputs(call)
    axes = orders.axes(call.inputs[0])
    gone = reduced_axes(call, len(axes))
    keeps = call.arguments.get("keepdim", False)
    left = [
        None if dim in gone else axis for dim, axis in enumerate(axes) if keeps or dim not in gone
    ]
    for output in call.outputs:
        orders.give(output, left)


def _batch_norm(orders: Orders, call: Call) -> None:
    """A norm of each channel, which lies along the second axis."""
    orders.meet_inputs(call)
    axes = list(orders.axes(call.arguments["input"]))
    for key in ("weight", "bias", "running_mean", "running_var"):
        if isinstance(call.arguments.get(key), Ref):
            axes[1] = orders.classes.tie(orders.axes(call.arguments[key])[0], axes[1])
    orders.give(call.outputs[0], axes)


def _layer_norm(orders: Orders, call: Call) -> None:
    """LayerNorm and RMSNorm, over the last axes."""
    orders.meet_inputs(call)
    axes = list(orders.axes(call.arguments["input"]))
    for key in ("weight", "bias"):
        if isinstance(call.arguments.get(key), Ref):
            add(orders, axes, call.arguments[key])
    orders.give(call.outputs[0], axes)


def _group_norm(orders: Orders, call: Call) -> None:
    """GroupNorm: channels stay in their group."""
    orders.meet_inputs(call)
    axes = list(orders.axes(call.arguments["input"]))
    for key in ("weight", "bias"):
        if isinstance(call.arguments.get(key), Ref):
            axes[1] = orders.classes.tie(orders.axes(call.arguments[key])[0], axes[1])
    if axes[1] is not None:
        groups = call.arguments["group"]
        for group in range(groups):
            orders.meet(part_of(axes[1], group, groups), -1, group)
    orders.give(call.outputs[0], axes)


def _attended(orders: Orders, call: Call) -> None:
    """Attention of queries with keys, for the values."""
    orders.meet_inputs(call)
    query, key, value = (orders.axes(call.arguments[name]) for name in ("query", "key", "value"))
    mask = call.arguments.get("attn_mask", call.arguments.get("attn_bias"))
    if isinstance(mask, Ref):
        for axis in (*orders.axes(mask), *query[:-1], key[-2], *value[:-1]):
            orders.classes.fix(axis)
    orders.classes.tie(query[-1], key[-1])
    orders.classes.tie(key[-2], value[-2])
    batch = [
        tied(orders, list(axes)) for axes in zip(query[:-2], key[:-2], value[:-2], strict=True)
    ]
    orders.give(call.outputs[0], [*batch, query[-2], value[-1]])


_RULES: Final[Mapping[str, Rule]] = {
    **dict.fromkeys(MOVING, moved),
    **dict.fromkeys(("t", "transpose", "permute"), _turned),
    **dict.fromkeys(("_softmax", "_log_softmax", "softmax", *COPIES), _kept),
    **dict.fromkeys(SPATIAL, _by_channel),
    **dict.fromkeys(_REDUCING, _reduced),
    **dict.fromkeys(("mm", "bmm"), matrix_product),
    **dict.fromkeys(("addmm", "baddbmm"), added_product),
    **dict.fromkeys(BATCH_NORM, _batch_norm),
    **dict.fromkeys(ATTENTION, _attended),
    **dict.fromkeys(("native_layer_norm", "_fused_rms_norm"), _layer_norm),
    "cat": _joined,
    "stack": _stacked,
    "constant_pad_nd": _padded,
    "convolution": convolved,
    "native_group_norm": _group_norm,
}
