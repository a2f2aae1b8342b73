"""What a forward pass shows of a network's structure: all maps that pass by, and where stages end.

The end of a stage is what goes into the outermost block that makes maps smaller and does nothing
else: a pooling, a convolution with a stride, or a block that begins with one. The last stage ends
with the last maps of all. Where blocks follow one another on maps of one size, as in transformers,
each block ends a stage of its own.
"""

from __future__ import annotations

import dataclasses
import weakref
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch

from audit.network.layers.reading import Size, sound_reading
from audit.network.layers.spec import LayerSpec, Reading
from audit.network.places import Place, watched

if TYPE_CHECKING:
    from torch import Tensor, nn

_CHANNELS_FIRST = (
    torch.nn.Conv2d,
    torch.nn.ConvTranspose2d,
    torch.nn.BatchNorm2d,
    torch.nn.MaxPool2d,
    torch.nn.AvgPool2d,
    torch.nn.PixelShuffle,
    torch.nn.PixelUnshuffle,
    torch.nn.Upsample,
    torch.ao.nn.quantized.Conv2d,
)


#: Words in the names of functions that make maps smaller; others only cut off what was padded.
_SHRINKING = ("pool", "conv", "interpolate")


@dataclasses.dataclass(frozen=True)
class Seen:
    """A tensor that came out of a place.

    Attributes:
        place: Where.
        reading: How it is read as maps; None where it is none.
        sources: Positions of those that were given there, among all that were seen before.
        weighted: Whether a module with weights has run by then.
    """

    place: Place
    reading: Reading | None
    sources: tuple[int, ...]
    weighted: bool = True

    @property
    def size(self) -> Size | None:
        """Height and width of the maps; None where there are none, or of a single pixel each."""
        size = (self.reading.height, self.reading.width) if self.reading else (1, 1)
        return size if max(size) > 1 else None

    @property
    def spec(self) -> LayerSpec:
        """The layer, of a tensor that is maps."""
        assert self.reading is not None
        return LayerSpec(self.place, self.reading)


def observe(module: nn.Module, images: Tensor) -> list[Seen]:
    """All that comes out of modules and functions in a forward pass, in order.

    Args:
        module: The network, in eval mode.
        images: From `shown_images`, shape (5, channels, height, width).
    """
    size = (int(images.shape[-2]), int(images.shape[-1]))
    modules = dict(module.named_modules())
    with_weights = {
        path for path, part in modules.items() if path and next(part.parameters(), None) is not None
    }
    found: list[Seen] = []
    # A tensor that several modules hand on is known by the outermost, which is the last to do so.
    made: dict[int, tuple[weakref.ref[Tensor], int]] = {}

    def see(place: Place, given: tuple[Tensor, ...], output: Tensor) -> None:
        if not place.name:
            return
        known = [(tensor, *made[id(tensor)]) for tensor in given if id(tensor) in made]
        sources = tuple(index for tensor, still, index in known if still() is tensor)
        before = [found[index].reading for index in sources]
        channels_first = isinstance(modules[place.path], _CHANNELS_FIRST) or any(
            reading is not None and tuple(output.shape[1:]) == _channels_first(reading)
            for reading in before
        )
        values = output.dequantize() if output.is_quantized else output
        reading = sound_reading(values, size, channels_first)
        if place.function and reading and _channels_first(reading) == tuple(images.shape[1:]):
            reading = None  # the image itself, such as a copy of it
        before_weights = found[-1].weighted if found else False
        weighted = before_weights or place.path in with_weights or "conv" in place.function
        found.append(Seen(place, reading, sources, weighted))
        made[id(output)] = (weakref.ref(output), len(found) - 1)

    again = images.clone()  # networks may change their input in place
    with watched(module, see, functions=True), torch.inference_mode():
        module(again)
    return found


def ends(seen: Sequence[Seen]) -> list[LayerSpec]:
    """The ends of stages, in order of execution.

    Args:
        seen: All of one forward pass.
    """
    inside = _sizes_inside(seen)
    shrinking = [index for index, one in enumerate(seen) if _only_shrinks(seen, one, inside)]
    outermost = [
        index
        for index in shrinking
        if not any(_is_inside(seen[index].place, seen[other].place) for other in shrinking)
    ]
    found = {_given(seen, index) for index in outermost if not seen[index].place.function}
    # Of functions, a block is not known: of all that make maps of one size smaller, such as those
    # of a block and of its shortcut, the first is given what comes out of the block before.
    functions = [_given(seen, index) for index in outermost if seen[index].place.function]
    found |= set({seen[index].size: index for index in sorted(functions, reverse=True)}.values())
    last = [index for index, one in enumerate(seen) if one.size][-1:]
    # A network may prepare its images itself; maps begin after the first weights, if there are any.
    found = {index for index in found if seen[index].weighted} or found
    if len({seen[index].size for index in (*found, *last)}) == 1:  # as in vision transformers
        blocks = _blocks(seen)
        if blocks:
            return [seen[index].spec for index in blocks]
    return [seen[index].spec for index in sorted({*found, *last})]


def _channels_first(reading: Reading) -> tuple[int, ...]:
    """Shape of one image's output, if channels come first; else no shape."""
    return (reading.units, reading.height, reading.width) if reading.layout == "NCHW" else ()


def _given(seen: Sequence[Seen], index: int) -> int:
    """The position of the last maps that were given to a place."""
    return max(source for source in seen[index].sources if seen[source].size)


def _area(size: Size) -> int:
    return size[0] * size[1]


def _only_shrinks(seen: Sequence[Seen], one: Seen, inside: Mapping[str, set[Size]]) -> bool:
    """Whether half as large maps come out of a place, or less, and none of a third size inside."""
    given = [size for index in one.sources if (size := seen[index].size) is not None]
    function = one.place.function
    if one.size is None or not given or (function and not any(s in function for s in _SHRINKING)):
        return False
    largest = max(given, key=_area)
    between = set() if one.place.function else inside.get(one.place.path, set())
    # A convolution without padding cuts off a border, which ends no stage.
    return 2 * _area(one.size) <= _area(largest) and between <= {one.size, largest}


def _sizes_inside(seen: Sequence[Seen]) -> dict[str, set[Size]]:
    """Module → sizes of all maps that come out of places inside it."""
    inside: dict[str, set[Size]] = {}
    for one in seen:
        path = one.place.path if one.place.function else one.place.path.rpartition(".")[0]
        while one.size and path:
            inside.setdefault(path, set()).add(one.size)
            path = path.rpartition(".")[0]
    return inside


def _is_inside(one: Place, other: Place) -> bool:
    """Whether a place lies inside another, which is a whole module."""
    if other.function or one == other:
        return False
    return one.path.startswith(other.path + ".") or bool(one.function and one.path == other.path)


def _blocks(seen: Sequence[Seen]) -> list[int]:
    """The longest run of modules that differ by a number and all give maps; none if it is short."""
    runs: dict[tuple[str, Size], list[int]] = {}
    for index, one in enumerate(seen):
        stem = one.place.path.rstrip("0123456789")
        if one.size and not one.place.function and stem != one.place.path:
            runs.setdefault((stem, one.size), []).append(index)
    longest = max(runs.items(), key=lambda run: (len(run[1]), -len(run[0][0])), default=None)
    return longest[1] if longest is not None and len(longest[1]) > 2 else []
