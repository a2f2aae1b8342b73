"""Gradients of the loss of each image alone, by torch.func where the network allows it."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final

import torch
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel

from audit.network.scores import class_scores

if TYPE_CHECKING:
    from torch import Tensor, nn

#: Gradients of a few images at a time, no more than this many bytes of them.
_MOST_BYTES: Final = 256 << 20


def image_gradients(
    module: nn.Module, images: Tensor, labels: Tensor
) -> Iterator[tuple[slice, dict[str, Tensor]]]:
    """Gradients of each image's cross-entropy with its label, a few images at a time.

    Args:
        module: The network in eval mode; its parameters and their `requires_grad` stay as they are.
        images: Shape (b, channels, height, width).
        labels: Shape (b,).

    Yields:
        Which images, and parameter's name → shape (images, *shape of the parameter).
    """
    parameters = {name: value.detach() for name, value in module.named_parameters()}
    n_bytes = sum(value.numel() * value.element_size() for value in parameters.values())
    size = max(1, _MOST_BYTES // max(1, n_bytes))

    def loss(weights: dict[str, Tensor], image: Tensor, label: Tensor) -> Tensor:
        output = torch.func.functional_call(module, weights, (image[None],))
        return functional.cross_entropy(class_scores(output), label[None])

    together: Callable[..., dict[str, Tensor]] = torch.func.vmap(
        torch.func.grad(loss), in_dims=(None, 0, 0)
    )
    batched = True
    for start in range(0, len(images), size):
        part = slice(start, min(start + size, len(images)))
        found: dict[str, Tensor] | None = None
        if batched:
            try:
                # fused attention has no batched form; of what is slow in one torch warns
                with sdpa_kernel(SDPBackend.MATH), warnings.catch_warnings():
                    warnings.filterwarnings("ignore", "There is a performance drop", UserWarning)
                    found = together(parameters, images[part].clone(), labels[part])
            except (RuntimeError, NotImplementedError, ValueError):
                batched = False  # such as operations in place, or without a batched form
        if found is None:
            found = _one_by_one(loss, parameters, images[part], labels[part])
        yield part, found


def _one_by_one(
    loss: Callable[..., Tensor], parameters: dict[str, Tensor], images: Tensor, labels: Tensor
) -> dict[str, Tensor]:
    """The same by an ordinary backward pass for each image."""
    if not parameters:
        return {}
    weights = {name: value.clone().requires_grad_() for name, value in parameters.items()}
    rows: list[tuple[Tensor, ...]] = []
    for image, label in zip(images, labels, strict=True):
        with torch.enable_grad():
            value = loss(weights, image.clone(), label)
            found = torch.autograd.grad(value, list(weights.values()), materialize_grads=True)
        rows.append(found)
    return {
        name: torch.stack([row[position] for row in rows]) for position, name in enumerate(weights)
    }
