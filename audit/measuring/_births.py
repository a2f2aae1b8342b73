"""Births, flags and ties of the shared pass: taken, set down, and handed out layer by layer.

Nothing of them stays in memory that grows with the sample: a pass sets them down in a spool, the
store keeps them in entries of a few megabytes, and a measure is given one layer at a time.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, overload

import numpy as np
import torch

from audit.errors import MeasureError
from audit.measuring._spool import Spool, row_ranges
from audit.plugin import Batch, Layer, MapReducer, TrainView
from audit.topology import FLAG_CONSTANT, FLAG_ZERO, Filtration, LayerBirths, birth_levels

if TYPE_CHECKING:
    from torch import Tensor

#: Ties are counted on the first images and on units here and there: it takes a sort, and a share
#: needs no more.
_IMAGES_FOR_TIES: Final = 8
_UNITS_FOR_TIES: Final = 32
#: Maps in host memory are read a few images at a time, so that they are still in the cache when
#: the second filtration comes to them.
_BYTES_AT_A_TIME: Final = 4 << 20
#: An entry of the store holds births and flags up to this size, as they are kept.
_BYTES_PER_PART: Final = 8 << 20


class BirthReducer(MapReducer):
    """Birth levels, flags and ties of every unit on every image.

    Args:
        view: The checkpoint.
        layers: Where maps are taken.
        filtrations: Whose births are computed.
        spool: Where they are set down.
    """

    def __init__(
        self,
        view: TrainView,
        layers: Sequence[Layer],
        filtrations: Sequence[Filtration],
        spool: Spool | None = None,
    ) -> None:
        self._layers, self._filtrations = layers, filtrations
        self._spool = spool or Spool()
        self._tied: dict[str, float] = {}
        self._buffer: Tensor | None = None

    def update(self, batch: Batch, layer: Layer, maps: Tensor) -> None:
        """Compute births of one batch of one layer's maps; nothing is kept of one that raises.

        Raises:
            MeasureError: An activation is not finite.
        """
        chosen = [f for f in self._filtrations if f != "clique" or layer.height == layer.width]
        found: dict[str, list[np.ndarray]] = {name: [] for name in ("flags", *chosen)}
        tied = self._tied.get(layer.name)
        for part in self._parts(maps):
            found["flags"].append(_flags(part, layer.name))
            if tied is None:
                tied = _tied_rate(_some(maps))
            values: Any = part if part.is_cuda else part.numpy()
            for filtration in chosen:
                levels = birth_levels(values, filtration=filtration)
                found[filtration].append(np.asarray(levels.cpu() if part.is_cuda else levels))
        if tied is not None:
            self._tied[layer.name] = tied
        for name, parts in found.items():
            rows = np.concatenate(parts)
            kind = np.uint8 if name == "flags" else _kind_for(layer)
            self._spool.append(f"{name}/{layer.name}", rows.astype(kind, copy=False))

    def _parts(self, maps: Tensor) -> Iterator[Tensor]:
        """The maps in float32, each in its usual order; on processors a few images at a time."""
        if maps.is_cuda:
            yield maps.float().contiguous()
            return
        size = max(1, _BYTES_AT_A_TIME // max(1, 4 * math.prod(maps.shape[1:])))
        for part in torch.split(maps, size):
            if part.dtype == torch.float32 and part.is_contiguous():
                yield part
                continue
            n_values = part.numel()
            if self._buffer is None or self._buffer.numel() < n_values:
                self._buffer = torch.empty(n_values)
            copied = self._buffer[:n_values].view(part.shape)
            for image, copy in zip(part, copied, strict=True):
                _copy_maps(image, copy)
            yield copied

    def births(self, filtration: str, refusal: str) -> KeptBirths:
        """Births of the layers that this filtration is defined for."""
        kept = [layer for layer in self._layers if self._spool.length(f"{filtration}/{layer.name}")]
        if not kept and not refusal:
            refusal = "the clique filtration needs square feature maps, and no layer has them"
        pieces = _pieces([(layer.units, self._n_images(layer)) for layer in kept])
        facts = [
            {
                "layer": layer.name,
                "height": layer.height,
                "width": layer.width,
                "units": layer.units,
                "tied_rate": round(self._tied[layer.name], 6),
            }
            for layer in kept
        ]

        def part(number: int) -> dict[str, np.ndarray]:
            arrays: dict[str, np.ndarray] = {}
            for piece in pieces:
                if piece.part == number:
                    name = kept[piece.layer].name
                    levels = self._spool.read(f"{filtration}/{name}", piece.start, piece.stop)
                    kind = np.min_scalar_type(-int(levels.max()) - 2)
                    arrays[f"births_{piece}"] = levels.astype(kind)
                    arrays[f"flags_{piece}"] = self._spool.read(
                        f"flags/{name}", piece.start, piece.stop
                    )
            return arrays

        meta = {
            "layers": facts,
            "pieces": [dataclasses.astuple(piece) for piece in pieces],
            "unavailable": refusal,
        }
        return KeptBirths(meta, part)

    def _n_images(self, layer: Layer) -> int:
        return self._spool.length(f"flags/{layer.name}")


@dataclasses.dataclass(frozen=True, slots=True)
class _Piece:
    """Some images of one layer, in one entry of the store."""

    part: int
    layer: int
    start: int
    stop: int

    def __str__(self) -> str:
        return f"{self.layer}_{self.start}"


def _pieces(layers: Sequence[tuple[int, int]]) -> list[_Piece]:
    """How the births of layers of (units, images) are spread over entries.

    Example:
        >>> [(piece.part, piece.start, piece.stop) for piece in _pieces([(1 << 20, 3)])]
        [(0, 0, 2), (1, 2, 3)]
    """
    pieces: list[_Piece] = []
    part = filled = 0
    for layer, (n_units, n_images) in enumerate(layers):
        row_bytes = 3 * n_units  # most births fit two bytes, and flags one
        for start, stop in row_ranges(n_images, row_bytes, _BYTES_PER_PART):
            size = (stop - start) * row_bytes
            if filled and filled + size > _BYTES_PER_PART:
                part, filled = part + 1, 0
            filled += size
            pieces.append(_Piece(part, layer, start, stop))
    return pieces


class KeptBirths(Sequence[LayerBirths]):
    """Births of one filtration, each layer read when it is asked for.

    Args:
        meta: Facts of the layers, their pieces, and why there is none, or "".
        part: Number → arrays of that part.
    """

    def __init__(
        self, meta: Mapping[str, Any], part: Callable[[int], Mapping[str, np.ndarray]]
    ) -> None:
        self.meta = dict(meta)
        self.part = functools.lru_cache(1)(part)  # layers may share one
        self._pieces = [_Piece(*piece) for piece in meta["pieces"]]

    @property
    def n_parts(self) -> int:
        """Parts there are: one at least."""
        return 1 + max((piece.part for piece in self._pieces), default=0)

    def __len__(self) -> int:
        return len(self.meta["layers"])

    @overload
    def __getitem__(self, index: int) -> LayerBirths: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[LayerBirths]: ...
    def __getitem__(self, index: int | slice) -> LayerBirths | Sequence[LayerBirths]:
        if isinstance(index, slice):
            return [self[i] for i in range(len(self))[index]]
        index = range(len(self))[index]
        facts = self.meta["layers"][index]
        pieces = [piece for piece in self._pieces if piece.layer == index]
        n_images, n_units = pieces[-1].stop, facts["units"]
        levels = np.empty((n_images, n_units), np.int32)
        flags = np.empty((n_images, n_units), np.uint8)
        for piece in pieces:
            arrays = self.part(piece.part)
            levels[piece.start : piece.stop] = arrays[f"births_{piece}"]
            flags[piece.start : piece.stop] = arrays[f"flags_{piece}"]
        return LayerBirths(
            layer=facts["layer"],
            height=facts["height"],
            width=facts["width"],
            birth_levels=levels,
            flags=flags,
            tied_rate=facts["tied_rate"],
        )


def _copy_maps(image: Tensor, copy: Tensor) -> None:
    """Copy the maps of one image, shape (units, height, width), into their usual order."""
    n_units, height, width = image.shape
    by_pixel = image.permute(1, 2, 0)
    if by_pixel.is_contiguous():  # as a matrix, which torch transposes block by block
        matrix = by_pixel.view(height * width, n_units)
        copy.view(n_units, height * width).copy_(matrix.t())
    else:
        copy.copy_(image)


def _flags(maps: Tensor, layer: str) -> np.ndarray:
    """Which maps have one value everywhere, and which are zero; shape (b, units).

    Raises:
        MeasureError: An activation is not finite.
    """
    low, high = maps.amin((2, 3)), maps.amax((2, 3))
    if not (torch.isfinite(low) & torch.isfinite(high)).all():
        raise MeasureError(f"layer {layer} gives activations that are not finite")
    constant, zero = low == high, (low == 0) & (high == 0)
    flags = constant * FLAG_CONSTANT + zero * FLAG_ZERO
    found: np.ndarray = flags.to(torch.uint8).cpu().numpy()
    return found


def _kind_for(layer: Layer) -> type[np.int16 | np.int32]:
    """An integer type for levels up to the number of pixels."""
    return np.int16 if layer.height * layer.width < np.iinfo(np.int16).max else np.int32


def _some(maps: Tensor) -> Tensor:
    """The maps that ties are counted on: of the first images, units evenly spaced."""
    n_units = maps.shape[1]
    step = max(1, n_units // _UNITS_FOR_TIES)
    return maps[:_IMAGES_FOR_TIES, ::step][:, :_UNITS_FOR_TIES]


def _tied_rate(maps: Tensor) -> float:
    """Share of pixels that equal another non-zero pixel of their map, in [0, 1]."""
    values = np.sort(maps.float().flatten(2).cpu().numpy(), axis=-1)
    equal = (values[..., 1:] == values[..., :-1]) & (values[..., 1:] != 0)
    tied = np.zeros(values.shape, bool)
    tied[..., 1:] |= equal
    tied[..., :-1] |= equal
    return float(tied.mean())
