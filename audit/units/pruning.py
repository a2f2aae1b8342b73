"""Ablated units as masks of `torch.nn.utils.prune`: weights that stay zero and can be saved."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch
from torch import nn
from torch.nn.utils import prune

from audit.errors import ConfigError, UnavailableError
from audit.network.layers import choose_layers
from audit.network.plain import unwrapped
from audit.units._writers import Writer, n_outputs, writer_path
from audit.units.ablation import Units, check_numbers, chosen_units

if TYPE_CHECKING:
    from torch import Tensor

    from audit.network.places import Place


def to_prune(model: nn.Module, units: Units, images: Tensor | None = None) -> list[str]:
    """Prune the filters and biases of units, as `torch.nn.utils.prune` does.

    In place, by `custom_from_mask` on the parameters `weight` and `bias`: they become `weight_orig`
    and `weight_mask`, `prune.remove(module, "weight")` makes it final, and masks of several calls
    add up. A unit that is written by a pruned convolution or linear map is 0 before whatever comes
    between it and the layer. So the network computes what `ablate` computes at a layer
    that is that map itself, and also at an activation that takes 0 to 0 (ReLU, GELU, SiLU). It does
    not

    - where a BatchNorm comes between: it makes a constant β − γμ/σ of the zero. Name the BatchNorm
      among the units too: its own weight and bias are then pruned, and its output is 0 again.
      Where it has neither, no mask can do that;
    - where a normalization over channels comes between: the other units change as well;
    - where a shortcut is added: only what the named branch adds is gone.

    Args:
        model: A network, changed in place; wrappers such as `DataParallel` are looked through.
        units: As `audit.ablate` takes them. A layer is a convolution, a linear map or a
            normalization with a weight for each unit; any other needs `images`.
        images: A few images, shape (b, channels, height, width), prepared as the network expects.
            With them a layer of another kind stands for the convolution or linear map that writes
            its units: the last one of as many outputs that is called before it.

    Returns:
        The pruned parameters by name, such as "layer4.1.conv2.weight".

    Raises:
        ConfigError: As `audit.ablate`; or a layer without weights of its own where no images are
            given, or one whose units no convolution or linear map writes.

    Example:
        >>> network = nn.Sequential(nn.Conv2d(1, 2, 1), nn.ReLU())
        >>> to_prune(network, {"0": [1]})
        ['0.weight', '0.bias']
        >>> network[0].weight.flatten().tolist()[1]
        0.0
    """
    network = unwrapped(model)
    chosen = chosen_units(units, network)
    targets = [
        (*_target(network, place, images), place, numbers) for place, numbers in chosen.items()
    ]
    for _, part, place, numbers in targets:
        check_numbers(place.name, numbers, _n_units(part))
    pruned: list[str] = []
    for path, part, _, numbers in targets:
        for name in ("weight", "bias"):
            parameter: Any = getattr(part, name, None)
            if parameter is not None:
                mask = _mask(part, parameter.detach(), numbers)
                prune.custom_from_mask(part, name, mask)  # type: ignore[no-untyped-call]
                pruned.append(f"{path}.{name}")
    return pruned


def _target(network: nn.Module, place: Place, images: Tensor | None) -> tuple[str, nn.Module]:
    """The path of the module whose parameters are masked for a layer, and the module.

    Raises:
        ConfigError: There is none, or its parameters are none that can be pruned.
    """
    path = place.path
    if place.function or not _n_units(network.get_submodule(path)):
        path = _writer_of(network, place, images)
    part = network.get_submodule(path)
    for name in ("weight", "bias"):
        known = (name in part._parameters, f"{name}_orig" in part._parameters)
        if getattr(part, name, None) is not None and not any(known):
            raise ConfigError(
                f"{path}.{name} is no parameter but computed from others, such as by a "
                "parametrization, and cannot be pruned; remove that first"
            )
    return path, part


def _writer_of(network: nn.Module, place: Place, images: Tensor | None) -> str:
    """The path of the map that writes the units of a layer without weights of its own.

    Raises:
        ConfigError: There is none, or no images are given to find it by.
    """
    if images is None:
        raise ConfigError(
            f"layer {place.name!r} has no weights of its own, one filter for each unit; name the "
            "convolution or linear map that writes its units, or give images to find it by"
        )
    modes = {part: part.training for part in network.modules()}
    network.eval()
    try:
        spec = choose_layers(network, images, (place.name,)).specs[0]
        return writer_path(network, images, place, spec.reading.units)
    except UnavailableError as error:
        raise ConfigError(f"{error}, so that there is nothing to prune") from error
    finally:
        for part, training in modes.items():
            part.training = training


def _n_units(part: nn.Module) -> int:
    """Units of a module that has weights for each of them; 0 for any other."""
    if isinstance(part, Writer):
        return n_outputs(part)
    weight: Any = getattr(part, "weight", None)
    one_each = isinstance(part, _NORMS) and weight is not None and weight.ndim == 1
    return len(weight) if one_each else 0


_NORMS: Final = (nn.modules.batchnorm._NormBase, nn.GroupNorm, nn.LayerNorm)


def _mask(part: nn.Module, parameter: Tensor, numbers: np.ndarray) -> Tensor:
    """Zero at the weights of some units, one elsewhere, of the parameter's shape."""
    mask = torch.ones_like(parameter)
    index = torch.from_numpy(numbers).to(mask.device)
    if parameter.ndim > 1 and isinstance(part, nn.modules.conv._ConvTransposeNd):
        by_group = mask.view(part.groups, -1, *mask.shape[1:])
        width = mask.shape[1]  # outputs of each group
        by_group[index // width, :, index % width] = 0
    else:
        mask[index] = 0
    return mask
