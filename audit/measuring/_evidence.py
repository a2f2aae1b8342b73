"""What can be seen of a network that is not run as it was trained: its input, and its head.

A few images go as far as the first normalisation that keeps running statistics: in training it has
seen what its layer gives for the training images, so that other activations mean other images.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch
from scipy import stats

from audit.plugin import DataConfig

if TYPE_CHECKING:
    from torch import Tensor, nn

#: Images that are looked at.
N_IMAGES: Final = 32
#: Weights of a head that are set against the distribution they would be drawn from.
_MOST_WEIGHTS: Final = 20_000
_ERROR_RATE: Final = 0.01
#: What stands in for the data configuration of a network that declares none.
_USUAL: Final = (0.45, 0.25)


def gather(
    module: nn.Module,
    images: Tensor,
    config: DataConfig,
    declared: DataConfig | None,
    n_classes: int,
) -> dict[str, Any]:
    """All evidence on one network, as JSON holds it.

    Args:
        module: In eval mode.
        images: Some training images, prepared with `config`; shape (b, channels, height, width).
        config: How they were prepared.
        declared: How the network itself says that images are prepared, or None.
        n_classes: Of the training set.

    Returns:
        `images`: see `seen`. `norm`: see `first_norm`, or None. `head`: see `fresh_head`.
    """
    return {
        "images": seen(images, config, declared),
        "norm": first_norm(module, images),
        "head": fresh_head(module, n_classes),
    }


def seen(images: Tensor, config: DataConfig, declared: DataConfig | None) -> dict[str, Any]:
    """Mean and spread of prepared images, and how far they are from what the network declares.

    Returns:
        `mean` and `std` of the prepared images; `shift`, how far their mean is from that of the
        same images prepared as declared; `scale`, by what factor their spread is another; both the
        largest over channels. `used` and `declared`: mean and std of either preparation.
    """
    flat = images.double().movedim(1, 0).flatten(1).cpu()
    mean, std = flat.mean(1).numpy(), flat.std(1, correction=0).numpy()
    used_mean, used_std = np.array(config.mean), np.array(config.std)
    pixels = mean * used_std + used_mean
    if declared is not None and len(declared.mean) == len(used_mean):
        their_mean, their_std = np.array(declared.mean), np.array(declared.std)
    else:
        their_mean, their_std = (np.full(len(used_mean), value) for value in _USUAL)
    shift = float(np.abs(mean - (pixels - their_mean) / their_std).max())
    factor = float(np.abs(np.log(their_std / used_std)).max())
    return {
        "mean": _rounded(mean),
        "std": _rounded(std),
        "shift": round(shift, 4),
        "scale": round(math.exp(factor), 4),
        "used": [list(config.mean), list(config.std)],
        "declared": [list(declared.mean), list(declared.std)] if declared else None,
    }


class _EnoughError(Exception):
    """The first normalisation has been reached; the rest of the network need not run."""


def first_norm(module: nn.Module, images: Tensor) -> dict[str, Any] | None:
    """The first normalisation with running statistics, against what it is given now.

    Returns:
        `name`; `fresh`, whether its statistics are as initialised (mean 0, variance 1); and where
        they are not, medians over channels: `scale`, spread now / spread in training, and `shift`,
        |mean now − mean in training| in spreads of training. None where there is no such layer,
        or the network did not come to it.
    """
    norms = {
        part: name
        for name, part in module.named_modules()
        if isinstance(getattr(part, "running_mean", None), torch.Tensor)
        and isinstance(getattr(part, "running_var", None), torch.Tensor)
    }
    if not norms:
        return None
    met: list[tuple[nn.Module, Tensor]] = []

    def see(part: nn.Module, inputs: tuple[Any, ...]) -> None:
        met.append((part, inputs[0].detach().double()))
        raise _EnoughError

    with _hooked(norms, see), torch.inference_mode(), contextlib.suppress(_EnoughError):
        module(images.clone())
    if not met:
        return None
    part, given = met[0]
    return {"name": norms[part], **_compared(part, given)}


@contextlib.contextmanager
def _hooked(parts: Any, see: Any) -> Iterator[None]:
    """Hooks before each of these modules; none outlives the block."""
    handles = [part.register_forward_pre_hook(see) for part in parts]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _compared(norm: nn.Module, given: Tensor) -> dict[str, Any]:
    """Running statistics of a normalisation against the activations it is given."""
    trained_mean: Any = norm.running_mean
    trained_variance: Any = norm.running_var
    trained_mean, trained_variance = trained_mean.double(), trained_variance.double()
    if bool((trained_mean == 0).all() and (trained_variance == 1).all()):
        return {"fresh": True}
    flat = given.movedim(1, 0).flatten(1)
    tiny = 1e-12 + 1e-6 * float(trained_variance.mean())  # channels that were dead in training
    alive = trained_variance > tiny
    if not bool(alive.any()):
        return {"fresh": False, "scale": math.nan, "shift": math.nan}
    spread = trained_variance.sqrt()
    scale = (flat.std(1, correction=0) / spread)[alive]
    shift = ((flat.mean(1) - trained_mean).abs() / spread)[alive]
    return {
        "fresh": False,
        "scale": float(f"{scale.median():.4g}"),
        "shift": float(f"{shift.median():.4g}"),
    }


def fresh_head(module: nn.Module, n_classes: int) -> dict[str, str] | None:
    """The classifier, if its weights are as drawn before training; its name and why one thinks so.

    The last linear layer (or 1 × 1 convolution) with an output for every class counts as the
    classifier. PyTorch draws its weights evenly from ±1/√inputs: a Kolmogorov-Smirnov test at an
    error rate of 0.01 cannot tell fresh ones from that, and trained ones leave the range. timm
    often draws another distribution and sets the bias to zero, where no training leaves it.
    """
    head = None
    for name, part in module.named_modules():
        linear = isinstance(part, torch.nn.Linear)
        pointwise = isinstance(part, torch.nn.Conv2d) and part.kernel_size == (1, 1)
        if (linear or pointwise) and len(part.weight) == n_classes:
            head = (name, part.weight, part.bias)
    if head is None:
        return None
    name, weight, bias = head
    if bias is not None and not bool(bias.any()):
        return {"name": name, "why": "its bias is zero"}
    bound = 1 / math.sqrt(weight[0].numel())
    values = weight.detach().double().flatten().cpu().numpy()
    values = values[:: max(1, len(values) // _MOST_WEIGHTS)]
    if np.abs(values).max() > bound * (1 + 1e-6):
        return None
    test = stats.kstest(values, stats.uniform(-bound, 2 * bound).cdf)
    if test.pvalue < _ERROR_RATE:
        return None
    return {"name": name, "why": "its weights are spread as they are drawn before training"}


def _rounded(values: Sequence[float] | np.ndarray) -> list[float]:
    """Numbers with four digits."""
    return [float(f"{value:.4g}") for value in values]
