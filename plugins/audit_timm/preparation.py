"""How timm prepares images for a network."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from audit.data.transform import INTERPOLATIONS
from audit.errors import ConfigError
from audit.plugin import DataConfig

if TYPE_CHECKING:
    import torch


def data_config(module: torch.nn.Module, args: Mapping[str, Any]) -> DataConfig:
    """How timm prepares images for the network.

    timm's own resolution (`timm.data.resolve_model_data_config`) keeps three channels and the
    pretrained size whatever the network was built with. Here `input_size` follows the network:
    its channels, and `img_size` where it was given or is fixed. A one-channel network gets the
    averages of the channels' mean and std. What is not carried over is said by `remarks`.

    Raises:
        ConfigError: The network takes neither 1 nor 3 channels, or timm names an interpolation
            that is not supported.
    """
    found = _resolved(module)
    channels = _input_channels(module, args)
    if channels not in (1, 3):
        raise ConfigError(f"images have 1 or 3 channels, but the network takes {channels}")
    mean, std = tuple(map(float, found["mean"])), tuple(map(float, found["std"]))
    if channels != len(mean):
        mean = (sum(mean) / len(mean),) * channels
        std = (sum(std) / len(std),) * channels
    if found["interpolation"] not in INTERPOLATIONS:
        raise ConfigError(
            f"timm prepares images with {found['interpolation']!r} interpolation; set "
            f"transform.interpolation in [dataset] to one of {', '.join(INTERPOLATIONS)}"
        )
    height, width = _image_size(module, args, tuple(found["input_size"][1:]))
    return DataConfig(
        input_size=(channels, height, width),
        mean=mean,
        std=std,
        interpolation=str(found["interpolation"]),
        crop_pct=float(found["crop_pct"]),
    )


def remarks(module: torch.nn.Module, args: Mapping[str, Any]) -> list[str]:
    """What timm would do otherwise when it evaluates the network, in words."""
    found = []
    mode = _resolved(module).get("crop_mode", "center")
    if mode != "center":
        found.append(
            f"timm prepares images with crop_mode {mode!r}; here the centre of the image is taken"
        )
    about = getattr(module, "pretrained_cfg", None) or {}
    larger = about.get("test_input_size")
    if larger and tuple(larger) != tuple(about.get("input_size") or ()):
        found.append(
            f"timm publishes results at {larger[1]} × {larger[2]} pixels too (test_input_size); "
            "here images have the size of training"
        )
    return found


def _resolved(module: torch.nn.Module) -> dict[str, Any]:
    """What timm itself resolves."""
    from timm.data.config import resolve_model_data_config

    found: dict[str, Any] = resolve_model_data_config(module)  # type: ignore[no-untyped-call]
    return found


def _input_channels(module: torch.nn.Module, args: Mapping[str, Any]) -> int:
    """Channels the network takes: as it was told, as it says itself, or as it was published.

    Where a network of an older timm does not say it, its first convolution tells, unless that
    lies behind a rearrangement of pixels into channels.
    """
    import torch

    if args.get("in_chans") is not None:
        return int(args["in_chans"])
    said = getattr(module, "in_chans", None)
    if isinstance(said, int):
        return said
    about = getattr(module, "pretrained_cfg", None) or {}
    published = int((about.get("input_size") or (3,))[0])
    first = about.get("first_conv")
    path = first[0] if isinstance(first, list | tuple) and first else first
    layer = dict(module.named_modules()).get(path) if isinstance(path, str) else None
    if isinstance(layer, torch.nn.Conv2d) and layer.in_channels in (1, 3, 4):
        return layer.in_channels
    return published


def _image_size(
    module: torch.nn.Module, args: Mapping[str, Any], default: tuple[int, ...]
) -> tuple[int, int]:
    """Height and width the network was built for."""
    size = args.get("img_size")
    if size is None:
        size = getattr(getattr(module, "patch_embed", None), "img_size", None)
    if size is None or inspect.isfunction(size):
        return (default[0], default[1])
    if isinstance(size, int):
        return (size, size)
    return (int(size[0]), int(size[1]))
