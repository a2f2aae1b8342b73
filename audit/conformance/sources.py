"""Sources of networks and of images: what they build, what they read, what they refuse."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import nn

from audit.errors import ConfigError, PluginError
from audit.plugin import DataConfig, DatasetEntry, ImageSplit, ModelEntry, Split

_INTERPOLATIONS: Final = ("nearest", "bilinear", "bicubic")
_NO_SUCH_OPTION: Final = "no_such_option"
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")


def _require(condition: object, owner: str, requirement: str, found: object) -> None:
    """A `PluginError` in one form for all requirements."""
    if not condition:
        raise PluginError(f"{owner}: {requirement}; found {found}")


def check_model(
    entry: ModelEntry, reference: str, args: Mapping[str, Any] | None = None
) -> nn.Module:
    """Check that a source builds a usable network, the same one twice, without global effects.

    Args:
        entry: The source.
        reference: A network it can build without weights.
        args: Its arguments; `num_classes`, where given, must be the number of outputs.

    Returns:
        The network.

    Raises:
        PluginError: A promise that is not kept.
    """
    args = dict(args or {})
    owner = f"model source {entry.name!r}"
    _check_words(owner, entry)
    _require(entry.matches(reference) is True, owner, f"must match {reference!r}", False)
    _require(entry.matches("no such model!") is False, owner, "must not match nonsense", True)
    names = entry.names()
    _require(all(isinstance(name, str) for name in names), owner, "names must be text", names)
    digest = entry.digest(reference)
    _require(digest == entry.digest(reference), owner, "digest must repeat", digest)
    reads = entry.reads(reference, args)
    paths = reads is None or all(isinstance(path, Path) for path in reads)
    _require(paths, owner, "reads: paths, or None where that cannot be told", reads)
    given = dict(args)
    module, again = (entry.create(reference, args, False) for _ in range(2))
    _require(args == given, owner, "must not change the arguments it is given", args)
    _require(isinstance(module, nn.Module), owner, "must build a torch.nn.Module", type(module))
    _require(module is not again, owner, "must build a new network on every call", "the same")
    shapes, others = (
        {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
        for network in (module, again)
    )
    _require(shapes == others, owner, "must build the same tensors twice", shapes.keys())
    devices = {str(tensor.device) for tensor in module.state_dict().values()}
    _require(devices <= {"cpu"}, owner, "must build on the CPU", devices)
    config = entry.data_config(module, args)
    _check_config(owner, config)
    with torch.inference_mode():
        output = module.eval()(torch.zeros(2, *config.input_size))
    output = output[0] if isinstance(output, tuple | list) else output
    shape = tuple(output.shape)
    n_classes = args.get("num_classes", shape[-1])
    _require(shape == (2, n_classes), owner, f"must give outputs (2, {n_classes})", shape)
    return module


def _check_words(owner: str, entry: Any) -> None:
    """Name, version and summary."""
    _require(re.fullmatch(r"[a-z][a-z0-9_\-]*", entry.name), owner, "name: a word", entry.name)
    _require(entry.version.strip(), owner, "version must not be empty", repr(entry.version))
    one_line = entry.summary.strip() and "\n" not in entry.summary
    _require(one_line, owner, "summary must be one line", repr(entry.summary))


def _check_config(owner: str, config: DataConfig) -> None:
    """How images are prepared must be possible."""
    _require(isinstance(config, DataConfig), owner, "data_config: a DataConfig", type(config))
    channels = config.input_size[0]
    _require(channels in (1, 3), owner, "images have 1 or 3 channels", channels)
    _require(min(config.input_size) > 0, owner, "sizes must be positive", config.input_size)
    numbers = (*config.mean, *config.std)
    fits = len(config.mean) == len(config.std) == channels and all(map(math.isfinite, numbers))
    _require(fits and min(config.std) > 0, owner, "one mean and std > 0 per channel", config)
    _require(config.interpolation in _INTERPOLATIONS, owner, f"one of {_INTERPOLATIONS}", config)
    _require(0 < config.crop_pct <= 1, owner, "crop_pct must lie in (0, 1]", config.crop_pct)


def check_dataset(
    entry: DatasetEntry,
    options: Mapping[str, Any] | None = None,
    splits: Sequence[Split] = ("train", "held_out"),
) -> ImageSplit:
    """Check that a dataset reads the same labelled images every time and keeps its splits apart.

    Args:
        entry: The dataset.
        options: To open it with.
        splits: Those it has; the first is returned.

    Returns:
        The first split, opened.

    Raises:
        PluginError: A promise that is not kept.
    """
    options = dict(options or {})
    owner = f"dataset {entry.name!r}"
    _check_words(owner, entry)
    homeless = sorted(set(entry.locations) - set(entry.options))
    _require(not homeless, owner, f"locations must be of {entry.options}", homeless)
    unknown = set(options) - set(entry.options)
    _require(not unknown, owner, f"options must be of {entry.options}", sorted(unknown))
    try:
        entry.open(splits[0], {**options, _NO_SUCH_OPTION: 1})
    except ConfigError as error:
        _require(_NO_SUCH_OPTION in str(error), owner, "must name an unknown option", error)
    else:
        raise PluginError(f"{owner}: must refuse an unknown option with a ConfigError; it opened")
    opened = [entry.open(name, options) for name in splits]
    for name, split in zip(splits, opened, strict=True):
        _check_split(f"{owner}, split {name!r}", split, entry.open(name, options))
    for other in opened[1:]:
        same = other.class_names == opened[0].class_names
        _require(same, owner, "splits must share their classes", other.class_names)
        shared = sorted(set(opened[0].sample_ids) & set(other.sample_ids))
        _require(not shared, owner, "splits must not share images", shared[:5])
    return opened[0]


def _check_split(owner: str, split: ImageSplit, again: ImageSplit) -> None:
    """One split against itself opened again, and a few of its images."""
    from PIL import Image

    n = len(split.labels)
    _require(isinstance(split, ImageSplit), owner, "must be an ImageSplit", type(split))
    _require(n > 0, owner, "must hold images", n)
    dtype, ndim = split.labels.dtype, split.labels.ndim
    _require(dtype == np.int64 and ndim == 1, owner, "labels: int64, shape (n,)", (dtype, ndim))
    names, ids = split.class_names, split.sample_ids
    _require(isinstance(names, tuple), owner, "class_names must be a tuple", type(names))
    _require(len(set(names)) == len(names), owner, "class names must be unique", names)
    low, high = int(split.labels.min()), int(split.labels.max())
    _require(0 <= low <= high < len(names), owner, f"labels below {len(names)}", (low, high))
    _require(len(ids) == n == len(set(ids)), owner, f"{n} unique sample ids", len(set(ids)))
    repeats = ids == again.sample_ids and np.array_equal(split.labels, again.labels)
    _require(repeats, owner, "must list the same images in the same order every time", "others")
    for index in np.linspace(0, n - 1, min(n, 8)).astype(int).tolist():
        image, digest = split.load(index), split.digest(index)
        _require(isinstance(image, Image.Image), owner, "load: a PIL image", type(image))
        _require(image.tobytes() == again.load(index).tobytes(), owner, "load must repeat", index)
        _require(_DIGEST.fullmatch(digest), owner, "digest: 64 hexadecimal digits", digest)
        _require(digest == again.digest(index), owner, "digest must repeat", ids[index])
        _require(isinstance(split.stamp(index), str), owner, "stamp must be text", index)
