"""Is a measure moved by what it declares, and by nothing else?"""

from __future__ import annotations

import copy
import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
import torch
from torch import Tensor, nn

from audit.conformance.changes import TRANSFORMS, changed, known_change
from audit.conformance.networks import ReferenceResidual
from audit.conformance.observation import (
    TOLERANCE,
    Observation,
    attempted,
    compared,
    declared,
    observe,
    without_numbers,
)
from audit.conformance.setting import N_IMAGES, Setting, reference_setting, setting_of
from audit.conformance.values import values_of
from audit.errors import ConfigError, PluginError, UnavailableError
from audit.plugin import MeasureEntry, TrainView

#: More draws of a change on a reference network, until a measure moves that says it may.
MORE_DRAWS: Final = 4

#: Changes that move few numbers, and those seldom: they need not be shown on a reference network.
SELDOM: Final = ("relabelling", "dtype", "device")


def check_invariance(
    measure: MeasureEntry | str,
    model: nn.Module | None = None,
    transform: str | Callable[[nn.Module, Tensor], nn.Module] | None = None,
    *,
    images: Tensor | None = None,
    labels: Sequence[int] | np.ndarray | None = None,
    layers: Sequence[str] = ("stages",),
    seed: int = 0,
) -> list[Observation]:
    """Check that a measure is moved by what it declares, and by nothing else.

    Args:
        measure: A measure, or the name of one that is installed.
        model: The network on which it is tried; by default two reference networks, on which every
            change is a real one, so that also a change that is declared to move the measure and
            does not is refused.
        transform: One of `TRANSFORMS`; by default all. Or a function of one's own (network, image)
            → a network that must give the measure the same number.
        images: Prepared images, shape (n, channels, height, width); by default smoothed noise.
        labels: Shape (n,); by default 0, 1, 2, 3, 0, ….
        layers: Which layers feature maps are taken from.
        seed: Of what the changes draw.

    Returns:
        What each change did.

    Raises:
        PluginError: A change does what the measure does not declare.
        ConfigError: An unknown measure or change; no way to prepare images for the model.

    Example:
        >>> found = check_invariance("train_loss", transform="node-wise")
        >>> found[0].outcome
        'same'
    """
    entry = _registered(measure) if isinstance(measure, str) else measure
    if model is not None and not isinstance(model, nn.Module):
        raise ConfigError(
            f"model must be a network, a torch.nn.Module; found {type(model).__name__} {model!r}"
        )
    if transform is not None and not callable(transform):
        known_change(transform)
    if model is None and not callable(transform):
        wanted = TRANSFORMS if transform is None else (transform,)
        found = [_on_reference(entry, name, seed) for name in wanted]
        strict = True
    else:
        setting = _setting(model, images, labels, layers, seed)
        if callable(transform):
            found = [_after(entry, setting.to(torch.float64), transform)]
        else:
            wanted = TRANSFORMS if transform is None else (transform,)
            found = list(observe([entry], setting, wanted, seed))
        strict = False
    for observation in found:
        _judge(entry, observation, strict)
    return found


def _judge(entry: MeasureEntry, found: Observation, strict: bool) -> None:
    """Raise where a change does what was not declared."""
    if found.outcome not in ("same", "moves"):
        return
    expected = found.declared or "same"
    unshown = found.outcome == "same" and (not strict or found.transform in SELDOM)
    if found.outcome == expected or unshown:
        return
    evidence = (
        f"{found.part} goes from {found.before:.8g} to {found.after:.8g}"
        if found.outcome == "moves"
        else "no part changes"
    )
    raise PluginError(
        f"measure {entry.name!r} declares {_declaration(entry, found.transform)}, but under "
        f"{found.transform!r} {evidence}{f' ({found.note})' if found.note else ''}"
    )


def _declaration(entry: MeasureEntry, transform: str) -> str:
    """The field that speaks of a change."""
    if transform in ("node-wise", "layer-uniform"):
        return f"invariance {entry.invariance!r}"
    return f"varies_with {entry.varies_with}"


def _setting(
    model: nn.Module | None,
    images: Tensor | None,
    labels: Sequence[int] | np.ndarray | None,
    layers: Sequence[str],
    seed: int,
) -> Setting:
    """What a user's own network is tried on."""
    from audit.plugin.registry import installed

    if model is None:
        return reference_setting()
    source = installed().recognised_source(model)
    config = source.data_config(model, {}) if source is not None else None
    return setting_of(model, config, images=images, labels=labels, layers=layers, seed=seed)


def _after(
    entry: MeasureEntry, setting: Setting, transform: Callable[[nn.Module, Tensor], nn.Module]
) -> Observation:
    """What a change of the user's own does."""
    name = getattr(transform, "__name__", type(transform).__name__)
    network = transform(copy.deepcopy(setting.network), setting.images[:1])
    other = dataclasses.replace(setting, network=network)
    view, after = setting.view(), other.view()
    apart = float(np.abs(view.logits() - after.logits()).max())
    largest = float(np.abs(view.logits()).max())
    if not apart <= TOLERANCE * largest:
        raise ConfigError(
            f"the change {name!r} moves the outputs of the network, by {apart:.3g} where the "
            f"largest is {largest:.3g}; a measure may follow them"
        )
    return compared(entry, name, values_of(entry, view), values_of(entry, after))


def _on_reference(entry: MeasureEntry, transform: str, seed: int) -> Observation:
    """What a change does on the reference network on which it is a real one.

    A change that is declared to move the measure need not do so each time: an order of the images
    may leave the few that count where they are. Some others are then drawn, on more images too.
    """
    said = declared(entry, transform, chain=True)
    draws = [(seed, N_IMAGES)]
    if said == "moves":
        draws += [(seed + k, N_IMAGES - 1) for k in range(1, 1 + MORE_DRAWS)]
        draws += [(seed + k, 3 * N_IMAGES) for k in range(1, 1 + MORE_DRAWS)]
    for drawn, n_images in draws:
        try:
            before, after = _reference_views(transform, drawn, n_images)
        except UnavailableError as error:
            return without_numbers(entry, transform, said, "not tried", str(error))
        values = attempted(entry, before)
        found = compared(entry, transform, values, attempted(entry, after), chain=True)
        if found.outcome != "same" or said != "moves":
            break
    return found


@functools.lru_cache(maxsize=256)
def _reference_views(transform: str, seed: int, n_images: int) -> tuple[TrainView, TrainView]:
    """A reference network before and after a change; remembered, with what views remember."""
    base, view = _reference(transform in ("node-wise", "layer-uniform"), n_images)
    return view, changed(base, transform, seed).view()


@functools.cache
def _reference(chain: bool, n_images: int) -> tuple[Setting, TrainView]:
    """A reference network as it comes."""
    network = None if chain else ReferenceResidual()
    setting = reference_setting(network, n_images).to(torch.float64)
    return setting, setting.view()


def _registered(name: str) -> MeasureEntry:
    """An installed measure."""
    from audit.plugin.registry import installed

    return installed().named_measures([name])[0]
