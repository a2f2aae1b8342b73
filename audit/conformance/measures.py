"""Measures: what they return, whether it repeats, what they leave behind, what changes them."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, TypeVar, get_args

import numpy as np
import torch
from torch import Tensor, nn

from audit.arrays import Features, Logits
from audit.conformance.invariance import check_invariance
from audit.conformance.setting import reference_setting
from audit.conformance.values import same, values_of
from audit.errors import PluginError
from audit.network.plain import modes_of
from audit.plugin import (
    Cost,
    DataConfig,
    Direction,
    GradientReducer,
    Invariance,
    Layer,
    MeasureEntry,
    Reducer,
    TrainView,
    Value,
)
from audit.topology import Filtration, LayerBirths

R = TypeVar("R", bound=Reducer)

_NAME: Final = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*(\.[a-z0-9]+(_[a-z0-9]+)*)*")
_COSTS: Final = get_args(Cost)


def check_measure(entry: MeasureEntry, view: TrainView | None = None) -> dict[str, Value]:
    """Check all that a measure promises.

    Its description; numbers or reasons, the same on a second call; network, gradients, hooks and
    global random state left as they were; nothing asked of the view that `filtrations` and `cost`
    do not declare; and, on a reference network, the declared invariance.

    Args:
        entry: The measure.
        view: Where to compute it; by default the reference network on noise.

    Returns:
        Its parts on that view.

    Raises:
        PluginError: A promise that is not kept.
    """
    _check_description(entry)
    watched = _WatchedView(view or reference_setting().view())
    before = _state(watched.module)
    first = values_of(entry, watched)
    _check_untouched(entry, before, _state(watched.module))
    _check_asked(entry, watched)
    second = values_of(entry, watched)
    if list(first) != list(second):
        raise PluginError(
            f"measure {entry.name!r} must give the same parts every time; it gave "
            f"{list(first)}, then {list(second)}"
        )
    _check_parts(entry, first)
    for part, value in first.items():
        if not same(value, second[part], rtol=0):
            raise PluginError(
                f"measure {entry.name!r} must give the same number every time (take randomness "
                f"from view.generator); part {part!r} was {value}, then {second[part]}"
            )
    check_invariance(entry)
    return first


def _check_description(entry: MeasureEntry) -> None:
    """Name, version, summary and declared words."""
    problems = {
        "name must be lower-case words joined by '_', variants by '.'": _NAME.fullmatch(entry.name),
        "version must be a word": entry.version and not re.search(r"\s", entry.version),
        "summary must be one line": entry.summary and "\n" not in entry.summary,
        f"direction must be one of {get_args(Direction)}": entry.direction in get_args(Direction),
        f"invariance must be one of {get_args(Invariance)}": entry.invariance
        in get_args(Invariance),
        f"cost must be one of {_COSTS}": entry.cost in _COSTS,
        f"filtrations must be of {get_args(Filtration)}": isinstance(entry.filtrations, tuple)
        and set(entry.filtrations) <= set(get_args(Filtration)),
    }
    for requirement, met in problems.items():
        if not met:
            raise PluginError(f"measure {entry.name!r}: {requirement}; the entry is {entry}")


class _WatchedView(TrainView):
    """A view that notes what is asked of it."""

    def __init__(self, view: TrainView) -> None:
        self.checkpoint, self.seed = view.checkpoint, view.seed
        self.class_names, self.labels = view.class_names, view.labels
        self.weights_digest = view.weights_digest
        self.asked: set[str] = set()
        self.reducers: set[type[Reducer]] = set()
        self._view = view

    @property
    def module(self) -> nn.Module:
        return self._view.module

    @property
    def data_config(self) -> DataConfig:
        return self._view.data_config

    @property
    def layers(self) -> tuple[Layer, ...]:
        return self._view.layers

    def batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        self.asked.add("batches")
        return self._view.batches()

    def scores(self, images: Tensor, module: nn.Module | None = None) -> Tensor:
        self.asked.add("scores")
        return self._view.scores(images, module)

    def maps(
        self, images: Tensor, module: nn.Module, consume: Callable[[Layer, Tensor], None]
    ) -> None:
        self.asked.add("maps")
        self._view.maps(images, module, consume)

    def logits(self) -> Logits:
        self.asked.add("logits")
        return self._view.logits()

    def features(self) -> Features:
        self.asked.add("features")
        return self._view.features()

    def births(self, filtration: Filtration) -> Sequence[LayerBirths]:
        self.asked.add(filtration)
        return self._view.births(filtration)

    def reduced(self, reducer: type[R]) -> R:
        self.reducers.add(reducer)
        self.asked.add("gradients" if issubclass(reducer, GradientReducer) else "reduced")
        return self._view.reduced(reducer)

    def initial_weights(self) -> Mapping[str, Tensor]:
        return self._view.initial_weights()


def _check_parts(entry: MeasureEntry, parts: Mapping[str, Value]) -> None:
    """Every part must be declared, with a direction of its own."""
    undeclared = [part for part in parts if entry.part(part) is None]
    if undeclared:
        raise PluginError(
            f"measure {entry.name!r} gives the parts {undeclared}; `parts` must declare them, and "
            f"declares {[part.name for part in entry.parts]}"
        )


def _check_asked(entry: MeasureEntry, view: _WatchedView) -> None:
    """Hold what was asked of the view against what was declared."""
    births = view.asked & set(get_args(Filtration))
    undeclared = births - set(entry.filtrations)
    if undeclared:
        raise PluginError(
            f"measure {entry.name!r} asks for births under {sorted(undeclared)}; its filtrations "
            f"must say so, and are {entry.filtrations}"
        )
    undeclared_reducers = [kind.__name__ for kind in view.reducers - set(entry.reducers)]
    if undeclared_reducers:
        raise PluginError(
            f"measure {entry.name!r} asks for what {sorted(undeclared_reducers)} keep; its "
            "`reducers` must name them, so that they ride on the shared passes"
        )
    if "features" in view.asked and not entry.features:
        raise PluginError(
            f"measure {entry.name!r} asks for features; it must declare `features=True`, so that "
            "they are taken along on the shared pass"
        )
    least: Cost = "topology" if births else "forward" if view.asked else "weights"
    if "gradients" in view.asked:
        least = "backward"
    if _COSTS.index(entry.cost) < _COSTS.index(least):
        raise PluginError(
            f"measure {entry.name!r} declares cost {entry.cost!r}, but asks the view for "
            f"{sorted(view.asked)}, which costs {least!r}"
        )


def _state(module: nn.Module) -> dict[str, Any]:
    """All that a measure must leave as it is, by name."""
    tensors = [*module.named_parameters(), *module.named_buffers()]
    state: dict[str, Any] = {f"tensor {name}": tensor.detach().clone() for name, tensor in tensors}
    state |= modes_of(module)
    for name, parameter in module.named_parameters():
        state[f"gradient of {name}"] = parameter.grad is not None
    state["global random state of torch"] = torch.get_rng_state()
    state["global random state of numpy"] = str(np.random.get_state(legacy=False))
    state["global random state of random"] = random.getstate()
    state["gradient mode"] = torch.is_grad_enabled()
    state["default dtype"] = torch.get_default_dtype()
    state["number of threads"] = torch.get_num_threads()
    return state


def _check_untouched(
    entry: MeasureEntry, before: Mapping[str, Any], after: Mapping[str, Any]
) -> None:
    """Name the first thing that is not as it was."""
    for name in {**before, **after}:
        old, new = before.get(name), after.get(name)
        if isinstance(old, Tensor) and isinstance(new, Tensor):
            same = old.shape == new.shape and old.dtype == new.dtype
            same = same and bool(((old == new) | ((old != old) & (new != new))).all())
        else:
            same = type(old) is type(new) and old == new
        if not same:
            raise PluginError(
                f"measure {entry.name!r} must leave the network and the process as they were; it "
                f"changed the {name} (work on a copy, and take randomness from view.generator)"
            )
