"""A network without some of its units: what comes out of a layer is zero where they are.

A unit is an output channel of a layer. Its outputs are set to zero by a mask at the place where
they come out, so that no weight is touched and no network is copied. In sequences of tokens the
channel is zero in every token, class tokens included; where the unit table reads a layer through a
normalization ("blocks.5|norm"), it is zero before that.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np
import torch
from torch import nn

from audit.errors import ConfigError, unknown_name
from audit.network.layers.reading import readings
from audit.network.places import Place, watched
from audit.network.plain import unwrapped

if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor

#: Layer → its units; or rows of a unit table, of which the columns layer and unit are read.
Units: TypeAlias = "Mapping[str, Iterable[int]] | pd.DataFrame"

#: Modules whose output has its channels on the first axis behind the images.
_CHANNELS_FIRST: Final = (
    nn.modules.conv._ConvNd,
    nn.modules.batchnorm._NormBase,
    nn.GroupNorm,
)


@contextlib.contextmanager
def ablate(model: nn.Module, units: Units, *, unit_axis: int | None = None) -> Iterator[nn.Module]:
    """A network whose named units give zero, for as long as the block lasts.

    The network is the one that is given: its weights, its mode and its hooks are afterwards as they
    were, also where the block ends by an exception. Gradients flow through the units that are left.
    What a module or function returns is masked: a network that calls an activation in place and
    does not use what it returns goes on with the units.

    Args:
        model: A network; wrappers such as `DataParallel` are looked through.
        units: Layer → numbers of its units, from 0; or rows of a unit table. Layers are named as
            unit tables name them: the path of a module, `path#2` for its second call in a forward
            pass, `path:relu` for a function that it calls.
        unit_axis: Which axis of these layers' outputs counts units. By default the one that
            convolutions and the shapes of outputs and images tell: the second of maps with channels
            first and of vectors, the last of tokens and of maps with channels last.

    Yields:
        The network.

    Raises:
        ConfigError: A layer that the network does not have, no units, or what is no number of a
            unit. On calling the network: a number beyond the layer's units, a layer that is not
            reached in a forward pass or gives no tensor, or an axis that cannot be told.
        CheckpointError: The network is compiled or TorchScript, which hooks do not reach.

    Source:
        Ablation of single units: Morcos et al., On the importance of single directions for
        generalization, ICLR 2018, section 2.2; here to zero, as in Zhao & Zhang 2022.

    Example:
        >>> network = nn.Sequential(nn.Conv2d(1, 2, 1), nn.ReLU())
        >>> with ablate(network, {"1": [0]}):
        ...     print((network(torch.ones(1, 1, 1, 1))[:, 0] == 0).item())
        True
    """
    network = unwrapped(model)
    chosen = chosen_units(units, network)
    silencer = _Silencer(network, chosen, unit_axis)
    functions = any(place.function for place in chosen)

    # closures, which a copy of the network that is made within the block shares with it
    def begin(network: nn.Module, given: Any, named: Any) -> None:
        silencer.begin((*given, *named.values()))

    def end(network: nn.Module, given: Any, output: Any) -> None:
        silencer.end()

    with contextlib.ExitStack() as stack:
        before = network.register_forward_pre_hook(begin, with_kwargs=True)
        stack.callback(before.remove)
        paths = {place.path for place in chosen}
        stack.enter_context(watched(network, silencer.see, paths, functions))
        after = network.register_forward_hook(end)
        stack.callback(after.remove)
        yield model


def silenced(output: Tensor, mask: Tensor, unit_axis: int) -> Tensor:
    """The output of a layer with zero in place of masked units.

    Args:
        output: Of any shape.
        mask: Shape (units,), true for those that give zero; NaN and infinity become zero too.
        unit_axis: The axis that counts units.
    """
    shape = [1] * output.ndim
    shape[unit_axis] = -1
    return torch.where(mask.reshape(shape), output.new_zeros(()), output)


def chosen_units(units: Units, network: nn.Module) -> dict[Place, np.ndarray]:
    """The places of layers and the numbers of their units, each once, ascending.

    Args:
        units: Layer → numbers, or rows of a unit table.
        network: Whose layers they are.

    Raises:
        ConfigError: A layer that the network does not have, no units, or what is no number of a
            unit.
    """
    modules = dict(network.named_modules())
    chosen: dict[Place, np.ndarray] = {}
    for layer, given in _by_layer(units):
        place = place_of(layer, modules)
        numbers = np.union1d(chosen.get(place, np.empty(0, np.int64)), _numbers(layer, given))
        if len(numbers):
            chosen[place] = numbers.astype(np.int64)
    if not chosen:
        raise ConfigError(
            "no units are given; give the numbers of some by layer, such as {'layer4': [0, 7]}, or "
            "rows of a unit table"
        )
    return chosen


def place_of(layer: str, modules: Mapping[str, nn.Module]) -> Place:
    """The place that a layer's name stands for; a normalization behind "|" is left out.

    Args:
        layer: As unit tables name it.
        modules: Path → module.

    Raises:
        ConfigError: No module has that path.
    """
    with contextlib.suppress(ValueError):
        place = Place.named(layer.partition("|")[0])
        if place.path in modules and place.name:
            return place
    raise unknown_name("layer", layer, [path for path in modules if path])


def check_numbers(layer: str, numbers: np.ndarray, n_units: int) -> None:
    """Refuse numbers beyond a layer's units.

    Raises:
        ConfigError: The message says which, and how many units there are.
    """
    beyond = numbers[numbers >= n_units]
    if len(beyond):
        raise ConfigError(
            f"layer {layer!r} has {n_units} units, numbered from 0 to {n_units - 1}; found "
            + ", ".join(map(str, beyond[:10]))
        )


def _by_layer(units: Any) -> Iterator[tuple[str, Any]]:
    """Pairs of a layer and its units."""
    if isinstance(units, Mapping):
        yield from ((str(layer), given) for layer, given in units.items())
        return
    columns = getattr(units, "columns", ())
    if "layer" not in columns or "unit" not in columns:
        raise ConfigError(
            "units must be a mapping of layer to numbers, or a table with columns layer and unit; "
            f"found {type(units).__name__}"
        )
    layers = units["layer"].astype(str)
    for layer in dict.fromkeys(layers):
        yield layer, units["unit"][layers == layer].to_numpy()


def _numbers(layer: str, given: Any) -> np.ndarray:
    """Numbers of units.

    Raises:
        ConfigError: They are not whole numbers from 0.
    """
    try:
        listed = given.tolist() if hasattr(given, "tolist") else list(given)
        numbers = np.asarray(listed)
    except (TypeError, ValueError):
        numbers = np.asarray(None)
    whole = numbers.ndim == 1 and (numbers.dtype.kind in "iu" or not len(numbers))
    if not whole or (len(numbers) and numbers.min() < 0):
        shown = repr(given)
        raise ConfigError(
            f"units of layer {layer!r} must be whole numbers from 0, such as [0, 7]; found "
            + (shown if len(shown) < 60 else f"{shown[:57]}…")
        )
    return numbers.astype(np.int64)


class _Silencer:
    """Masks outputs on their way through a network."""

    def __init__(
        self, network: nn.Module, chosen: Mapping[Place, np.ndarray], unit_axis: int | None
    ) -> None:
        self._modules = dict(network.named_modules())
        self._chosen, self._unit_axis = chosen, unit_axis
        self._images: tuple[int, ...] = ()
        self._left: set[Place] = set()

    def begin(self, given: Iterable[Any]) -> None:
        """Begin a forward pass: remember the size of the images, by which layouts are told."""
        tensors = [value for value in given if isinstance(value, torch.Tensor)]
        self._images = tuple(tensors[0].shape) if tensors else ()
        self._left = set(self._chosen)

    def end(self) -> None:
        """Refuse a forward pass in which a layer was not reached."""
        if self._left:
            name = min(place.name for place in self._left)
            raise ConfigError(
                f"layer {name!r} is not reached in a forward pass, or gives no tensor, so that its "
                "units cannot be ablated"
            )

    def see(self, place: Place, given: tuple[Tensor, ...], output: Tensor) -> Tensor | None:
        """The masked output of a place."""
        numbers = self._chosen.get(place)
        if numbers is None:
            return None
        self._left.discard(place)
        axis = self._axis(place, output)
        check_numbers(place.name, numbers, output.shape[axis])
        mask = torch.zeros(output.shape[axis], dtype=torch.bool)
        mask[torch.from_numpy(numbers)] = True
        return silenced(output, mask.to(output.device), axis)

    def _axis(self, place: Place, output: Tensor) -> int:
        """The axis of an output that counts units.

        Raises:
            ConfigError: It is not there, or cannot be told.
        """
        if self._unit_axis is not None:
            if -output.ndim <= self._unit_axis < output.ndim:
                return self._unit_axis
            raise ConfigError(
                f"unit_axis = {self._unit_axis} is out of range for layer {place.name!r}, whose "
                f"output has shape {tuple(output.shape)}"
            )
        if not place.function and isinstance(self._modules[place.path], _CHANNELS_FIRST):
            return 1
        if output.ndim in (2, 3):
            return output.ndim - 1
        if output.ndim == 4 and len(self._images) == 4:
            ways = [way.layout for way in readings(output.shape, self._images[-2:])]
            exact = ways[: len(ways) - len(set(ways))]  # these come first, then all
            layouts = set(exact or ways)
            if len(layouts) == 1:
                return 1 if layouts == {"NCHW"} else -1
        raise ConfigError(
            f"layer {place.name!r} gives {' × '.join(map(str, output.shape[1:]))} for each image, "
            "of which the axis of the units cannot be told; say unit_axis=1 if channels come first "
            "or unit_axis=-1 if they come last"
        )
