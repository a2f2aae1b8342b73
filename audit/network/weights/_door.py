"""From a path to weights: a file, an index with its shards, or a folder that holds either."""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from audit.errors import CheckpointError
from audit.network.weights._choice import Weights, Which, choose_weights, dense_tensors
from audit.network.weights._limits import MAX_TENSORS, over_limit, unreadable
from audit.network.weights._refusals import lone_shard, refused, special_folder
from audit.network.weights._safetensors import read_safetensors
from audit.network.weights._shards import check_names, is_index, read_shard, shards_of
from audit.network.weights._torch_archive import read_torch_archive
from audit.network.weights.folders import weights_in

if TYPE_CHECKING:
    import torch


def file_digest(path: Path) -> str:
    """SHA-256 of a file, as hexadecimal digits.

    Raises:
        CheckpointError: It cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise unreadable(path, error) from error


def content_digest(path: Path) -> str:
    """SHA-256 of all that `read_weights` reads, as hexadecimal digits.

    That of the file; for an index, that over the index and the name and bytes of every shard.

    Raises:
        CheckpointError: A file cannot be read, or is a shard that is refused.
    """
    path = _settled(path)
    if not is_index(path):
        return file_digest(path)
    index = _bytes(path)
    shards = ((name, read_shard(path.parent / name, path)) for name in shards_of(index, path))
    return _digest_of(index, {name: hashlib.sha256(data).hexdigest() for name, data in shards})


def _digest_of(index: bytes, shards: Mapping[str, str]) -> str:
    """SHA-256 over an index and the digests of its shards."""
    content = [hashlib.sha256(index).hexdigest(), sorted(shards.items())]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def read_weights(path: Path, digest: str | None = None, which: Which = "auto") -> Weights:
    """The weights in a file, unwrapped and with the prefixes of wrappers stripped.

    Args:
        path: safetensors, or what `torch.save` writes (state dict, or a dictionary that holds
            one); an index, such as `model.safetensors.index.json`, that names such files; or a
            folder with one of these.
        digest: What `content_digest` must give.
        which: Which weights to take where a file holds averaged ones beside those of the last
            step; "auto" prefers averaged ones, as timm does.

    Raises:
        CheckpointError: The file is missing, damaged, over a limit, of a refused format, or holds
            something else than dense tensors; or not what `which` asks for; or its digest
            differs.
    """
    path = _settled(path)
    if is_index(path):
        return _read_shards(path, digest, which)
    problem = lone_shard(path)
    if problem:
        raise problem
    data = _bytes(path)
    _check_digest(path, digest, hashlib.sha256(data).hexdigest())
    found, kind = _parse(data, path)
    return choose_weights(found, path, which, kind, len(data))


def read_torch_content(path: Path) -> Any:
    """All that a file of `torch.save` holds, by the same door as its weights.

    Raises:
        CheckpointError: It cannot be read, is damaged, or is refused.
    """
    data = _bytes(path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what odd bytes provoke is decided by errors alone
        return read_torch_archive(data, path)


def _settled(path: Path) -> Path:
    """The file or index that a path means; for a folder, the only one in it."""
    if not path.is_dir():
        return path
    problem = special_folder(path)
    if problem:
        raise problem
    found = weights_in(path)
    if len(found) > 1:
        names = ", ".join(str(place.relative_to(path)) for place in found[:10])
        raise CheckpointError(
            f"checkpoint {path} is a folder with {len(found)} checkpoints: {names}; name one"
        )
    return found[0] if found[0] == path else _settled(found[0])


def _bytes(path: Path) -> bytes:
    """The content of a file."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise unreadable(path, error) from error


def _check_digest(path: Path, wanted: str | None, found: str) -> None:
    """Refuse content that is not the one that was planned with."""
    if wanted is not None and found != wanted:
        raise CheckpointError(
            f"checkpoint {path} changed while it was used: its SHA-256 is no longer {wanted}; "
            "start again when nothing writes to it"
        )


def _parse(data: bytes, path: Path) -> tuple[Any, str]:
    """What the bytes of a file hold, and the name of its format."""
    if not data:
        raise CheckpointError(f"checkpoint {path} is empty (0 bytes)")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what odd bytes provoke is decided by errors alone
        if data[8:9] == b"{":
            return read_safetensors(data, path), "safetensors"
        if data.startswith(b"PK"):
            return read_torch_archive(data, path), "torch"
        raise refused(data, path)


def _read_shards(path: Path, digest: str | None, which: Which) -> Weights:
    """The weights in all shards of an index, one after the other through the same checks."""
    index = _bytes(path)
    named = shards_of(index, path)
    digests: dict[str, str] = {}
    kinds: set[str] = set()
    names: dict[str, list[str]] = {}
    tensors: dict[str, torch.Tensor] = {}
    size = 0
    for shard in named:
        place = path.parent / shard
        data = read_shard(place, path)
        digests[shard] = hashlib.sha256(data).hexdigest()
        size += len(data)
        found, kind = _parse(data, place)
        kinds.add(kind)
        part = dense_tensors(found, place, len(data), [])
        names[shard] = list(part)
        if len(tensors) + len(part) > MAX_TENSORS:
            raise over_limit(path, f"{len(tensors) + len(part)} tensors in the shards", MAX_TENSORS)
        tensors |= part
    _check_digest(path, digest, _digest_of(index, digests))
    check_names(names, named, path)
    return choose_weights(tensors, path, which, "+".join(sorted(kinds)), size)
