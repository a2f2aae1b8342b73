"""Birth levels with plain tensor operations: exact, on any device that torch knows.

The cubical births come from morphological hole filling by reconstruction, the clique births from
one step per edge over the whole batch. Only comparisons, minima and maxima touch the values, so
the integers equal those of every other backend. It is the way out where no kernel can run (MPS,
XPU, ROCm), not the fast way: see `benchmarks.topology` for how it compares.
"""

from __future__ import annotations

from typing import Final

import torch

from audit.arrays import NO_BIRTH
from audit.topology import _cpu, _inputs
from audit.topology._clique import full_levels, paper_levels

_PIXELS_PER_CHUNK: Final = 1 << 22
_STEPS_BETWEEN_CHECKS: Final = 8


def birth_levels(maps: torch.Tensor, filtration: str, preset: str) -> torch.Tensor:
    """Birth levels of feature maps; see `audit.topology.birth_levels`.

    Args:
        maps: (…, h, w) dense real tensor.
        filtration: "clique" or "cubical".
        preset: "paper" or "full".

    Returns:
        (…) int32, on the device of `maps`.

    Raises:
        DataError: As `audit.topology.birth_levels`.
    """
    _inputs.check_shape(tuple(maps.shape), filtration)
    *batch, h, w = maps.shape
    births = torch.empty(batch, dtype=torch.int32, device=maps.device)
    if not births.numel():
        return births
    flat, out = maps.reshape(-1, h, w), births.view(-1)
    size = max(1, _PIXELS_PER_CHUNK // (h * w))
    for start in range(0, len(flat), size):
        chunk = ordered(flat[start : start + size])
        check_finite(chunk, start, tuple(batch))
        if filtration == "cubical":
            out[start : start + size] = _cubical(chunk)
        else:
            least, most = (paper_levels if preset == "paper" else full_levels)(h)
            out[start : start + size] = _clique(chunk, preset, least, most)
    return births


def ordered(maps: torch.Tensor) -> torch.Tensor:
    """The same values in a type that every device compares and sorts."""
    if maps.is_floating_point():
        return maps if maps.element_size() >= 4 else maps.float()
    if maps.element_size() <= 2:
        return maps.float()
    whole = maps.long()
    if maps.element_size() == 8:
        largest = max(int(whole.max()), -int(whole.min()))
        if maps.dtype == torch.uint64 and int(whole.min()) < 0:
            largest = int(whole[whole < 0].max()) + 2**64
        if largest > _inputs.LARGEST_EXACT_INTEGER:
            raise _inputs.inexact_integer(largest)
    return whole


def check_finite(chunk: torch.Tensor, start: int, batch: tuple[int, ...]) -> None:
    """Refuse NaN and infinities, with the index of the first in the whole batch."""
    finite = torch.isfinite(chunk)
    if bool(finite.all()):
        return
    position = int(torch.argmin(finite.flatten().to(torch.uint8)))
    _, h, w = chunk.shape
    row, pixel = divmod(position, h * w)
    index: tuple[int, ...] = (pixel // w, pixel % w)
    row += start
    for size in reversed(batch):
        row, here = divmod(row, size)
        index = (here, *index)
    raise _inputs.not_finite(float(chunk.flatten()[position]), index)


def levels(values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Order of each row's values, largest first, and the level (dense rank, from 1) along it."""
    ordered, order = torch.sort(values, dim=1, descending=True, stable=True)
    new_level = torch.ones_like(order)
    new_level[:, 1:] = (ordered[:, 1:] != ordered[:, :-1]).long()
    return order, torch.cumsum(new_level, dim=1)


def _cubical(maps: torch.Tensor) -> torch.Tensor:
    """Births (m,) of images: the first level at which reconstruction lifts a pixel.

    `filled[p]` becomes the least, over 4-connected paths from p to the outside, of the largest
    value on the path: a hole lies over p from that level down to p's own. The highest single pixel
    below its four neighbours bounds the birth, so that all beneath it can be one flat ground.
    """
    m, h, w = maps.shape
    info = torch.finfo(maps.dtype) if maps.is_floating_point() else torch.iinfo(maps.dtype)
    lowest = info.min
    padded = maps.new_full((m, h + 2, w + 2), lowest)
    filled = padded[:, 1:-1, 1:-1]
    filled.copy_(maps)

    def least_neighbour() -> torch.Tensor:
        vertical = torch.minimum(padded[:, :-2, 1:-1], padded[:, 2:, 1:-1])
        horizontal = torch.minimum(padded[:, 1:-1, :-2], padded[:, 1:-1, 2:])
        return torch.minimum(vertical, horizontal)

    rim = least_neighbour()
    ground = torch.where(rim > maps, rim, lowest).flatten(1).amax(dim=1)
    value = torch.maximum(maps, ground[:, None, None])
    filled.fill_(info.max)
    while True:
        before = filled.clone()
        for _ in range(_STEPS_BETWEEN_CHECKS):
            filled.copy_(torch.maximum(value, torch.minimum(filled, least_neighbour())))
        if torch.equal(before, filled):
            break
    lifted = torch.where(filled > value, filled, lowest).flatten(1).amax(dim=1)
    birth = torch.maximum(ground, lifted)
    ordered = torch.sort(maps.flatten(1), dim=1, descending=True).values
    new_level = ordered >= birth[:, None]
    new_level[:, 1:] &= ordered[:, 1:] != ordered[:, :-1]
    return torch.where(birth == lowest, NO_BIRTH, new_level.sum(dim=1)).int()


def _clique(maps: torch.Tensor, preset: str, least: int, most: int) -> torch.Tensor:
    """Births (m,) of graphs, one edge of every map at a time.

    An edge opens a cycle if its ends are already connected and share no neighbour. Where that
    happens inside a level of several edges, the level may fill the cycle again: those maps, rare
    in real activations, are decided on the host.
    """
    m, n, _ = maps.shape
    births = torch.full((m,), NO_BIRTH, dtype=torch.int32, device=maps.device)
    if n < 4:
        return births
    u, v = torch.triu_indices(n, n, 1, device=maps.device)
    order, level = levels(torch.maximum(maps[:, u, v], maps[:, v, u]))
    adjacency = torch.zeros((m, n, n), dtype=torch.bool, device=maps.device)
    label = torch.arange(n, device=maps.device).repeat(m, 1)
    active = torch.arange(m, device=maps.device)
    tied: list[torch.Tensor] = []
    n_edges = order.shape[1]
    for step in range(n_edges):
        a, b = u[order[:, step]], v[order[:, step]]
        rows = torch.arange(len(active), device=maps.device)
        apart = ~(adjacency[rows, a] & adjacency[rows, b]).any(dim=1)
        label_a, label_b = label[rows, a], label[rows, b]
        opened = apart & (label_a == label_b)
        here = level[:, step]
        alone = torch.ones_like(opened)
        if step > 0:
            alone &= level[:, step - 1] != here
        if step + 1 < n_edges:
            alone &= level[:, step + 1] != here
        counted = opened & alone & (here >= least) & (here <= most)
        births[active[counted]] = here[counted].int()
        tied.append(active[opened & ~alone])
        keep = ~opened & (here <= most)
        if not bool(keep.any()):
            break
        adjacency[rows, a, b] = adjacency[rows, b, a] = True
        label = torch.where(label == label_b[:, None], label_a[:, None], label)
        if not bool(keep.all()):
            order, level, adjacency = order[keep], level[keep], adjacency[keep]
            label, active = label[keep], active[keep]
    decide_on_host(maps, births, torch.cat(tied), preset)
    return births


def decide_on_host(
    maps: torch.Tensor, births: torch.Tensor, indices: torch.Tensor, preset: str
) -> None:
    """Write the clique births (m,) of the maps (m, n, n) at these indices, found on the host."""
    if len(indices):
        host = _inputs.from_tensor(maps[indices])
        decided = _cpu.births(host, "clique", preset, _cpu.threads_or_default(None))
        births[indices] = torch.from_numpy(decided).to(births.device)
