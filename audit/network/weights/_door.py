"""From a path to weights: a file, an index with its shards, or a folder that holds either."""

from __future__ import annotations

import hashlib
import json
import mmap
import struct
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from audit.errors import CheckpointError
from audit.network.weights._choice import Weights, Which, choose_weights, dense_tensors
from audit.network.weights._confined import (
    confined_content,
    confined_tensors,
    confined_weights,
)
from audit.network.weights._limits import MAX_HEADER_BYTES, MAX_TENSORS, over_limit
from audit.network.weights._refusals import lone_shard, refused, special_folder
from audit.network.weights._safetensors import read_safetensors
from audit.network.weights._shards import check_names, is_index, opened_shard, shards_of
from audit.network.weights._snapshot import Snapshot, digest_of, file_digest, opened, snapshot
from audit.network.weights._torch_archive import unchecked_pickle
from audit.network.weights.folders import weights_in

if TYPE_CHECKING:
    import torch


def content_digest(path: Path) -> str:
    """SHA-256 of all that `read_weights` reads, as hexadecimal digits.

    That of the file; for an index, that over the index and the name and bytes of every shard.

    Raises:
        CheckpointError: A file cannot be read, or is a shard that is refused.
    """
    path = _settled(path)
    if not is_index(path):
        return file_digest(path)
    index = _index_bytes(path)
    digests: dict[str, str] = {}
    for name in shards_of(index, path):
        with opened_shard(path.parent / name, path) as file:
            digests[name] = digest_of(file, path)
    return _digest_of(index, digests)


def _digest_of(index: bytes, shards: Mapping[str, str]) -> str:
    """SHA-256 over an index and the digests of its shards."""
    content = [hashlib.sha256(index).hexdigest(), sorted(shards.items())]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def read_weights(
    path: Path,
    digest: str | None = None,
    which: Which = "auto",
    trusted: Collection[str] = (),
) -> Weights:
    """The weights in a file, unwrapped and with the prefixes of wrappers stripped.

    Args:
        path: safetensors, or what `torch.save` writes (state dict, or a dictionary that holds
            one); an index, such as `model.safetensors.index.json`, that names such files; or a
            folder with one of these.
        digest: What `content_digest` must give.
        which: Which weights to take where a file holds averaged ones beside those of the last
            step; "auto" prefers averaged ones, as timm does.
        trusted: Digests of archives whose pickles may name what could run code. Never of what a
            file says of itself: they are those that a person gave. Shards are never trusted.

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
    with opened(path) as file, snapshot(file, path) as content:
        _check_readable(content, path)
        _check_digest(path, digest, content.digest)
        if content.kind == "torch":
            return confined_weights(content, path, which, content.digest in trusted)
        tensors = read_safetensors(content.data, path)
        return choose_weights(tensors, path, which, "safetensors", content.size)


def read_torch_content(path: Path) -> Any:
    """What a file of `torch.save` holds beside tensors, by the same door as its weights.

    Returns:
        Its texts, numbers, lists and mappings; None in the place of all else, and of what goes
        beyond 4 MiB.

    Raises:
        CheckpointError: It cannot be read, is damaged, or is refused.
    """
    with opened(path) as file, snapshot(file, path) as content:
        if content.kind != "torch":
            raise CheckpointError(f"checkpoint {path} is no archive of torch.save")
        return confined_content(content, path)


def torch_content_mentions(path: Path, texts: Iterable[str]) -> bool:
    """Whether one of some short texts stands as a whole in the pickle of an archive.

    A look at its bytes, with nothing unpickled, that spares `read_torch_content` of most files.

    Raises:
        CheckpointError: The file cannot be read.
    """
    with opened(path) as file:
        if file.read(2) != b"PK":
            return False
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            pickled = unchecked_pickle(data)
    wanted = (text.encode() for text in texts)
    return any(struct.pack("<I", len(text)) + text in pickled for text in wanted)


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


def _index_bytes(path: Path) -> bytes:
    """The content of an index."""
    with opened(path) as file:
        return file.read(MAX_HEADER_BYTES + 1)


def _check_readable(content: Snapshot, path: Path) -> None:
    """Refuse a file of no format that is read."""
    if not content.size:
        raise CheckpointError(f"checkpoint {path} is empty (0 bytes)")
    if content.kind == "other":
        raise refused(content.data, path)


def _check_digest(path: Path, wanted: str | None, found: str) -> None:
    """Refuse content that is not the one that was planned with."""
    if wanted is not None and found != wanted:
        raise CheckpointError(
            f"checkpoint {path} changed while it was used: its SHA-256 is no longer {wanted}; "
            "start again when nothing writes to it"
        )


def _read_shards(path: Path, digest: str | None, which: Which) -> Weights:
    """The weights in all shards of an index, one after the other through the same checks."""
    index = _index_bytes(path)
    named = shards_of(index, path)
    digests: dict[str, str] = {}
    kinds: set[str] = set()
    names: dict[str, list[str]] = {}
    tensors: dict[str, torch.Tensor] = {}
    size = 0
    for shard in named:
        place = path.parent / shard
        with opened_shard(place, path) as file, snapshot(file, place) as content:
            _check_readable(content, place)
            digests[shard] = content.digest
            size += content.size
            kinds.add(content.kind)
            if content.kind == "torch":
                part = confined_tensors(content, place)
            else:
                found = read_safetensors(content.data, place)
                part = dense_tensors(found, place, content.size, [])
        names[shard] = list(part)
        if len(tensors) + len(part) > MAX_TENSORS:
            raise over_limit(path, f"{len(tensors) + len(part)} tensors in the shards", MAX_TENSORS)
        tensors |= part
    _check_digest(path, digest, _digest_of(index, digests))
    check_names(names, named, path)
    return choose_weights(tensors, path, which, "+".join(sorted(kinds)), size)
