"""The store's ledger: one line of JSON for each thing that was computed, in the order of writing.

Lines are only ever added, each by one write, so that many processes can share the file. A line that
a crash tore costs itself and no other.
"""

from __future__ import annotations

import contextlib
import errno
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from audit.errors import StoreError
from audit.files import open_plain, unwritable
from audit.notations import json_of
from audit.store.keys import canonical_json


def append(path: Path, facts: Mapping[str, Any]) -> None:
    """Add one line with the time of day.

    Raises:
        StoreError: It cannot be written.
    """
    line = canonical_json({"time": round(time.time(), 3), **facts}).encode() + b"\n"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            size = os.fstat(descriptor).st_size
            if size and os.pread(descriptor, 1, size - 1) != b"\n":
                # a crash tore the last line, and must not take this one along; or another
                # process is half through its write, and an empty line will follow its own
                line = b"\n" + line
            written = os.write(descriptor, line)
        finally:
            os.close(descriptor)
        if written < len(line):
            raise OSError(errno.ENOSPC, f"only {written} bytes were taken")
    except OSError as error:
        raise unwritable(path, len(line), error) from error


def lines(path: Path) -> Iterator[dict[str, Any]]:
    """Every whole line, oldest first; torn lines are passed over.

    Raises:
        StoreError: The system refuses to read it.
    """
    try:
        with open_plain(path) as file:
            for line in file:
                facts = None
                with contextlib.suppress(ValueError):
                    facts = json_of(line.decode("utf-8", "replace"))
                if isinstance(facts, dict):
                    yield facts
    except FileNotFoundError:
        return
    except OSError as error:
        raise StoreError(
            f"ledger {path} cannot be read: {error.strerror or error}; "
            "repair the folder or choose another"
        ) from error
