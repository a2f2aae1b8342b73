"""URLs and paths, told apart."""

from __future__ import annotations

import os
import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

from audit.errors import ConfigError

#: A folder or file on this machine, or a URL.
Location = Path | str

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_FLATTENED = re.compile(r"(s3|gs|gcs|hf|https?|memory|file):/[^/]")


def is_url(value: object) -> bool:
    """Whether a value is text that begins as a URL does.

    Example:
        >>> is_url("s3://bucket/zoo"), is_url("zoo/a.pt"), is_url(Path("s3://bucket"))
        (True, False, False)
    """
    return isinstance(value, str) and _URL.match(value) is not None


def location(value: str | os.PathLike[str]) -> Location:
    """A URL as it is, without a slash at its end; anything else, and `file://`, as a path.

    Raises:
        ConfigError: A URL was made a path on its way here, which loses one of its slashes.

    Example:
        >>> location("s3://bucket/zoo/"), location("file:///data/zoo") == Path("/data/zoo")
        ('s3://bucket/zoo', True)
    """
    text = os.fspath(value)
    if isinstance(value, str) and is_url(text):
        parts = urlsplit(text)
        if parts.scheme.lower() != "file":
            return text.rstrip("/")
        return Path(unquote(parts.path) or "/")
    if _FLATTENED.match(text):
        raise ConfigError(
            f"{text!r} seems to be a URL that was made a path: give it as text, with '://'"
        )
    return Path(value)


def base_name(url: str) -> str:
    """The last part of a URL's path, without a query.

    Example:
        >>> base_name("https://host/zoo/a.safetensors?download=true")
        'a.safetensors'
    """
    return unquote(urlsplit(url.replace("#", "%23")).path.rstrip("/").rpartition("/")[2])


def pretty(url: str) -> str:
    """A URL for messages and records: without a password, and without a signed query.

    Example:
        >>> pretty("https://me:secret@host/a.pt?X-Amz-Signature=1")
        'https://host/a.pt'
    """
    scheme, _, rest = url.partition("://")
    host, slash, path = rest.partition("/")
    return f"{scheme}://{host.rpartition('@')[2]}{slash}{path.partition('?')[0]}"
