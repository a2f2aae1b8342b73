"""Folders by URL: the files below one, kept on this machine as they lie there."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from audit.errors import RemoteError
from audit.files import machine_folder, write_atomically
from audit.notations import json_of
from audit.remote.copies import MAX_BYTES, copy_to, fetch_many
from audit.remote.systems import Listed, System
from audit.remote.urls import pretty

#: So long a process trusts what it listed.
_FRESH_SECONDS: Final = 600
_listed: dict[tuple[int, str], float] = {}


def tree_of(url: str) -> Path:
    """A folder on this machine with all the files below a URL, fetched where they are new.

    The URL is listed once; what changed there is fetched anew, several files at a time, and what is
    gone there goes here. Each file comes whole or not at all.

    Raises:
        RemoteError: There is nothing below it, too much, or it cannot be reached.
        StoreError: The disk does not take it.
    """
    root = machine_folder() / "trees" / hashlib.sha256(url.encode()).hexdigest()[:16]
    known = (os.getpid(), str(root))
    files = root.joinpath(*_last_names(url))
    if known in _listed and time.monotonic() - _listed[known] < _FRESH_SECONDS:
        return files
    system = System(url)
    found = {_relative(system, file): file for file in system.below(system.path)}
    if not found:
        raise RemoteError(f"{pretty(url)} holds no file; check the address")
    _check_size(url, found.values())
    before = _versions(root)
    wanted = {name: f"{file.n_bytes} {file.version}" for name, file in found.items()}
    fetch_many(
        functools.partial(copy_to, system, file, files / name)
        for name, file in found.items()
        if before.get(name) != wanted[name] or not file.version or not (files / name).is_file()
    )
    for name in before.keys() - wanted.keys():
        (files / name).unlink(missing_ok=True)
    if before != wanted:
        write_atomically(root / "versions.json", json.dumps(wanted).encode())
    _listed[known] = time.monotonic()
    return files


def _last_names(url: str) -> list[str]:
    """The last two names of a URL's path: they tell a training set from a held-out one."""
    names = [name for name in url.partition("://")[2].split("/") if name.strip(".")]
    return names[-2:]


def _relative(system: System, file: Listed) -> str:
    """Where a file lies below the URL."""
    name = file.path.removeprefix(system.path).lstrip("/")
    if {"", ".", ".."} & set(name.split("/")) or "\\" in name or "\0" in name:
        raise RemoteError(
            f"{system.url} holds {name!r}, which is no name that a file can have; remove it"
        )
    return name


def _versions(root: Path) -> dict[str, str]:
    """What was fetched before: relative path → version."""
    with contextlib.suppress(OSError, ValueError):
        found = json_of((root / "versions.json").read_bytes())
        if isinstance(found, dict):
            return found
    return {}


def _check_size(url: str, files: Iterable[Listed]) -> None:
    """Refuse a folder before it fills the disk."""
    limit = int(os.environ.get("GENAUDIT_MAX_DOWNLOAD") or MAX_BYTES)
    total = sum(file.n_bytes or 0 for file in files)
    if total > limit:
        raise RemoteError(
            f"{pretty(url)} holds {total} bytes, more than the limit of {limit}; set "
            "GENAUDIT_MAX_DOWNLOAD to a larger number of bytes if it is what you want"
        )
