"""The files of entries: `entries/` holds one folder for each first two digits of a digest."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

from audit.errors import StoreError

_HEXADECIMAL = frozenset("0123456789abcdef")


def entry_path(root: Path, digest: str) -> Path:
    """Where the entry with a key's digest lies, whether or not it exists."""
    return root / "entries" / digest[:2] / digest


def entry_paths(root: Path) -> Iterator[Path]:
    """Every entry's file, sorted.

    Raises:
        StoreError: The system refuses to list a folder.
    """
    for prefix in sorted(_listed(root / "entries")):
        for name in sorted(_listed(root / "entries" / prefix) if len(prefix) == 2 else ()):
            if len(name) == 64 and _HEXADECIMAL.issuperset(name):
                yield root / "entries" / prefix / name


def listed(root: Path, prefixes: Iterable[str]) -> Iterator[str]:
    """The names in the folders of these first two digits.

    Raises:
        StoreError: The system refuses to list one.
    """
    for prefix in prefixes:
        yield from _listed(root / "entries" / prefix)


def _listed(folder: Path) -> list[str]:
    """The names in a folder, none where it does not exist."""
    try:
        return os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise StoreError(
            f"cache folder {folder} cannot be listed: {error.strerror or error}; "
            "repair the folder or choose another"
        ) from error


def exists(path: Path) -> bool:
    """Whether an entry's file is there.

    Raises:
        StoreError: The system refuses to say.
    """
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except FileNotFoundError:
        return False
    except OSError as error:
        raise _unreadable(path, error) from error


def read(path: Path) -> bytes | None:
    """The bytes of an entry's file, or None where there is none.

    Raises:
        StoreError: The system refuses to read it.
    """
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: OSError) -> StoreError:
    """The system refuses to read an entry."""
    return StoreError(
        f"cache entry {path} cannot be read: {error.strerror or error}; "
        "repair the folder or choose another"
    )
