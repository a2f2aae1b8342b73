"""What a path or glob of a configuration means, and what to call them."""

from __future__ import annotations

import glob
import os
from pathlib import Path


def matching_paths(pattern: Path) -> list[Path]:
    """The files and folders that a path matches, sorted.

    Every part of it that exists stands for itself: a folder may be called "runs [a]". Brackets,
    "*" and "?" are glob characters only from the first part on that is not there as written.

    Args:
        pattern: Absolute.
    """
    literal, rest = Path(pattern.anchor), list(pattern.parts[1:])
    while rest and os.path.exists(literal / rest[0]):
        literal /= rest.pop(0)
    written = Path(glob.escape(str(literal)), *rest)
    return sorted(Path(text).absolute() for text in glob.glob(str(written), recursive=True))


def readable(name: str) -> str:
    r"""A file's name as text: bytes that are not UTF-8 are written as escapes such as `\xff`."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")
