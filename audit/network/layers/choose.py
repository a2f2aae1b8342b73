"""Which layers' feature maps are taken: by rule, by preset, or by name."""

from __future__ import annotations

import dataclasses
import fnmatch
import re
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final

import torch

from audit.errors import ConfigError, UnavailableError, unknown_name
from audit.network.layers import structure
from audit.network.layers.reading import shown_images, sound_reading
from audit.network.layers.spec import MIN_SIDE, LayerSpec
from audit.network.layers.stages import stage_ends
from audit.network.places import Place, See, watched
from audit.network.plain import is_scripted

if TYPE_CHECKING:
    from torch import Tensor, nn

#: Words that stand for layers by rule.
PRESETS: Final = ("stages", "last", "all-conv", "all-activations")
#: What begins a regular expression.
REGULAR: Final = "re:"
_ACTIVATIONS: Final = (
    torch.nn.ReLU,
    torch.nn.ReLU6,
    torch.nn.LeakyReLU,
    torch.nn.PReLU,
    torch.nn.ELU,
    torch.nn.CELU,
    torch.nn.SELU,
    torch.nn.GELU,
    torch.nn.SiLU,
    torch.nn.Mish,
    torch.nn.Hardswish,
    torch.nn.Softplus,
)
_ACTIVATION_NAMES: Final = ("relu", "gelu", "silu", "swish", "mish", "act")
_ACTIVATION_FUNCTIONS: Final = frozenset(
    (
        *("relu", "relu6", "hardtanh", "leaky_relu", "prelu", "elu", "celu", "selu", "gelu"),
        *("silu", "mish", "hardswish", "softplus"),
    )
)


@dataclasses.dataclass(frozen=True)
class ChosenLayers:
    """The layers whose feature maps are taken.

    Attributes:
        specs: In order of execution.
        notes: What was left out, and why, in words.
    """

    specs: tuple[LayerSpec, ...]
    notes: tuple[str, ...] = ()


def choose_layers(
    module: nn.Module, image: Tensor, wanted: Sequence[str] = ("stages",)
) -> ChosenLayers:
    """The layers whose feature maps are audited, in order of execution.

    The network is run on the image and four altered versions of it.

    Args:
        module: The network, in eval mode.
        image: Shape (1, channels, height, width), prepared as the network expects; of several, the
            first is taken.
        wanted: Any of
            * "stages": the end of each stage (see `stage_ends`); "last": the last of them;
            * "all-conv": every convolution; "all-activations": every activation, be it a module or
              a function;
            * a name as `ChosenLayers` gives them, or the path of a module, for all its calls;
            * a pattern of such names with `*`, `?` or `[…]`, or a regular expression after "re:".

    Raises:
        ConfigError: A name or pattern that no module of the network has, or a named module whose
            output is no stack of feature maps.
        UnavailableError: The network has no feature maps of at least `MIN_SIDE` pixels a side.
    """
    if is_scripted(module):
        raise UnavailableError(
            "no feature maps can be taken from a network that is TorchScript, whose forward pass "
            "cannot be watched; give the network as Python"
        )
    images = shown_images(image[:1])
    chooser = _Chooser(module, images)
    for what in wanted:
        chooser.add(what)
    specs = chooser.in_order()
    if not specs:
        raise UnavailableError(_no_maps(image, chooser.notes))
    return ChosenLayers(tuple(specs), tuple(dict.fromkeys(chooser.notes)))


class _Chooser:
    """Collects layers, and looks at the network no more often than it has to."""

    def __init__(self, module: nn.Module, images: Tensor) -> None:
        self.notes: list[str] = []
        self._module, self._images = module, images
        self._modules = dict(module.named_modules())
        self._specs: dict[str, LayerSpec] = {}
        self._seen: list[structure.Seen] | None = None

    def add(self, what: str) -> None:
        """Add the layers that a preset, a name or a pattern stands for."""
        if what in ("stages", "last"):
            stages = stage_ends(self._module, self._images)
            self.notes += stages.dropped
            self._take(stages.specs if what == "stages" else stages.specs[-1:])
        elif what == "all-conv":
            self._take_all(lambda place: not place.function and self._is_convolution(place))
        elif what == "all-activations":
            self._take_all(self._is_activation)
        elif what.startswith(REGULAR):
            self._add_pattern(what, _regular(what))
        elif what in self._modules or not any(sign in what for sign in "*?["):
            self._add_named(what)
        else:
            self._add_pattern(what, re.compile(fnmatch.translate(what)))

    def in_order(self) -> list[LayerSpec]:
        """All that were added, each once, in order of execution."""
        if len(self._specs) < 2:
            return list(self._specs.values())
        places = {spec.place for spec in self._specs.values()}
        order: dict[Place, int] = {}

        def see(place: Place, given: tuple[Tensor, ...], output: Tensor) -> None:
            if place in places:
                order[place] = len(order)

        functions = any(place.function for place in places)
        self._run(see, {place.path for place in places}, functions)
        return sorted(self._specs.values(), key=lambda spec: order[spec.place])

    def _take(self, specs: Iterable[LayerSpec]) -> None:
        for spec in specs:
            self._specs.setdefault(spec.name, spec)

    def _observed(self) -> list[structure.Seen]:
        if self._seen is None:
            self._seen = structure.observe(self._module, self._images)
        return self._seen

    def _take_all(self, wanted: Callable[[Place], bool]) -> None:
        """Every place of a kind whose output is maps that are large enough."""
        for one in self._observed():
            if one.reading is not None and one.reading.is_map and wanted(one.place):
                self._take([one.spec])

    def _is_convolution(self, place: Place) -> bool:
        return isinstance(self._modules[place.path], torch.nn.Conv2d | torch.nn.ConvTranspose2d)

    def _is_activation(self, place: Place) -> bool:
        """Whether an activation function comes out of a place, once and not twice."""
        within = _is_activation(self._modules[place.path])
        return (
            within
            if not place.function
            else (place.function in _ACTIVATION_FUNCTIONS and not within)
        )

    def _add_pattern(self, what: str, pattern: re.Pattern[str]) -> None:
        """Every module whose path matches and whose output is maps that are large enough."""
        matching = [path for path in self._modules if path and pattern.fullmatch(path)]
        if not matching:
            raise ConfigError(
                f"layers {what!r} matches none of the {len(self._modules) - 1} modules of the "
                "network; `genaudit layers` lists those that give feature maps"
            )
        before = len(self._specs)
        self._take_all(lambda place: not place.function and place.path in matching)
        if len(self._specs) == before:
            raise ConfigError(
                f"layers {what!r} matches {len(matching)} modules of the network, none of which "
                f"gives feature maps of at least {MIN_SIDE} × {MIN_SIDE} pixels"
            )

    def _add_named(self, what: str) -> None:
        """The module of that path, all its calls; or the one place of that name."""
        name, _, norm = what.partition("|")
        path = name.partition("#")[0].partition(":")[0]
        if path not in self._modules or (norm and norm not in self._modules):
            raise unknown_name("layer", what, [*PRESETS, *filter(None, self._modules)])
        size = (int(self._images.shape[-2]), int(self._images.shape[-1]))
        found: list[LayerSpec] = []
        shapes: list[tuple[int, ...]] = []

        def see(place: Place, given: tuple[Tensor, ...], output: Tensor) -> None:
            if place.name != name and (place.path != name or place.function):
                return
            shapes.append(tuple(output.shape))
            reading = sound_reading(output, size, named=True)
            if reading is not None:
                found.append(LayerSpec(place, reading, norm))

        self._run(see, {path}, ":" in name)
        if not found:
            raise ConfigError(_not_maps(what, shapes))
        self._take(found)

    def _run(self, see: See, paths: Collection[str], functions: bool) -> None:
        """One forward pass, watched at some modules."""
        images = self._images.clone()  # networks may change their input in place
        with watched(self._module, see, paths, functions), torch.inference_mode():
            self._module(images)


def _is_activation(module: nn.Module) -> bool:
    """Whether a module is an activation function, torch's or one that is named like one."""
    if isinstance(module, _ACTIVATIONS):
        return True
    name = type(module).__name__.lower()
    alone = not any(module.children()) and next(module.parameters(), None) is None
    return alone and any(word in name for word in _ACTIVATION_NAMES)


def _regular(what: str) -> re.Pattern[str]:
    """The regular expression behind "re:"."""
    try:
        return re.compile(what.removeprefix(REGULAR))
    except re.error as error:
        raise ConfigError(f"layers {what!r} is no regular expression: {error}") from error


def _not_maps(what: str, shapes: Sequence[tuple[int, ...]]) -> str:
    """Why a named layer cannot be taken."""
    if not shapes:
        return f"layer {what!r} is not reached in a forward pass, or gives no tensor"
    shape = " × ".join(map(str, shapes[0][1:]))
    return (
        f"layer {what!r} gives {shape or 'one number'} for each image, which is no stack of "
        "feature maps that change where the image does"
    )


def _no_maps(image: Any, notes: Sequence[str]) -> str:
    """Why no layer was found, and what to do."""
    size = " × ".join(map(str, image.shape[1:]))
    message = (
        f"no feature maps of at least {MIN_SIDE} × {MIN_SIDE} pixels were found for images of "
        f"{size}; use larger ones ([dataset] transform.input_size) or name the layers "
        "([measures] layers)"
    )
    return message + (f"; left out: {'; '.join(notes)}" if notes else "")
