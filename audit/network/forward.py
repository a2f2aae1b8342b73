"""A network and images in, feature maps out, handed over in order.

Maps are handed to a consumer inside the forward pass, the moment their module returns them: a later
in-place operation cannot change what is seen, and no more than one layer's maps are alive.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from torch import Tensor, nn

    from audit.network.layers import LayerSpec


@contextlib.contextmanager
def hooked(modules: Sequence[tuple[str, nn.Module]], see: Callable[..., None]) -> Iterator[None]:
    """Call `see(path, call, output)` after each of the modules; no hook outlives the block."""
    calls: dict[str, int] = {}

    def hook(path: str) -> Callable[..., None]:
        def after(module: nn.Module, inputs: Any, output: Any) -> None:
            calls[path] = calls.get(path, -1) + 1
            see(path, calls[path], output)

        return after

    handles = [module.register_forward_hook(hook(path)) for path, module in modules]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def stream_maps(
    module: nn.Module,
    layers: Sequence[LayerSpec],
    images: Tensor,
    consume: Callable[[int, Tensor], None],
) -> Tensor:
    """Run one batch and hand over each layer's maps as they are made.

    Args:
        module: The network, in eval mode.
        layers: Where maps are taken.
        images: Shape (b, channels, height, width).
        consume: Called with the position of the layer in `layers` and its maps, shape
            (b, units, height, width). They are a view of the live activation: read, do not keep.

    Returns:
        The network's output for the batch.
    """
    wanted = {(spec.path, spec.call): index for index, spec in enumerate(layers)}
    modules = dict(module.named_modules())

    def see(path: str, call: int, output: Any) -> None:
        index = wanted.get((path, call))
        if index is not None:
            consume(index, layers[index].maps(output))

    paths = dict.fromkeys(spec.path for spec in layers)
    with hooked([(path, modules[path]) for path in paths], see), torch.inference_mode():
        output: Tensor = module(images)
    return output
