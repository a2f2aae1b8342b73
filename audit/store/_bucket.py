"""Entries in a bucket: one object each, `entries/GROUP/DIGEST`, through fsspec.

Objects are written once and whole, under names that their keys decide; nothing is ever renamed,
locked or appended to. So two writers of one key cost work, and what an object store shows late
counts as not there. What is asked for together lies under one prefix, so that one listing answers
for all of it.
"""

from __future__ import annotations

import concurrent.futures
import logging
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from audit.notations import json_of
from audit.remote import System, connect
from audit.store._tier import Held, Name
from audit.store.keys import canonical_json

#: Requests under way at once.
N_AT_ONCE: Final = 16
#: Digests are spread evenly: the names that begin with two given digits are one of so many.
_SHARES: Final = 256
_PAGE: Final = 1000
#: Up to so many are asked for one by one.
_FEW: Final = 3
_log = logging.getLogger("genaudit.store")


class Bucket:
    """A tier of objects.

    Attributes:
        system: What reaches it; `system.requests` counts what was asked of it.

    Args:
        url: Where it lies.

    Raises:
        RemoteError: Its file system is not installed, or cannot be set up.
    """

    def __init__(self, url: str) -> None:
        self.system: System = connect(url)
        self._known: dict[str, set[str]] = {}
        self._notes: list[str] = []

    def where(self, name: Name) -> str:
        """Where an entry lies, for messages."""
        return f"{self.system.url}/entries/{name.group}/{name.digest}"

    def check_writable(self) -> None:
        """Find out whether objects can be written, by writing the one that says what this is."""
        content = canonical_json({"genaudit": "store", "schema": 1}).encode()
        self.system.write(f"{self.system.path}/store.json", content)

    def survey(self, group: str) -> None:
        """List a group; from here on what it does not hold, and is not written here, is missing."""
        found = self.system.below(self._folder(group))
        self._known[group] = {file.path.rpartition("/")[2] for file in found}

    def may_hold(self, name: Name) -> bool:
        """Whether an entry is not known to be missing."""
        known = self._known.get(name.group)
        return known is None or name.digest in known

    def read(self, name: Name) -> bytes | None:
        """The bytes of an entry's object, or None where there is none."""
        return self.system.read(self._path(name)) if self.may_hold(name) else None

    def write(self, name: Name, content: bytes) -> None:
        """Put an entry's object in its place."""
        self.system.write(self._path(name), content)
        if name.group in self._known:
            self._known[name.group].add(name.digest)

    def present(self, names: Sequence[Name]) -> set[str]:
        """Those that are there: by a listing, or one by one where a listing would be longer."""
        groups: dict[str, set[str]] = {}
        for name in names:
            groups.setdefault(name.group, set()).add(name.digest)
        found: set[str] = set()
        for group, digests in groups.items():
            listed = self._listing(group, digests)
            found |= self._asked(group, digests) if listed is None else digests & listed
        return found

    def likely(self, names: Sequence[Name]) -> list[Name]:
        """These names without those that one listing shows to be missing, where it pays."""
        groups: dict[str, set[str]] = {}
        for name in names:
            groups.setdefault(name.group, set()).add(name.digest)
        shown = {group: self._listing(group, digests) for group, digests in groups.items()}
        return [n for n in names if (known := shown[n.group]) is None or n.digest in known]

    def _listing(self, group: str, digests: set[str]) -> set[str] | None:
        """The digests in a group, or None where a listing takes more requests than asking.

        How long it would be is told from the names that begin with two digits.
        """
        if group in self._known:
            return self._known[group]
        if len(digests) <= _FEW:
            return None
        folder = self._folder(group)
        n_share = sum(1 for _ in self.system.below(folder, "00"))
        if _SHARES * n_share // _PAGE >= len(digests):
            return None
        return {file.path.rpartition("/")[2] for file in self.system.below(folder)}

    def _asked(self, group: str, digests: set[str]) -> set[str]:
        """Those of a group that are there, each asked for."""

        def is_there(digest: str) -> bool:
            return any(True for _ in self.system.below(self._folder(group), digest))

        asked = sorted(digests)
        return {digest for digest, yes in zip(asked, at_once(is_there, asked), strict=True) if yes}

    def set_aside(self, name: Name, reason: str) -> None:
        """Say that an object is damaged; the next write replaces it."""
        _log.warning(
            "cache entry %s is damaged (%s): passed over, to be recomputed",
            self.where(name),
            reason,
        )
        if name.group in self._known:
            self._known[name.group].discard(name.digest)

    def held(self) -> Iterator[Held]:
        """Every entry, by one listing."""
        for file in self.system.below(f"{self.system.path}/entries"):
            *_, group, digest = file.path.split("/")
            yield Held(Name(group, digest), file.n_bytes or 0, file.modified)

    def remove(self, names: Iterable[Name]) -> None:
        """Remove these entries, if they are there."""
        for _ in at_once(lambda name: self.system.delete(self._path(name)), list(names)):
            pass
        self._known.clear()

    def note(self, facts: Mapping[str, Any]) -> None:
        """Keep one line in memory until `flush`."""
        self._notes.append(canonical_json({"time": round(time.time(), 3), **facts}))

    def flush(self) -> None:
        """Write all lines since the last time as one object of their own."""
        if self._notes:
            name = f"{time.time():017.3f}-{uuid.uuid4().hex[:12]}.jsonl"
            content = "".join(f"{line}\n" for line in self._notes).encode()
            self.system.write(f"{self.system.path}/ledger/{name}", content)
            self._notes.clear()

    def ledger(self) -> Iterator[dict[str, Any]]:
        """Every line that was flushed, or noted here, oldest first."""
        files = self.system.below(f"{self.system.path}/ledger")
        contents = at_once(self.system.read, sorted(file.path for file in files))
        lines: list[dict[str, Any]] = []
        for text in [*(content or b"" for content in contents), "\n".join(self._notes).encode()]:
            lines += _whole_lines(text)
        yield from sorted(lines, key=lambda line: float(line.get("time") or 0))

    def _folder(self, group: str) -> str:
        return f"{self.system.path}/entries/{group}"

    def _path(self, name: Name) -> str:
        return f"{self._folder(name.group)}/{name.digest}"


def at_once(call: Any, items: Sequence[Any]) -> Iterator[Any]:
    """The results of a call for each item, in order, several under way at once."""
    if len(items) < 2:
        yield from map(call, items)
        return
    with concurrent.futures.ThreadPoolExecutor(N_AT_ONCE) as pool:
        yield from pool.map(call, items)


def _whole_lines(content: bytes) -> Iterator[dict[str, Any]]:
    """The lines that are JSON objects; others are passed over."""
    for line in content.splitlines():
        try:
            facts = json_of(line)
        except ValueError:
            continue
        if isinstance(facts, dict):
            yield facts
