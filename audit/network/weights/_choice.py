"""The state dict inside what a file holds, and its dense tensors."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

from audit.errors import CheckpointError
from audit.network.weights._limits import MAX_SHARES, over_limit
from audit.network.weights._refusals import not_weights

if TYPE_CHECKING:
    import torch

#: "ema": weights averaged over training; "raw": those of the last step; "auto": as timm takes
#: them, averaged where there are any.
Which: TypeAlias = Literal["auto", "ema", "raw"]

AVERAGED: Final = (
    "state_dict_ema",
    "model_ema",
    "ema_state_dict",
    "model_ema_state_dict",
    "ema_model",
    "params_ema",
    "ema",
)
RAW: Final = (
    "state_dict",
    "model",
    "model_state_dict",
    "model_state",
    "network",
    "net",
    "weights",
    "params",
    "module",
)
#: timm's order: weights averaged over training come first.
CHOICES: Final = (*AVERAGED, *RAW)
#: Before the names of averaged weights that lie beside the others in one state dict.
EMA_PREFIXES: Final = ("model_ema.", "ema_model.", "ema.")
WRAPPERS: Final = ("module.", "_orig_mod.")
#: Lightning's averaging callbacks put the average in "state_dict" and the last step here.
_LIGHTNING_RAW: Final = "current_model_state"
_LIGHTNING_AVERAGING: Final = "averaging_state"


@dataclasses.dataclass(frozen=True)
class Weights:
    """The weights of a file, or of all files of an index.

    Attributes:
        state_dict: Name → dense tensor on the CPU.
        notes: What was chosen or changed on the way, in words.
        format: "safetensors" or "torch".
        prefix: What was stripped from every name, such as "module.".
        architecture: What the file says it holds, as timm's `train.py` writes it, or "".
        which: Which weights were asked for.
    """

    state_dict: dict[str, torch.Tensor]
    notes: tuple[str, ...]
    format: str
    prefix: str = ""
    architecture: str = ""
    which: Which = "auto"


def choose_weights(found: Any, path: Path, which: Which, kind: str, size: int) -> Weights:
    """The weights in what a file holds, unwrapped and with the prefixes of wrappers stripped.

    Args:
        found: What the file holds.
        path: The file, for messages.
        which: Which weights to take of several.
        kind: The file's format.
        size: Its bytes, or those of all shards.

    Raises:
        CheckpointError: There is no state dict, or not the one asked for, or it holds something
            else than dense tensors.
    """
    chosen, notes, averaged = _choose(found, path, which)
    _check_which(chosen, path, which, averaged)
    state_dict = dense_tensors(chosen, path, size, notes)
    state_dict, prefix = _strip(state_dict, notes)
    return Weights(state_dict, tuple(notes), kind, prefix, _architecture(found), which)


def _choose(found: Any, path: Path, which: Which) -> tuple[Mapping[Any, Any], list[str], bool]:
    """The state dict inside nested dictionaries, which was taken, and whether it is averaged."""
    notes: list[str] = []
    averaged = False
    for _ in range(5):
        if not isinstance(found, Mapping):
            break
        if _LIGHTNING_AVERAGING in found and _LIGHTNING_RAW in found:
            renamed = {"state_dict_ema": found["state_dict"], "state_dict": found[_LIGHTNING_RAW]}
            notes.append(f"Lightning averaged: {_LIGHTNING_RAW!r} stands for 'state_dict'")
            found = renamed
        present = [key for key in CHOICES if _holds_tensors(found.get(key))]
        if not present:
            return found, notes, averaged
        key = _preferred(present, which, averaged, path)
        others = [other for other in present if other != key]
        rather = f" rather than {', '.join(map(repr, others))}" if others else ""
        notes.append(
            f"took the weights in {key!r}{' (averaged weights)' if key in AVERAGED else ''}{rather}"
        )
        averaged |= key in AVERAGED
        found = found[key]
    raise CheckpointError(
        f"checkpoint {path} must hold a state dict, or a dictionary with one under "
        f"{', '.join(CHOICES)}; found a {type(found).__name__}"
    )


def _preferred(present: list[str], which: Which, averaged: bool, path: Path) -> str:
    """The key to take, of those that are there."""
    raw = [key for key in present if key in RAW]
    if which != "raw" or averaged:
        return present[0]
    if not raw:
        raise CheckpointError(
            f'checkpoint {path} has no raw weights, which = "raw" asks for; it holds averaged ones '
            f'under {", ".join(present)}: set which = "ema" or leave it out'
        )
    return raw[0]


def _check_which(chosen: Mapping[Any, Any], path: Path, which: Which, averaged: bool) -> None:
    """Refuse weights that are not what was asked for, where that can be told."""
    counted = "n_averaged" in chosen
    if which == "raw" and counted:
        raise CheckpointError(
            f'checkpoint {path} has no raw weights, which = "raw" asks for; its own count '
            "('n_averaged') says that they are averaged: leave `which` out"
        )
    named = any(str(name).startswith(EMA_PREFIXES) for name in chosen)
    if which == "ema" and not (averaged or counted or named):
        raise CheckpointError(
            f'checkpoint {path} has no averaged weights, which = "ema" asks for (looked for '
            f"{', '.join(AVERAGED)} and 'n_averaged'); it holds one set of weights, {len(chosen)} "
            f"names from {next(iter(chosen), 'nothing')!r} on: leave `which` out"
        )


def _holds_tensors(value: Any, depth: int = 5) -> bool:
    """Whether a dictionary holds tensors by name, or another that does under a usual key."""
    import torch

    if not isinstance(value, Mapping) or not depth:
        return False
    if any(isinstance(part, torch.Tensor) for part in value.values()):
        return True
    return any(_holds_tensors(value.get(key), depth - 1) for key in CHOICES)


def _architecture(found: Any) -> str:
    """What a training script wrote of the architecture, beside the weights."""
    if not isinstance(found, Mapping):
        return ""
    args = found.get("args")
    known = args if isinstance(args, Mapping) else getattr(args, "__dict__", {})
    for value in (known.get("model"), known.get("arch"), found.get("arch")):
        if isinstance(value, str):
            return value
    return ""


def dense_tensors(chosen: Any, path: Path, size: int, notes: list[str]) -> dict[str, torch.Tensor]:
    """The dense tensors of a state dict; views that blow up what the file stores are refused."""
    import torch

    if not isinstance(chosen, Mapping):
        raise CheckpointError(
            f"checkpoint {path} must hold tensors by name; found a {type(chosen).__name__}"
        )
    tensors = {str(key): value for key, value in chosen.items() if isinstance(value, torch.Tensor)}
    others = [str(key) for key, value in chosen.items() if not isinstance(value, torch.Tensor)]
    problem = not_weights(chosen, path)
    if problem:
        raise problem
    if not tensors:
        keys = ", ".join(others[:10]) or "nothing"
        raise CheckpointError(f"checkpoint {path} must hold tensors by name; found {keys}")
    if others:
        notes.append(f"left out entries that are not tensors: {', '.join(others[:10])}")
    for name, tensor in tensors.items():
        if tensor.layout != torch.strided or tensor.is_quantized or tensor.device.type != "cpu":
            raise CheckpointError(
                f"checkpoint {path}: {name} must be a dense tensor; it is "
                f"{'quantized' if tensor.is_quantized else tensor.layout} on {tensor.device}"
            )
        n_bytes = _bytes(tensor)
        if n_bytes > tensor.untyped_storage().nbytes():
            raise over_limit(path, f"{name} of {n_bytes} bytes", tensor.untyped_storage().nbytes())
    total = _total_bytes(tensors)
    if total > 4 * size:
        raise over_limit(path, f"tensors of {total} bytes in all", 4 * size)
    return {name: tensor.detach() for name, tensor in tensors.items()}


def _bytes(tensor: torch.Tensor) -> int:
    """What a tensor takes when it is copied."""
    return tensor.numel() * tensor.element_size()


def _total_bytes(tensors: Mapping[str, torch.Tensor]) -> int:
    """Bytes of all tensors; a storage that few names share is counted once.

    Networks share weights among some of their layers; nobody's shares one among hundreds of names.
    """
    views: dict[int, list[int]] = {}
    sizes: dict[int, int] = {}
    for tensor in tensors.values():
        storage = tensor.untyped_storage()
        views.setdefault(storage.data_ptr(), []).append(_bytes(tensor))
        sizes[storage.data_ptr()] = storage.nbytes()
    return sum(
        min(sum(found), sizes[place]) if len(found) <= MAX_SHARES else sum(found)
        for place, found in views.items()
    )


def _strip(
    state_dict: dict[str, torch.Tensor], notes: list[str]
) -> tuple[dict[str, torch.Tensor], str]:
    """Strip the prefixes of DataParallel, compile and averaging wrappers from every name."""
    prefix = ""
    if "n_averaged" in state_dict and len(state_dict) > 1:
        rest = {name: tensor for name, tensor in state_dict.items() if name != "n_averaged"}
        if all(name.startswith("module.") for name in rest):
            notes.append("left out the averaging counter 'n_averaged'")
            state_dict = rest
    while wrapper := next((w for w in WRAPPERS if all(n.startswith(w) for n in state_dict)), ""):
        prefix += wrapper
        state_dict = {name.removeprefix(wrapper): t for name, t in state_dict.items()}
    if prefix:
        notes.append(f"stripped {prefix!r} from every name")
    return state_dict, prefix
