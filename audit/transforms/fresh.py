"""The same architecture with weights as they are drawn before training."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from audit.errors import UnavailableError

if TYPE_CHECKING:
    import torch
    from torch import nn

    from audit.plugin import TrainView

#: Last words of the names of parameters that belong to no module with a reset of its own, and how
#: they are drawn: normal with this standard deviation, as in vision transformers.
_DRAWN = {"pos_embed": 0.02, "cls_token": 0.02, "reg_token": 0.02, "dist_token": 0.02}
#: Scales of residual branches in ConvNeXt and CaiT begin as a small constant.
_SCALES = ("gamma", "gamma_1", "gamma_2")
_FIRST_SCALE = 1e-6


def fresh_network(view: TrainView) -> nn.Module:
    """A copy of the network in eval mode with newly drawn weights, on the network's device.

    Every module draws its own by `reset_parameters`, in float32 and on the processor, so that
    neither the device nor the precision changes them; BatchNorm's statistics begin at 0 and 1.
    Position embeddings and class tokens that belong to no such module are drawn normal with
    standard deviation 0.02, scales of residual branches set to 1e-6. The global random state is
    left as it was.

    Raises:
        UnavailableError: A parameter that nothing sets anew, by its name; or no parameters.
    """
    import torch

    network = view.private_copy().requires_grad_(False)
    like = next(network.parameters(), None)
    if like is None:
        raise UnavailableError("the network has no parameters to draw anew")
    device, dtype = like.device, like.dtype
    network = network.cpu().float().to(memory_format=torch.contiguous_format)
    seed = int(view.generator("random weights").integers(2**62))
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        for parameter in network.parameters():
            if parameter.is_floating_point():
                parameter.fill_(math.nan)
        for module in network.modules():
            reset = getattr(module, "reset_parameters", None)
            reset = reset or getattr(module, "_reset_parameters", None)
            if callable(reset):
                reset()
        for name, parameter in network.named_parameters():
            _set_anew(name, parameter)
    return network.to(device=device, dtype=dtype).eval()


def _set_anew(name: str, parameter: torch.Tensor) -> None:
    """Draw a parameter that no module's reset has set.

    Raises:
        UnavailableError: Nobody says how.
    """
    import torch

    if torch.isfinite(parameter).all():
        return
    word = name.rpartition(".")[2]
    if word in _DRAWN:
        parameter.normal_(std=_DRAWN[word])
    elif word in _SCALES:
        parameter.fill_(_FIRST_SCALE)
    else:
        raise UnavailableError(
            f"nothing says how the parameter {name!r} is drawn before training: its module has no "
            "reset_parameters() that sets it"
        )
