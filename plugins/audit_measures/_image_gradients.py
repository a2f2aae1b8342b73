"""Gradients of what a network says of each image, with respect to the image or to activations."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final
from weakref import WeakKeyDictionary

from audit.errors import UnavailableError
from audit.plugin import TrainView

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

_copies: WeakKeyDictionary[TrainView, nn.Module] = WeakKeyDictionary()

#: Of the sample's images, evenly spaced, those that gradients are taken of.
SHARE: Final = 1 / 5


@contextlib.contextmanager
def differentiating(device: str) -> Iterator[None]:
    """Within it gradients are recorded, in the precision of the weights.

    Raises:
        UnavailableError: Something in the network cannot be differentiated.
    """
    import torch

    try:
        with (
            torch.inference_mode(False),
            torch.enable_grad(),
            torch.autocast(device, enabled=False),
        ):
            yield
    except RuntimeError as error:
        message = str(error).partition("\n")[0]
        known = any(words in message for words in ("derivative", "inplace operation"))
        if not known and not isinstance(error, NotImplementedError):
            raise
        raise UnavailableError(
            f"the scores cannot be differentiated ({message}); it needs a network without such "
            "operations, not quantised"
        ) from error


def hookable_copy(view: TrainView) -> nn.Module:
    """A copy of the network, the same for all who ask, to set hooks on and differentiate through.

    Its weights are not to be changed, and have no gradients.
    """
    if view not in _copies:
        _copies[view] = view.private_copy().requires_grad_(False)
    return _copies[view]


def differentiable(scores: Tensor) -> Tensor:
    """The scores in float64.

    Raises:
        UnavailableError: They do not depend on the images in a way that has gradients.
    """
    if not scores.requires_grad:
        raise UnavailableError(
            "the scores have no gradient with respect to the images, as in a quantised network; it "
            "needs the network before that"
        )
    return scores.double()


def true_margins(scores: Tensor, labels: Tensor) -> Tensor:
    """Score of the true class less the largest other, shape (b,); negative where wrong.

    Raises:
        UnavailableError: There is one class.
    """
    if scores.shape[1] < 2:
        raise UnavailableError("a margin needs at least two classes; the network has one output")
    own = scores.gather(1, labels[:, None])[:, 0]
    others = scores.scatter(1, labels[:, None], float("-inf"))
    return own - others.max(dim=1).values


def gradients(numbers: Tensor, places: Sequence[Tensor]) -> list[Tensor]:
    """Gradient of each image's number at each place, shape (b, d); 0 where it does not depend.

    Images do not see each other in eval mode, so that the gradient of the sum has them all.
    """
    import torch

    found = torch.autograd.grad(
        numbers.sum(), list(places), retain_graph=True, allow_unused=True, materialize_grads=True
    )
    return [gradient.flatten(1).double() for gradient in found]


def module_call(layer: str) -> tuple[str, int] | None:
    """Path of the module whose output a layer is, and which call of it, from 0; None if none is.

    Example:
        >>> module_call("layer1.0.act2"), module_call("act#2"), module_call("layer1.0:relu")
        (('layer1.0.act2', 0), ('act', 1), None)
    """
    place = layer.partition("|")[0]
    path, _, call = place.partition("#")
    return None if ":" in path or not path else (path, int(call or 1) - 1)


@contextlib.contextmanager
def activations(network: nn.Module, layers: Sequence[str]) -> Iterator[dict[str, Tensor]]:
    """A mapping that holds the outputs of these layers once the network has run.

    What follows a layer is given a copy, so that no operation in place changes what is held.

    Args:
        network: A copy that hooks may be set on.
        layers: Names of layers; those that are no module's output are passed over.
    """
    import torch

    held: dict[str, Tensor] = {}
    calls: dict[str, int] = {}
    wanted = {called: layer for layer in layers if (called := module_call(layer))}

    def see(path: str) -> object:
        def hook(part: nn.Module, given: object, output: object) -> torch.Tensor | None:
            call = calls[path] = calls.get(path, -1) + 1
            layer = wanted.get((path, call))
            if layer is None or not isinstance(output, torch.Tensor) or not output.requires_grad:
                return None
            held[layer] = output
            return output.clone()

        return hook

    paths = {path for path, _ in wanted}
    handles = [
        part.register_forward_hook(see(path))
        for path, part in network.named_modules()
        if path in paths
    ]
    try:
        yield held
    finally:
        for handle in handles:
            handle.remove()
