"""Networks of torchvision: how their images are prepared, and older names of their weights."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from audit.errors import CheckpointError, ConfigError
from audit.plugin import DataConfig

if TYPE_CHECKING:
    import torch

_HOME: Final = "torchvision.models."
#: torchvision's recipe for ImageNet, which most of its weights share.
_IMAGENET: Final = DataConfig(
    input_size=(3, 224, 224),
    mean=(0.485, 0.456, 0.406),
    std=(0.229, 0.224, 0.225),
    interpolation="bilinear",
    crop_pct=224 / 256,
)
#: Sides of images at which torchvision's networks are built, where they are not 224.
_SIDES: Final = {"Inception3": (299, 342)}
#: Functions that set `transform_input` with published weights, and not without.
_FED_OTHERWISE: Final = ("inception_v3", "googlenet")
#: The start of a file's SHA-256, which torchvision puts into its name.
_HASH: Final = re.compile(r"-([a-f0-9]{8,})\.")
_OLD_DENSE_LAYER: Final = re.compile(
    r"^(.*denselayer\d+\.(?:norm|relu|conv))\.((?:[12])\.(?:weight|bias|running_mean|running_var"
    r"|num_batches_tracked))$"
)


def is_torchvision(module: torch.nn.Module) -> bool:
    """Whether a class of torchvision's models built the network."""
    return any(cls.__module__.startswith(_HOME) for cls in type(module).__mro__)


def is_builder(function: Callable[..., Any]) -> bool:
    """Whether a function is torchvision's own for one of its models, with published weights."""
    home = str(getattr(function, "__module__", ""))
    return home.startswith(_HOME) and "weights" in inspect.signature(function).parameters


def arguments(
    reference: str, function: Callable[..., Any], args: Mapping[str, Any], pretrained: bool
) -> dict[str, Any]:
    """What torchvision's function is called with.

    `weights` in the arguments names published ones. They only say how a network is built and fed:
    the numbers are read from a file, be it theirs (see `weights_file`) or another.

    Raises:
        ConfigError: What is named is none of torchvision's weights, or torchvision is to load them
            itself.
    """
    named = args.get("weights")
    entry = None if named is None else _entry(named)
    if pretrained or args.get("pretrained"):
        raise ConfigError(
            f"model {reference!r}: pretrained weights are not loaded by torchvision, past the "
            "checks of weights; write `pretrained = true` in the checkpoint's section and name "
            "them in model_args.weights, or give a file"
        )
    given = {name: value for name, value in args.items() if name not in ("weights", "pretrained")}
    if entry is not None and function.__name__ in _FED_OTHERWISE:
        given.setdefault("transform_input", True)
    if entry is not None and function.__name__.startswith("vit_"):
        given.setdefault("image_size", entry.meta["min_size"][0])
    return given


def weights_file(reference: str, function: Callable[..., Any], args: Mapping[str, Any]) -> Path:
    """The file with the published weights that `args["weights"]` names, fetched where needed.

    It is kept where torchvision itself keeps it.

    Raises:
        CheckpointError: None are named, or they cannot be fetched.
        ConfigError: What is named is none of torchvision's weights.
    """
    import torch
    from torchvision import models

    named = args.get("weights")
    if named is None:
        known = ", ".join(map(str, models.get_model_weights(function)))
        raise CheckpointError(
            f"model {reference!r} has several published weights: name one in "
            f"model_args.weights: {known}"
        )
    url = str(_entry(named).url)
    path = Path(torch.hub.get_dir()) / "checkpoints" / url.rpartition("/")[2]
    if not path.is_file():
        said = _HASH.search(path.name)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(url, str(path), said[1] if said else None, False)
        except (OSError, ValueError, RuntimeError) as error:
            raise CheckpointError(
                f"model {reference!r} needs {named}, which could not be fetched from {url}: "
                f"{error}; connect to the network, or give a file in weights"
            ) from error
    return path


def data_config(module: torch.nn.Module, args: Mapping[str, Any]) -> DataConfig:
    """How torchvision prepares images for the network.

    The transforms of the entry that `args["weights"]` names, such as "IMAGENET1K_V1" or
    "ResNet50_Weights.IMAGENET1K_V2"; without one, torchvision's recipe for ImageNet.

    Raises:
        ConfigError: The weights are none of torchvision's, or are prepared in no way that a
            `DataConfig` can say.
    """
    named = args.get("weights")
    if named is not None:
        return _of_weights(named)
    side, resized = _SIDES.get(type(module).__name__, (224, 256))
    fixed = getattr(module, "image_size", None)  # of a vision transformer
    if isinstance(fixed, int) and fixed != side:
        side, resized = fixed, fixed
    return DataConfig(
        input_size=(_channels(module), side, side),
        mean=_IMAGENET.mean,
        std=_IMAGENET.std,
        interpolation=_IMAGENET.interpolation,
        crop_pct=side / resized,
    )


def remarks(module: torch.nn.Module, args: Mapping[str, Any]) -> list[str]:
    """What was assumed of the preparation of images, in words."""
    if not is_torchvision(module) or args.get("weights") is not None:
        return []
    return [
        "images are prepared by torchvision's recipe for ImageNet (bilinear, its mean and std), as "
        "model_args.weights names none; [dataset].transform goes before it"
    ]


def _channels(module: torch.nn.Module) -> int:
    """Channels of the first convolution, as no network of torchvision rearranges pixels."""
    import torch

    found = next((m for m in module.modules() if isinstance(m, torch.nn.Conv2d)), None)
    channels = found.in_channels if found is not None else 3
    if channels != 3:
        raise ConfigError(
            f"torchvision prepares images with 3 channels, but the network takes {channels}: set "
            "[dataset].transform, such as { input_size = [1, 224, 224], mean = [0.5], std = [0.5] }"
        )
    return channels


def _of_weights(named: Any) -> DataConfig:
    """The transforms of one entry of torchvision's weights."""
    from torchvision.transforms._presets import ImageClassification

    preset = _entry(named).transforms()
    if not isinstance(preset, ImageClassification):
        raise ConfigError(
            f"model_args.weights = {named!r} prepares its input by {type(preset).__name__}, not as "
            "a classifier of images does: set [dataset].transform"
        )
    side, resized = preset.crop_size[0], preset.resize_size[0]
    return DataConfig(
        input_size=(3, side, side),
        mean=tuple(map(float, preset.mean)),
        std=tuple(map(float, preset.std)),
        interpolation=preset.interpolation.value,
        crop_pct=min(side / resized, 1.0),
    )


def _entry(named: Any) -> Any:
    """An entry of torchvision's weights, by its full name or as torchvision holds it."""
    from torchvision import models

    if isinstance(named, models.WeightsEnum):
        return named
    try:
        return models.get_weight(str(named))
    except (ValueError, AttributeError, KeyError) as error:
        raise ConfigError(
            f"model_args.weights = {named!r} must be the full name of weights of torchvision, such "
            f"as 'ResNet18_Weights.IMAGENET1K_V1': {error}"
        ) from error


def adapt(
    module: torch.nn.Module, state_dict: Mapping[str, torch.Tensor]
) -> Mapping[str, torch.Tensor]:
    """The names of today where a file has those of torchvision's first DenseNets."""
    if not is_torchvision(module):
        return state_dict
    return {_OLD_DENSE_LAYER.sub(r"\1\2", name): tensor for name, tensor in state_dict.items()}
