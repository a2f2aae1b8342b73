"""A content-addressed cache, and a ledger of what was computed.

An entry is bytes named by the SHA-256 of its key. It is written once and whole, so a reader sees
all of it or nothing, and two writers of one key cost work, never truth. Every read verifies the
whole entry; one that does not match counts as a miss, and the next write replaces it.
"""

from __future__ import annotations

import hashlib
import logging
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from audit.errors import StoreError
from audit.files import machine_folder
from audit.remote import Location, location, pretty
from audit.store._bucket import Bucket, at_once
from audit.store._folder import Folder
from audit.store._format import Entry, decode, encode
from audit.store._tier import Held, Name, Tier
from audit.store.keys import group_of, key_digest

_log = logging.getLogger("genaudit.store")

#: Entries of a bucket that are fetched at a time where many are asked for one after another.
_TOGETHER: Final = 32


class Store:
    """The cache below one folder, or in a bucket with a folder on this machine before it.

    What is read from a bucket or written to it is kept in the folder too, its local tier, which is
    asked first. Nothing is in the local tier that was not in the bucket.

    Attributes:
        location: The folder, or the bucket's URL.
        root: The folder; for a bucket that of the local tier.
        n_reads: Entries whose bytes were read through this object.
        n_bytes: Bytes that they came to.

    Args:
        place: A folder, made on the first write; or a URL such as "s3://bucket/cache".

    Raises:
        ConfigError: A URL was made a path on its way here.
        RemoteError: What reads such URLs is not installed, or cannot be set up.
    """

    def __init__(self, place: Location) -> None:
        self.location = location(place)
        self.n_reads = self.n_bytes = 0
        self._lock = threading.Lock()
        self._bucket: Bucket | None = None
        if isinstance(self.location, Path):
            self._folder = Folder(self.location)
        else:
            self._bucket = Bucket(self.location)
            name = hashlib.sha256(self.location.encode()).hexdigest()[:16]
            self._folder = Folder(machine_folder() / "tiers" / name)
        self._main: Tier = self._bucket or self._folder
        self.root = self._folder.root

    @property
    def n_looks(self) -> int:
        """Questions put to the file system of the folder without reading an entry."""
        return self._folder.n_looks

    @n_looks.setter
    def n_looks(self, number: int) -> None:
        self._folder.n_looks = number

    @property
    def requests(self) -> Counter[str]:
        """Kind of request to the bucket ("list", "get", "put", "delete") → how many; and bytes."""
        return self._bucket.system.requests if self._bucket else Counter()

    @property
    def local(self) -> Store:
        """The store of this machine alone: what says something of its own files belongs there."""
        return Store(self.root) if self._bucket else self

    def check_writable(self) -> None:
        """Find out before hours of work whether a bucket can be written; a folder is not touched.

        Raises:
            RemoteError: It cannot; the message says why.
        """
        if self._bucket:
            self._bucket.check_writable()

    def remove_leftovers(self) -> None:
        """Remove what killed writers of this machine have left in the folder: no entry among it.

        Raises:
            StoreError: The system refuses to list it.
        """
        self._folder.remove_leftovers()

    def path(self, key: Mapping[str, Any]) -> Path:
        """Where the entry of a key lies in the folder, whether or not it exists."""
        return self._folder.path(_name(key))

    def has(self, key: Mapping[str, Any]) -> bool:
        """Whether there is an entry of a key; it is not read, so it may turn out damaged.

        Raises:
            StoreError: The system refuses to say.
        """
        name = _name(key)
        if self._folder.has(name):
            return True
        return self._bucket is not None and bool(self._bucket.present([name]))

    def having(self, keys: Iterable[Mapping[str, Any]]) -> list[bool]:
        """Whether there is an entry, for each of many keys in their order, as `has` says.

        The store is listed once instead of asked for every key: as far as the keys reach, 256
        folders at most. For a few keys in a large store `has` is the cheaper.

        Raises:
            StoreError: The system refuses to list a folder.
        """
        names = [_name(key) for key in keys]
        found = self._folder.present(names)
        if self._bucket:
            found |= self._bucket.present([name for name in names if name.digest not in found])
        return [name.digest in found for name in names]

    def survey(self, key: Mapping[str, Any]) -> None:
        """List once what a bucket holds beside a key, so that what is missing costs no request.

        Entries that others write from here on are taken for missing: that costs work, never truth.

        Raises:
            RemoteError: It cannot be listed.
        """
        if self._bucket:
            self._bucket.survey(group_of(key))

    def get(self, key: Mapping[str, Any]) -> Entry | None:
        """The entry of a key, or None where there is none that is whole.

        Raises:
            StoreError: It exists and the system refuses to read it.
        """
        name = _name(key)
        entry = self._verified(self._folder, name)
        return entry if entry or self._bucket is None else self._fetched(self._bucket, name)

    def get_many(self, keys: Iterable[Mapping[str, Any]]) -> list[Entry | None]:
        """The entries of many keys in their order, as `get` gives them.

        A bucket is listed once, and asked for those alone that it holds, several at a time.

        Raises:
            StoreError: One exists and the system refuses to read it.
        """
        return list(self.each(keys))

    def each(self, keys: Iterable[Mapping[str, Any]]) -> Iterator[Entry | None]:
        """The entries of many keys, one after another, so that they need no room together.

        A bucket is listed once, and asked for those alone that it holds, several at a time.

        Raises:
            StoreError: One exists and the system refuses to read it.
        """
        names = [_name(key) for key in keys]
        bucket = self._bucket
        if bucket is None:
            yield from (self._verified(self._folder, name) for name in names)
            return
        held = self._folder.present(names)
        there = set(bucket.likely([name for name in names if name.digest not in held]))
        for start in range(0, len(names), _TOGETHER):
            some = names[start : start + _TOGETHER]
            found = {name: self._verified(self._folder, name) for name in some}
            asked = [
                name
                for name, entry in found.items()
                if entry is None and (name in there or name.digest in held)
            ]
            entries = at_once(lambda name: self._fetched(bucket, name), asked)
            found |= zip(asked, entries, strict=True)
            yield from (found[name] for name in some)

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
        name, content = _name(key), encode(key, arrays or {}, meta or {})
        self._main.write(name, content)
        if self._bucket:
            self._keep(name, content)

    def note(self, facts: Mapping[str, Any]) -> None:
        """Add one line to the ledger, with the time of day; to that of a bucket when flushed.

        Raises:
            StoreError: It cannot be written.
        """
        self._main.note(facts)

    def flush(self) -> None:
        """Write what was noted for a bucket's ledger, as one object.

        Raises:
            StoreError: It cannot be written.
        """
        self._main.flush()

    def ledger(self) -> Iterator[dict[str, Any]]:
        """Every whole line of the ledger, oldest first; torn lines are passed over."""
        yield from self._main.ledger()

    def paths(self) -> Iterator[Path]:
        """Every entry's file in the folder."""
        yield from self._folder.paths()

    def held(self) -> Iterator[Held]:
        """Every entry with its size and age; of a bucket by one listing.

        Raises:
            StoreError: The system refuses to list them.
        """
        yield from self._main.held()

    def verify(self) -> tuple[int, int]:
        """Read every entry; set aside what is damaged, or remove it from a bucket.

        Returns:
            (whole, damaged).

        Raises:
            StoreError: The system refuses to read one.
        """
        if self._bucket:
            return self._verify_bucket(self._bucket)
        n_read = self.n_reads
        names = (Name("", path.name) for path in self.paths())
        n_whole = sum(self._verified(self._folder, name) is not None for name in names)
        return n_whole, self.n_reads - n_read - n_whole

    def _verify_bucket(self, bucket: Bucket) -> tuple[int, int]:
        def state(name: Name) -> bool | None:
            content = bucket.read(name)
            return None if content is None else self._decoded(bucket, name, content) is not None

        names = [held.name for held in bucket.held()]
        states = list(at_once(state, names))
        bucket.remove([name for name, whole in zip(names, states, strict=True) if whole is False])
        return states.count(True), states.count(False)

    def clear(self) -> int:
        """Remove every entry, and what was set aside or left behind (the ledger stays).

        Returns:
            How many entries there were.

        Raises:
            StoreError: The system refuses to remove one.
        """
        names = [held.name for held in self.held()]
        self.remove(names)
        if self._bucket:
            self._folder.remove([held.name for held in self._folder.held()])
        return len(names)

    def prune(self, older_seconds: float | None, max_bytes: int | None) -> list[Held]:
        """Remove entries that were written long ago; they are computed again when asked for.

        Args:
            older_seconds: Those that are older than this; None: of any age.
            max_bytes: And the oldest of the others, until no more than this is left; None: none.

        Returns:
            What was removed, oldest first.

        Raises:
            StoreError: The system refuses to list or remove one.
        """
        ordered = sorted(self.held(), key=lambda held: (held.modified, held.name))
        n_left = sum(held.n_bytes for held in ordered)
        before = time.time() - (older_seconds or 0)
        chosen = []
        for held in ordered:
            is_old = older_seconds is not None and held.modified < before
            if not is_old and (max_bytes is None or n_left <= max_bytes):
                break
            chosen.append(held)
            n_left -= held.n_bytes
        self.remove([held.name for held in chosen])
        return chosen

    def remove(self, names: Sequence[Name]) -> None:
        """Remove entries, from the local tier too.

        Raises:
            StoreError: The system refuses to remove one.
        """
        self._folder.remove(names)
        if self._bucket:
            self._bucket.remove(names)

    def _verified(self, tier: Tier, name: Name) -> Entry | None:
        """The entry in a tier, or None where there is none; a damaged one is set aside."""
        content = tier.read(name)
        return None if content is None else self._decoded(tier, name, content)

    def _decoded(self, tier: Tier, name: Name, content: bytes) -> Entry | None:
        with self._lock:
            self.n_reads += 1
            self.n_bytes += len(content)
        try:
            return decode(content, name.digest)
        except ValueError as error:
            tier.set_aside(name, str(error))
            return None

    def _fetched(self, bucket: Bucket, name: Name) -> Entry | None:
        """The entry in the bucket; a whole one is kept in the local tier."""
        content = bucket.read(name)
        entry = None if content is None else self._decoded(bucket, name, content)
        if entry is not None and content is not None:
            self._keep(name, content)
        return entry

    def _keep(self, name: Name, content: bytes) -> None:
        """Keep what the bucket has in the local tier; a full disk there costs requests alone."""
        try:
            self._folder.write(name, content)
        except StoreError as error:
            _log.warning(
                "the local tier of %s keeps nothing: %s", pretty(str(self.location)), error
            )


def _name(key: Mapping[str, Any]) -> Name:
    return Name(group_of(key), key_digest(key))
