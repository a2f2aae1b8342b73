"""The bytes of a weights file, read once: what is digested is what is read."""

from __future__ import annotations

import dataclasses
import errno
import hashlib
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final, Literal, TypeAlias

from audit.errors import CheckpointError
from audit.files import NoPlainFileError, open_plain
from audit.network.weights._limits import over_limit, unreadable
from audit.network.weights._safetensors import check_header, header_end

#: What a file is by its first bytes.
Kind: TypeAlias = Literal["safetensors", "torch", "other"]

_CHUNK: Final = 1 << 22
#: What is looked at of a file of no format that is read.
_HEAD: Final = 1 << 20


@dataclasses.dataclass(frozen=True)
class Snapshot:
    """The content of a file at one moment.

    Attributes:
        kind: What it is.
        size: Bytes of the file.
        digest: Their SHA-256; "" for a file of another kind, of which only the start is read.
        data: All bytes of a safetensors file; the first MiB of one of another kind.
        file: A copy of a torch archive that nobody else can change.
    """

    kind: Kind
    size: int
    digest: str
    data: bytes = b""
    file: IO[bytes] | None = None


def file_digest(path: Path) -> str:
    """SHA-256 of a file, as hexadecimal digits.

    Raises:
        CheckpointError: It cannot be read, or is no plain file.
    """
    with opened(path) as file:
        return digest_of(file, path)


def digest_of(file: IO[bytes], path: Path) -> str:
    """SHA-256 of an open file, as hexadecimal digits."""
    digest = hashlib.sha256()
    _pump(file, path, digest.update)
    return digest.hexdigest()


@contextmanager
def opened(path: Path) -> Iterator[IO[bytes]]:
    """A plain file that is no larger than half the memory of this machine.

    Raises:
        CheckpointError: It is missing, may not be read, is too large, or is no plain file.
    """
    try:
        file = open_plain(path)
    except NoPlainFileError as error:
        folder = error.errno == errno.EISDIR
        what = "a folder; name a file in it" if folder else "no plain file; copy it to one"
        raise CheckpointError(f"checkpoint {path} is {what}") from error
    except OSError as error:
        raise unreadable(path, error) from error
    with file:
        check_size(os.fstat(file.fileno()).st_size, path)
        yield file


def check_size(size: int, path: Path) -> None:
    """Refuse a file that is larger than half of this machine's memory.

    Raises:
        CheckpointError: It is; files with holes may well be.
    """
    limit = _memory() // 2  # its bytes, and tensors made of them
    if limit and size > limit:
        raise over_limit(path, f"its {size} bytes", limit, "half the memory of this machine")


def _memory() -> int:
    """Bytes of memory that this machine has; 0 where it does not tell."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return 0


@contextmanager
def snapshot(file: IO[bytes], path: Path) -> Iterator[Snapshot]:
    """The content of an open file.

    Raises:
        CheckpointError: It cannot be read.
    """
    try:
        start = file.read(9) or b""  # None of a device that has nothing yet
        file.seek(0)
    except OSError as error:
        raise unreadable(path, error) from error
    if start[8:9] == b"{":
        data = _checked_safetensors(file, start, path)
        yield Snapshot("safetensors", len(data), hashlib.sha256(data).hexdigest(), data)
    elif start.startswith(b"PK"):
        digest = hashlib.sha256()
        with shared_file() as copy:
            size = _pump(file, path, _both(digest.update, copy.write))
            copy.flush()
            copy.seek(0)
            yield Snapshot("torch", size, digest.hexdigest(), file=copy)
    else:
        head = file.read(_HEAD)
        yield Snapshot("other", os.fstat(file.fileno()).st_size, "", head)


def _checked_safetensors(file: IO[bytes], start: bytes, path: Path) -> bytes:
    """All of a file whose header was checked before the rest is given memory."""
    size = os.fstat(file.fileno()).st_size
    end = header_end(start, size, path)
    try:
        check_header(file.read(end) or b"", size, path)
        file.seek(0)
        return file.read(size + 1) or b""
    except OSError as error:
        raise unreadable(path, error) from error


def _pump(file: IO[bytes], path: Path, take: Callable[[bytes], object]) -> int:
    """Read a file to its end; how many bytes there were."""
    size = 0
    try:
        while part := file.read(_CHUNK):
            take(part)
            size += len(part)
    except OSError as error:
        raise unreadable(path, error) from error
    return size


def _both(
    first: Callable[[bytes], object], second: Callable[[bytes], object]
) -> Callable[[bytes], None]:
    """What hands the same bytes to two."""

    def take(part: bytes) -> None:
        first(part)
        second(part)

    return take


def shared_file() -> IO[bytes]:
    """An empty file for another process: in memory where the system has such files."""
    if hasattr(os, "memfd_create") and os.path.isdir("/proc/self/fd"):
        return os.fdopen(os.memfd_create("genaudit", os.MFD_CLOEXEC), "w+b")
    return tempfile.NamedTemporaryFile(prefix="genaudit-")


def place_of(file: IO[bytes]) -> str:
    """A path at which this process can open such a file again."""
    return file.name if isinstance(file.name, str) else f"/proc/self/fd/{file.fileno()}"
