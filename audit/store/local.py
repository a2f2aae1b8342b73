"""A content-addressed cache on disk, and a ledger of what was computed.

An entry is a file named by the SHA-256 of its key. It is written once, to a unique temporary file
in the same folder, synced, and moved into place; so a reader sees all of it or nothing, and two
writers of one key cost work, never truth. Every read verifies the whole file; one that does not
match is moved to `quarantine/` and counts as a miss.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from audit.files import write_atomically
from audit.store import _files, _ledger, _upkeep
from audit.store._format import Entry, decode, encode
from audit.store.keys import key_digest


class Store:
    """The cache below one folder.

    Attributes:
        root: The folder.
        n_reads: Entries whose bytes were read through this object.
        n_bytes: Bytes that they came to.
        n_looks: Questions put to the file system without reading an entry: whether a file is
            there, or which files a folder holds.

    Args:
        root: The folder; made on the first write.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.n_reads = self.n_bytes = self.n_looks = 0

    def path(self, key: Mapping[str, Any]) -> Path:
        """Where the entry of a key lies, whether or not it exists."""
        return _files.entry_path(self.root, key_digest(key))

    def has(self, key: Mapping[str, Any]) -> bool:
        """Whether there is an entry of a key; it is not read, so it may turn out damaged.

        Raises:
            StoreError: The system refuses to say.
        """
        self.n_looks += 1
        return _files.exists(self.path(key))

    def having(self, keys: Iterable[Mapping[str, Any]]) -> list[bool]:
        """Whether there is an entry, for each of many keys in their order, as `has` says.

        The store is listed once instead of asked for every key: as far as the keys reach, 256
        folders at most. For a few keys in a large store `has` is the cheaper.

        Raises:
            StoreError: The system refuses to list a folder.
        """
        wanted = [key_digest(key) for key in keys]
        prefixes = sorted({digest[:2] for digest in wanted})
        self.n_looks += len(prefixes)
        found = set(_files.listed(self.root, prefixes))
        return [digest in found for digest in wanted]

    def get(self, key: Mapping[str, Any]) -> Entry | None:
        """The entry of a key, or None where there is none that is whole.

        Raises:
            StoreError: The file exists and the system refuses to read it.
        """
        return self._verified(self.path(key))

    def put(
        self,
        key: Mapping[str, Any],
        arrays: Mapping[str, np.ndarray] | None = None,
        meta: Mapping[str, Any] | None = None,
    ) -> None:
        """Write an entry; an entry already there is replaced by an equal one.

        Raises:
            StoreError: It cannot be written.
        """
        write_atomically(self.path(key), encode(key, arrays or {}, meta or {}))

    def note(self, facts: Mapping[str, Any]) -> None:
        """Add one line to the ledger, `ledger.jsonl`, with the time of day.

        Raises:
            StoreError: It cannot be written.
        """
        _ledger.append(self.root / "ledger.jsonl", facts)

    def ledger(self) -> Iterator[dict[str, Any]]:
        """Every whole line of the ledger, oldest first; torn lines are passed over."""
        yield from _ledger.lines(self.root / "ledger.jsonl")

    def paths(self) -> Iterator[Path]:
        """Every entry's file."""
        yield from _files.entry_paths(self.root)

    def verify(self) -> tuple[int, int]:
        """Read every entry; quarantine what is damaged. Returns (whole, damaged).

        Raises:
            StoreError: The system refuses to read one.
        """
        n_read = self.n_reads
        n_whole = sum(self._verified(path) is not None for path in self.paths())
        return n_whole, self.n_reads - n_read - n_whole

    def clear(self) -> int:
        """Remove every entry, and what was set aside or left behind (the ledger stays).

        Returns:
            How many entries there were.

        Raises:
            StoreError: The system refuses to remove one.
        """
        entries = list(self.paths())
        _upkeep.remove(self.root, entries)
        return len(entries)

    def _verified(self, path: Path) -> Entry | None:
        """The entry in a file, or None where there is none; a damaged one is set aside."""
        content = _files.read(path)
        if content is None:
            self.n_looks += 1
            return None
        self.n_reads += 1
        self.n_bytes += len(content)
        try:
            return decode(content, path.name)
        except ValueError as error:
            _upkeep.quarantine(self.root, path, str(error))
            return None
