"""Setting damaged entries aside, and removing what is not wanted any more."""

from __future__ import annotations

import contextlib
import logging
import time
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from audit.errors import StoreError

#: No writer takes this long: a temporary file older than that was left by one that was killed.
_ORPHAN_SECONDS: Final = 3600
_log = logging.getLogger("genaudit.store")


def quarantine(root: Path, path: Path, reason: str) -> None:
    """Move a damaged entry out of the way and say so."""
    _log.warning("cache entry %s is damaged (%s): set aside, to be recomputed", path, reason)
    folder = root / "quarantine"
    with contextlib.suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
        path.replace(folder / f"{path.name}.{uuid.uuid4().hex[:8]}")


def remove(root: Path, entries: Sequence[Path]) -> None:
    """Remove these entries, what was set aside, and what killed writers left behind.

    Raises:
        StoreError: The system refuses to remove one.
    """
    long_ago = time.time() - _ORPHAN_SECONDS
    try:
        for path in [*entries, *(root / "quarantine").glob("*")]:
            path.unlink(missing_ok=True)
        for path in (root / "entries").glob("??/.*.tmp"):
            with contextlib.suppress(FileNotFoundError):
                if path.stat().st_mtime < long_ago:
                    path.unlink()
    except OSError as error:
        raise StoreError(f"{path} cannot be removed: {error.strerror or error}") from error
