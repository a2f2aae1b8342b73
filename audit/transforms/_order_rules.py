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
from audit.transforms._orders import Axes, Orders, Rule, moved, unknown
from audit.transforms._trace import Call, Ref

_REDUCING: Final = REDUCING | {"var", "std", "var_mean", "std_mean", "logsumexp", "prod"}


def rule(call: Call) -> Rule:
    """What to do with the channels at a call."""
    if call.name in _RULES:
        return _RULES[call.name]
    pointwise = call.function is not None and torch.Tag.pointwise in call.function.tags
    return _elementwise if pointwise else unknown


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
            axes.append(_tied(orders, met))
        orders.give(output, axes)


def _tied(orders: Orders, axes: list[Axis | None]) -> Axis | None:
    """Let several axes move as one."""
    if not axes:
        return None
    first, *others = axes
    for other in others:
        first = orders.classes.tie(first, other)
    return first


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
        None if other == dim else _tied(orders, [part[other] for part in parts])
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
    axes = [_tied(orders, list(along)) for along in zip(*parts, strict=True)]
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


def _product(orders: Orders, left: Ref, right: Ref) -> Axes:
    """The axes of a matrix product, of matrices or of batches of them."""
    *batch, rows, inner = orders.axes(left)
    *batch_too, inner_too, columns = orders.axes(right)
    orders.classes.tie(inner, inner_too)
    both = [_tied(orders, list(pair)) for pair in zip(batch, batch_too, strict=True)]
    return [*both, rows, columns]


def _matrix_product(orders: Orders, call: Call) -> None:
    """A product of two matrices, or of batches of them."""
    orders.meet_inputs(call)
    orders.give(call.outputs[0], _product(orders, call.arguments["self"], call.arguments["mat2"]))


def _added_product(orders: Orders, call: Call) -> None:
    """A product to which something, such as a bias, is added."""
    orders.meet_inputs(call)
    keys = ("mat1", "mat2") if call.name == "addmm" else ("batch1", "batch2")
    axes = _product(orders, *(call.arguments[key] for key in keys))
    _add(orders, axes, call.arguments["self"])
    orders.give(call.outputs[0], axes)


def _add(orders: Orders, axes: Axes, added: Any) -> None:
    """Tie what is broadcast to axes with them."""
    own = orders.axes(added)
    for dim in range(1, len(own) + 1):
        if orders.shape(added)[-dim] > 1:
            axes[-dim] = orders.classes.tie(own[-dim], axes[-dim])


def _convolved(orders: Orders, call: Call) -> None:
    """A convolution: the second axis of its weight reads channels, the first makes them."""
    if call.arguments["transposed"] and call.arguments["groups"] > 1:
        unknown(orders, call)
        return
    orders.meet_inputs(call)
    given, weight, bias = (call.arguments[key] for key in ("input", "weight", "bias"))
    first, second, *places = orders.axes(weight)
    batch, channels, *spatial = orders.axes(given)
    for axis in (batch, *places, *spatial):
        orders.classes.fix(axis)
    groups = call.arguments["groups"]
    if call.arguments["transposed"]:
        first, second = second, first
    if groups == 1:
        orders.classes.tie(channels, second)
    elif orders.shape(weight)[1] == 1:
        first = _depthwise(orders, channels, first)
    else:
        first = _grouped(orders, channels, first, second, groups)
    if bias is not None:
        first = orders.classes.tie(orders.axes(bias)[0], first)
    orders.give(call.outputs[0], [None, first, *[None] * len(spatial)])


def _depthwise(orders: Orders, channels: Axis | None, made: Axis | None) -> Axis | None:
    """Each channel makes some of its own, by their number among them."""
    if channels is None or made is None:
        orders.classes.fix(channels or made)
        return None
    several = len(made) // len(channels)
    if several == 1:
        return orders.classes.tie(made, channels)
    for number in range(several):
        role = orders.classes.role(-1, number)
        part = Axis(made.channels[number::several], made.roles[number::several])
        orders.classes.tie(part, orders.classes.within(channels, role))
    return made


def _grouped(
    orders: Orders, channels: Axis | None, made: Axis | None, second: Axis | None, groups: int
) -> Axis | None:
    """The channels of all groups move in one way, that of the weight; what is made in its group."""
    if channels is None or second is None:
        orders.classes.fix(channels or second)
    for group in range(groups):
        if channels is not None and second is not None:
            part = _part(channels, group, groups)
            role = orders.classes.role(-2, group)
            orders.classes.tie(part, orders.classes.within(second, role))
        if made is not None:
            orders.meet(_part(made, group, groups), -1, group)
    return made


def _part(axis: Axis, group: int, groups: int) -> Axis:
    """The channels of one group among equal ones."""
    size = len(axis) // groups
    own = slice(group * size, (group + 1) * size)
    return Axis(axis.channels[own], axis.roles[own])


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
            _add(orders, axes, call.arguments[key])
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
            orders.meet(_part(axes[1], group, groups), -1, group)
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
        _tied(orders, list(axes)) for axes in zip(query[:-2], key[:-2], value[:-2], strict=True)
    ]
    orders.give(call.outputs[0], [*batch, query[-2], value[-1]])


_RULES: Final[Mapping[str, Rule]] = {
    **dict.fromkeys(MOVING, moved),
    **dict.fromkeys(("t", "transpose", "permute"), _turned),
    **dict.fromkeys(("_softmax", "_log_softmax", "softmax", *COPIES), _kept),
    **dict.fromkeys(SPATIAL, _by_channel),
    **dict.fromkeys(_REDUCING, _reduced),
    **dict.fromkeys(("mm", "bmm"), _matrix_product),
    **dict.fromkeys(("addmm", "baddbmm"), _added_product),
    **dict.fromkeys(BATCH_NORM, _batch_norm),
    **dict.fromkeys(ATTENTION, _attended),
    **dict.fromkeys(("native_layer_norm", "_fused_rms_norm"), _layer_norm),
    "cat": _joined,
    "stack": _stacked,
    "constant_pad_nd": _padded,
    "convolution": _convolved,
    "native_group_norm": _group_norm,
}
