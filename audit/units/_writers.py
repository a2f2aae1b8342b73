"""The convolution or linear map whose filters write the units of a layer."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import torch
from torch import nn

from audit.errors import UnavailableError
from audit.network.places import Place, watched

if TYPE_CHECKING:
    from torch import Tensor

Writer: TypeAlias = nn.modules.conv._ConvNd | nn.Linear


def is_writer(module: nn.Module) -> bool:
    """Whether a module has a filter for each of its outputs."""
    return isinstance(module, Writer)


def n_outputs(writer: Writer) -> int:
    """How many units it writes."""
    return writer.out_features if isinstance(writer, nn.Linear) else writer.out_channels


def filters(writer: Writer) -> Tensor:
    """The weights that each output is made with, shape (units, weights)."""
    weight = writer.weight
    if isinstance(writer, nn.Linear) or not writer.transposed:
        return weight.flatten(1)
    groups = writer.groups
    by_group = weight.reshape(groups, weight.shape[0] // groups, weight.shape[1], -1)
    return by_group.transpose(1, 2).flatten(2).flatten(0, 1)


def writer_path(network: nn.Module, images: Tensor, place: Place, n_units: int) -> str:
    """The path of the convolution or linear map that writes the units of a layer.

    It is the last one, of as many outputs as the layer has units, that is called in a forward pass
    before the layer's output is there: the layer itself where it is one, the convolution before
    a normalization and an activation, the last convolution of the main branch of a residual block.

    Args:
        network: In eval mode.
        images: A few, prepared as the network expects.
        place: Of the layer.
        n_units: Of the layer.

    Raises:
        UnavailableError: There is none.
    """
    modules = dict(network.named_modules())
    paths = {
        path: part
        for path, part in modules.items()
        if isinstance(part, Writer) and n_outputs(part) == n_units
    }
    called: list[str] = []
    found: list[str] = []

    def see(here: Place, given: tuple[Tensor, ...], output: Tensor) -> None:
        if not here.function and here.path in paths:
            called.append(here.path)
        if here == place:
            found.extend(called[-1:])

    with watched(network, see, {*paths, place.path}, bool(place.function)), torch.inference_mode():
        network(images.clone())
    if not found:
        raise UnavailableError(
            f"no convolution or linear map with {n_units} outputs is called before layer "
            f"{place.name!r} gives its {n_units} units"
        )
    return found[0]
