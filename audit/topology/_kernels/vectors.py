"""Instructions on many keys at once, which numba has no words for.

Blocks may reach past the last key by less than their length; arrays are padded for it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic


def _instruction(function: Callable[..., Any]) -> Any:
    """Function for compiled code whose body says how its LLVM instructions are built."""
    return intrinsic(function)


def _vector(context: Any, builder: Any, array: Any, value: Any, start: Any, lanes: int) -> Any:
    """LLVM vector of the elements of an array from `start` on."""
    data = context.make_array(array)(context, builder, value).data
    vector = ir.VectorType(context.get_value_type(array.dtype), lanes)
    at = builder.bitcast(builder.gep(data, [start]), vector.as_pointer())
    return builder.load(at, align=array.dtype.bitwidth // 8)


def _store(context: Any, builder: Any, array: Any, value: Any, start: Any, vector: Any) -> None:
    """Write an LLVM vector to the elements of an array from `start` on."""
    data = context.make_array(array)(context, builder, value).data
    at = builder.bitcast(builder.gep(data, [start]), vector.type.as_pointer())
    builder.store(vector, at, align=array.dtype.bitwidth // 8)


def _everywhere(builder: Any, value: Any, lanes: int) -> Any:
    """LLVM vector of one value."""
    undefined = ir.Constant(ir.VectorType(value.type, lanes), ir.Undefined)
    first = builder.insert_element(undefined, value, ir.IntType(32)(0))
    places = ir.Constant(ir.VectorType(ir.IntType(32), lanes), None)
    return builder.shuffle_vector(first, undefined, places)


def _comparison(lanes: int) -> Any:
    """Compiled function (keys, start, key): bit i tells whether `keys[start + i] > key`."""

    @_instruction
    def above(_: Any, keys: Any, start: Any, key: Any) -> Any:
        def generate(context: Any, builder: Any, _: Any, arguments: Any) -> Any:
            values = _vector(context, builder, keys, arguments[0], arguments[1], lanes)
            flags = builder.icmp_signed(">", values, _everywhere(builder, arguments[2], lanes))
            bits = builder.bitcast(flags, ir.IntType(lanes))
            return bits if lanes == 64 else builder.zext(bits, ir.IntType(64))

        return types.uint64(keys, types.intp, keys.dtype), generate

    return above


above_in_64, above_in_16 = _comparison(64), _comparison(16)


@_instruction
def differ_in_64(_: Any, keys: Any, start: Any, other: Any) -> Any:
    """Bit i tells whether `keys[start + i]` and `keys[other + i]` differ."""

    def generate(context: Any, builder: Any, _: Any, arguments: Any) -> Any:
        array, *starts = arguments
        one, two = (_vector(context, builder, keys, array, start, 64) for start in starts)
        return builder.bitcast(builder.icmp_signed("!=", one, two), ir.IntType(64))

    return types.uint64(keys, types.intp, types.intp), generate


@_instruction
def copy_16(_: Any, source: Any, start: Any, target: Any, to: Any) -> Any:
    """Copy 16 elements between arrays of one type."""

    def generate(context: Any, builder: Any, _: Any, arguments: Any) -> Any:
        values, start, target_values, to = arguments
        sixteen = _vector(context, builder, source, values, start, 16)
        _store(context, builder, target, target_values, to, sixteen)
        return context.get_dummy_value()

    return types.void(source, types.intp, target, types.intp), generate


@_instruction
def forward_of_64(_: Any, grid: Any, start: Any, stride: Any, least: Any, forward: Any) -> Any:
    """Which later neighbours lie above each pixel (bits 3 to 6), and whether it is `least` (0)."""

    def generate(context: Any, builder: Any, _: Any, arguments: Any) -> Any:
        array, start, stride, least, out = arguments
        pixels = _vector(context, builder, grid, array, start, 64)
        flags = [builder.icmp_signed(">=", pixels, _everywhere(builder, least, 64))]
        below = builder.add(start, stride)
        right, left = stride.type(1), stride.type(-1)
        places = [
            builder.add(start, right),
            builder.add(below, right),
            below,
            builder.add(below, left),
        ]
        for place in places:
            later = _vector(context, builder, grid, array, place, 64)
            flags.append(builder.icmp_signed(">", later, pixels))
        eight = ir.VectorType(ir.IntType(8), 64)
        total = ir.Constant(eight, None)
        for flag, value in zip(flags, (1, 8, 16, 32, 64), strict=True):
            chosen = builder.select(
                flag, ir.Constant(eight, [value] * 64), ir.Constant(eight, None)
            )
            total = builder.or_(total, chosen)
        _store(context, builder, forward, out, start, total)
        return context.get_dummy_value()

    return types.void(grid, types.intp, types.intp, grid.dtype, forward), generate


@_instruction
def ones(_: Any, bits: Any) -> Any:
    """Number of bits set."""
    return types.uint64(bits), lambda _context, builder, _signature, given: builder.ctpop(given[0])


@_instruction
def lowest(_: Any, bits: Any) -> Any:
    """Position of the lowest bit set, 64 where there is none."""
    return types.uint64(bits), lambda _context, builder, _signature, given: builder.cttz(
        given[0], ir.IntType(1)(0)
    )
