"""Penultimate features: what a network's classifier is given.

Where a network has timm's `forward_features` and `forward_head(…, pre_logits=True)`, those define
the features; else the input of the last linear layer does. Either way a module is looked for whose
input they are, so that an ordinary forward pass gives them beside the scores.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch

from audit.errors import UnavailableError

if TYPE_CHECKING:
    from torch import Tensor, nn


class FeatureTap:
    """Where a network's features pass by.

    Args:
        path: Of the module whose input they are; "" where there is none, and a second pass through
            timm's functions gives them.
    """

    def __init__(self, path: str) -> None:
        self.path = path

    @contextlib.contextmanager
    def open(self, module: nn.Module, images: Tensor) -> Iterator[list[Tensor]]:
        """A list that holds the features of these images, shape (b, d), once the network has run.

        No hook outlives the block.
        """
        found: list[Tensor] = []
        if not self.path:
            found.append(_timm_features(module, images.clone()))
            yield found
            return

        def see(part: nn.Module, inputs: tuple[Any, ...]) -> None:
            found[:] = [inputs[0].flatten(1).clone()]  # the module may work in place

        handle = module.get_submodule(self.path).register_forward_pre_hook(see)
        try:
            yield found
        finally:
            handle.remove()


def find_features(module: nn.Module, images: Tensor) -> FeatureTap:
    """Where the features of a network pass by, tried on a few images.

    Args:
        module: The network, in eval mode.
        images: Shape (b, channels, height, width).

    Raises:
        UnavailableError: It has neither timm's functions nor a linear layer that is given one
            vector for each image.
    """
    wanted: Tensor | None = None
    if _has_timm_head(module):
        with torch.inference_mode(), contextlib.suppress(TypeError):
            wanted = _timm_features(module, images.clone())
    seen: dict[str, tuple[bool, Tensor]] = {}  # by path, its last call, in the order of these

    def see(path: str) -> Any:
        def hook(part: nn.Module, inputs: tuple[Any, ...]) -> None:
            if inputs and isinstance(inputs[0], torch.Tensor) and len(inputs[0]) == len(images):
                seen.pop(path, None)
                seen[path] = (isinstance(part, torch.nn.Linear), inputs[0].clone())

        return hook

    leaves = [(path, part) for path, part in module.named_modules() if not any(part.children())]
    handles = [part.register_forward_pre_hook(see(path)) for path, part in leaves if path]
    try:
        with torch.inference_mode():
            module(images.clone())
    finally:
        for handle in handles:
            handle.remove()
    for path, (is_linear, given) in reversed(seen.items()):
        if wanted is None and is_linear and given.flatten(1).shape == given.shape:
            return FeatureTap(path)
        if wanted is not None and torch.equal(given.flatten(1), wanted):
            return FeatureTap(path)
    if wanted is not None:
        return FeatureTap("")
    raise UnavailableError(
        f"{type(module).__name__} has no penultimate features: they are the input of its last "
        "linear layer, one vector for each image, and no linear layer is given that"
    )


def _has_timm_head(module: nn.Module) -> bool:
    """Whether a network has timm's two functions."""
    return all(callable(getattr(module, name, None)) for name in _TIMM_FUNCTIONS)


_TIMM_FUNCTIONS = ("forward_features", "forward_head")


def _timm_features(module: Any, images: Tensor) -> Tensor:
    """What timm says the classifier is given, shape (b, d).

    Raises:
        TypeError: This head cannot stop before its classifier.
    """
    found = module.forward_head(module.forward_features(images), pre_logits=True)
    if not isinstance(found, torch.Tensor) or len(found) != len(images):
        raise TypeError("no tensor of features")
    return found.flatten(1)
