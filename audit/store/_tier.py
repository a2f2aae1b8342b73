"""What a store needs of a place that keeps bytes: the one protocol of folders and buckets."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol


class Name(NamedTuple):
    """What an entry is called.

    Attributes:
        group: What it is asked for together with; see `audit.store.keys.group_of`.
        digest: Of its key.
    """

    group: str
    digest: str


class Held(NamedTuple):
    """An entry that a tier holds.

    Attributes:
        name: Of the entry. Folders do not know the group, which is then "".
        n_bytes: Its size.
        modified: When it was written, in seconds since 1970; 0 where that is not known.
    """

    name: Name
    n_bytes: int
    modified: float


class Tier(Protocol):
    """A place that keeps entries; every method may raise `StoreError`.

    A write shows all of an entry or nothing where the place can do that; readers verify what they
    are given all the same, and nothing hangs on a lock, a rename or the order of two writers.
    """

    def where(self, name: Name) -> str:
        """Where an entry lies, for messages."""
        ...

    def read(self, name: Name) -> bytes | None:
        """The bytes of an entry, or None where there is none."""
        ...

    def write(self, name: Name, content: bytes) -> None:
        """Keep an entry; one that is there already is replaced."""
        ...

    def present(self, names: Sequence[Name]) -> set[str]:
        """The digests of those that are there, by few questions."""
        ...

    def set_aside(self, name: Name, reason: str) -> None:
        """Say that an entry is damaged, and keep it from being taken for a whole one."""
        ...

    def held(self) -> Iterator[Held]:
        """Every entry."""
        ...

    def remove(self, names: Iterable[Name]) -> None:
        """Remove these entries, if they are there."""
        ...

    def note(self, facts: Mapping[str, Any]) -> None:
        """Add one line with the time of day to the ledger, at the latest when flushed."""
        ...

    def flush(self) -> None:
        """Write what was noted so far."""
        ...

    def ledger(self) -> Iterator[dict[str, Any]]:
        """Every whole line of the ledger, oldest first."""
        ...
