"""Which files pretrained weights and their configuration lie in, as far as is known offline.

Follows `timm.models._builder.load_pretrained` and `timm.models._hub` of timm 1.0.15 to 1.0.31.
Wherever this cannot tell for certain which those are, it says so. `fetching` gets them.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from audit.files import plain_bytes
from audit.notations import json_of
from audit_timm.source import FOLDER_PREFIX, HUB_PREFIXES

#: Keys of timm's `pretrained_cfg` that say where weights come from.
SOURCE_KEYS: Final = ("source", "state_dict", "file", "url", "hf_hub_id", "hf_hub_filename")
#: Names in a local folder that timm may take for weights.
_WEIGHTS: Final = ("*.safetensors", "*.pth", "*.pth.tar", "*.bin")
#: Names that timm looks for in a local folder before others.
_PREFERRED: Final = (
    "model.safetensors",
    "pytorch_model.bin",
    "pytorch_model.pth",
    "model.pth",
    "open_clip_model.safetensors",
    "open_clip_pytorch_model.safetensors",
    "open_clip_pytorch_model.bin",
    "open_clip_pytorch_model.pth",
)
_HUB_WEIGHTS: Final = "pytorch_model.bin"
#: What timm asks the hub for before a file of this name.
SAFE_NAMES: Final = {
    "pytorch_model.bin": "model.safetensors",
    "open_clip_pytorch_model.bin": "open_clip_model.safetensors",
}


def reads(reference: str, args: Mapping[str, Any]) -> Sequence[Path] | None:
    """The files that timm reads for pretrained weights, which are those that are read here.

    * `local-dir:path`: the configuration, and every file that timm could take for weights;
    * `hf-hub:…@commit`: configuration and weights, where both are in the cache of the hub;
    * an architecture: the `file` of its `pretrained_cfg` or `pretrained_cfg_overlay` in `args`,
      else its weights on the hub, where they are in the cache. Another version of those may be
      published and be fetched before they are read: compare the digests once more after that.

    Args:
        reference: See the package's docstring.
        args: The checkpoint's `model_args`.

    Returns:
        Paths, not all of which need exist; or None where it is not certain which would be read.
    """
    overlay = args.get("pretrained_cfg_overlay") or {}
    if reference.startswith((FOLDER_PREFIX, *HUB_PREFIXES)):
        moved = not isinstance(overlay, Mapping) or any(key in overlay for key in SOURCE_KEYS)
        if moved or args.get("pretrained_cfg"):
            return None
        place = reference.partition(":")[2]
        if reference.startswith(FOLDER_PREFIX):
            return _in_folder(Path(place))
        return _in_pinned_repository(place, args.get("cache_dir"))
    return _of_architecture(reference, args)


def chosen(folder: Path) -> Path | None:
    """The file that timm takes of a folder, as `timm.models._hub.load_state_dict_from_path`.

    An index of shards, which timm passes over, where nothing else is there.
    """
    for name in _PREFERRED:
        if (folder / name).exists():
            return folder / name
    for pattern in (*_WEIGHTS, "*.index.json"):
        found = sorted(folder.glob(pattern))
        if found:
            return found[0]
    return None


def _in_folder(folder: Path) -> list[Path]:
    """The configuration in a folder, and every weights file that timm could choose."""
    found = {path for pattern in _WEIGHTS for path in folder.glob(pattern)}
    return [folder / "config.json", *sorted(found)]


def _in_pinned_repository(place: str, cache: Any) -> list[Path] | None:
    """The files of a model on the hub (`organization/name@commit`), from the cache."""
    config = _cached(place, "config.json", cache)
    if not isinstance(config, Path):
        return None
    try:
        content = json_of(plain_bytes(config))
        about = content.get("pretrained_cfg", content)
        weights = _cached_weights(place, about.get("hf_hub_filename"), cache)
    except (OSError, ValueError, AttributeError):
        return None
    return [config, *weights] if weights else None


def _of_architecture(reference: str, args: Mapping[str, Any]) -> list[Path] | None:
    """The weights file of a registered architecture, as its `pretrained_cfg` names it."""
    from timm.models import resolve_pretrained_cfg

    name, _, tag = reference.partition(".")
    given = args.get("pretrained_cfg") or tag or None
    try:
        about = resolve_pretrained_cfg(name, given, args.get("pretrained_cfg_overlay")).to_dict()  # type: ignore[no-untyped-call]
    except (TypeError, ValueError, RuntimeError, AttributeError):
        return None  # `create` explains what is wrong
    if about.get("source") or about.get("state_dict"):
        return None
    if about.get("file"):
        return [Path(about["file"])]
    if not about.get("hf_hub_id") or os.environ.get("TIMM_USE_OLD_CACHE"):
        return None
    return _cached_weights(about["hf_hub_id"], about.get("hf_hub_filename"), args.get("cache_dir"))


def _cached_weights(place: str, filename: Any, cache: Any) -> list[Path] | None:
    """The file that timm would load weights from, if the cache of the hub settles that."""
    name = str(filename or _HUB_WEIGHTS)
    safe = SAFE_NAMES.get(name, name.removesuffix(".bin") + ".safetensors")
    for candidate in (safe, name) if name.endswith(".bin") else (name,):
        found = _cached(place, candidate, cache)
        if isinstance(found, Path):
            return [found]
        if found is None:  # it may be there on the hub
            return None
    return None


def _cached(place: str, filename: str, cache: Any) -> Path | bool | None:
    """A file in the cache of the hub; False if it is known not to exist, None if unknown."""
    from huggingface_hub import try_to_load_from_cache

    repository, _, revision = place.partition("@")
    try:
        found = try_to_load_from_cache(
            repository, filename, cache_dir=cache, revision=revision or None
        )
    except ValueError:  # no such name can be on the hub; `create` explains
        return None
    if isinstance(found, str):
        return Path(found)
    return None if found is None else False
