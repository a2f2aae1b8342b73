"""What convolutions and matrix products do with the channels of what goes in."""

from __future__ import annotations

from typing import Any

from audit.transforms._classes import Axis
from audit.transforms._orders import Axes, Orders, tied, unknown
from audit.transforms._trace import Call, Ref


def _product(orders: Orders, left: Ref, right: Ref) -> Axes:
    """The axes of a matrix product, of matrices or of batches of them."""
    *batch, rows, inner = orders.axes(left)
    *batch_too, inner_too, columns = orders.axes(right)
    orders.classes.tie(inner, inner_too)
    both = [tied(orders, list(pair)) for pair in zip(batch, batch_too, strict=True)]
    return [*both, rows, columns]


def matrix_product(orders: Orders, call: Call) -> None:
    """A product of two matrices, or of batches of them."""
    orders.meet_inputs(call)
    orders.give(call.outputs[0], _product(orders, call.arguments["self"], call.arguments["mat2"]))


def added_product(orders: Orders, call: Call) -> None:
    """A product to which something, such as a bias, is added."""
    orders.meet_inputs(call)
    keys = ("mat1", "mat2") if call.name == "addmm" else ("batch1", "batch2")
    axes = _product(orders, *(call.arguments[key] for key in keys))
    add(orders, axes, call.arguments["self"])
    orders.give(call.outputs[0], axes)


def add(orders: Orders, axes: Axes, added: Any) -> None:
    """Tie what is broadcast to axes with them."""
    own = orders.axes(added)
    for dim in range(1, len(own) + 1):
        if orders.shape(added)[-dim] > 1:
            axes[-dim] = orders.classes.tie(own[-dim], axes[-dim])


def convolved(orders: Orders, call: Call) -> None:
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
            part = part_of(channels, group, groups)
            role = orders.classes.role(-2, group)
            orders.classes.tie(part, orders.classes.within(second, role))
        if made is not None:
            orders.meet(part_of(made, group, groups), -1, group)
    return made


def part_of(axis: Axis, group: int, groups: int) -> Axis:
    """The channels of one group among equal ones."""
    size = len(axis) // groups
    own = slice(group * size, (group + 1) * size)
    return Axis(axis.channels[own], axis.roles[own])
