"""URLs and paths, told apart."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

from audit.errors import ConfigError

#: A folder or file on this machine, or a URL.
Location = Path | str

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
#: Where fsspec chains URLs, and what may stand before the path of one: a host, and its port.
_CHAINED = re.compile(r"::(?=[A-Za-z][A-Za-z0-9+.-]*://)")
_HOST = re.compile(r"[^:]*(:\d*)?|\[.*\](:\d*)?")
#: Bytes that the name of a file may have, with room for what is put before and after it.
_LONGEST_NAME = 200
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
    """The last part of a URL's path, which is a plain name of a file, or "" where there is none.

    On the web it comes without a query, and its percent-encoded characters are decoded, unless they
    hide what no name of a file holds; a name that is too long for one is cut.

    Example:
        >>> base_name("https://host/zoo/a%20b.safetensors?download=true")
        'a b.safetensors'
        >>> base_name("https://host/zoo/..%2F..%2Fa.safetensors")
        '..%2F..%2Fa.safetensors'
    """
    path = url.partition("://")[2]
    if is_web(url):
        path = re.split("[?#]", path, maxsplit=1)[0]
    name = path.rstrip("/").rpartition("/")[2]
    plain = unquote(name) if is_web(url) else name
    if "/" in plain or not plain.isprintable():
        plain = quote(name, safe="%")
    if not plain.strip("."):
        return ""
    return plain if len(plain.encode()) <= _LONGEST_NAME else _cut(plain)


def _cut(name: str) -> str:
    """A name that a file can have, with the ending that says what is in it."""
    start, dot, ending = name.rpartition(".")
    tail = f"{dot}{ending}" if len(ending) < 20 else ""
    digest = hashlib.sha256(name.encode()).hexdigest()[:16]
    return f"{start.encode()[:100].decode(errors='ignore')}-{digest}{tail}"


def is_web(url: str) -> bool:
    """Whether a URL is one of http:// or https://."""
    return url.lower().startswith(("http://", "https://"))


def pretty(url: str) -> str:
    """A URL for messages and records: without a password, and without a signed query.

    What is no URL, such as a path, stays as it is.

    Example:
        >>> pretty("https://me:secret@host/a.pt?X-Amz-Signature=1#token")
        'https://host/a.pt'
        >>> pretty("zip://a.pt::https://me:secret@host/a.zip?sig=1")
        'zip://a.pt::https://host/a.zip'
    """
    return "::".join(_shown(part) for part in _CHAINED.split(url))


def _shown(url: str) -> str:
    """One URL of a chain, for messages."""
    scheme, mark, rest = url.partition("://")
    if not mark:
        return url
    start, _, query = rest.partition("?")
    rest = re.split("[?#]", rest, maxsplit=1)[0] if is_web(url) else start if "=" in query else rest
    host, slash, path = rest.partition("/")
    if "@" in path and not _HOST.fullmatch(host.rpartition("@")[2]):
        path = path.rpartition("@")[2]  # a password with a slash in it
        return f"{scheme}://{path}"
    return f"{scheme}://{host.rpartition('@')[2]}{slash}{path}"
