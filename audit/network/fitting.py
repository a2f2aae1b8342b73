"""Put weights into a network: every one of them, or none."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from audit.errors import CheckpointError
from audit.network.weights import WRAPPERS, Weights, listed

if TYPE_CHECKING:
    import torch


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


def fit_weights(module: torch.nn.Module, weights: Weights, path: Path) -> tuple[str, ...]:
    """Put weights into a network: every one of them, or none.

    Floating point weights take the network's type. Missing batch counters of BatchNorm
    (`num_batches_tracked`), which play no part in evaluation, are left as they are.

    Returns:
        What was converted, in words.

    Raises:
        CheckpointError: Names are missing, unexpected, of another shape or of a type that cannot
            be converted, or values are not finite. The network is unchanged.
    """
    wanted = module.state_dict()
    given = _restore_prefix(weights, wanted)
    counters = [name for name in wanted if name.endswith("num_batches_tracked")]
    missing = [name for name in wanted if name not in given and name not in counters]
    unexpected = [name for name in given if name not in wanted]
    shared = [name for name in given if name in wanted]
    wrong = [name for name in shared if given[name].shape != wanted[name].shape]
    if missing or unexpected or wrong:
        raise CheckpointError(
            _misfit(path, type(module).__name__, given, wanted, (missing, unexpected, wrong))
        )
    notes: list[str] = []
    left = [name for name in counters if name not in given]
    if left:
        notes.append(f"{len(left)} batch counters (num_batches_tracked) are not in the file")
    converted: dict[str, int] = {}
    for name in shared:
        found, target = given[name].dtype, wanted[name].dtype
        if found == target:
            continue
        if found.is_complex or found.is_floating_point != target.is_floating_point:
            raise CheckpointError(
                f"checkpoint {path}: {name} is {found}, which cannot be converted to {target}; "
                "save the weights as floating point numbers"
            )
        key = f"{found} to {target}".replace("torch.", "")
        converted[key] = converted.get(key, 0) + 1
    check_finite({name: _comparable(tensor) for name, tensor in given.items()}, path)
    module.load_state_dict(given, strict=not left)
    notes += [f"converted {count} tensors from {key}" for key, count in converted.items()]
    return tuple(notes)


def _comparable(tensor: torch.Tensor) -> torch.Tensor:
    """A tensor of a type that can be tested for NaN: 8-bit floats cannot."""
    return tensor.float() if tensor.is_floating_point() and tensor.element_size() < 2 else tensor


def _restore_prefix(
    weights: Weights, wanted: Mapping[str, torch.Tensor]
) -> dict[str, torch.Tensor]:
    """The weights under the network's names, where a stripped prefix turns out to be its own."""
    for start in range(len(weights.prefix)):
        own = weights.prefix[start:]
        if own.startswith(WRAPPERS) and wanted and all(name.startswith(own) for name in wanted):
            return {own + name: tensor for name, tensor in weights.state_dict.items()}
    return weights.state_dict


def _misfit(
    path: Path,
    model: str,
    given: Mapping[str, torch.Tensor],
    wanted: Mapping[str, torch.Tensor],
    problems: tuple[list[str], list[str], list[str]],
) -> str:
    """What does not fit, the first ten of each kind, and what to do."""
    missing, unexpected, wrong = problems
    parts = [f"checkpoint {path} does not fit the model {model}"]
    if missing:
        parts.append(f"{len(missing)} names are missing: {listed(missing)}")
    if unexpected:
        parts.append(f"{len(unexpected)} names are unexpected: {listed(unexpected)}")
    shapes = [
        f"{name} is {_shape(given[name])} in the file, {_shape(wanted[name])} in the model"
        for name in wrong
    ]
    if shapes:
        parts.append(f"{len(shapes)} shapes differ: {listed(shapes)}")
    advice = {
        hint: None for name in wrong if (hint := _hint(given[name].shape, wanted[name].shape))
    }
    parts.append("set " + " and ".join(advice) if advice else "check model and model_args")
    return "; ".join(parts)


def _hint(found: torch.Size, expected: torch.Size) -> str:
    """The argument that would make a shape fit, if it can be told."""
    if len(found) != len(expected):
        return ""
    different = [i for i, (a, b) in enumerate(zip(found, expected, strict=True)) if a != b]
    if different == [0] and len(found) <= 2:
        return f"model_args.num_classes = {found[0]}"
    if different == [1] and len(found) == 4 and {found[1], expected[1]} <= {1, 3, 4}:
        return f"model_args.in_chans = {found[1]}"
    return ""


def _shape(tensor: torch.Tensor) -> str:
    """Such as "16 × 512"; "a single number" without dimensions."""
    return " × ".join(map(str, tensor.shape)) or "a single number"
