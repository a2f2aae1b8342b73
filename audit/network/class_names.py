"""The class names that lie inside a checkpoint, or in the `config.json` beside it.

Only plain strings count: nothing is imported or run to find them.
"""

from __future__ import annotations

import argparse
import struct
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from audit.errors import CheckpointError
from audit.files import open_plain, plain_text
from audit.network.weights import (
    MAX_HEADER_BYTES,
    read_torch_content,
    torch_content_mentions,
)
from audit.notations import json_of

#: Entries that hold class names, those that say most first.
KEYS: Final = (
    *("class_to_idx", "label_names", "class_names", "id2label", "label2id", "idx_to_class"),
    *("classes", "CLASSES", "label_descriptions"),
)
#: Entries in which those may stand: of timm, Lightning, mmengine and plain training scripts.
_WITHIN: Final = ("pretrained_cfg", "hyper_parameters", "meta", "args", "config", "dataset_meta")
_MOST_CONFIG_BYTES: Final = 16 << 20


def names_in_checkpoint(weights: Path | None, configs: Iterable[Path]) -> list[tuple[Any, str]]:
    """What may be class names in a checkpoint: (entry, where it stands), likeliest first.

    Args:
        weights: The weights file, or None.
        configs: Files that may be a `config.json` of the checkpoint; that beside the weights is
            looked at in any case.
    """
    found: list[tuple[Any, str]] = []
    places = list(configs)
    if weights is not None:
        found += _named(_content(weights), weights.name)
        places.append(weights.parent / "config.json")
    for path in dict.fromkeys(places):
        if path.name == "config.json":
            found += _named(_json_file(path), f"{path.parent.name}/{path.name}")
    return found


def _named(content: Any, where: str) -> Iterator[tuple[Any, str]]:
    """The entries of a mapping, or of those in it, that hold class names."""
    if not isinstance(content, Mapping):
        return
    parts = [(content, "")]
    for name in _WITHIN:
        part = content.get(name)
        part = vars(part) if isinstance(part, argparse.Namespace) else part
        if isinstance(part, Mapping):
            parts.append((part, f"{name}."))
    for key in KEYS:
        for part, prefix in parts:
            if key in part:
                value = part[key]
                if key == "label_descriptions" and isinstance(value, Mapping):
                    value = list(value.values())
                yield value, f"{prefix}{key} in {where}"


def _json_file(path: Path) -> Any:
    """What a JSON file holds; nothing where there is none or it cannot be read."""
    try:
        return json_of(plain_text(path, _MOST_CONFIG_BYTES))
    except (OSError, ValueError):
        return None


def _content(path: Path) -> Any:
    """What lies beside the tensors in a weights file; nothing where none of it names classes.

    A file that cannot be read is no matter here: whoever reads its weights says so.
    """
    try:
        with open_plain(path) as file:
            start = file.read(9) or b""
            if start[8:9] == b"{":
                (n_header,) = struct.unpack("<Q", start[:8])
                return _metadata(start[8:] + file.read(max(min(n_header, MAX_HEADER_BYTES) - 1, 0)))
        if start.startswith(b"PK") and torch_content_mentions(path, KEYS):
            return read_torch_content(path)
    except (OSError, CheckpointError):
        return None
    return None


def _metadata(header: bytes) -> dict[str, Any]:
    """The metadata of a safetensors header, where entries of JSON text are read."""
    try:
        metadata = json_of(header).get("__metadata__") or {}
    except (ValueError, AttributeError):
        return {}
    found: dict[str, Any] = {}
    for name, text in metadata.items() if isinstance(metadata, Mapping) else ():
        try:
            found[name] = json_of(text)
        except (ValueError, TypeError):
            continue
    return found
