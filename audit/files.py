"""Put a file in its place whole, or not at all."""

from __future__ import annotations

import contextlib
import os
import platform
import uuid
import zlib
from collections.abc import Iterator
from pathlib import Path

from audit.errors import ConfigError, StoreError


def machine_folder() -> Path:
    """Where this machine keeps what can be had again: `$GENAUDIT_LOCAL`, or the user's cache.

    Raises:
        ConfigError: The user has no folder for caches.
    """
    chosen = os.environ.get("GENAUDIT_LOCAL")
    if chosen:
        return Path(chosen)
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "genaudit"
    except RuntimeError as error:  # no HOME, and a user that the system does not know
        raise ConfigError(
            "there is no home folder to keep the store in: say where with --cache FOLDER, or set "
            "GENAUDIT_CACHE"
        ) from error


def write_atomically(path: Path, content: bytes) -> None:
    """Replace a file's content such that a crash leaves the old content or the new.

    Raises:
        StoreError: It cannot be written; the message has the path, the bytes and the cause.
    """
    temporary = path.with_name(f".{_machine()}-{os.getpid()}-{uuid.uuid4().hex}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with temporary.open("xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except BaseException:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise
        sync_folder(path.parent)
    except OSError as error:
        raise unwritable(path, len(content), error) from error


def remove_leftovers(folder: Path) -> None:
    """Remove the temporary files that killed processes of this machine have left in a folder.

    Those of processes that live, and of other machines, stay: they may be in use.
    """
    for path in folder.glob(f".{_machine()}-*.tmp"):
        process = path.name.split("-")[1]
        if process.isdecimal() and not _lives(int(process)):
            with contextlib.suppress(OSError):
                path.unlink()


def _machine() -> str:
    """What tells this machine's temporary files from those of others in a shared folder."""
    return f"{zlib.crc32(platform.node().encode('utf-8', 'replace')):08x}"


def _lives(process: int) -> bool:
    """Whether a process of this number is there."""
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:  # it is there, and somebody else's
        return True
    return True


@contextlib.contextmanager
def refusals_typed() -> Iterator[None]:
    """Let what the system refuses to do with a file in a block come out as a `StoreError`.

    For the outermost call alone: who knows what a file is for says more.

    Raises:
        StoreError: In place of an `OSError` that names a file.
    """
    try:
        yield
    except OSError as error:
        if error.filename is None:
            raise
        raise StoreError(
            f"{os.fsdecode(error.filename)} cannot be read or written: "
            f"{error.strerror or error}; repair the folder, or choose another"
        ) from error


def unwritable(path: Path, size: int, error: OSError) -> StoreError:
    """The error for a file the system refuses to write."""
    return StoreError(
        f"{path} cannot be written ({size} bytes): {error.strerror or error}; "
        "free space there or choose another folder"
    )


def sync_folder(folder: Path) -> None:
    """Make a rename in the folder survive power loss."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
