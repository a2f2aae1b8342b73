"""Put a file in the output folder whole, or not at all."""

from __future__ import annotations

from pathlib import Path

from audit.files import write_atomically


def write_text(path: Path, text: str) -> Path:
    r"""Write UTF-8 text through a temporary file in the same folder.

    Lone surrogates (file names that are not UTF-8) become `\udcXX`, which is visible in a page
    and a valid escape in JSON.

    Args:
        path: Where to; its folder is made if need be.
        text: What.

    Returns:
        `path`.

    Raises:
        StoreError: It cannot be written.
    """
    write_atomically(path, text.encode("utf-8", "backslashreplace"))
    return path
