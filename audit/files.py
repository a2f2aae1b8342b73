"""Files: written whole or not at all, read where they are plain and come to an end."""

from __future__ import annotations

import contextlib
import errno
import os
import platform
import stat
import uuid
import zlib
from collections.abc import Iterator
from io import BufferedReader
from pathlib import Path
from typing import BinaryIO, Final

from audit.errors import ConfigError, StoreError

#: Bytes of a text that a person or a program writes for genaudit, and of a table of results.
MOST_IN_TEXT: Final = 64 << 20
MOST_IN_TABLE: Final = 4 << 30


class NoPlainFileError(OSError):
    """A pipe, a device or a folder where a file was to be read."""


def open_plain(path: Path) -> BufferedReader:
    """A plain file, opened for reading.

    Raises:
        NoPlainFileError: It is a pipe, a device or a folder, which is not waited for.
        OSError: It cannot be opened.
    """
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    handle = os.open(path, flags | getattr(os, "O_CLOEXEC", 0))
    try:
        mode = os.fstat(handle).st_mode
        if stat.S_ISDIR(mode):
            raise NoPlainFileError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        if not stat.S_ISREG(mode):
            raise NoPlainFileError(errno.EINVAL, "it is no plain file", str(path))
        return os.fdopen(handle, "rb")
    except BaseException:
        os.close(handle)
        raise


def plain_bytes(path: Path, most: int | None = MOST_IN_TEXT) -> bytes:
    """What a plain file of at most so many bytes holds; None: of any size.

    Raises:
        OSError: It cannot be read, is no plain file, or is larger.
    """
    with open_plain(path) as file:
        if most is not None and os.fstat(file.fileno()).st_size > most:
            raise OSError(errno.EFBIG, f"it has more than {most:,} bytes", str(path))
        return file.read() or b""  # None of what has nothing to read yet


def plain_text(path: Path, most: int = MOST_IN_TEXT) -> str:
    """The text, in UTF-8 with or without a byte order mark, of a plain file of limited size.

    Raises:
        OSError: As `plain_bytes`.
        UnicodeDecodeError: It is no such text.
    """
    return plain_bytes(path, most).decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")


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
    with writing_atomically(path, len(content)) as file:
        file.write(content)


@contextlib.contextmanager
def writing_atomically(path: Path, size: int | None = None) -> Iterator[BinaryIO]:
    """A file that takes the place of another when the block ends well; else all stays as it was.

    Args:
        path: The file.
        size: Bytes that will be written, where that is known, for the message.

    Raises:
        StoreError: It cannot be written; the message has the path, the bytes and the cause.
    """
    temporary = path.with_name(f".{_machine()}-{os.getpid()}-{uuid.uuid4().hex}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with temporary.open("xb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except BaseException:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise
        sync_folder(path.parent)
    except OSError as error:
        raise unwritable(path, size, error) from error


def remove_leftovers(folder: Path) -> None:
    """Remove the temporary files that killed processes of this machine have left in a folder.

    Those of processes that live, and of other machines, stay: they may be in use.
    """
    start = f".{_machine()}-"
    with contextlib.suppress(OSError):
        for name in os.listdir(folder):
            if name.startswith(start) and name.endswith(".tmp"):
                process = name.split("-")[1]
                if process.isdecimal() and not _lives(int(process)):
                    (folder / name).unlink(missing_ok=True)


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


def unwritable(path: Path, size: int | None, error: OSError) -> StoreError:
    """The error for a file the system refuses to write."""
    needed = "" if size is None else f" ({size} bytes)"
    return StoreError(
        f"{path} cannot be written{needed}: {error.strerror or error}; "
        "free space there or choose another folder"
    )


def sync_folder(folder: Path) -> None:
    """Make a rename in the folder survive power loss."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
