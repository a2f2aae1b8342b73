"""What each operation does with the factors of what goes in, by its name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import torch

from audit.transforms._atoms import ANY, ONE
from audit.transforms._moving import (
    ATTENTION,
    BATCH_NORM,
    COPIES,
    HOMOGENEOUS,
    MOVING,
    REDUCING,
    SPATIAL,
    is_number,
    reduced_axes,
    survives_scaling,
)
from audit.transforms._scale_products import added_product, convolved, matrix_product
from audit.transforms._scales import Rule, Scales, unknown
from audit.transforms._trace import Call, Ref


def _moved(scales: Scales, call: Call) -> None:
    """A view or rearrangement."""
    scales.move(call)


def _copied(scales: Scales, call: Call) -> None:
    """A copy shows the same elements."""
    if len(call.outputs) == 1 and scales.trace.values[call.outputs[0]].tensor.is_floating_point():
        scales.same_elements(call.inputs[0], call.outputs[0])
    else:
        unknown(scales, call)


def _passed(scales: Scales, call: Call) -> None:
    """A homogeneous function of each element."""
    scales.give(call.outputs[0], scales.labels(call.inputs[0]))


def _clamped(scales: Scales, call: Call) -> None:
    """A bound of 0 or none is homogeneous, such as in ReLU; any other is not."""
    bounds = [call.arguments.get(key) for key in ("min", "max", "min_val", "max_val", "threshold")]
    bounds.append(call.arguments.get("value"))
    if all(bound is None or survives_scaling(bound) for bound in bounds):
        _passed(scales, call)
    else:
        unknown(scales, call)


def _restrided(scales: Scales, call: Call) -> None:
    """A tensor with one long axis shows the same elements under any strides."""
    shape, first = scales.shape(call.outputs[0]), scales.shape(call.inputs[0])
    if shape == first and sum(length > 1 for length in shape) <= 1:
        _passed(scales, call)
    else:
        unknown(scales, call)


def _padded(scales: Scales, call: Call) -> None:
    """Zeros and infinities around, whose factor does not matter."""
    edge = ANY if survives_scaling(call.arguments["value"]) else ONE
    full = scales.labels(call.inputs[0]).expand(scales.shape(call.inputs[0]))
    padded = torch.constant_pad_nd(full.contiguous(), call.arguments["pad"], edge)
    scales.give(call.outputs[0], padded)


def _by_channel(scales: Scales, call: Call) -> None:
    """Pooling and interpolation over places."""
    labels = scales.labels(call.inputs[0])
    axes = set(range(labels.ndim - SPATIAL[call.name]))
    scales.give(call.outputs[0], scales.atoms.along(labels, axes))


def _reduced(scales: Scales, call: Call) -> None:
    """A sum, mean or maximum over axes."""
    if len(call.inputs) > 1:
        _alike(scales, call)
        return
    labels = scales.labels(call.inputs[0])
    axes = reduced_axes(call, labels.ndim)
    labels = scales.atoms.along(labels, set(range(labels.ndim)) - set(axes))
    if not call.arguments.get("keepdim", False):
        labels = labels.amax(axes) if axes else labels
    scales.give(call.outputs[0], labels)


def _alike(scales: Scales, call: Call) -> None:
    """A sum or maximum of two, which must have one factor; a number has the factor 1."""
    numbers = [call.arguments.get(key) for key in ("self", "other")]
    if any(is_number(number) and not survives_scaling(number) for number in numbers):
        unknown(scales, call)
        return
    labels = [scales.labels(argument) for argument in numbers if isinstance(argument, Ref)]
    scales.give(call.outputs[0], scales.atoms.same(*labels))


def _chosen(scales: Scales, call: Call) -> None:
    """A choice between two by a condition that must not move."""
    condition, *others = call.inputs
    scales.atoms.pin(scales.labels(condition))
    labels = [scales.labels(index) for index in others]
    if len(others) < 2:  # one is a number
        labels.append(torch.tensor(ONE))
    scales.give(call.outputs[0], scales.atoms.same(*labels))


def _masked(scales: Scales, call: Call) -> None:
    """Elements replaced by a number."""
    if isinstance(call.arguments["value"], Ref) or not survives_scaling(call.arguments["value"]):
        unknown(scales, call)
    else:
        scales.atoms.pin(scales.labels(call.arguments["mask"]))
        _passed(scales, call)


def _multiplied(scales: Scales, call: Call) -> None:
    """A product: with a parameter, which can take any factor; with a factor of 1; else pinned."""
    operands = [call.arguments["self"], call.arguments["other"]]
    refs = [operand for operand in operands if isinstance(operand, Ref)]
    if len(refs) < 2:
        scales.same_elements(refs[0].index, call.outputs[0])
        return
    quotient = call.name == "div"
    if quotient and call.arguments.get("rounding_mode") is not None:
        unknown(scales, call)
        return
    for raw_ref, other in [(refs[1], refs[0]), (refs[0], refs[1])] if not quotient else []:
        if _weighted(scales, raw_ref, other, call.outputs[0]):
            return
    first, second = (scales.labels(ref) for ref in refs)
    if not quotient and scales.atoms.pinned(first):
        scales.give(call.outputs[0], second)
    else:
        scales.atoms.pin(second)
        scales.give(call.outputs[0], first)


def _weighted(scales: Scales, given: Ref, other: Ref, output: int) -> bool:
    """A parameter times a value, element by element, where it can be claimed."""
    raw = scales.raw(given)
    if raw is None or scales.is_raw(other):
        return False
    ndim = len(scales.shape(output))
    places = raw.places.view((1,) * (ndim - raw.places.ndim) + tuple(raw.places.shape))
    labels = scales.labels(other)
    labels = labels.view((1,) * (ndim - labels.ndim) + tuple(labels.shape))
    kept = {axis for axis in range(ndim) if places.shape[axis] > 1}
    ins = scales.atoms.along(labels, kept).expand(places.shape)
    outs = scales.atoms.new(*places.shape)
    scales.claim(type(raw)(raw.leaf, places), outs, ins, outs)
    scales.give(output, outs)
    return True


def _batch_norm(scales: Scales, call: Call) -> None:
    """In eval mode an affine map of each channel; else a norm."""
    given, gamma, beta, mean, variance = (
        call.arguments[key] for key in ("input", "weight", "bias", "running_mean", "running_var")
    )
    ndim = len(scales.shape(given))
    if call.arguments.get("training", False) or scales.raw(gamma) is None:
        _normed(scales, call, [gamma, beta], axis=1)
        return
    raw = scales.raw(gamma)
    assert raw is not None
    channels = scales.shape(given)[1]
    ins = scales.atoms.along(scales.labels(given), {1}).reshape(-1).expand(channels)
    outs = scales.atoms.new(channels)
    scales.atoms.tie(torch.where(ins == ANY, ONE, ins), scales.labels(mean))
    scales.atoms.pin(scales.labels(variance))
    scales.claim(raw, outs, ins, outs)
    if beta is not None:
        scales.atoms.tie(outs, scales.labels(beta))
    scales.give(call.outputs[0], outs.view(1, -1, *[1] * (ndim - 2)))


def _normed(scales: Scales, call: Call, affine: list[Any], axis: int) -> None:
    """A norm, whose output has the factors of its scale and shift."""
    gamma, beta = affine
    for index in call.inputs:
        if all(not isinstance(x, Ref) or x.index != index for x in affine):
            scales.atoms.pin(scales.labels(index))
    scale = torch.tensor(ONE) if gamma is None else scales.labels(gamma)
    if beta is not None:
        scale = scales.atoms.same(scale, scales.labels(beta))
    raw = scales.raw(gamma)
    if raw is not None:
        scales.produce(raw.leaf, scale)
    ndim = len(scales.shape(call.outputs[0]))
    if scale.ndim and axis == 1:
        scale = scale.view(1, -1, *[1] * (ndim - 2))
    scales.give(call.outputs[0], scale)


def _layer_norm(scales: Scales, call: Call) -> None:
    """LayerNorm and RMSNorm, over the last axes."""
    _normed(scales, call, [call.arguments["weight"], call.arguments.get("bias")], axis=-1)


def _group_norm(scales: Scales, call: Call) -> None:
    """GroupNorm, with a scale for each channel."""
    _normed(scales, call, [call.arguments["weight"], call.arguments["bias"]], axis=1)


def _attended(scales: Scales, call: Call) -> None:
    """Attention: weighted means of the values, by weights that must not move."""
    values = call.arguments["value"]
    for key in ("query", "key", "attn_bias", "attn_mask"):
        if isinstance(call.arguments.get(key), Ref):
            scales.atoms.pin(scales.labels(call.arguments[key]))
    axes = len(scales.shape(values))
    labels = scales.atoms.along(scales.labels(values), set(range(axes)) - {axes - 2})
    scales.give(call.outputs[0], labels)


RULES: Final[Mapping[str, Rule]] = {
    **dict.fromkeys(MOVING, _moved),
    **dict.fromkeys(HOMOGENEOUS, _passed),
    **dict.fromkeys(COPIES, _copied),
    **dict.fromkeys(("clamp", "clamp_min", "clamp_max", "hardtanh", "threshold"), _clamped),
    **dict.fromkeys(SPATIAL, _by_channel),
    **dict.fromkeys(REDUCING, _reduced),
    **dict.fromkeys(("add", "sub", "maximum", "minimum"), _alike),
    **dict.fromkeys(("mul", "div"), _multiplied),
    **dict.fromkeys(("mm", "bmm"), matrix_product),
    **dict.fromkeys(("addmm", "baddbmm"), added_product),
    **dict.fromkeys(BATCH_NORM, _batch_norm),
    **dict.fromkeys(ATTENTION, _attended),
    **dict.fromkeys(("native_layer_norm", "_fused_rms_norm"), _layer_norm),
    "as_strided": _restrided,
    "constant_pad_nd": _padded,
    "where": _chosen,
    "masked_fill": _masked,
    "convolution": convolved,
    "native_group_norm": _group_norm,
}
