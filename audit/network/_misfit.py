"""What does not fit where weights and a network differ, and the argument that would make them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from audit.network.weights import listed

if TYPE_CHECKING:
    import torch

_POSITIONS: Final = ("pos_embed", "pos_embedding", "position_embedding", "positional_embedding")
_TABLE: Final = "relative_position_bias_table"
#: Tokens before the patches: none, class, class and distillation, class and four registers, …
_PREFIX_TOKENS: Final = (0, 1, 2, 5, 8, 9)


def misfit(
    path: Path,
    model: str,
    given: Mapping[str, torch.Tensor],
    wanted: Mapping[str, torch.Tensor],
    problems: tuple[Sequence[str], Sequence[str], Sequence[str]],
    extra: str = "",
) -> str:
    """What does not fit, the first ten of each kind, and what to do.

    Args:
        path: The weights file.
        model: Name of the network's class.
        given: The weights in the file.
        wanted: Those of the network.
        problems: Names that are missing, unexpected, of another shape.
        extra: What else is known, in words.
    """
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
    if extra:
        parts.append(extra)
    hints = [_hint(name, given[name].shape, wanted) for name in wrong]
    advice = dict.fromkeys(hint for hint in hints if hint)
    parts.append("set " + " and ".join(advice) if advice else "check model and model_args")
    return "; ".join(parts)


def _hint(name: str, found: torch.Size, wanted: Mapping[str, torch.Tensor]) -> str:
    """The argument that would make a shape fit, if it can be told."""
    expected = wanted[name].shape
    last = name.rpartition(".")[2]
    if name.endswith(_TABLE):
        return _of_table(found, wanted)
    if last in _POSITIONS or any(part in _POSITIONS for part in name.split(".")):
        return _of_positions(found, expected, wanted)
    if len(found) != len(expected):
        return ""
    different = [i for i, (a, b) in enumerate(zip(found, expected, strict=True)) if a != b]
    if different == [0] and len(found) <= 2:
        return f"model_args.num_classes = {found[0]}"
    if different == [1] and len(found) == 4 and {found[1], expected[1]} <= {1, 3, 4}:
        return f"model_args.in_chans = {found[1]}"
    return ""


def _of_positions(
    found: torch.Size, expected: torch.Size, wanted: Mapping[str, torch.Tensor]
) -> str:
    """The image size whose patches a position embedding has, where both grids are square."""
    patch = _patch_size(wanted)
    if len(found) != len(expected) or len(found) not in (2, 3, 4) or not patch:
        return ""
    if len(found) == 4:
        different = [i for i, (a, b) in enumerate(zip(found, expected, strict=True)) if a != b]
        sides = [found[i] for i in different]
        return _image_size(sides[0] * patch) if sides and len(set(sides)) == 1 else ""
    count, known = found[-2], expected[-2]
    if found[-1] != expected[-1] or count == known:
        return ""
    for prefix in _PREFIX_TOKENS:
        side = _root(count - prefix)
        if side and _root(known - prefix):
            return _image_size(side * patch)
    return ""


def _of_table(found: torch.Size, wanted: Mapping[str, torch.Tensor]) -> str:
    """The window of a table of relative positions, (2w − 1)² × heads, or the whole grid's."""
    if len(found) != 2:
        return ""
    side = _root(found[0])
    if side and side % 2:
        return f"model_args.window_size = {(side + 1) // 2}"
    side, patch = _root(found[0] - 3), _patch_size(wanted)  # BEiT: three more for the class token
    return _image_size((side + 1) // 2 * patch) if side and side % 2 and patch else ""


def _image_size(pixels: int) -> str:
    return f"model_args.img_size = {pixels}"


def _patch_size(wanted: Mapping[str, torch.Tensor]) -> int:
    """The side of the patches that a network embeds, where its names tell; else 0."""
    for name, tensor in wanted.items():
        if name.endswith("weight") and tensor.ndim == 4 and "patch_embed" in name:
            height, width = tensor.shape[2:]
            return int(height) if height == width else 0
    return 0


def _root(number: int) -> int:
    """The square root of a positive square number; 0 for others."""
    side = math.isqrt(max(number, 0))
    return side if side * side == number else 0


def _shape(tensor: torch.Tensor) -> str:
    """Such as "16 × 512"; "a single number" without dimensions."""
    return " × ".join(map(str, tensor.shape)) or "a single number"
