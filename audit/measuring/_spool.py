"""Rows set down in a temporary file while they are made, and read back in parts.

Memory does not grow with them. The file has no name where the system allows that, so nothing is
left behind however the process ends.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import tempfile
import threading
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import numpy as np

from audit.errors import StoreError


@dataclasses.dataclass(frozen=True, slots=True)
class _Record:
    """Where some rows of a series lie."""

    start: int
    stop: int
    offset: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]


class Spool:
    """Series of rows by name, all in one temporary file.

    Args:
        folder: Where the file lies; the system's folder for such files where None.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder
        self._file: IO[bytes] | None = None
        self._records: dict[str, list[_Record]] = {}
        self._end = 0
        self._lock = threading.Lock()

    def length(self, name: str) -> int:
        """Rows of a series so far."""
        records = self._records.get(name)
        return records[-1].stop if records else 0

    def append(self, name: str, rows: np.ndarray) -> None:
        """Add rows at the end of a series.

        Raises:
            StoreError: They cannot be written.
        """
        rows = np.ascontiguousarray(rows)
        start = self.length(name)
        record = _Record(start, start + len(rows), self._end, rows.shape[1:], rows.dtype)
        with self._lock:
            self._reaching(lambda: self._write(rows))
            self._records.setdefault(name, []).append(record)
            self._end += rows.nbytes

    def read(self, name: str, start: int = 0, stop: int | None = None) -> np.ndarray:
        """Rows of a series, in order.

        Raises:
            StoreError: They cannot be read.
        """
        records = self._records[name]
        stop = self.length(name) if stop is None else stop
        found = np.empty((stop - start, *records[0].shape), records[0].dtype)
        with self._lock:
            for record in records:
                first, last = max(start, record.start), min(stop, record.stop)
                if first < last:
                    part = found[first - start : last - start]
                    row_bytes = part.nbytes // len(part)
                    at = record.offset + (first - record.start) * row_bytes
                    self._reaching(functools.partial(self._read, part, at))
        return found

    def _write(self, rows: np.ndarray) -> None:
        if self._file is None:
            if self._folder is not None:
                self._folder.mkdir(parents=True, exist_ok=True)
            self._file = tempfile.TemporaryFile(  # noqa: SIM115  closed with the spool
                dir=self._folder, prefix="spool-", buffering=0
            )
            weakref.finalize(self, self._file.close)
        self._file.seek(self._end)
        content = rows.reshape(-1).view(np.uint8).data
        while content:
            content = content[self._file.write(content) :]

    def _read(self, part: np.ndarray, at: int) -> None:
        if self._file is None or not part.size:
            return
        self._file.seek(at)
        content = part.reshape(-1).view(np.uint8).data
        while content:
            n_bytes = self._file.readinto(content)  # type: ignore[attr-defined]
            if not n_bytes:
                raise OSError("it ends too early")
            content = content[n_bytes:]

    def _reaching(self, step: Callable[[], None]) -> None:
        """Say what failed and where, if the system refuses.

        Raises:
            StoreError: It does.
        """
        try:
            step()
        except OSError as error:
            raise StoreError(
                f"a temporary file in {self._folder or tempfile.gettempdir()} cannot be used: "
                f"{error.strerror or error}; free space there or choose another folder (--cache)"
            ) from error


def row_ranges(n_rows: int, row_bytes: int, most_bytes: int) -> list[tuple[int, int]]:
    """Ranges that cover the rows, each of no more than so many bytes, or of one row.

    Example:
        >>> row_ranges(5, 10, 25)
        [(0, 2), (2, 4), (4, 5)]
    """
    step = max(1, most_bytes // max(1, row_bytes))
    edges = [*range(0, n_rows, step), n_rows]
    return list(itertools.pairwise(edges))
