"""Create networks with timm."""

from __future__ import annotations

import hashlib
import importlib.metadata
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from audit.errors import CheckpointError, ConfigError, unknown_name
from audit.files import plain_bytes

if TYPE_CHECKING:
    import torch

HUB_PREFIXES = ("hf-hub:", "hf_hub:")
FOLDER_PREFIX = "local-dir:"
#: Arguments that hold a configuration of timm's, which may name a weights file.
CONFIGURATIONS = ("pretrained_cfg", "pretrained_cfg_overlay")
#: What every configuration of timm's holds, and others hardly.
_OF_TIMM = {"input_size", "mean", "std", "first_conv", "classifier"}
_COMMIT = re.compile(r"[^@]+/[^@]+@[0-9a-f]{40}")


def version() -> str:
    """Of the installed timm, read without importing it."""
    return importlib.metadata.version("timm")


def matches(reference: str) -> bool:
    """Whether timm has the architecture, or the prefix says it is timm's."""
    if reference.startswith((*HUB_PREFIXES, FOLDER_PREFIX)):
        return True
    if ":" in reference or "/" in reference or not reference:
        return False
    import timm

    return bool(timm.is_model(reference))


def names() -> Sequence[str]:
    """Every architecture timm has, without tags."""
    import timm

    found: Sequence[str] = timm.list_models()
    return found


def digest(reference: str) -> str:
    """SHA-256 of a local folder's `config.json`; '' elsewhere: the version or commit settles it."""
    if not reference.startswith(FOLDER_PREFIX):
        return ""
    path = Path(reference.removeprefix(FOLDER_PREFIX)) / "config.json"
    try:
        return hashlib.sha256(plain_bytes(path)).hexdigest()
    except OSError as error:
        raise ConfigError(f"model {reference!r} needs {path}: {error}") from error


def located(reference: str, args: Mapping[str, Any], folder: Path) -> tuple[str, Mapping[str, Any]]:
    """The same with the relative paths in them counted from a folder."""
    if reference.startswith(FOLDER_PREFIX):
        reference = FOLDER_PREFIX + _absolute(reference.removeprefix(FOLDER_PREFIX), folder)
    moved = dict(args)
    for name in CONFIGURATIONS:
        given = args.get(name)
        if isinstance(given, Mapping) and isinstance(given.get("file"), str) and given["file"]:
            moved[name] = {**given, "file": _absolute(given["file"], folder)}
    return reference, moved


def _absolute(text: str, folder: Path) -> str:
    """A path counted from a folder."""
    try:
        return str((folder / Path(text).expanduser()).absolute())
    except RuntimeError as error:  # "~name" of nobody
        raise ConfigError(f"path {text!r} names a home folder that does not exist") from error


def create(reference: str, args: Mapping[str, Any], pretrained: bool) -> torch.nn.Module:
    """Build a network on the CPU.

    Args:
        reference: See the package's docstring.
        args: Passed to `timm.create_model`, such as `num_classes` and `in_chans`.
        pretrained: Must be false: pretrained weights are a file like any other, which
            `audit_timm.fetching` gets.

    Raises:
        ConfigError: An unknown name or tag, a hub model without a commit, arguments the
            architecture does not take, a file given in `checkpoint_path`, or `pretrained`.
        CheckpointError: The configuration of a hub model cannot be had.
    """
    import timm

    check_reference(reference)
    _check_arguments(reference, args, pretrained)
    try:
        module: torch.nn.Module = timm.create_model(reference, pretrained=False, **args)
    except (TypeError, ValueError, AssertionError, KeyError, AttributeError) as error:
        raise ConfigError(
            f"timm cannot build {reference!r} with model_args {dict(args)}: "
            f"{type(error).__name__}: {error}"
        ) from error
    except RuntimeError as error:
        raise ConfigError(f"timm cannot build {reference!r}: {error}") from error
    except Exception as error:
        if not isinstance(error, OSError) and not reference.startswith(HUB_PREFIXES):
            raise  # only the hub's HTTP client has errors that are no OSError
        raise CheckpointError(
            f"model {reference!r} needs its configuration, which could not be loaded: "
            f"{type(error).__name__}: {error}; connect to the network"
        ) from error
    return module


def check_reference(reference: str) -> None:
    """Refuse hub models without a commit, unknown tags and folders without a configuration."""
    import timm

    if reference.startswith(HUB_PREFIXES):
        if not _COMMIT.fullmatch(reference.partition(":")[2]):
            raise ConfigError(
                f"hub model {reference!r} must be pinned to a commit, for its files can change: "
                "write hf-hub:organization/model@commit with the 40 digits of the commit"
            )
        return
    if reference.startswith(FOLDER_PREFIX):
        path = Path(reference.removeprefix(FOLDER_PREFIX)) / "config.json"
        if not path.is_file():
            raise ConfigError(f"model {reference!r} needs {path}, which does not exist")
        return
    if not timm.is_model(reference):
        raise unknown_name("model", reference, names(), "`genaudit models` lists them")
    architecture, _, tag = reference.partition(".")
    tagged = timm.list_models(architecture, include_tags=True)
    if tag and reference not in tagged:
        known = ", ".join(tagged) if tagged != [architecture] else "none"
        raise unknown_name("model", reference, tagged, f"{architecture} has the tags: {known}")


def _check_arguments(reference: str, args: Mapping[str, Any], pretrained: bool) -> None:
    """Refuse weights that would be read past the checks of `audit.network.weights`."""
    if args.get("checkpoint_path"):
        raise ConfigError(
            f"model {reference!r}: model_args.checkpoint_path = {args['checkpoint_path']!r} would "
            "be read unchecked; give the file as `weights` of the checkpoint instead"
        )
    if pretrained or args.get("pretrained"):
        raise ConfigError(
            f"model {reference!r}: pretrained weights are not loaded by timm, past the checks of "
            "weights; write `pretrained = true` in the checkpoint's section, or give a file"
        )


def recognises(module: torch.nn.Module) -> bool:
    """Whether timm built the network: its class is timm's, or it carries timm's configuration.

    The latter holds of networks that were wrapped, as `torch.compile` does.
    """
    if any(cls.__module__.partition(".")[0] == "timm" for cls in type(module).__mro__):
        return True
    found = getattr(module, "pretrained_cfg", None)
    return isinstance(found, Mapping) and found.keys() >= _OF_TIMM
