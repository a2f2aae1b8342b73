"""What is asked of a store: each look, read and write of an entry, counted as it is made."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any
from unittest import mock

from audit.store import Store


@dataclasses.dataclass
class Traffic:
    """Questions put to a store, each of which is one request where it is an object store.

    Attributes:
        found: Entries read (GET).
        missed: Entries asked for that were not there (GET or HEAD, answered 404).
        written: Entries written (PUT).
        noted: Lines added to the ledger.
        bytes_read: Of entries read.
        bytes_written: Of the arrays of entries written; headers are some hundred bytes more.
        missed_measures: Those of `missed` that asked for one measure's values.
    """

    found: int = 0
    missed: int = 0
    written: int = 0
    noted: int = 0
    bytes_read: int = 0
    bytes_written: int = 0
    missed_measures: int = 0

    @property
    def reads(self) -> int:
        """GET and HEAD requests."""
        return self.found + self.missed


@contextlib.contextmanager
def counted() -> Iterator[Traffic]:
    """Count what every store of this process is asked meanwhile."""
    seen = Traffic()
    real_get, real_has, real_put, real_note = Store.get, Store.has, Store.put, Store.note

    def get(store: Store, key: Mapping[str, Any]) -> Any:
        before = store.n_bytes
        entry = real_get(store, key)
        seen.bytes_read += store.n_bytes - before
        if entry is None:
            seen.missed += 1
            seen.missed_measures += "measure" in key
        else:
            seen.found += 1
        return entry

    def has(store: Store, key: Mapping[str, Any]) -> bool:
        there = real_has(store, key)
        seen.missed += 1  # a look costs a request whatever the answer
        return there

    def put(store: Store, key: Mapping[str, Any], *content: Any, **named: Any) -> Any:
        result = real_put(store, key, *content, **named)
        seen.written += 1
        arrays = content[0] if content else named.get("arrays")
        seen.bytes_written += sum(array.nbytes for array in (arrays or {}).values())
        return result

    def note(store: Store, facts: Mapping[str, Any]) -> None:
        real_note(store, facts)
        seen.noted += 1

    with (
        mock.patch.object(Store, "get", get),
        mock.patch.object(Store, "has", has),
        mock.patch.object(Store, "put", put),
        mock.patch.object(Store, "note", note),
    ):
        yield seen
