"""The file that holds a network's pretrained weights, fetched where it is not there yet.

timm's own loader is never used: it may leave out a head of another size and leave random numbers
in its place. The file is read as any weights are, and fits as a whole or not at all.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlparse

from audit.errors import CheckpointError, ConfigError
from audit.files import plain_bytes
from audit.notations import json_of
from audit_timm.pretrained import SAFE_NAMES, SOURCE_KEYS, chosen
from audit_timm.source import CONFIGURATIONS, FOLDER_PREFIX, HUB_PREFIXES, check_reference

_HUB_WEIGHTS: Final = "pytorch_model.bin"
#: The start of a file's SHA-256, which timm and torchvision put into its name.
_HASH: Final = re.compile(r"-([a-f0-9]{8,})\.")


def weights_file(reference: str, args: Mapping[str, Any]) -> Path | None:
    """The local file with the pretrained weights that a reference means.

    * `local-dir:path`: the file in the folder that timm would choose; an index of shards, which
      timm passes over, where nothing else is there;
    * `hf-hub:…@commit`: that which its configuration names, from the hub or its cache;
    * an architecture: the `file` of the `pretrained_cfg` or `pretrained_cfg_overlay` in `args`,
      else its weights on the hub or at their address.

    Args:
        reference: See the package's docstring.
        args: The checkpoint's `model_args`; `cache_dir` says where the cache of the hub lies.

    Raises:
        ConfigError: An unknown name, a hub model without a commit, or arguments that lead to other
            weights than the reference.
        CheckpointError: There are no such weights, or they cannot be fetched.
    """
    check_reference(reference)
    if not reference.startswith((FOLDER_PREFIX, *HUB_PREFIXES)):
        return _of_architecture(reference, args)
    for name in CONFIGURATIONS:
        given = args.get(name) or {}
        if not isinstance(given, Mapping) or any(key in given for key in SOURCE_KEYS):
            raise ConfigError(
                f"model {reference!r}: model_args.{name} leads to other weights than the "
                "reference does; give the file as `weights` of the checkpoint instead"
            )
    place = reference.partition(":")[2]
    if reference.startswith(FOLDER_PREFIX):
        found = chosen(Path(place))
        if found is None:
            raise CheckpointError(
                f"model {reference!r} has no file with weights in its folder; put "
                "model.safetensors beside config.json, or give a file in weights"
            )
        return found
    return _of_repository(reference, place, args.get("cache_dir"))


def _of_repository(reference: str, place: str, cache: Any) -> Path:
    """The weights of a model on the hub, as its configuration names them."""
    config = _fetched(reference, place, "config.json", cache)
    try:
        content = json_of(plain_bytes(config)) if config is not None else {}
        about = content.get("pretrained_cfg", content)
        name = about.get("hf_hub_filename")
    except (OSError, ValueError, AttributeError) as error:
        raise CheckpointError(
            f"model {reference!r} has a config.json that cannot be read: {error}"
        ) from error
    return _weights_of(reference, place, name, cache)


def _of_architecture(reference: str, args: Mapping[str, Any]) -> Path:
    """The weights of a registered architecture, as its `pretrained_cfg` names them."""
    from timm.models import resolve_pretrained_cfg

    name, _, tag = reference.partition(".")
    given = args.get("pretrained_cfg") or tag or None
    try:
        about = resolve_pretrained_cfg(name, given, args.get("pretrained_cfg_overlay")).to_dict()  # type: ignore[no-untyped-call]
    except (TypeError, ValueError, RuntimeError, AttributeError) as error:
        raise ConfigError(f"timm has no configuration for {reference!r}: {error}") from error
    if about.get("source") or about.get("state_dict"):
        raise ConfigError(
            f"model {reference!r}: model_args leads to weights by source or state_dict; give the "
            "file as `weights` of the checkpoint instead"
        )
    if about.get("file"):
        return Path(about["file"])
    if about.get("hf_hub_id"):
        place, name = about["hf_hub_id"], about.get("hf_hub_filename")
        return _weights_of(reference, place, name, args.get("cache_dir"))
    if about.get("url"):
        return _downloaded(reference, str(about["url"]))
    raise CheckpointError(
        f"model {reference!r} has no pretrained weights in timm; give a file in weights"
    )


def _weights_of(reference: str, place: str, filename: Any, cache: Any) -> Path:
    """The weights in a repository, safetensors where it has them, as timm chooses."""
    name = str(filename or _HUB_WEIGHTS)
    safe = SAFE_NAMES.get(name, name.removesuffix(".bin") + ".safetensors")
    for candidate in (safe, name) if name.endswith(".bin") else (name,):
        found = _fetched(reference, place, candidate, cache)
        if found is not None:
            return found
    raise CheckpointError(f"model {reference!r} has no {name} on the hub; give a file in weights")


def _fetched(reference: str, place: str, filename: str, cache: Any) -> Path | None:
    """A file from the hub, or its cache where the hub cannot be reached; None: there is none."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    repository, _, revision = place.partition("@")
    try:
        return Path(
            hf_hub_download(repository, filename, revision=revision or None, cache_dir=cache)
        )
    except LocalEntryNotFoundError as error:
        raise _unreachable(reference, error) from error
    except EntryNotFoundError:
        return None
    except Exception as error:  # also what its HTTP client raises, which is no OSError
        raise _unreachable(reference, error) from error


def _downloaded(reference: str, url: str) -> Path:
    """A file from an address, kept where torch keeps such files."""
    import torch

    name = Path(urlparse(url).path).name
    path = Path(torch.hub.get_dir()) / "checkpoints" / name
    if not path.is_file():
        said = _HASH.search(name)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(url, str(path), said[1] if said else None, False)
        except Exception as error:
            raise _unreachable(reference, error) from error
    return path


def _unreachable(reference: str, error: Exception) -> CheckpointError:
    """Weights that could not be fetched, and what to do about it."""
    from huggingface_hub.errors import (
        GatedRepoError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    said = f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
    if isinstance(error, GatedRepoError):
        remedy = "accept its terms on the hub, and set HF_TOKEN to a token of yours"
    elif isinstance(error, RepositoryNotFoundError):
        remedy = "check the name; for a private repository set HF_TOKEN to a token that may read it"
    elif isinstance(error, RevisionNotFoundError):
        remedy = "check the commit"
    else:
        remedy = "connect to the network"
    return CheckpointError(
        f"model {reference!r} needs its pretrained weights, which could not be fetched: {said}; "
        f"{remedy}, or give a file in weights"
    )
