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

SCHEMA: Final = 1
_MAGIC: Final = b"genaudit-entry\n"
_MAX_HEADER: Final = 16 << 20
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


def write_atomically(path: Path, content: bytes) -> None:
    """Replace a file's content such that a crash leaves the old content or the new.

    Raises:
        StoreError: It cannot be written; the message has the path, the bytes and the cause.
    """
    temporary = path.with_name(f".{uuid.uuid4().hex}.tmp")
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
        _sync_folder(path.parent)
    except OSError as error:
        raise StoreError(
            f"{path} cannot be written ({len(content)} bytes): {error.strerror or error}; "
            "free space there or choose another folder"
        ) from error


def _sync_folder(folder: Path) -> None:
    """Make a rename in the folder survive power loss."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


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
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StoreError(f"cache entry {path} cannot be read: {error.strerror}") from error
        try:
            return _decode(content, key)
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
        line = canonical_json({"time": round(time.time(), 3), **record}) + "\n"
        path = self.root / "ledger.jsonl"
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
            try:
                os.write(descriptor, line.encode())
            finally:
                os.close(descriptor)
        except OSError as error:
            raise StoreError(f"ledger {path} cannot be written: {error.strerror}") from error

    def ledger(self) -> Iterator[dict[str, Any]]:
        """Every whole line of the ledger, oldest first; a torn last line is passed over."""
        path = self.root / "ledger.jsonl"
        if not path.exists():
            return
        with path.open(encoding="utf-8", errors="replace") as lines:
            for line in lines:
                with contextlib.suppress(json.JSONDecodeError):
                    yield json.loads(line)

    def paths(self) -> Iterator[Path]:
        """Every entry's file."""
        yield from sorted((self.root / "entries").glob("??/" + "[0-9a-f]" * 64))

    def verify(self) -> tuple[int, int]:
        """Read every entry; quarantine what is damaged. Returns (whole, damaged)."""
        whole = damaged = 0
        for path in self.paths():
            try:
                content = path.read_bytes()
                _decode(content, None)
                if key_digest(_split(content)[0]["key"]) != path.name:
                    raise ValueError("it belongs to another key")
                whole += 1
            except ValueError as error:
                self._quarantine(path, str(error))
                damaged += 1
        return whole, damaged

    def clear(self) -> int:
        """Remove every entry (the ledger stays). Returns how many there were."""
        count = 0
        for path in self.paths():
            path.unlink(missing_ok=True)
            count += 1
        return count

    def _quarantine(self, path: Path, reason: str) -> None:
        """Move a damaged entry out of the way and say so."""
        _log.warning("cache entry %s is damaged (%s): set aside, to be recomputed", path, reason)
        folder = self.root / "quarantine"
        with contextlib.suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
            path.replace(folder / f"{path.name}.{uuid.uuid4().hex[:8]}")


def _encode(
    key: Mapping[str, Any], arrays: Mapping[str, np.ndarray], meta: Mapping[str, Any]
) -> bytes:
    """The bytes of an entry."""
    payload = safetensors.numpy.save(
        {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    )
    header = {
        "schema": SCHEMA,
        "key": key,
        "meta": meta,
        "payload_bytes": len(payload),
        "payload_sha256": hashlib.sha256(payload).hexdigest(),
    }
    text = canonical_json(header).encode()
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
    header: dict[str, Any] = json.loads(head[start:])
    if header["schema"] != SCHEMA:
        raise ValueError(f"schema {header['schema']}, this version reads {SCHEMA}")
    return header, payload


def _decode(content: bytes, key: Mapping[str, Any] | None) -> Entry:
    """The entry in these bytes; with a key, only if it belongs to that key.

    Raises:
        ValueError: They are damaged, or belong to another key.
    """
    header, payload = _split(content)
    if key is not None and key_digest(header["key"]) != key_digest(key):
        raise ValueError("it belongs to another key")
    if len(payload) != header["payload_bytes"]:
        raise ValueError(f"{len(payload)} of {header['payload_bytes']} payload bytes")
    if hashlib.sha256(payload).hexdigest() != header["payload_sha256"]:
        raise ValueError("payload digest does not match")
    try:
        return Entry(safetensors.numpy.load(payload), header["meta"])
    except safetensors.SafetensorError as error:
        raise ValueError(str(error)) from error
