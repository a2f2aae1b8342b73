"""A content-addressed cache on disk, and an append-only ledger of what was computed.

An entry is a file named by the SHA-256 of its key. It is written once, to a unique temporary file
in the same folder, synced, and moved into place; so a reader sees all of it or nothing, and two
writers of one key cost work, never truth. Every read verifies the whole file; one that does not
match is moved to `quarantine/` and counts as a miss.

File: magic line · 8-byte little-endian header length · header (JSON: schema, key, meta, payload
length and SHA-256) · SHA-256 of all before · payload (safetensors).
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import hashlib
import json
import logging
import os
import time
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import safetensors
import safetensors.numpy

from audit.errors import StoreError
from audit.files import unwritable, write_atomically

SCHEMA: Final = 1
_MAGIC: Final = b"genaudit-entry\n"
_MAX_HEADER: Final = 16 << 20
_FIELDS: Final = {"key": dict, "meta": dict, "payload_bytes": int, "payload_sha256": str}

#: No writer takes this long: a temporary file older than that was left by one that was killed.
_ORPHAN_SECONDS: Final = 3600
_log = logging.getLogger("genaudit.store")


@dataclasses.dataclass(frozen=True, slots=True)
class Entry:
    """What a key stands for: named arrays and a JSON object."""

    arrays: dict[str, np.ndarray]
    meta: dict[str, Any]


def canonical_json(value: Any) -> str:
    """JSON with sorted keys and no spaces; equal values give equal text. NaN is refused."""
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )


def key_digest(key: Mapping[str, Any]) -> str:
    """SHA-256 of the key's canonical JSON, 64 hexadecimal digits."""
    return hashlib.sha256(canonical_json(key).encode()).hexdigest()


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
            return _decode(content, path.name)
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
        write_atomically(self.path(key), _encode(key, arrays or {}, meta or {}))

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
                _decode(content, path.name)
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


def _encode(
    key: Mapping[str, Any], arrays: Mapping[str, np.ndarray], meta: Mapping[str, Any]
) -> bytes:
    """The bytes of an entry."""
    payload = safetensors.numpy.save(
        {name: np.asarray(array, order="C") for name, array in arrays.items()}
    )
    header = {
        "schema": SCHEMA,
        "key": key,
        "meta": meta,
        "payload_bytes": len(payload),
        "payload_sha256": hashlib.sha256(payload).hexdigest(),
    }
    text = canonical_json(header).encode()
    if len(text) > _MAX_HEADER:
        raise StoreError(
            f"a cache entry holds at most {_MAX_HEADER} bytes of JSON; found {len(text)}; "
            "keep large values as arrays"
        )
    head = _MAGIC + len(text).to_bytes(8, "little") + text
    return head + hashlib.sha256(head).digest() + payload


def _split(content: bytes) -> tuple[dict[str, Any], bytes]:
    """The verified header of an entry's bytes, and the payload that follows it.

    Raises:
        ValueError: They are not an entry of this schema, or damaged.
    """
    start = len(_MAGIC) + 8
    if content[: len(_MAGIC)] != _MAGIC or len(content) < start:
        raise ValueError("not an entry")
    length = int.from_bytes(content[len(_MAGIC) : start], "little")
    if length > min(_MAX_HEADER, len(content) - start - 32):
        raise ValueError("cut short")
    end = start + length
    head, seal, payload = content[:end], content[end : end + 32], content[end + 32 :]
    if hashlib.sha256(head).digest() != seal:
        raise ValueError("header digest does not match")
    try:
        header = json.loads(head[start:])
    except RecursionError as error:
        raise ValueError("the header is nested too deeply") from error
    if not isinstance(header, dict):
        raise ValueError("the header is no JSON object")  # noqa: TRY004  damage, not misuse
    if header.get("schema") != SCHEMA:
        raise ValueError(f"schema {header.get('schema')}, this version reads {SCHEMA}")
    for name, kind in _FIELDS.items():
        if not isinstance(header.get(name), kind):
            raise ValueError(  # noqa: TRY004  likewise
                f"the header has no {name} of type {kind.__name__}"
            )
    return header, payload


def _decode(content: bytes, digest: str) -> Entry:
    """The entry in these bytes, if they are that of the key with this digest.

    Raises:
        ValueError: They are damaged, or belong to another key.
    """
    header, payload = _split(content)
    if key_digest(header["key"]) != digest:
        raise ValueError("it belongs to another key")
    if len(payload) != header["payload_bytes"]:
        raise ValueError(f"{len(payload)} of {header['payload_bytes']} payload bytes")
    if hashlib.sha256(payload).hexdigest() != header["payload_sha256"]:
        raise ValueError("payload digest does not match")
    try:
        return Entry(safetensors.numpy.load(payload), header["meta"])
    except (safetensors.SafetensorError, KeyError) as error:  # a KeyError is an unknown dtype
        raise ValueError(f"the payload cannot be read: {error}") from error
