"""Put a file in the output folder whole, or not at all."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from audit.errors import StoreError


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
    payload = text.encode("utf-8", "backslashreplace")
    temporary = ""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        with os.fdopen(handle, "wb") as file:
            file.write(payload)
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
    except OSError as error:
        if temporary:
            Path(temporary).unlink(missing_ok=True)
        raise StoreError(
            f"{path} cannot be written: {error.strerror or error}; choose another output folder "
            f"or make room in this one"
        ) from error
    return path


def _umask() -> int:
    """The permissions that new files of this process do not get."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
