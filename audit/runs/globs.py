"""The files that a path or glob of a configuration means, and what to call them."""

from __future__ import annotations

import glob
import os
from pathlib import Path


def matching_files(pattern: Path) -> list[Path]:
    """The files that a path matches, sorted; every part of it that exists stands for itself.

    A folder may be called "runs [a]": brackets, "*" and "?" are glob characters only from the
    first part on that is not there as it is written.

    Args:
        pattern: Absolute.
    """
    literal, rest = Path(pattern.anchor), list(pattern.parts[1:])
    while rest and os.path.exists(literal / rest[0]):
        literal /= rest.pop(0)
    written = Path(glob.escape(str(literal)), *rest)
    found = sorted(Path(text).absolute() for text in glob.glob(str(written), recursive=True))
    return [path for path in found if path.is_file()]


def readable(name: str) -> str:
    r"""A file's name as text: bytes that are not UTF-8 are written as escapes such as `\xff`."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")
