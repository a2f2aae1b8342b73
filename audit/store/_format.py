"""The bytes of an entry.

File: magic line · 8-byte little-endian header length · header (JSON: schema, key, meta, payload
length and SHA-256) · SHA-256 of all before · payload (safetensors).
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import safetensors
import safetensors.numpy

from audit.errors import StoreError
from audit.store.keys import canonical_json, key_digest

SCHEMA: Final = 1
_MAGIC: Final = b"genaudit-entry\n"
_MAX_HEADER: Final = 16 << 20
_FIELDS: Final = {"key": dict, "meta": dict, "payload_bytes": int, "payload_sha256": str}


@dataclasses.dataclass(frozen=True, slots=True)
class Entry:
    """What a key stands for: named arrays and a JSON object."""

    arrays: dict[str, np.ndarray]
    meta: dict[str, Any]


def encode(
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


def decode(content: bytes, digest: str) -> Entry:
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


def is_entry(start: bytes) -> bool:
    """Whether a file begins as an entry does."""
    return start.startswith(_MAGIC)


def described_entry(content: bytes, digest: str) -> dict[str, Any]:
    """What an entry holds: its key's names, its arrays with type and shape, the names of its JSON.

    Args:
        content: The bytes of the entry.
        digest: Of its key, which is the name of its file.

    Raises:
        ValueError: They are damaged, or belong to another key.
    """
    entry = decode(content, digest)
    header, _ = _split(content)
    arrays = {name: f"{a.dtype} {list(a.shape)}" for name, a in entry.arrays.items()}
    return {
        "schema": header["schema"],
        "key": sorted(header["key"]),
        "arrays": arrays,
        "json": sorted(entry.meta),
    }
