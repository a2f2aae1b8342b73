"""Layouts of weights that timm translates: those of the authors' code, and of older releases."""

from __future__ import annotations

import functools
import importlib
import inspect
import math
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

from audit.errors import CheckpointError

if TYPE_CHECKING:
    import torch

#: What the modules of timm call the functions that translate.
_FILTERS: Final = (
    "checkpoint_filter_fn",
    "checkpoint_filter_fn_classifier",
    "checkpoint_filter_fn_encoder",
    "_filter_fn",
    "_filter_torchvision_pretrained",
)
#: In the names of tensors that timm's functions resample to another image or patch size.
_RESAMPLED: Final = ("pos_embed", "position", "rel_pos", "patch_embed", "attention_bias")
#: What a function may raise that meets a layout it was not written for.
_CONFUSED: Final = (
    KeyError,
    IndexError,
    ValueError,
    TypeError,
    AttributeError,
    RuntimeError,
    AssertionError,
    NotImplementedError,
    ArithmeticError,
)

_Filter = Callable[[dict[str, Any]], Any]


def adapt(
    module: torch.nn.Module, state_dict: Mapping[str, torch.Tensor]
) -> Mapping[str, torch.Tensor]:
    """A state dict under timm's names of today, by the filter functions of the architecture.

    Those functions also resample position embeddings to another image size, which changes
    weights: such a translation is refused.

    A head with an extra first class (`label_offset` in timm's configuration) is read without it.

    Returns:
        The translated state dict, or the given one where no function makes its names fit.

    Raises:
        CheckpointError: The names would fit, but weights would be resampled; the message says
            which image size they are for.
    """
    wanted = module.state_dict().keys()
    state_dict = _without_extra_class(module, state_dict)
    for translate in _filters(module):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of layouts that it was not written for
                found = translate(dict(state_dict))
        except _CONFUSED:
            continue
        if isinstance(found, dict) and _fit(found.keys(), wanted):
            _check_not_resampled(found, state_dict, module)
            return found
    return state_dict


def _without_extra_class(
    module: torch.nn.Module, state_dict: Mapping[str, torch.Tensor]
) -> Mapping[str, torch.Tensor]:
    """The head without the class "background" that some published weights have before others."""
    about = getattr(module, "pretrained_cfg", None)
    offset = about.get("label_offset") if isinstance(about, Mapping) else None
    heads = about.get("classifier") if isinstance(about, Mapping) else None
    if not isinstance(offset, int) or offset <= 0:
        return state_dict
    wanted, cut = module.state_dict(), dict(state_dict)
    for head in (heads,) if isinstance(heads, str) else heads or ():
        for name in (f"{head}.weight", f"{head}.bias"):
            both = name in cut and name in wanted
            if both and cut[name].shape[:1] == (wanted[name].shape[0] + offset,):
                cut[name] = cut[name][offset:]
    return cut


def _fit(found: Any, wanted: Any) -> bool:
    """Whether names are those of the network, batch counters aside."""
    return {name for name in found ^ wanted if not name.endswith("num_batches_tracked")} == set()


def _filters(module: torch.nn.Module) -> Iterator[_Filter]:
    """Every way to call the functions of the modules that define the network."""
    for home in _homes(module):
        for name in _FILTERS:
            function = getattr(home, name, None)
            if callable(function):
                yield from _calls(function, module)


def _homes(module: torch.nn.Module) -> list[Any]:
    """The modules of timm in which the network's class and its architecture are defined."""
    import timm

    names = [cls.__module__ for cls in type(module).__mro__]
    about = getattr(module, "pretrained_cfg", None)
    architecture = about.get("architecture") if isinstance(about, Mapping) else None
    if isinstance(architecture, str) and timm.is_model(architecture):
        names.insert(0, timm.models.model_entrypoint(architecture).__module__)
    ours = dict.fromkeys(name for name in names if name.startswith("timm.models."))
    return [importlib.import_module(name) for name in ours]


def _calls(function: Callable[..., Any], module: torch.nn.Module) -> Iterator[_Filter]:
    """A function as timm calls it: with the network or without, with its options or without."""
    parameters = inspect.signature(function).parameters
    arguments = {"model": module} if "model" in parameters else {}
    yield functools.partial(function, **arguments)
    if "adapt_layer_scale" in parameters:
        yield functools.partial(function, **arguments, adapt_layer_scale=True)


def _check_not_resampled(
    found: Mapping[str, torch.Tensor], given: Mapping[str, torch.Tensor], module: torch.nn.Module
) -> None:
    """Refuse weights that were computed from the given ones by interpolation."""
    counts = {tensor.numel() for tensor in given.values()}
    for name, tensor in found.items():
        if tensor.numel() in counts or not any(word in name for word in _RESAMPLED):
            continue
        size = _trained_size(tensor, given, module)
        raise CheckpointError(
            f"it is of another image or patch size: timm would resample {name} to "
            f"{' × '.join(map(str, tensor.shape))}, which changes weights; set "
            f"model_args.img_size = {size or 'the size it was trained at'}"
        )


def _trained_size(
    resampled: torch.Tensor, given: Mapping[str, torch.Tensor], module: torch.nn.Module
) -> int | None:
    """The image size of the position embedding in a file, where grid and patches are square."""
    patch = getattr(getattr(module, "patch_embed", None), "patch_size", None)
    side = patch[0] if isinstance(patch, tuple) and len(set(patch)) == 1 else patch
    prefix = int(getattr(module, "num_prefix_tokens", 0))
    for name, tensor in given.items():
        if "pos" not in name or tensor.shape[-1:] != resampled.shape[-1:] or tensor.ndim < 2:
            continue
        for n_tokens in (tensor.shape[-2] - prefix, tensor.shape[-2]):
            root = math.isqrt(max(n_tokens, 0))
            if isinstance(side, int) and root and root * root == n_tokens:
                return root * side
    return None
