"""A network and images in, feature maps out, handed over in order.

Maps are handed to a consumer inside the forward pass, the moment they are made: a later in-place
operation cannot change what is seen, and no more than one layer's maps are alive.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch

from audit.network.places import Place, watched

if TYPE_CHECKING:
    from torch import Tensor, nn

    from audit.network.layers import LayerSpec


def stream_maps(
    module: nn.Module,
    layers: Sequence[LayerSpec],
    images: Tensor,
    consume: Callable[[int, Tensor], None],
) -> Any:
    """Run one batch and hand over each layer's maps as they are made.

    Args:
        module: The network, in eval mode.
        layers: Where maps are taken.
        images: Shape (b, channels, height, width).
        consume: Called with the position of the layer in `layers` and its maps, shape
            (b, units, height, width). They are a view of the live activation: read, do not keep.

    Returns:
        What the network returns for the batch.
    """
    wanted: dict[Place, list[int]] = {}
    for index, spec in enumerate(layers):
        wanted.setdefault(spec.place, []).append(index)

    def see(place: Place, given: tuple[Tensor, ...], output: Tensor) -> None:
        for index in wanted.get(place, ()):
            consume(index, layers[index].maps(module, output))

    paths = {spec.place.path for spec in layers}
    functions = any(spec.place.function for spec in layers)
    with watched(module, see, paths, functions), torch.inference_mode():
        return module(images)
