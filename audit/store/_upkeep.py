"""Setting damaged entries aside, and removing what is not wanted any more."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import time
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from audit.errors import StoreError

#: No writer takes this long: a temporary file older than that was left by one that was killed.
_ORPHAN_SECONDS: Final = 3600
_SET_ASIDE: Final = re.compile(r"[0-9a-f]{64}\.[0-9a-f]{8}")
_log = logging.getLogger("genaudit.store")


def quarantine(root: Path, path: Path, reason: str) -> None:
    """Move a damaged entry out of the way and say so."""
    _log.warning("cache entry %s is damaged (%s): set aside, to be recomputed", path, reason)
    folder = root / "quarantine"
    with contextlib.suppress(OSError):
        if path.parent.is_symlink() or path.parent.parent.is_symlink() or folder.is_symlink():
            return  # the file is not the store's to move
        folder.mkdir(parents=True, exist_ok=True)
        path.replace(folder / f"{path.name}.{uuid.uuid4().hex[:8]}")


def _set_aside(folder: Path) -> list[Path]:
    """The files that `quarantine` made, and no others."""
    return [path for path in folder.glob("*") if _SET_ASIDE.fullmatch(path.name)]


def remove(root: Path, entries: Sequence[Path]) -> None:
    """Remove these entries, what was set aside, and what killed writers left behind.

    Raises:
        StoreError: The system refuses to remove one, or a folder of the store leads elsewhere.
    """
    entries = list(entries)
    long_ago = time.time() - _ORPHAN_SECONDS
    path = root
    try:
        for path in sorted({root / "entries", root / "quarantine", *(e.parent for e in entries)}):
            if path.is_symlink():
                raise StoreError(
                    f"{path} is a link to {os.readlink(path)}: nothing is removed through it; "
                    "remove the link, or name the store that it leads to"
                )
        for path in [*entries, *_set_aside(root / "quarantine")]:
            path.unlink(missing_ok=True)
        for path in (root / "entries").glob("??/.*.tmp"):
            with contextlib.suppress(FileNotFoundError):
                if path.stat().st_mtime < long_ago:
                    path.unlink()
    except OSError as error:
        raise StoreError(f"{path} cannot be removed: {error.strerror or error}") from error
