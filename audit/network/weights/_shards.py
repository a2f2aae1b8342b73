"""Weights in several files, as an index names them: every shard is checked before it is read."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final

from audit.errors import CheckpointError
from audit.network.weights._limits import MAX_HEADER_BYTES, MAX_TENSORS, listed, over_limit
from audit.network.weights._snapshot import check_size
from audit.notations import json_of

#: What the name of an index ends with.
INDEX_ENDING: Final = ".index.json"
_MAX_SHARDS: Final = 10_000
#: No file has a longer name, in bytes.
_LONGEST_NAME: Final = 255


def is_index(path: Path) -> bool:
    """Whether a file is meant as an index."""
    return path.name.endswith(INDEX_ENDING)


def shards_of(data: bytes, path: Path) -> dict[str, list[str]]:
    """Shard → the names of the tensors that an index says are in it, in alphabetical order.

    Args:
        data: The index.
        path: Where it lies, for messages.

    Raises:
        CheckpointError: It is no index, over a limit, or a shard's name leads out of its folder.
    """
    if len(data) > MAX_HEADER_BYTES:
        raise over_limit(path, f"an index of {len(data)} bytes", MAX_HEADER_BYTES)
    try:
        content = json_of(data)
        places = content["weight_map"]
        sound = isinstance(places, Mapping) and all(isinstance(v, str) for v in places.values())
    except (ValueError, TypeError, LookupError):
        sound = False
    if not sound or not places:
        raise CheckpointError(
            f"checkpoint {path} must be an index: JSON with a weight_map of tensor names to files; "
            "copy it again"
        )
    if len(places) > MAX_TENSORS:
        raise over_limit(path, f"{len(places)} tensors", MAX_TENSORS)
    shards: dict[str, list[str]] = {}
    for name, shard in places.items():
        shards.setdefault(shard, []).append(name)
    if len(shards) > _MAX_SHARDS:
        raise over_limit(path, f"{len(shards)} shards", _MAX_SHARDS)
    for shard in shards:
        _check_name(shard, path)
    return dict(sorted(shards.items()))


def _check_name(shard: str, path: Path) -> None:
    """Refuse a shard's name that is more than the name of a file beside the index."""
    if len(shard.encode("utf-8", "surrogatepass")) > _LONGEST_NAME:
        raise over_limit(path, f"a shard's name of {len(shard)} letters", _LONGEST_NAME)
    if not shard or set(shard) & set("/\\\0") or shard in (".", "..") or os.path.isabs(shard):
        raise CheckpointError(
            f"checkpoint {path} is refused: its index names the shard {shard!r}, and shards must "
            "be files beside the index"
        )


@contextmanager
def opened_shard(path: Path, index: Path) -> Iterator[IO[bytes]]:
    """A shard, open: a plain file beside the index, no link.

    Raises:
        CheckpointError: It is missing, a link, no plain file, or cannot be read.
    """
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
    if path.is_symlink():
        raise _link(path, index, "a symbolic link")
    try:
        handle = os.open(path, flags | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except FileNotFoundError as error:
        raise CheckpointError(
            f"checkpoint {index} needs the shard {path.name}, which does not exist; copy all "
            "shards beside the index"
        ) from error
    except OSError as error:
        raise CheckpointError(
            f"checkpoint {index} needs the shard {path.name}, which cannot be read: {error}"
        ) from error
    about = os.fstat(handle)
    if not stat.S_ISREG(about.st_mode):
        os.close(handle)
        raise _link(path, index, "no plain file")
    with os.fdopen(handle, "rb") as file:
        if about.st_nlink > 1:
            raise _link(path, index, f"a hard link ({about.st_nlink} names)")
        check_size(about.st_size, path)
        yield file


def _link(path: Path, index: Path, what: str) -> CheckpointError:
    return CheckpointError(
        f"checkpoint {index} is refused: its shard {path.name} is {what}, which may lead out of "
        "the folder; copy the files themselves"
    )


def check_names(found: Mapping[str, list[str]], named: Mapping[str, list[str]], path: Path) -> None:
    """Hold the names in all shards to those in the index.

    Args:
        found: Shard → names in it.
        named: Shard → names that the index says are in it.
        path: The index.

    Raises:
        CheckpointError: A name is in two shards, or not where the index says, or in no index.
    """
    place: dict[str, str] = {}
    for shard, names in found.items():
        for name in names:
            if name in place:
                raise CheckpointError(
                    f"checkpoint {path} is refused: {name} is in two shards, {place[name]} and "
                    f"{shard}; save it again"
                )
            place[name] = shard
    missing = [
        f"{name} (of {shard})"
        for shard, names in named.items()
        for name in names
        if place.get(name) != shard
    ]
    if missing:
        raise CheckpointError(
            f"checkpoint {path}: {len(missing)} names of the index are not in the shards it names: "
            f"{listed(missing)}; the shards may be those of another network: copy all again"
        )
    known = {name for names in named.values() for name in names}
    extra = [f"{name} (in {shard})" for name, shard in place.items() if name not in known]
    if extra:
        raise CheckpointError(
            f"checkpoint {path}: {len(extra)} names in the shards are not in the index: "
            f"{listed(extra)}; the shards may be those of another network: copy all again"
        )
