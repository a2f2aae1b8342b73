"""A content-addressed cache on disk, and an append-only journal of what was computed.

An entry is a file named by the SHA-256 of its key. It is written once, to a unique temporary file
in the same folder, synced, and moved into place; so a reader sees all of it or nothing, and two
writers of one key cost work, never truth. Every read verifies the whole file; one that does not
match is moved to `quarantine/` and counts as a miss.
"""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import os
import time
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np

from audit.errors import StoreError
from audit.files import unwritable, write_atomically
from audit.store._format import Entry, decode, encode
from audit.store.keys import canonical_json, key_digest

#: No writer takes this long: a temporary file older than that was left by one that was killed.
_ORPHAN_SECONDS: Final = 3600
_log = logging.getLogger("genaudit.store")


class Store:
    """The cache below one folder.

    Args:
        root: The folder; made on the first write.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def path(self, key: Mapping[str, Any]) -> Path:
        """Where the entry of a key lies, whether or not it exists."""
        digest = key_digest(key)
        return self.root / "entries" / digest[:2] / digest

    def get(self, key: Mapping[str, Any]) -> Entry | None:
        """The entry of a key, or None where there is none that is whole.

        Raises:
            StoreError: The file exists and the system refuses to read it.
        """
        path = self.path(key)
        content = _read(path)
        if content is None:
            return None
        try:
            return decode(content, path.name)
        except ValueError as error:
            self._quarantine(path, str(error))
            return None

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

    def note(self, record: Mapping[str, Any]) -> None:
        """Append one line to `ledger.jsonl`, with the time of day.

        Raises:
            StoreError: It cannot be written.
        """
        line = canonical_json({"time": round(time.time(), 3), **record}).encode() + b"\n"
        path = self.root / "ledger.jsonl"
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
            try:
                size = os.fstat(descriptor).st_size
                if size and os.pread(descriptor, 1, size - 1) != b"\n":
                    # a crash tore the last line, and must not take this one along; or another
                    # process is half through its write, and an empty line will follow its own
                    line = b"\n" + line
                written = os.write(descriptor, line)
            finally:
                os.close(descriptor)
            if written < len(line):
                raise OSError(errno.ENOSPC, f"only {written} bytes were taken")
        except OSError as error:
            raise unwritable(path, len(line), error) from error

    def ledger(self) -> Iterator[dict[str, Any]]:
        """Every whole line of the ledger, oldest first; a torn last line is passed over."""
        path = self.root / "ledger.jsonl"
        if not path.exists():
            return
        with path.open(encoding="utf-8", errors="replace") as lines:
            for line in lines:
                record = None
                with contextlib.suppress(ValueError, RecursionError):
                    record = json.loads(line)
                if isinstance(record, dict):
                    yield record

    def paths(self) -> Iterator[Path]:
        """Every entry's file."""
        yield from sorted((self.root / "entries").glob("??/" + "[0-9a-f]" * 64))

    def verify(self) -> tuple[int, int]:
        """Read every entry; quarantine what is damaged. Returns (whole, damaged).

        Raises:
            StoreError: The system refuses to read one.
        """
        whole = damaged = 0
        for path in self.paths():
            content = _read(path)
            if content is None:  # another process removed it
                continue
            try:
                decode(content, path.name)
                whole += 1
            except ValueError as error:
                self._quarantine(path, str(error))
                damaged += 1
        return whole, damaged

    def clear(self) -> int:
        """Remove every entry, and what was set aside or left behind (the ledger stays).

        Returns:
            How many entries there were.

        Raises:
            StoreError: The system refuses to remove one.
        """
        entries = list(self.paths())
        long_ago = time.time() - _ORPHAN_SECONDS
        try:
            for path in [*entries, *(self.root / "quarantine").glob("*")]:
                path.unlink(missing_ok=True)
            for path in (self.root / "entries").glob("??/.*.tmp"):
                with contextlib.suppress(FileNotFoundError):
                    if path.stat().st_mtime < long_ago:
                        path.unlink()
        except OSError as error:
            raise StoreError(f"{path} cannot be removed: {error.strerror or error}") from error
        return len(entries)

    def _quarantine(self, path: Path, reason: str) -> None:
        """Move a damaged entry out of the way and say so."""
        _log.warning("cache entry %s is damaged (%s): set aside, to be recomputed", path, reason)
        folder = self.root / "quarantine"
        with contextlib.suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
            path.replace(folder / f"{path.name}.{uuid.uuid4().hex[:8]}")


def _read(path: Path) -> bytes | None:
    """The bytes of an entry's file, or None where there is none.

    Raises:
        StoreError: The system refuses to read it.
    """
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StoreError(
            f"cache entry {path} cannot be read: {error.strerror or error}; "
            "repair the folder or choose another"
        ) from error
