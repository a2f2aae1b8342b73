"""How an image becomes a network's input: resized, cropped, scaled and normalized."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from audit.arrays import Labels
from audit.data.pixels import standard_mode
from audit.errors import ConfigError, unknown_name
from audit.plugin import DataConfig, ImageSplit, ModelEntry

if TYPE_CHECKING:
    import torch
    from PIL import Image

INTERPOLATIONS = ("nearest", "bilinear", "bicubic")


def eval_transform(config: DataConfig) -> Callable[[Image.Image], torch.Tensor]:
    """How evaluation prepares an image, equal to `timm.data.create_transform(is_training=False)`.

    The image is resized (aspect ratio kept) so that it covers ⌊size / crop_pct⌋, cropped at the
    centre, scaled to [0, 1], and normalized: (x − mean) / std per channel. One-channel networks
    get grayscale (ITU-R 601-2 luma). timm's "squash" and "border" crops are not supported. Before
    1.0.31, timm itself resized to unequal height and width by bilinear interpolation always.

    Returns:
        A picklable function: image → float32 tensor of shape (channels, height, width).
    """
    return functools.partial(_prepare, config)


def _prepare(config: DataConfig, image: Image.Image) -> torch.Tensor:
    """Resize, crop, scale and normalize one image."""
    from torchvision.transforms import InterpolationMode
    from torchvision.transforms import functional as tv

    channels, height, width = config.input_size
    image = standard_mode(image).convert("L" if channels == 1 else "RGB")
    scaled = [math.floor(height / config.crop_pct), math.floor(width / config.crop_pct)]
    mode = InterpolationMode(config.interpolation)
    if scaled[0] == scaled[1]:
        image = tv.resize(image, [scaled[0]], interpolation=mode)
    else:
        ratio = min(image.height / scaled[0], image.width / scaled[1])
        covering = [round(image.height / ratio), round(image.width / ratio)]
        image = tv.resize(image, covering, interpolation=mode)
    pixels = tv.to_tensor(tv.center_crop(image, [height, width]))
    normalized: torch.Tensor = tv.normalize(pixels, list(config.mean), list(config.std))
    return normalized


def override_data_config(config: DataConfig | None, overrides: Mapping[str, Any]) -> DataConfig:
    """A network's data configuration with the entries of `[dataset].transform` put in its place.

    A mean or std of one number stands for every channel. When only the number of channels
    changes, the model's own mean and std are averaged (3 → 1) or repeated (1 → 3).

    Args:
        config: Of the network; None if it has none, and then `input_size`, `mean` and `std` are
            required.
        overrides: Any of the fields of `DataConfig`.

    Raises:
        ConfigError: An unknown key, or a value that cannot be used.
    """
    fields = [field.name for field in dataclasses.fields(DataConfig)]
    for key in overrides:
        if key not in fields:
            raise unknown_name("transform key", key, fields, f"known: {', '.join(fields)}")
    values = {} if config is None else dataclasses.asdict(config)
    values |= {key: value for key, value in overrides.items() if value is not None}
    missing = [key for key in ("input_size", "mean", "std") if key not in values]
    if missing:
        raise ConfigError(
            f"the model does not say how its images are prepared: set {', '.join(missing)} in "
            "[dataset].transform, such as { input_size = [3, 224, 224], mean = [0.5], std = [0.5] }"
        )
    size = _input_size(values["input_size"])
    return DataConfig(
        input_size=size,
        mean=_per_channel("mean", values["mean"], size[0], "mean" not in overrides),
        std=_per_channel("std", values["std"], size[0], "std" not in overrides),
        interpolation=_interpolation(values.get("interpolation", "bicubic")),
        crop_pct=_crop_pct(values.get("crop_pct", 1.0)),
    )


def resolve_data_config(
    source: ModelEntry,
    module: torch.nn.Module,
    args: Mapping[str, Any],
    overrides: Mapping[str, Any],
) -> DataConfig:
    """The network's own data configuration, overridden; or the overrides alone if it has none.

    Raises:
        ConfigError: Neither the network nor the overrides settle it, or they cannot be used.
    """
    try:
        config = source.data_config(module, args)
    except ConfigError:
        if not {"input_size", "mean", "std"} <= overrides.keys():
            raise
        return override_data_config(None, overrides)
    return override_data_config(config, overrides)


def _is_number(value: Any) -> bool:
    """A finite number that is not a boolean."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _input_size(value: Any) -> tuple[int, int, int]:
    """Channels, height and width, checked."""
    sound = (
        isinstance(value, list | tuple)
        and len(value) == 3
        and all(isinstance(number, int) and not isinstance(number, bool) for number in value)
        and value[0] in (1, 3)
        and min(value) > 0
    )
    if not sound:
        raise ConfigError(
            "transform.input_size must be [channels, height, width] with 1 or 3 channels, "
            f"such as [3, 224, 224]; found {value!r}"
        )
    return (value[0], value[1], value[2])


def _per_channel(key: str, value: Any, channels: int, adapt: bool) -> tuple[float, ...]:
    """One number per channel, checked; the model's own are adapted to the channels."""
    numbers = list(value) if isinstance(value, list | tuple) else [value]
    if not numbers or not all(_is_number(number) for number in numbers):
        raise ConfigError(f"transform.{key} must be a list of finite numbers; found {value!r}")
    if key == "std" and min(numbers) <= 0:
        raise ConfigError(f"transform.std must be positive; found {value!r}")
    if adapt and channels == 1:
        numbers = [sum(numbers) / len(numbers)]
    if len(numbers) == 1:
        numbers = numbers * channels
    if len(numbers) != channels:
        raise ConfigError(
            f"transform.{key} must have 1 or {channels} numbers, one per channel of "
            f"input_size; found {value!r}"
        )
    return tuple(float(number) for number in numbers)


def _interpolation(value: Any) -> str:
    """A known interpolation."""
    if value not in INTERPOLATIONS:
        raise ConfigError(
            f"transform.interpolation must be one of {', '.join(INTERPOLATIONS)}; found {value!r}"
        )
    return str(value)


def _crop_pct(value: Any) -> float:
    """A share in (0, 1]."""
    if not _is_number(value) or not 0 < value <= 1:
        raise ConfigError(f"transform.crop_pct must be in (0, 1]; found {value!r}")
    return float(value)


def load_batch(
    split: ImageSplit,
    indices: Sequence[int] | Labels,
    transform: Callable[[Image.Image], torch.Tensor],
) -> torch.Tensor:
    """Decode and prepare images.

    Returns:
        Shape (b, channels, height, width), float32, in the order of `indices`.

    Raises:
        DataError: An image cannot be decoded.
    """
    import torch

    return torch.stack([transform(split.load(int(index))) for index in indices])
