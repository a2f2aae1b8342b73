"""Weights files by URL: copied to this machine whole, then read by the same door as any file.

Digests are those of the content, so that keys are the same wherever a file lies.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from audit.errors import CheckpointError, ConfigError, RemoteError
from audit.files import plain_bytes
from audit.network.weights._door import content_digest
from audit.network.weights._shards import is_index, shards_of
from audit.network.weights.folders import stem
from audit.remote import Location, base_name, connect, copied, copy_of, is_url, location, pretty


def on_this_machine(place: Location, digest: str = "") -> Path:
    """Where a weights file can be read: itself, or the copy of a URL's, fetched if need be.

    Args:
        place: A path, or a URL.
        digest: What `place_digest` gave; a copy with it is taken without asking the network.

    Raises:
        CheckpointError: The URL names no file, one that is too large, or cannot be reached.
    """
    if isinstance(place, Path):
        return place
    return (copied(place, digest) if digest else None) or _fetched(place)[0]


def place_digest(place: Location) -> str:
    """SHA-256 of all that is read for a weights file, as `content_digest` gives it.

    Raises:
        CheckpointError: A file cannot be read, or fetched.
    """
    return content_digest(place) if isinstance(place, Path) else _fetched(place)[1]


def _fetched(url: str) -> tuple[Path, str]:
    """The copy of a URL's weights and, of an index, of its shards; and its digest."""
    try:
        made = copy_of(url, more=_shards, digest_of=content_digest)
    except RemoteError as error:
        raise CheckpointError(f"checkpoint {error}") from error
    return made.path, made.digest


def _shards(path: Path) -> list[str]:
    """The files that belong to a weights file."""
    return list(shards_of(plain_bytes(path), path)) if is_index(path) else []


@contextlib.contextmanager
def named_as(place: Location, here: Path) -> Iterator[None]:
    """Name a URL in messages about its copy."""
    try:
        yield
    except CheckpointError as error:
        if isinstance(place, Path):
            raise
        raise CheckpointError(str(error).replace(str(here), pretty(place))) from error


def urls_matching(url: str) -> dict[str, str]:
    """The weights files that a URL or a glob of URLs means, with their names, sorted.

    Raises:
        ConfigError: It is a glob that cannot be listed or matches nothing, or names a folder.
    """
    name = base_name(url)
    if not name or url.endswith("/"):
        raise ConfigError(f"{pretty(url)} names a folder: give a file, or a glob such as '*.pt'")
    web = url.lower().startswith(("http://", "https://"))
    if web or not any(sign in url.partition("://")[2] for sign in "*?["):
        return {url: stem(Path(name))}
    try:
        system = connect(url)
        found = [system.files.unstrip_protocol(file.path) for file in system.matches(system.path)]
    except RemoteError as error:
        raise ConfigError(str(error)) from error
    if not found:
        raise ConfigError(f"{pretty(url)} matches no file")
    return {one: stem(Path(base_name(one))) for one in map(str, found)}


def weights_place(text: str) -> Location:
    """A path or URL as it was written, "~" expanded."""
    return location(text) if is_url(text) else Path(text).expanduser()
