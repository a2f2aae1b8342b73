"""Ten changes that keep what a network predicts, or only the order and number of its images."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Final, Literal, TypeAlias, get_args

import numpy as np
import torch

from audit.conformance.setting import Setting
from audit.errors import UnavailableError, unknown_name
from audit.plugin import Change
from audit.transforms import fold_batchnorm, permute_channels, relabel_classes, rescale

Transform: TypeAlias = Literal["node-wise", "layer-uniform"] | Change

TRANSFORMS: Final[tuple[Transform, ...]] = ("node-wise", "layer-uniform", *get_args(Change))


def changed(setting: Setting, transform: str, seed: int = 0) -> Setting:
    """The setting after one of the ten changes.

    Args:
        setting: Left as it is.
        transform: "node-wise" or "layer-uniform" rescaling by powers of two, or a `Change`.
        seed: Of what is drawn: factors, orders.

    Raises:
        ConfigError: An unknown change.
        UnavailableError: The network cannot be changed in this way, or there is no such device.
    """
    known_change(transform)
    return _CHANGES[transform](setting, seed)


def known_change(name: object) -> None:
    """Refuse what is not the name of one of the ten changes.

    Raises:
        ConfigError: It is not; the message has the nearest name.
    """
    if name not in _CHANGES:
        raise unknown_name("change", str(name), _CHANGES, hint="known: " + ", ".join(_CHANGES))


def _node_wise(setting: Setting, seed: int) -> Setting:
    network = rescale(setting.network, setting.images[:1], how="node-wise", seed=seed)
    return dataclasses.replace(setting, network=network)


def _layer_uniform(setting: Setting, seed: int) -> Setting:
    network = rescale(setting.network, setting.images[:1], how="layer-uniform", seed=seed)
    return dataclasses.replace(setting, network=network)


def _permutation(setting: Setting, seed: int) -> Setting:
    network = permute_channels(setting.network, setting.images[:1], seed=seed)
    return dataclasses.replace(setting, network=network)


def _folding(setting: Setting, seed: int) -> Setting:
    network = fold_batchnorm(setting.network, setting.images[:1])
    # the weights before training have the names of a network that is not folded
    return dataclasses.replace(setting, network=network, initial=None)


def _image_order(setting: Setting, seed: int) -> Setting:
    return _with_images(setting, np.random.default_rng(seed).permutation(len(setting.labels)))


def _batch_size(setting: Setting, seed: int) -> Setting:
    return dataclasses.replace(setting, batch_size=max(1, setting.batch_size // 2 - 1))


def _duplicates(setting: Setting, seed: int) -> Setting:
    rows = np.arange(len(setting.labels))
    beside = seed % 2 == 0  # or one after the last
    return _with_images(setting, np.repeat(rows, 2) if beside else np.tile(rows, 2))


def _relabelling(setting: Setting, seed: int) -> Setting:
    n = len(setting.class_names)
    if n < 2:
        raise UnavailableError("classes can be given other numbers where there are two or more")
    order = np.roll(np.arange(n), 1 + seed % (n - 1))
    new_label = np.argsort(order)
    return dataclasses.replace(
        setting,
        network=relabel_classes(setting.network, setting.images[:1], order.tolist()),
        labels=new_label[setting.labels],
        class_names=tuple(setting.class_names[old] for old in order),
    )


def _dtype(setting: Setting, seed: int) -> Setting:
    other = torch.float32 if setting.images.dtype == torch.float64 else torch.float64
    return setting.to(other)


def _device(setting: Setting, seed: int) -> Setting:
    if not torch.cuda.is_available():
        raise UnavailableError("there is no CUDA device here")
    return setting.to("cuda")


def _with_images(setting: Setting, rows: np.ndarray) -> Setting:
    """The setting with some of its images, in this order."""
    return dataclasses.replace(setting, images=setting.images[rows], labels=setting.labels[rows])


_CHANGES: Final[dict[str, Callable[[Setting, int], Setting]]] = {
    "node-wise": _node_wise,
    "layer-uniform": _layer_uniform,
    "permutation": _permutation,
    "folding": _folding,
    "image-order": _image_order,
    "batch-size": _batch_size,
    "duplicates": _duplicates,
    "relabelling": _relabelling,
    "dtype": _dtype,
    "device": _device,
}
