"""Import a function that builds a network, and call it."""

from __future__ import annotations

import hashlib
import importlib
import inspect
import json
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from audit.errors import CheckpointError, ConfigError, foreign_code, unknown_name
from audit.plugin import DataConfig
from audit_factory import torchvision_models
from audit_factory.imports import Code, UnreadableError, code_of
from audit_factory.outdated import refuse_outdated

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
    """SHA-256 of the code behind a function, as hexadecimal digits.

    Over the name and content of its module's source file and of every module of the user's that is
    imported on the way, in a function or above it, and the versions of the installed distributions
    that are. Where the files lie does not matter. What is not seen: see `audit_factory.imports`.

    Raises:
        ConfigError: There is no such module, it has no file, or a source file cannot be read.
    """
    code = _code(reference)
    content = json.dumps([sorted(code.files.items()), code.versions])
    return hashlib.sha256(content.encode()).hexdigest()


def _code(reference: str) -> Code:
    """The code behind a function, as it now lies on disk."""
    module_name = reference.partition(":")[0]
    try:
        with _current_folder_last():
            code = code_of(module_name)
    except UnreadableError as error:
        raise ConfigError(
            f"model {reference!r} depends on a file that cannot be used: {error}"
        ) from error
    if code is None:
        raise _no_module(reference, module_name, "no source file of that name was found")
    return code


def create(reference: str, args: Mapping[str, Any], pretrained: bool) -> torch.nn.Module:
    """Call the function.

    The network is built by the code that `digest` saw, or not at all: where a module was imported
    here before and its file has changed since, Python would go on using the old code.

    Args:
        reference: `package.module:callable`.
        args: Passed as keyword arguments.
        pretrained: Passed as `pretrained=True` where the function has such a parameter.

    Raises:
        ConfigError: The module or function does not exist, does not take the arguments, or
            returns something else than a network; or its code has changed since it was imported.
        CheckpointError: Pretrained weights are wanted and the function has no such parameter.
    """
    import torch

    code = _code(reference)
    refuse_outdated(reference, code)
    function = _find(reference, code)
    refuse_outdated(reference, code)
    try:
        parameters = inspect.signature(function).parameters
        inspect.signature(function).bind_partial(**args)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"model {reference!r} with model_args {dict(args)}: {error}") from error
    if torchvision_models.is_builder(function):
        arguments = torchvision_models.arguments(reference, function, args, pretrained)
    else:
        arguments = _arguments(reference, parameters, args, pretrained)
    with _importable(code):  # it may import more
        module = function(**arguments)
    refuse_outdated(reference, code)
    if not isinstance(module, torch.nn.Module):
        raise ConfigError(
            f"model {reference!r} must return a torch.nn.Module; "
            f"it returned a {type(module).__name__}"
        )
    return module


def weights_file(reference: str, args: Mapping[str, Any]) -> Path | None:
    """The file with torchvision's published weights; None for a user's own function.

    A function of the user's that loads weights is code of theirs, which is trusted: what it
    returns is digested, tensor by tensor.

    Raises:
        ConfigError: There is no such function, or what is named is none of torchvision's weights.
        CheckpointError: No weights are named, or they cannot be fetched.
    """
    if not reference.startswith("torchvision.models"):
        return None
    function = _find(reference, _code(reference))
    if not torchvision_models.is_builder(function):
        return None
    return torchvision_models.weights_file(reference, function, args)


def _arguments(
    reference: str, parameters: Mapping[str, Any], args: Mapping[str, Any], pretrained: bool
) -> dict[str, Any]:
    """What a function is called with."""
    if not pretrained:
        return dict(args)
    if "pretrained" not in parameters:
        raise CheckpointError(
            f"model {reference!r} has no pretrained weights: the function has no parameter "
            "'pretrained'; give a file in weights"
        )
    return {**args, "pretrained": True}


def _find(reference: str, code: Code) -> Callable[..., Any]:
    """The function itself."""
    module_name, _, path = reference.partition(":")
    what = f"model {reference!r}: {module_name!r} failed"
    with _importable(code), foreign_code(what, CheckpointError):
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


def _no_module(reference: str, module_name: str, reason: object) -> ConfigError:
    """The module cannot be imported."""
    return ConfigError(
        f"model {reference!r}: module {module_name!r} cannot be imported from {Path.cwd()} or "
        f"Python's path: {reason}"
    )


@contextmanager
def _current_folder_last() -> Iterator[None]:
    """Look for modules in the current folder where Python's path has none; runs nothing."""
    before, sys.path = sys.path, [*sys.path, str(Path.cwd())]
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.path = before


@contextmanager
def _importable(code: Code) -> Iterator[None]:
    """Have modules of some code found in the current folder where Python's path has none.

    No other module is found there: neither one that has the name of a module of Python's or of a
    library's, nor one that a library would use if it were installed.
    """
    finder = _CurrentFolder(str(Path.cwd()), code)
    sys.meta_path.append(finder)
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.meta_path.remove(finder)


class _CurrentFolder:
    """Finds the topmost packages and modules of some code in a folder."""

    def __init__(self, folder: str, code: Code) -> None:
        self._folder = folder
        self._names = {name.partition(".")[0] for name in code.files}

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Where a module lies, as `importlib.abc.MetaPathFinder` asks; None where it is none."""
        if path is not None or name not in self._names:
            return None
        return PathFinder.find_spec(name, [self._folder])


def recognises(module: torch.nn.Module) -> bool:
    """Whether the network says how its images are prepared and no more, or is torchvision's.

    A configuration with further members is that of a library, whose own source knows it better.
    """
    described = _NEEDED <= _described(module).keys() <= _KNOWN
    return described or torchvision_models.is_torchvision(module)


def _described(module: torch.nn.Module) -> Mapping[str, Any]:
    """The network's `pretrained_cfg` or `default_cfg`; empty if it has neither."""
    found = getattr(module, "pretrained_cfg", None) or getattr(module, "default_cfg", None)
    return found if isinstance(found, Mapping) else {}


def data_config(module: torch.nn.Module, args: Mapping[str, Any]) -> DataConfig:
    """How images are prepared, from the network's `pretrained_cfg` or `default_cfg`.

    torchvision's networks have neither: see `audit_factory.torchvision_models`.

    Raises:
        ConfigError: It has neither; the message says what to set instead.
    """
    found = _described(module)
    if not found and torchvision_models.is_torchvision(module):
        return torchvision_models.data_config(module, args)
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
