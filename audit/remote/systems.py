"""Reach what a URL names: one rule for retries, one sentence for each way to fail.

Retries have one owner, `System.attempt`: those that file systems make by themselves are switched
off where they can be, so that the time until an error is bounded and requests can be counted.
"""

from __future__ import annotations

import collections
import datetime
import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar

from audit.errors import RemoteError
from audit.remote._faults import lasting, words
from audit.remote._opening import find_below, is_bucket, open_url, watch
from audit.remote.urls import pretty

Result = TypeVar("Result")

#: Tries of one request, and the seconds after which none is begun any more.
MAX_TRIES: Final = 8
MAX_SECONDS: Final = 20.0
_FIRST_WAIT_SECONDS: Final = 0.2
#: How long a write may take.
_SILENT_SECONDS: Final = 10
_SLOWEST_BYTES_PER_SECOND: Final = 500_000
#: Names that one request lists at most, on every object store that there is.
PAGE: Final = 1000


class Listed(NamedTuple):
    """A file of a listing.

    Attributes:
        path: As the file system calls it.
        n_bytes: Its size, or None where it does not say.
        modified: Seconds since 1970, or 0 where it does not say.
        version: Changes when the content does, or "" where it does not say.
    """

    path: str
    n_bytes: int | None
    modified: float
    version: str


class System:
    """What a URL names, and a count of what was asked of it.

    Attributes:
        url: For messages: without passwords and signatures.
        path: The place, as the file system calls it.
        requests: Kind ("list", "head", "get", "put", "delete") → how many were made, tries
            included; and "bytes_read", "bytes_written".

    Args:
        url: A folder or file.

    Raises:
        RemoteError: Its file system is not installed, or cannot be set up.
    """

    def __init__(self, url: str) -> None:
        self.url = pretty(url)
        self.requests: collections.Counter[str] = collections.Counter()
        self._lock = threading.Lock()
        started = time.monotonic()
        self.files, self.path = open_url(url)
        self._opening_seconds = time.monotonic() - started  # a search for credentials among them

    def read(self, path: str) -> bytes | None:
        """A whole object, or None where there is none.

        Raises:
            RemoteError: It cannot be read.
        """
        try:
            content = bytes(self.attempt("get", lambda: self.files.cat_file(path)))
        except FileNotFoundError:
            return None
        self._count("bytes_read", len(content))
        return content

    def fetch(self, file: Listed, here: Path, named: str, most: int) -> None:
        """A whole object as a file on this machine.

        Args:
            file: The object.
            here: Where to write it.
            named: What to call it in messages.
            most: Bytes that it may have, where its size is not known.

        Raises:
            FileNotFoundError: There is none.
            RemoteError: It cannot be read, has more bytes than it may, or comes too slowly.
        """

        def get() -> None:
            n_bytes, said = (most, False) if file.n_bytes is None else (file.n_bytes, True)
            watched = watch(self.files, named, n_bytes, said)
            self.files.get_file(file.path, str(here), **watched)

        self.attempt("get", get)

    def write(self, path: str, content: bytes) -> None:
        """Put a whole object in its place, in one request where it is not huge.

        Raises:
            RemoteError: It cannot be written.
        """
        # a server that takes the connection and says nothing would be waited for for ever
        seconds = _SILENT_SECONDS + len(content) / _SLOWEST_BYTES_PER_SECOND
        patience = {"timeout": seconds} if getattr(self.files, "async_impl", False) else {}

        def put() -> None:
            if not is_bucket(self.files):
                self.files.makedirs(path.rpartition("/")[0], exist_ok=True)
            self.files.pipe_file(path, content, **patience)

        try:
            self.attempt("put", put)
        except FileNotFoundError as error:
            raise RemoteError(
                f"{self.url}: there is no such bucket or folder ({words(error)}); make it, or "
                "choose another"
            ) from error
        self._count("bytes_written", len(content))

    def delete(self, path: str) -> None:
        """Remove an object; one that is not there is none to remove.

        Raises:
            RemoteError: It cannot be removed.
        """
        try:
            self.attempt("delete", lambda: self.files.rm_file(path))
        except FileNotFoundError:
            return

    def below(self, folder: str, prefix: str = "") -> Iterator[Listed]:
        """Every file below a folder whose path in it begins with a prefix, by one paged listing.

        Raises:
            RemoteError: It cannot be listed.
        """
        parent, _, last = folder.rstrip("/").rpartition("/")
        start = f"{folder.rstrip('/')}/{prefix}"

        def find() -> Mapping[str, Mapping[str, Any]]:
            found: Mapping[str, Any]
            if parent and is_bucket(self.files):  # as a prefix, so that nothing there is no error
                found = find_below(self.files, parent, f"{last}/{prefix}")
            else:
                found = self.files.find(folder, detail=True)
            return found

        try:
            found = self.attempt("list", find)
        except FileNotFoundError:
            return
        self._count("list", max(0, (len(found) - 1) // PAGE))
        for path, info in found.items():
            if path.startswith(start) and info.get("type") != "directory":
                yield listed(path, info)

    def look(self, path: str) -> Listed | None:
        """One file's size and version, or None where there is none.

        Raises:
            RemoteError: The file system refuses to say.
        """
        try:
            return listed(path, self.attempt("head", lambda: self.files.info(path)))
        except FileNotFoundError:
            return None

    def matches(self, pattern: str) -> list[Listed]:
        """The files that a glob matches, sorted.

        Raises:
            RemoteError: It cannot be listed.
        """
        try:
            found = self.attempt("list", lambda: self.files.glob(pattern, detail=True))
        except FileNotFoundError:
            return []
        return [
            listed(path, info)
            for path, info in sorted(found.items())
            if info.get("type") != "directory"
        ]

    def attempt(self, kind: str, call: Callable[[], Result]) -> Result:
        """Make one request, again after a pause where the fault may pass; counted.

        Raises:
            FileNotFoundError: There is no such thing.
            RemoteError: It was refused, or did not come about in time.
        """
        started = time.monotonic()
        for number in range(1, MAX_TRIES + 1):
            self._count(kind, 1)
            try:
                result = call()
                self._opening_seconds = 0.0
                return result
            except (FileNotFoundError, RemoteError):
                raise
            except Exception as error:
                if why := lasting(error):
                    raise RemoteError(f"{self.url}: {why}") from error
                seconds = time.monotonic() - started
                wait = _FIRST_WAIT_SECONDS * 2 ** (number - 1) * random.uniform(0.5, 1)
                if number == MAX_TRIES or self._opening_seconds + seconds + wait > MAX_SECONDS:
                    raise RemoteError(
                        f"{self.url} gave no answer in {number} tries over {seconds:.0f} seconds "
                        f"(the last: {words(error)}); check the address, for s3:// also "
                        "AWS_ENDPOINT_URL, and the network, and run again: what was computed is "
                        "kept"
                    ) from error
            time.sleep(wait)
        raise AssertionError("unreachable")  # pragma: no cover

    def _count(self, kind: str, number: int) -> None:
        if number:
            with self._lock:
                self.requests[kind] += number


def connect(url: str) -> System:
    """The place that a URL names; nothing is asked of it yet.

    Raises:
        RemoteError: Its file system is not installed, or cannot be set up.
    """
    return System(url)


#: What file systems call the fields that change with a file's content; a time alone is the last.
_VERSIONS: Final = ("VersionId", "generation", "lfs", "blob_id", "ETag", "etag", "md5Hash")
_TIMES: Final = ("LastModified", "mtime", "updated", "created", "last_modified", "ins")


def listed(path: str, info: Mapping[str, Any]) -> Listed:
    """What a file system says of a file, in one form for all of them."""
    known = [f"{name}={info[name]}" for name in _VERSIONS if info.get(name)]
    times = [info[name] for name in _TIMES if info.get(name)]
    version = " ".join(known) or (f"time={times[0]}" if times else "")
    size = info.get("size")
    n_bytes = int(size) if size is not None else None
    return Listed(path, n_bytes, _seconds(times[0]) if times else 0.0, version)


def _seconds(said: Any) -> float:
    """A time as seconds since 1970, or 0 where it is in no form that is known."""
    moment: object = said
    if isinstance(said, str):
        try:
            moment = datetime.datetime.fromisoformat(said)
        except ValueError:
            return 0.0
    if isinstance(moment, datetime.datetime):
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=datetime.UTC)
        return moment.timestamp()
    return float(moment) if isinstance(moment, int | float) else 0.0
