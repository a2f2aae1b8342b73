"""Whole copies of remote files on this machine.

A copy is a folder that is named by the digest of what it holds, made aside and moved into its place
when it is whole; so a reader sees all of it or nothing, and processes that fetch the same file at
once cost traffic, never truth. What version of which URL has which digest is written down beside
them, so that an unchanged file is fetched once, and a changed one anew.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from audit.errors import RemoteError, StoreError
from audit.files import machine_folder, unwritable, write_atomically
from audit.notations import json_of
from audit.remote.systems import Listed, System
from audit.remote.urls import base_name, pretty

#: The largest file that is fetched, unless GENAUDIT_MAX_DOWNLOAD says another number of bytes.
MAX_BYTES: Final = 64 << 30
#: Files that are fetched at once.
_N_AT_ONCE: Final = 8
#: Space that is left free on the disk.
_SPARE_BYTES: Final = 1 << 30


class Copied(NamedTuple):
    """A copy on this machine.

    Attributes:
        path: The file; for several that were fetched together, the first.
        digest: Its SHA-256, or what the caller's `digest_of` says of several.
    """

    path: Path
    digest: str


def copies_folder() -> Path:
    """Where copies lie on this machine."""
    return machine_folder() / "copies"


def copied(url: str, digest: str) -> Path | None:
    """The copy of what has this digest, if there is one; nothing is asked of the network."""
    path = copies_folder() / digest / base_name(url)
    return path if path.is_file() else None


def copy_of(
    url: str,
    found: Listed | None = None,
    *,
    system: System | None = None,
    more: Callable[[Path], Sequence[str]] = lambda path: (),
    digest_of: Callable[[Path], str] | None = None,
) -> Copied:
    """The copy of a remote file, fetched where there is none of its present version.

    Args:
        url: Of the file.
        found: What a listing said of it; asked for where it is None.
        system: What reaches the URL, if there is one already.
        more: From the file, the names of others beside it without which it is of no use.
        digest_of: SHA-256 of the file and those others; that of the file by default.

    Raises:
        RemoteError: It is not there, too large, or cannot be fetched.
        StoreError: The disk does not take it.
    """
    if not base_name(url):
        raise RemoteError(f"{pretty(url)} names no file; check the address")
    system = system or System(url)
    found = found or system.look(system.path)
    if found is None:
        raise RemoteError(f"{pretty(url)} does not exist; check the address")
    memory = copies_folder() / "versions" / f"{_digest(url, found.version, found.n_bytes)}.json"
    if found.version:
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            digest = str(json_of(memory.read_bytes())["digest"])
            path = copied(url, digest)
            if path is not None and found.n_bytes in (None, path.stat().st_size):
                return Copied(path, digest)
    made = _make(url, found, system, more, digest_of or _file_digest)
    if found.version:
        facts = {"url": pretty(url), "version": found.version, "digest": made.digest}
        write_atomically(memory, json.dumps(facts).encode())
    return made


def copy_to(system: System, found: Listed, path: Path) -> Path:
    """Fetch one file into a place of its own, whole or not at all.

    Raises:
        RemoteError: It is too large, cannot be fetched, or changes while it is.
        StoreError: The disk does not take it.
    """
    most = _most_bytes(system, found, path)
    aside = path.with_name(f".{uuid.uuid4().hex}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            system.fetch(found, aside, _named(system, found), most)
            _check_fetched(system, found, aside)
            aside.replace(path)
        except FileNotFoundError as error:
            raise RemoteError(
                f"{_named(system, found)} was removed while it was used; start again when "
                "nothing writes there"
            ) from error
        finally:
            aside.unlink(missing_ok=True)
    except OSError as error:
        raise unwritable(path, found.n_bytes or 0, error) from error
    system.requests["bytes_read"] += path.stat().st_size
    return path


def fetch_many(jobs: Iterable[Callable[[], object]]) -> None:
    """Do several fetches at once, a few at a time; the first error is raised.

    Raises:
        RemoteError: One of them failed.
    """
    with concurrent.futures.ThreadPoolExecutor(_N_AT_ONCE) as pool:
        waiting = [pool.submit(job) for job in jobs]
        try:
            for future in concurrent.futures.as_completed(waiting):
                future.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _make(
    url: str,
    found: Listed,
    system: System,
    more: Callable[[Path], Sequence[str]],
    digest_of: Callable[[Path], str],
) -> Copied:
    """Fetch a file and what belongs to it, digest them, and move them into their place."""
    aside = copies_folder() / f".{uuid.uuid4().hex}.tmp"
    name = base_name(url)
    try:
        path = copy_to(system, found, aside / name)
        beside = found.path.rpartition("/")[0]
        for other in more(path):
            there = system.look(f"{beside}/{other}")
            if there is None:
                raise RemoteError(f"{pretty(url)} names {other}, which does not lie beside it")
            copy_to(system, there, aside / other)
        digest = digest_of(path)
        folder = copies_folder() / digest
        if copied(url, digest) is None:
            _move(aside, folder, name)
        return Copied(folder / name, digest)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _move(aside: Path, folder: Path, name: str) -> None:
    """Put a whole copy in its place; another process may have been faster."""
    try:
        aside.rename(folder)
    except OSError as error:
        if not folder.is_dir():
            raise unwritable(folder, 0, error) from error
        try:  # the same content under another name
            for path in aside.iterdir():
                path.replace(folder / path.name)
        except OSError as problem:
            raise unwritable(folder / name, 0, problem) from problem


def _most_bytes(system: System, found: Listed, path: Path) -> int:
    """What a file may have; it is refused before it fills the disk."""
    limit = int(os.environ.get("GENAUDIT_MAX_DOWNLOAD") or MAX_BYTES)
    size = found.n_bytes or 0
    if size > limit:
        raise RemoteError(
            f"{_named(system, found)} has {size} bytes, more than the limit of {limit}; set "
            "GENAUDIT_MAX_DOWNLOAD to a larger number of bytes if it is what you want"
        )
    there = next((p for p in path.parents if p.is_dir()), Path("/"))
    free = shutil.disk_usage(there).free
    if size > max(0, free - _SPARE_BYTES):
        raise StoreError(
            f"{_named(system, found)} has {size} bytes, and {there} has {free} free; free space "
            "there, or set GENAUDIT_LOCAL to a folder on another disk"
        )
    return max(0, min(limit, free - _SPARE_BYTES))


def _check_fetched(system: System, found: Listed, path: Path) -> None:
    """Refuse a file that is not as long as it was said to be."""
    size = path.stat().st_size
    if found.n_bytes is not None and size != found.n_bytes:
        raise RemoteError(
            f"{_named(system, found)} changed while it was fetched, or came cut short: "
            f"{found.n_bytes} bytes expected, {size} found; run again"
        )


def _named(system: System, found: Listed) -> str:
    """What to call a file of a system in messages."""
    if "://" in found.path:
        return pretty(found.path)
    return f"{system.url.partition('://')[0]}://{found.path.lstrip('/')}"


def _file_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _digest(*parts: object) -> str:
    return hashlib.sha256(json.dumps([str(part) for part in parts]).encode()).hexdigest()
