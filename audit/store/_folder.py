"""Entries in a folder: one file each, below a folder for each first two digits of a digest.

A file is written under a unique temporary name in the same folder, synced, and moved into place.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from audit.errors import StoreError
from audit.files import NoPlainFileError, plain_bytes, remove_leftovers, write_atomically
from audit.store import _ledger, _upkeep
from audit.store._tier import Held, Name

_HEXADECIMAL = frozenset("0123456789abcdef")


class Folder:
    """A tier of files.

    Attributes:
        n_looks: Questions put to the file system without reading an entry.

    Args:
        root: The folder; made on the first write.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.n_looks = 0

    def path(self, name: Name) -> Path:
        """Where an entry lies, whether or not it exists."""
        return self.root / "entries" / name.digest[:2] / name.digest

    def where(self, name: Name) -> str:
        """Where an entry lies, for messages."""
        return str(self.path(name))

    def read(self, name: Name) -> bytes | None:
        """The bytes of an entry's file, or None where there is none."""
        path = self.path(name)
        try:
            return plain_bytes(path, None)
        except (FileNotFoundError, NoPlainFileError):
            self.n_looks += 1
            return None
        except OSError as error:
            raise _unreadable(path, error) from error

    def write(self, name: Name, content: bytes) -> None:
        """Put an entry's file in its place, whole."""
        write_atomically(self.path(name), content)

    def has(self, name: Name) -> bool:
        """Whether an entry's file is there."""
        path = self.path(name)
        self.n_looks += 1
        try:
            return stat.S_ISREG(path.stat().st_mode)
        except FileNotFoundError:
            return False
        except OSError as error:
            raise _unreadable(path, error) from error

    def present(self, names: Sequence[Name]) -> set[str]:
        """Those that are there, by listing as many folders as they reach into, 256 at most."""
        prefixes = sorted({name.digest[:2] for name in names})
        self.n_looks += len(prefixes)
        found = {name for prefix in prefixes for name in self._listed(prefix)}
        return {name.digest for name in names} & found

    def _listed(self, prefix: str) -> list[str]:
        """The names in the folder of these first two digits."""
        folder = self.root / "entries" / prefix
        try:
            return os.listdir(folder)
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            raise _unlistable(folder, error) from error

    def set_aside(self, name: Name, reason: str) -> None:
        """Move a damaged entry to `quarantine/`."""
        _upkeep.quarantine(self.root, self.path(name), reason)

    def paths(self) -> Iterator[Path]:
        """Every entry's file, sorted."""
        for prefix in sorted(self._prefixes()):
            names = sorted(name for name in self._listed(prefix) if _is_digest(name))
            yield from (self.root / "entries" / prefix / name for name in names)

    def held(self) -> Iterator[Held]:
        """Every entry, in the order of digests; one folder after the other is looked at."""
        for prefix in sorted(self._prefixes()):
            folder = self.root / "entries" / prefix
            try:
                with os.scandir(folder) as found:
                    files = sorted((f for f in found if _is_digest(f.name)), key=lambda f: f.name)
            except (FileNotFoundError, NotADirectoryError):
                continue
            except OSError as error:
                raise _unlistable(folder, error) from error
            for file in files:
                try:
                    known = file.stat()
                except FileNotFoundError:  # another process removed it
                    continue
                except OSError as error:
                    raise _unreadable(folder / file.name, error) from error
                yield Held(Name("", file.name), known.st_size, known.st_mtime)

    def _prefixes(self) -> list[str]:
        """The folders of entries."""
        folder = self.root / "entries"
        try:
            return [name for name in os.listdir(folder) if len(name) == 2]
        except FileNotFoundError:
            return []
        except OSError as error:
            raise _unlistable(folder, error) from error

    def remove_leftovers(self) -> None:
        """Remove the temporary files of writers of this machine that were killed."""
        for prefix in self._prefixes():
            remove_leftovers(self.root / "entries" / prefix)

    def remove(self, names: Iterable[Name]) -> None:
        """Remove these entries, if they are there."""
        _upkeep.remove(self.root, [self.path(name) for name in names])

    def note(self, facts: Mapping[str, Any]) -> None:
        """Add one line to `ledger.jsonl`."""
        _ledger.append(self.root / "ledger.jsonl", facts)

    def flush(self) -> None:
        """Nothing to do: lines are written as they come."""

    def ledger(self) -> Iterator[dict[str, Any]]:
        """Every whole line of the ledger, oldest first; torn lines are passed over."""
        yield from _ledger.lines(self.root / "ledger.jsonl")


def _is_digest(name: str) -> bool:
    return len(name) == 64 and _HEXADECIMAL.issuperset(name)


def _unreadable(path: Path, error: OSError) -> StoreError:
    """The system refuses to read an entry."""
    return StoreError(
        f"cache entry {path} cannot be read: {error.strerror or error}; "
        "repair the folder or choose another"
    )


def _unlistable(folder: Path, error: OSError) -> StoreError:
    """The system refuses to list a folder."""
    return StoreError(
        f"cache folder {folder} cannot be listed: {error.strerror or error}; "
        "repair the folder or choose another"
    )
