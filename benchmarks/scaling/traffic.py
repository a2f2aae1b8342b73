"""What is asked of a store: each look, read and write of an entry, counted as it is made."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterable, Iterator, Mapping
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

    def tell(key: Mapping[str, Any], is_there: bool) -> None:
        seen.found += is_there
        seen.missed += not is_there
        seen.missed_measures += not is_there and "measure" in key

    def get(store: Store, key: Mapping[str, Any]) -> Any:
        before = store.n_bytes
        entry = real["get"](store, key)
        seen.bytes_read += store.n_bytes - before
        tell(key, entry is not None)
        return entry

    def get_many(store: Store, keys: Iterable[Mapping[str, Any]]) -> Any:
        keys, before = list(keys), store.n_bytes
        entries = real["get_many"](store, keys)
        seen.bytes_read += store.n_bytes - before
        for key, entry in zip(keys, entries, strict=True):
            tell(key, entry is not None)
        return entries

    def has(store: Store, key: Mapping[str, Any]) -> bool:
        seen.missed += 1  # a look costs a request whatever the answer
        return bool(real["has"](store, key))

    def put(store: Store, key: Mapping[str, Any], *content: Any, **named: Any) -> Any:
        result = real["put"](store, key, *content, **named)
        seen.written += 1
        arrays = content[0] if content else named.get("arrays")
        seen.bytes_written += sum(array.nbytes for array in (arrays or {}).values())
        return result

    def note(store: Store, facts: Mapping[str, Any]) -> None:
        real["note"](store, facts)
        seen.noted += 1

    watched = {"get": get, "get_many": get_many, "has": has, "put": put, "note": note}
    real = {name: getattr(Store, name) for name in watched if hasattr(Store, name)}
    with contextlib.ExitStack() as patches:
        for name in real:
            patches.enter_context(mock.patch.object(Store, name, watched[name]))
        yield seen
