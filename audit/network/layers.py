"""Which layers give feature maps, in which layout."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

import torch

from audit.errors import ConfigError, UnavailableError, unknown_name
from audit.network.forward import hooked
from audit.plugin import Layer

if TYPE_CHECKING:
    from torch import Tensor, nn

Layout: TypeAlias = Literal["NCHW", "NHWC", "NLC"]
#: A 4-cycle needs four rows, and a hole needs three; smaller maps have no topology.
MIN_SIDE: Final = 4
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


@dataclasses.dataclass(frozen=True, slots=True)
class LayerSpec:
    """Where feature maps are taken.

    Attributes:
        path: Of the module, as `named_modules` gives it.
        call: Which call of that module within one forward pass, from 0.
        layout: Order of the output's axes. "NLC" is a sequence of tokens on a grid.
        height: Of the map, in pixels.
        width: Of the map, in pixels.
        units: Number of channels.
        prefix: Tokens before the grid (class tokens); 0 unless `layout` is "NLC".
    """

    path: str
    call: int
    layout: Layout
    height: int
    width: int
    units: int
    prefix: int = 0

    @property
    def name(self) -> str:
        """The path, with `#k` for the k-th call where k > 1."""
        return self.path if self.call == 0 else f"{self.path}#{self.call + 1}"

    @property
    def layer(self) -> Layer:
        """The layer as measures are told of it."""
        return Layer(self.name, self.height, self.width, self.units)

    def maps(self, output: Tensor) -> Tensor:
        """The module's output as feature maps, shape (n, units, height, width), a view of it."""
        if self.layout == "NCHW":
            return output
        if self.layout == "NHWC":
            return output.permute(0, 3, 1, 2)
        grid = output[:, self.prefix :].reshape(-1, self.height, self.width, self.units)
        return grid.permute(0, 3, 1, 2)


def _is_activation(module: nn.Module) -> bool:
    """Whether a module is an activation function, torch's or one that is named like one."""
    if isinstance(module, _ACTIVATIONS):
        return True
    name = type(module).__name__.lower()
    has_parameters = next(module.parameters(), None) is not None
    return not has_parameters and any(word in name for word in _ACTIVATION_NAMES)


def _layout(
    shape: Sequence[int], input_side: tuple[int, int], prefix: int
) -> tuple[Layout, int, int, int] | None:
    """(layout, height, width, units) of an output of that shape, or None if it is no map.

    A map keeps the image's proportions, exactly or up to a pixel of rounding; that tells where the
    channels are. Where both readings fit equally well, channels come first.
    """
    in_height, in_width = input_side

    def proportional(height: int, width: int, tolerance: int) -> bool:
        return abs(height * in_width - width * in_height) <= tolerance

    if len(shape) == 4:
        for tolerance in (0, max(in_height, in_width)):
            if proportional(shape[2], shape[3], tolerance):
                return "NCHW", shape[2], shape[3], shape[1]
            if proportional(shape[1], shape[2], tolerance):
                return "NHWC", shape[1], shape[2], shape[3]
    if len(shape) == 3:
        tokens = shape[1] - prefix
        for height in range(1, tokens + 1):
            if tokens % height == 0 and height * in_width == (tokens // height) * in_height:
                return "NLC", height, tokens // height, shape[2]
    return None


def probe_layers(module: nn.Module, images: Tensor) -> list[LayerSpec]:
    """Every place of the network whose output is a stack of feature maps, in order of execution.

    Activation functions where the network has them as modules; else (activations hidden in
    functions or in fused norms) every leaf module.

    Args:
        module: The network, in eval mode.
        images: One batch, shape (b, channels, height, width).
    """
    leaves = [(path, m) for path, m in module.named_modules() if path and not any(m.children())]
    activations = [(path, leaf) for path, leaf in leaves if _is_activation(leaf)]
    prefix = int(getattr(module, "num_prefix_tokens", 0) or 0)
    side = (int(images.shape[-2]), int(images.shape[-1]))
    for candidates in (activations, leaves):
        seen: list[LayerSpec] = []

        def see(path: str, call: int, output: Any, seen: list[LayerSpec] = seen) -> None:
            if not isinstance(output, torch.Tensor):
                return
            found = _layout(output.shape, side, prefix)
            if found and min(found[1:3]) >= MIN_SIDE and found[3] > 1:
                tokens = prefix if found[0] == "NLC" else 0
                seen.append(LayerSpec(path, call, *found, prefix=tokens))

        with hooked(candidates, see), torch.inference_mode():
            module(images)
        if seen:
            return seen
    return []


def choose_layers(
    module: nn.Module, images: Tensor, paths: Sequence[str] | None = None
) -> tuple[LayerSpec, ...]:
    """The layers whose feature maps are audited, from shallow to deep.

    By rule: the last activation at each map size. Networks with a single map size (vision
    transformers) give three: at one third, two thirds and the end of their depth.

    Args:
        module: The network, in eval mode.
        images: One batch, shape (b, channels, height, width).
        paths: Modules to take instead, by path.

    Raises:
        ConfigError: A path that is no module of the network, or whose output is no map.
        UnavailableError: The network has no feature maps of at least `MIN_SIDE` pixels a side.
    """
    if paths is not None:
        return _named_layers(module, images, paths)
    seen = probe_layers(module, images)
    if not seen:
        raise UnavailableError(
            f"no feature maps of at least {MIN_SIDE} × {MIN_SIDE} pixels were found for input "
            f"{tuple(images.shape[1:])}; use larger images ([dataset] transform.input_size) or "
            "name the layers ([measures] layers)"
        )
    last_at = {(spec.height, spec.width): index for index, spec in enumerate(seen)}
    if len(last_at) == 1 and len(seen) > 3:
        chosen = [len(seen) // 3 - 1, 2 * len(seen) // 3 - 1, len(seen) - 1]
    else:
        chosen = sorted(last_at.values())
    return tuple(seen[index] for index in chosen)


def _named_layers(module: nn.Module, images: Tensor, paths: Sequence[str]) -> tuple[LayerSpec, ...]:
    """The layers a user named, in order of execution."""
    modules = dict(module.named_modules())
    for path in paths:
        if path not in modules:
            raise unknown_name("layer", path, modules)
    side = (int(images.shape[-2]), int(images.shape[-1]))
    prefix = int(getattr(module, "num_prefix_tokens", 0) or 0)
    found: list[LayerSpec] = []

    def see(path: str, call: int, output: Any) -> None:
        shape = tuple(output.shape) if isinstance(output, torch.Tensor) else ()
        layout = _layout(shape, side, prefix)
        if layout is None:
            raise ConfigError(
                f"layer {path!r} gives {type(output).__name__} of shape {shape}, "
                "which is no stack of feature maps"
            )
        found.append(LayerSpec(path, call, *layout, prefix=prefix if layout[0] == "NLC" else 0))

    named = [(path, modules[path]) for path in dict.fromkeys(paths)]
    with hooked(named, see), torch.inference_mode():
        module(images)
    missing = sorted(set(paths) - {spec.path for spec in found})
    if missing:
        raise ConfigError(f"layers {', '.join(missing)} are not reached in a forward pass")
    return tuple(found)
