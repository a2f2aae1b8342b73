"""Put weights into a network: every one of them, or none."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from audit.errors import CheckpointError
from audit.network._misfit import misfit
from audit.network._names import Named, forms, is_averaged, naming_notes, of_training, twins
from audit.network._ties import check_ties, tied_to_given
from audit.network.weights import Weights, listed

if TYPE_CHECKING:
    import torch

#: (network, weights of an older layout) → the weights under the names of today.
Adapt: TypeAlias = (
    "Callable[[torch.nn.Module, Mapping[str, torch.Tensor]], Mapping[str, torch.Tensor]]"
)


def check_finite(state_dict: Mapping[str, torch.Tensor], path: Path) -> None:
    """Refuse weights with NaN or infinite values.

    Raises:
        CheckpointError: The message names the first such tensor and how many values it has.
    """
    import torch

    broken = [name for name, tensor in state_dict.items() if not torch.isfinite(tensor).all()]
    if broken:
        tensor = state_dict[broken[0]]
        n_bad = int((~torch.isfinite(tensor)).sum())
        raise CheckpointError(
            f"checkpoint {path} has weights that are NaN or infinite: {n_bad} of "
            f"{tensor.numel()} in {broken[0]}, {len(broken)} of {len(state_dict)} tensors in all; "
            "the training diverged, leave it out"
        )


def fit_weights(
    module: torch.nn.Module,
    weights: Weights,
    path: Path,
    model: str = "",
    adapt: Adapt | None = None,
) -> tuple[str, ...]:
    """Put weights into a network: every one of them, or none.

    Names are taken without what wrappers and training code put before them, where and only where
    every name then fits; those of losses and metrics, which networks do not have, are left out.
    Where names fit in no such way, the source of the network may translate an older layout. Tied
    parameters that a file has under one of their names are all set. Floating point weights take
    the network's type. Missing batch counters of BatchNorm (`num_batches_tracked`), which play no
    part in evaluation, are left as they are.

    Args:
        module: The network.
        weights: What was read.
        path: Where, for messages.
        model: What the configuration calls the architecture, if the file says it too.
        adapt: Translates older layouts of this network's weights; an unknown one it returns as
            it was given.

    Returns:
        What was chosen, changed or converted, in words.

    Raises:
        CheckpointError: Names are missing, unexpected, of another shape or of a type that cannot
            be converted, or values are not finite. The network is unchanged.
    """
    wanted = {n: t for n, t in module.state_dict().items() if hasattr(t, "shape")}
    fit = _fit(module, weights, wanted, path, model, adapt)
    notes = [*fit.notes, *_other_architecture(weights, model)]
    if fit.counters:
        n_left = len(fit.counters)
        notes.append(f"{n_left} batch counters (num_batches_tracked) are not in the file")
    if fit.tied:
        pairs = [f"{name} (as {other})" for name, other in fit.tied.items()]
        notes.append(f"set {len(pairs)} tied names that are not in the file: {listed(pairs)}")
    notes += _conversions(fit.given, wanted, path)
    check_finite({name: _comparable(tensor) for name, tensor in fit.given.items()}, path)
    check_ties(fit.given, wanted, path)
    module.load_state_dict(fit.given, strict=False)  # all names were compared above
    return tuple(notes)


@dataclasses.dataclass(frozen=True)
class _Fit:
    """How weights lie against a network.

    Attributes:
        given: Name in the network → tensor.
        problems: Names that are missing, unexpected, of another shape.
        counters: Batch counters that are not given.
        tied: Name that is not given → given name with the same numbers.
        notes: What was done to the names.
    """

    given: dict[str, torch.Tensor]
    problems: tuple[list[str], list[str], list[str]]
    counters: tuple[str, ...] = ()
    tied: Mapping[str, str] = dataclasses.field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def fits(self) -> bool:
        """Whether nothing is missing, unexpected or of another shape."""
        return not any(self.problems)


def _fit(
    module: torch.nn.Module,
    weights: Weights,
    wanted: Mapping[str, torch.Tensor],
    path: Path,
    model: str,
    adapt: Adapt | None,
) -> _Fit:
    """The first way in which everything fits.

    Raises:
        CheckpointError: There is none; the message describes the closest.
    """
    every = [(form, _compare(module, form, wanted)) for form in forms(weights, wanted)]
    averaged = [pair for pair in every if is_averaged(pair[0].stripped)]
    raw = [pair for pair in every if not is_averaged(pair[0].stripped)]
    candidates = averaged if averaged and weights.which == "ema" else raw
    for form, fit in candidates:
        if fit.fits:
            return _accepted(form, fit, weights, path)
    if adapt is not None:
        for form, fit in candidates:
            translated = None if form.left else _translated(module, form, fit, adapt, wanted, path)
            if translated is not None:
                notes = (*naming_notes(form, weights), "translated an older layout of names")
                return dataclasses.replace(translated, notes=notes)
    form, fit = max(candidates, key=lambda pair: _closeness(pair, weights))
    extra = ""
    if _differ(weights.architecture, model):
        extra = f"the file says that it holds {weights.architecture!r}"
    raise CheckpointError(
        misfit(path, type(module).__name__, form.tensors, wanted, fit.problems, extra)
    )


def _translated(
    module: torch.nn.Module,
    form: Named,
    fit: _Fit,
    adapt: Adapt,
    wanted: Mapping[str, torch.Tensor],
    path: Path,
) -> _Fit | None:
    """How the weights lie after the network's source has translated their layout; None: badly."""
    try:
        tensors = dict(adapt(module, dict(form.tensors)))
    except CheckpointError as error:
        if not fit.problems[0] and not fit.problems[1]:
            return None  # what is said of the shapes says it better
        raise CheckpointError(f"checkpoint {path}: {error}") from error
    found = _compare(module, Named(tensors), wanted)
    return found if found.fits and not _is_from(module, tensors) else None


def _closeness(pair: tuple[Named, _Fit], weights: Weights) -> tuple[int, int, bool]:
    """How many names fit, then shapes, then whether the names are as the file has them."""
    form, fit = pair
    return (len(fit.given), -len(fit.problems[2]), form.stripped == weights.prefix)


def _compare(module: torch.nn.Module, form: Named, wanted: Mapping[str, torch.Tensor]) -> _Fit:
    """How weights under these names lie against a network."""
    given = form.tensors
    counters = [n for n in wanted if n.endswith("num_batches_tracked") and n not in given]
    absent = [name for name in wanted if name not in given and name not in counters]
    tied = tied_to_given(absent, given, wanted) if absent else {}
    missing = [name for name in absent if name not in tied]
    extra = [name for name in given if name not in wanted]
    computed = _computed(module, given, extra) if extra else []
    training = [n for n in extra if n not in computed] if not missing else []
    training = training if of_training(training) else []
    unexpected = [name for name in extra if name not in computed and name not in training]
    shared = {name: tensor for name, tensor in given.items() if name in wanted}
    wrong = [name for name, tensor in shared.items() if tensor.shape != wanted[name].shape]
    notes = []
    if computed:
        notes.append(f"left out {len(computed)} buffers that the network computes itself")
    if training:
        notes.append(f"left out {len(training)} entries of losses or metrics: {listed(training)}")
    return _Fit(shared, (missing, unexpected, wrong), tuple(counters), tied, tuple(notes))


def _computed(
    module: torch.nn.Module, given: Mapping[str, torch.Tensor], names: list[str]
) -> list[str]:
    """Names of buffers that the network leaves out of its state dict, with the same numbers."""
    import torch

    buffers = dict(module.named_buffers())
    return [name for name in names if name in buffers and torch.equal(buffers[name], given[name])]


def _is_from(module: torch.nn.Module, tensors: Mapping[str, torch.Tensor]) -> bool:
    """Whether any of these is the network's own, and so as it was before."""
    own = {tensor.data_ptr() for tensor in module.state_dict().values()} - {0}
    return any(tensor.data_ptr() in own for tensor in tensors.values())


def _accepted(form: Named, fit: _Fit, weights: Weights, path: Path) -> _Fit:
    """A fit with its notes.

    Raises:
        CheckpointError: Something is left over that may be the network's.
    """
    others = [name for name in form.left if name not in twins(form)]
    if len(others) < len(form.left) and weights.which == "auto":
        raise CheckpointError(
            f"checkpoint {path} holds the network twice: under {form.stripped!r}, and "
            f"{len(form.left)} names beside it: {listed(form.left)}; set which = "
            '"ema" for averaged weights or which = "raw" for those of the last step'
        )
    if not of_training(others):
        raise CheckpointError(
            f"checkpoint {path} holds every weight of the network under {form.stripped!r}, and "
            f"{len(others)} names beside it that may be a part of it: {listed(others)}; save the "
            "network alone, or give the whole that was trained as model = "
            '"package.module:function"'
        )
    return dataclasses.replace(fit, notes=(*naming_notes(form, weights), *fit.notes))


def _differ(said: str, model: str) -> bool:
    """Whether a file says that it holds another architecture, whatever the tag of its weights."""
    plain = model.rpartition("/")[2].partition("@")[0].partition(".")[0]
    known = said.rpartition("/")[2].partition("@")[0].partition(".")[0]
    return bool(said and model) and plain.lower() != known.lower() and ":" not in model


def _other_architecture(weights: Weights, model: str) -> list[str]:
    """A note where the file names another architecture than the configuration."""
    if not _differ(weights.architecture, model):
        return []
    return [f"the file says that it holds {weights.architecture!r}; its weights fit {model!r}"]


def _conversions(
    given: Mapping[str, torch.Tensor], wanted: Mapping[str, torch.Tensor], path: Path
) -> list[str]:
    """What is converted to the network's types.

    Raises:
        CheckpointError: A type cannot be converted.
    """
    converted: dict[str, int] = {}
    for name, tensor in given.items():
        found, target = tensor.dtype, wanted[name].dtype
        if found == target:
            continue
        if found.is_complex or found.is_floating_point != target.is_floating_point:
            needed = "floating point" if target.is_floating_point else "whole"
            raise CheckpointError(
                f"checkpoint {path}: {name} is {found}, which cannot be converted to {target}; "
                f"save it as {needed} numbers"
            )
        key = f"{found} to {target}".replace("torch.", "")
        converted[key] = converted.get(key, 0) + 1
    return [f"converted {count} tensors from {key}" for key, count in converted.items()]


def _comparable(tensor: torch.Tensor) -> torch.Tensor:
    """A tensor of a type that can be tested for NaN: 8-bit floats cannot."""
    return tensor.float() if tensor.is_floating_point() and tensor.element_size() < 2 else tensor
