"""The ends of a network's stages, where its feature maps are taken unless told otherwise.

timm says what they are: `forward_intermediates` gives the maps themselves, with channels first and
without class tokens. Those are then looked for in an ordinary forward pass, which tells the place
and the layout. The structure of networks without that function is looked at in `structure`.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import torch

from audit.network.layers import structure
from audit.network.layers.reading import Locality, locality, reading_as
from audit.network.layers.spec import LayerSpec, Reading
from audit.network.places import Place, watched
from audit.network.running import is_out_of_memory

if TYPE_CHECKING:
    from torch import Tensor, nn

#: Of more maps of one size than these, those at the quarters of the depth are taken.
MOST_OF_ONE_SIZE: Final = 4


def quarter_points(n: int) -> list[int]:
    """Positions at a quarter, half, three quarters and the end of n things.

    Example:
        >>> quarter_points(12), quarter_points(3)
        ([2, 5, 8, 11], [0, 1, 2])
    """
    return sorted({-(-n * quarter // 4) - 1 for quarter in (1, 2, 3, 4)} - {-1})


def thinned(sizes: Sequence[Any]) -> list[int]:
    """Which of some maps are taken: those at the quarters of each long run of one size.

    Example:
        >>> thinned(["a", "b", "b", "c", "c", "c", "c", "c", "c", "c", "c"])
        [0, 1, 2, 4, 6, 8, 10]
    """
    kept: list[int] = []
    start = 0
    while start < len(sizes):
        stop = start
        while stop < len(sizes) and sizes[stop] == sizes[start]:
            stop += 1
        many = stop - start > MOST_OF_ONE_SIZE
        kept += [start + i for i in (quarter_points(stop - start) if many else range(stop - start))]
        start = stop
    return kept


@dataclasses.dataclass
class Stages:
    """The ends of stages.

    Attributes:
        specs: In order of execution.
        dropped: Those that are not taken, and why, in words.
    """

    specs: list[LayerSpec]
    dropped: list[str]


def stage_ends(module: nn.Module, images: Tensor) -> Stages:
    """The ends of a network's stages.

    Args:
        module: The network, in eval mode.
        images: From `shown_images`, shape (5, channels, height, width).
    """
    references = _references(module, images)
    if references is not None:
        return _by_reference(module, images, references)
    stages = Stages([], [])
    seen = structure.observe(module, images)
    ends = structure.ends(seen)
    for index in thinned([(spec.reading.height, spec.reading.width) for spec in ends]):
        _take(stages, ends[index], None)
    return stages


@dataclasses.dataclass
class _Reference:
    """What timm says comes out of the end of a stage.

    Attributes:
        maps: As the network goes on to use them, for two images, shape (2, units, height, width).
        normed: As its last normalization makes them where timm applies it to every such map; else
            the same.
        locality: Of those.
    """

    maps: Tensor
    normed: Tensor
    locality: Locality


def _references(module: nn.Module, images: Tensor) -> list[_Reference] | None:
    """What timm says, or None where it has nothing to say of the network."""
    if not callable(getattr(module, "forward_intermediates", None)):
        return None
    try:
        first = _intermediates(module, images[:1])
        indices = thinned([tuple(maps.shape[-2:]) for maps in first])
        plain = _intermediates(module, images[:2], indices=indices)
        shown = _intermediates(module, images, indices=indices)
    except _REFUSALS as error:
        if is_out_of_memory(error):
            raise  # which layers are taken must not depend on memory
        return None
    try:
        normed = _intermediates(module, images[:2], indices=indices, norm=True)
    except _REFUSALS as error:
        if is_out_of_memory(error):
            raise
        normed = plain
    return [
        _Reference(maps, also, locality(all_five))
        for maps, also, all_five in zip(plain, normed, shown, strict=True)
    ]


#: Paths of normalizations that belong to no block, such as "norm", "norm2" or "norm.1".
_NORM: Final = re.compile(r"\w*norm\w*(\.\d+)?")

#: What `forward_intermediates` raises where it cannot do what it is asked for.
_REFUSALS: Final = (AssertionError, AttributeError, RuntimeError, TypeError, ValueError)


def _intermediates(module: Any, images: Tensor, **more: Any) -> list[Tensor]:
    """The maps of timm itself at the ends of stages, each of shape (n, units, height, width).

    Raises:
        TypeError: It gives something else.
    """
    with torch.inference_mode():
        found = module.forward_intermediates(
            images.clone(), output_fmt="NCHW", intermediates_only=True, **more
        )
    if not isinstance(found, list) or any(
        not isinstance(maps, torch.Tensor) or maps.ndim != 4 or len(maps) != len(images)
        for maps in found
    ):
        raise TypeError("forward_intermediates gives no list of maps")
    return found


def _by_reference(module: nn.Module, images: Tensor, references: Sequence[_Reference]) -> Stages:
    """The places where timm's maps come out in an ordinary forward pass."""
    search = _Search(module, references)
    for functions, rounding in ((False, 0.0), (True, 0.0), (True, 1e-5)):
        search.rounding = rounding
        if len(search.found) < len(references):
            again = images[:2].clone()  # networks may change their input in place
            with watched(module, search.see, functions=functions), torch.inference_mode():
                module(again)
            search.settle()
    stages = Stages([], [])
    for index, reference in enumerate(references):
        if index not in search.found:
            size = " × ".join(map(str, reference.maps.shape[1:]))
            stages.dropped.append(
                f"the end of stage {index + 1} ({size}): it comes out of no part of the network"
            )
        else:
            _take(stages, search.found[index], reference.locality)
    return stages


class _Search:
    """Looks for the places where certain maps come out.

    Of several, those are preferred that timm names, then the outermost, then the first.

    Attributes:
        rounding: By how much numbers may differ, relative to the largest.
        found: Position of the reference → where it comes out.
    """

    def __init__(self, module: nn.Module, references: Sequence[_Reference]) -> None:
        self.rounding = 0.0
        self.found: dict[int, LayerSpec] = {}
        self._module, self._references = module, references
        self._named = _named_ends(module)
        self._norms = _norms(module, references)
        self._best: dict[int, tuple[tuple[bool, int], LayerSpec]] = {}

    def see(self, place: Place, given: tuple[Tensor, ...], output: Tensor) -> None:
        """Compare the output of a place with what is looked for."""
        rank = (place.path not in self._named, place.path.count(".") + bool(place.function))
        for index, reference in enumerate(self._references):
            if index in self.found or (index in self._best and self._best[index][0] <= rank):
                continue
            reading = reading_as(output, reference.maps, self.rounding)
            if reading is not None:
                norm = _norm_of(self._module, output, reading, reference, self._norms)
                self._best[index] = (rank, LayerSpec(place, reading, norm))

    def settle(self) -> None:
        """End one pass: what was found stands."""
        self.found |= {index: spec for index, (_, spec) in self._best.items()}
        self._best.clear()


def _take(stages: Stages, spec: LayerSpec, found: Locality | None) -> None:
    """Take a layer if its maps are large enough, and nothing speaks against what lies where."""
    reading = spec.reading
    if not reading.is_map:
        size = f"{reading.units} × {reading.height} × {reading.width}"
        stages.dropped.append(f"{spec.name} ({size}): too small for a topology")
    elif found is not None and found.is_contradicted:
        stages.dropped.append(
            f"{spec.name}: its maps change elsewhere than the image does (of the change of a pixel "
            f"{found.own:.0%} come from its own quadrant, {found.best:.0%} from one alone)"
        )
    else:
        stages.specs.append(spec)


def _named_ends(module: nn.Module) -> frozenset[str]:
    """Modules that timm names as the ends of stages."""
    try:
        infos: Any = module.feature_info
        return frozenset(str(info["module"]) for info in infos)
    except (AttributeError, KeyError, TypeError):
        return frozenset()


def _norms(module: nn.Module, references: Sequence[_Reference]) -> list[str]:
    """Modules that may be the normalization of the references."""
    if all(reference.normed is reference.maps for reference in references):
        return []
    return [path for path, _ in module.named_modules() if _NORM.fullmatch(path)]


def _norm_of(
    module: nn.Module,
    output: Tensor,
    reading: Reading,
    reference: _Reference,
    norms: Sequence[str],
) -> str:
    """The normalization that turns the output of a place into timm's maps; "" for none."""
    if not norms or torch.equal(reference.maps, reference.normed):
        return ""
    for path in norms:
        try:
            found = module.get_submodule(path).forward(output.clone())
        except _REFUSALS as error:
            if is_out_of_memory(error):
                raise
            continue
        if isinstance(found, torch.Tensor) and found.shape == output.shape:
            again = reading_as(found, reference.normed, 1e-5)
            if again == reading:
                return path
    return ""
