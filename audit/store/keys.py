"""Keys of the store: JSON in one canonical form, its digest, and what is asked for together."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any


def canonical_json(value: Any) -> str:
    """JSON with sorted keys and no spaces; equal values give equal text. NaN is refused.

    Lone surrogates, of paths that are not UTF-8, become the escapes that JSON has for them.
    """
    text = json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )
    return text.encode("utf-8", "backslashreplace").decode()


def key_digest(key: Mapping[str, Any]) -> str:
    """SHA-256 of the key's canonical JSON, 64 hexadecimal digits."""
    return hashlib.sha256(canonical_json(key).encode()).hexdigest()


def group_of(key: Mapping[str, Any]) -> str:
    """What an entry is asked for together with, and lies beside where entries are listed.

    A run asks for the rows of all its checkpoints, a worker for all that there is of one
    checkpoint: so "rows" where the key has that field, the digest of its `weights` where it has
    those, and "others".
    """
    if "rows" in key:
        return "rows"
    if key.get("weights"):
        return hashlib.sha256(canonical_json(key["weights"]).encode()).hexdigest()[:32]
    return "others"
