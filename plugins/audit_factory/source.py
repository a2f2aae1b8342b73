"""Import a function that builds a network, and call it."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import inspect
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from audit.errors import CheckpointError, ConfigError, unknown_name
from audit.plugin import DataConfig

if TYPE_CHECKING:
    import torch

_NAME = r"[^\W\d]\w*(?:\.[^\W\d]\w*)*"
_REFERENCE = re.compile(f"({_NAME}):({_NAME})")
_NEEDED = {"input_size", "mean", "std"}
_KNOWN = _NEEDED | {"interpolation", "crop_pct"}
_OTHER_SOURCES = ("hf_hub:", "hf-hub:", "local-dir:")


def matches(reference: str) -> bool:
    """Whether the reference reads `package.module:callable`."""
    return bool(_REFERENCE.fullmatch(reference)) and not reference.startswith(_OTHER_SOURCES)


def digest(reference: str) -> str:
    """SHA-256 of the module's source file, as hexadecimal digits.

    Raises:
        ConfigError: There is no such module, or it has no file.
    """
    module_name = reference.partition(":")[0]
    with _current_folder_first():
        try:
            spec = importlib.util.find_spec(module_name)
        except (ImportError, ValueError) as error:
            raise _no_module(reference, module_name, error) from error
    if spec is None:
        raise _no_module(reference, module_name, None)
    if spec.origin is None or not Path(spec.origin).is_file():
        raise ConfigError(f"model {reference!r}: module {module_name!r} has no source file")
    return hashlib.sha256(Path(spec.origin).read_bytes()).hexdigest()


def create(reference: str, args: Mapping[str, Any], pretrained: bool) -> torch.nn.Module:
    """Call the function.

    Args:
        reference: `package.module:callable`.
        args: Passed as keyword arguments.
        pretrained: Passed as `pretrained=True` where the function has such a parameter.

    Raises:
        ConfigError: The module or function does not exist, does not take the arguments, or
            returns something else than a network.
        CheckpointError: Pretrained weights are wanted and the function has no such parameter.
    """
    import torch

    function = _find(reference)
    try:
        parameters = inspect.signature(function).parameters
        inspect.signature(function).bind_partial(**args)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"model {reference!r} with model_args {dict(args)}: {error}") from error
    extra: dict[str, Any] = {}
    if pretrained:
        if "pretrained" not in parameters:
            raise CheckpointError(
                f"model {reference!r} has no pretrained weights: the function has no parameter "
                "'pretrained'; give a file in weights"
            )
        extra = {"pretrained": True}
    module = function(**args, **extra)
    if not isinstance(module, torch.nn.Module):
        raise ConfigError(
            f"model {reference!r} must return a torch.nn.Module; "
            f"it returned a {type(module).__name__}"
        )
    return module


def _find(reference: str) -> Callable[..., Any]:
    """The function itself."""
    module_name, _, path = reference.partition(":")
    with _current_folder_first():
        try:
            found: Any = importlib.import_module(module_name)
        except ImportError as error:
            raise _no_module(reference, module_name, error) from error
    for name in path.split("."):
        if not hasattr(found, name):
            known = [f"{module_name}:{other}" for other in dir(found)]
            raise unknown_name("model", reference, known, f"{module_name!r} has no {path!r}")
        found = getattr(found, name)
    if not callable(found):
        raise ConfigError(f"model {reference!r} must be a function; it is a {type(found).__name__}")
    function: Callable[..., Any] = found
    return function


def _no_module(reference: str, module_name: str, error: Exception | None) -> ConfigError:
    """The module cannot be imported."""
    reason = f": {error}" if error else ""
    return ConfigError(
        f"model {reference!r}: module {module_name!r} cannot be imported from {Path.cwd()} or "
        f"Python's path{reason}"
    )


@contextmanager
def _current_folder_first() -> Iterator[None]:
    """Look for modules in the current folder first."""
    here = str(Path.cwd())
    sys.path.insert(0, here)
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.path.remove(here)


def recognises(module: torch.nn.Module) -> bool:
    """Whether the network says how its images are prepared, and says nothing else there.

    A configuration with further members is that of a library, whose own source knows it better.
    """
    return _NEEDED <= _described(module).keys() <= _KNOWN


def _described(module: torch.nn.Module) -> Mapping[str, Any]:
    """The network's `pretrained_cfg` or `default_cfg`; empty if it has neither."""
    found = getattr(module, "pretrained_cfg", None) or getattr(module, "default_cfg", None)
    return found if isinstance(found, Mapping) else {}


def data_config(module: torch.nn.Module, args: Mapping[str, Any]) -> DataConfig:
    """How images are prepared, from the network's `pretrained_cfg` or `default_cfg`.

    Raises:
        ConfigError: It has neither; the message says what to set instead.
    """
    found = _described(module)
    if not found.keys() >= _NEEDED:
        raise ConfigError(
            f"{type(module).__name__} does not say how its images are prepared: set "
            "[dataset].transform, such as "
            "{ input_size = [3, 224, 224], mean = [0.5], std = [0.5] }"
        )
    channels, height, width = found["input_size"]
    return DataConfig(
        input_size=(int(channels), int(height), int(width)),
        mean=tuple(float(number) for number in found["mean"]),
        std=tuple(float(number) for number in found["std"]),
        interpolation=str(found.get("interpolation", "bicubic")),
        crop_pct=float(found.get("crop_pct", 1.0)),
    )
