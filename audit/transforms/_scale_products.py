"""What convolutions and matrix products do with the factors of what goes in."""

from __future__ import annotations

from torch import Tensor

from audit.transforms._scales import Scales
from audit.transforms._trace import Call, Ref


def _product(scales: Scales, left: Ref, right: Ref) -> Tensor:
    """The atoms of a matrix product, of matrices or of batches of them."""
    raw_left, raw_right = scales.raw(left), scales.raw(right)
    batch = set(range(len(scales.shape(left)) - 2))
    inner, rows, columns = len(batch), len(batch), len(batch) + 1
    if raw_right is not None and not scales.is_raw(left):
        ins = scales.atoms.along(scales.labels(left), batch | {columns}).mT
        *lead, _, width = scales.shape(right)
        outs = scales.atoms.new(*lead, 1, width)
        scales.claim(raw_right, outs, ins, outs)
        return outs
    if raw_left is not None and not scales.is_raw(right):
        ins = scales.atoms.along(scales.labels(right), batch | {inner}).mT
        *lead, height, _ = scales.shape(left)
        outs = scales.atoms.new(*lead, height, 1)
        scales.claim(raw_left, outs, ins, outs)
        return outs
    one, other = scales.labels(left), scales.labels(right)
    if scales.atoms.pinned(one):
        return scales.atoms.along(other, batch | {columns})
    scales.atoms.pin(other)
    return scales.atoms.along(one, batch | {rows})


def matrix_product(scales: Scales, call: Call) -> None:
    """A product of two matrices, or of batches of them."""
    left, right = call.arguments["self"], call.arguments["mat2"]
    scales.give(call.outputs[0], _product(scales, left, right))


def added_product(scales: Scales, call: Call) -> None:
    """A product to which something, such as a bias, is added."""
    first = "mat1" if call.name == "addmm" else "batch1"
    second = "mat2" if call.name == "addmm" else "batch2"
    made = _product(scales, call.arguments[first], call.arguments[second])
    added = scales.labels(call.arguments["self"])
    scales.give(call.outputs[0], scales.atoms.same(made, added))


def convolved(scales: Scales, call: Call) -> None:
    """A convolution, transposed or not, of one or more groups."""
    given, weight = call.arguments["input"], call.arguments["weight"]
    groups, transposed = call.arguments["groups"], call.arguments["transposed"]
    labels = scales.atoms.along(scales.labels(given), {1})
    channels, made = scales.shape(given)[1], scales.shape(call.outputs[0])[1]
    ins = labels.reshape(-1).expand(channels).reshape(groups, -1)
    raw = scales.raw(weight)
    if raw is None:
        outs = _convolved_by_frozen(scales, weight, ins, made)
    else:
        outs = scales.atoms.new(groups, made // groups)
        per_pair = (groups, channels // groups, made // groups)
        rows, columns = ins[:, :, None].expand(per_pair), outs[:, None, :].expand(per_pair)
        if not transposed:
            rows, columns = rows.mT, columns.mT
        shape = (*raw.places.shape[:2], *[1] * (raw.places.ndim - 2))
        scales.claim(raw, columns.reshape(shape), rows.reshape(shape), outs)
    outs = outs.reshape(-1)
    if call.arguments["bias"] is not None:
        outs = scales.atoms.same(outs, scales.labels(call.arguments["bias"]))
    scales.give(call.outputs[0], outs.view(1, -1, *[1] * (len(scales.shape(call.outputs[0])) - 2)))


def _convolved_by_frozen(scales: Scales, weight: Ref, ins: Tensor, made: int) -> Tensor:
    """Weights that are computed or shared stay; so all channels of a group have one factor."""
    scales.atoms.pin(scales.labels(weight))
    groups = len(ins)
    return scales.atoms.along(ins, {0}).expand(groups, made // groups)
