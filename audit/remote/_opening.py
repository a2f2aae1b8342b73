"""Which package reads a URL, and how it is set up.

Every file system has its tries of its own switched off, lists afresh, and waits for a bounded time:
`System.attempt` alone makes a request again.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import os
import types
from collections.abc import Callable, Mapping
from typing import Any, Final

from audit.errors import RemoteError
from audit.remote._faults import lasting, words
from audit.remote.urls import pretty

#: Protocol → the package that reads it, and the extra that brings it.
_PACKAGES: Final = {
    **dict.fromkeys(("s3", "s3a"), ("s3fs", "s3")),
    **dict.fromkeys(("gs", "gcs"), ("gcsfs", "gcs")),
    **dict.fromkeys(("http", "https"), ("aiohttp", "https")),
}
#: Seconds until a connection stands, and between two pieces of an answer.
_CONNECT_SECONDS: Final = 4
_READ_SECONDS: Final = 8
_FRESH: Final = {"use_listings_cache": False}


def open_url(url: str) -> tuple[Any, str]:
    """The file system behind a URL, and the path of the URL in it.

    Raises:
        RemoteError: Its file system is not installed, or cannot be set up.
    """
    scheme = url.partition("://")[0].lower()
    try:
        return _OPENERS.get(scheme, _any)(url)
    except ImportError as error:
        package, extra = _PACKAGES.get(scheme, ("fsspec", "s3"))
        raise RemoteError(
            f"{pretty(url)} needs the package {package!r}, which cannot be imported ({error}); "
            f"install it: pip install 'genaudit[{extra}]'"
        ) from error
    except ValueError as error:
        raise RemoteError(
            f"{pretty(url)} cannot be read: {words(error)}; use s3://, gs://, hf://, https:// or "
            "file://"
        ) from error
    except Exception as error:
        why = lasting(error) or f"it cannot be set up ({words(error)})"
        raise RemoteError(f"{pretty(url)}: {why}") from error


def is_bucket(files: Any) -> bool:
    """Whether a file system has no folders to make, and lists by prefixes."""
    return bool({"s3", "gs", "gcs"}.intersection(_protocols(files)))


def is_google(files: Any) -> bool:
    """Whether a file system is Google's."""
    return "gs" in _protocols(files)


def watch(files: Any, named: str, most: int, said: bool) -> dict[str, Any]:
    """Options of `get_file` by which what comes is watched; see `Watch`."""
    if "hf" in _protocols(files):  # has ways of its own, and looks after sizes itself
        return {}
    from audit.remote._watch import Watch

    options: dict[str, Any] = {"callback": Watch(named, most, said)}
    if is_google(files):  # which else asks for the size first
        options["headers"] = {}
    return options


def find_below(files: Any, folder: str, prefix: str) -> Mapping[str, Any]:
    """Every object of a bucket below a folder, or a bucket, whose path in it begins with a prefix.

    `find` of gcsfs asks a second time where there is none.
    """
    if not is_google(files):
        found: Mapping[str, Any] = files.find(folder, prefix=prefix, detail=True)
        return found
    from fsspec.asyn import sync

    objects, _ = sync(files.loop, files._do_list_objects, folder, delimiter="", prefix=prefix)
    return {item["name"]: item for item in objects}


def _protocols(files: Any) -> tuple[str, ...]:
    named = files.protocol
    return (named,) if isinstance(named, str) else tuple(named)


def _any(url: str, options: Mapping[str, Any] = types.MappingProxyType({})) -> tuple[Any, str]:
    """As fsspec opens it."""
    from fsspec.core import url_to_fs

    files, path = url_to_fs(url, **options)
    return files, str(path)


def _fresh(url: str) -> tuple[Any, str]:
    return _any(url, _FRESH)


def _anybodys(url: str) -> tuple[Any, str]:
    """The web: the file system is made once in a process, since its connections are kept."""
    return _web_files(os.getpid()), url


@functools.cache
def _web_files(process: int) -> Any:
    from audit.remote._web import web

    return web()


def _amazon(url: str) -> tuple[Any, str]:
    """With whole objects in one request."""
    config = {
        "connect_timeout": _CONNECT_SECONDS,
        "read_timeout": _READ_SECONDS,
        "retries": {"mode": "standard", "total_max_attempts": 1},
        "max_pool_connections": 32,
    }
    files, path = _any(url, {**_FRESH, "max_concurrency": 1, "config_kwargs": config})
    files.retries = 1
    return files, path


def _google(url: str) -> tuple[Any, str]:
    """Without the class that asks for a bucket's layout over gRPC before each listing.

    The tries of gcsfs are bound to its methods when they are made; so its own are taken off.
    """
    import aiohttp
    import gcsfs

    core = gcsfs.core.GCSFileSystem
    patience = aiohttp.ClientTimeout(
        total=None, sock_connect=_CONNECT_SECONDS, sock_read=_READ_SECONDS
    )
    files = _signed_in(functools.partial(core, **_FRESH, requests_timeout=patience))
    for name in ("_request", "_get_file_request", "_get_file_concurrent"):
        if method := getattr(core, name, None):
            setattr(files, name, types.MethodType(inspect.unwrap(method), files))
    return files, str(core._strip_protocol(url))


def _signed_in(make: Callable[..., Any]) -> Any:
    """Google's file system with the credentials that there are, or none.

    gcsfs, left to itself, asks the metadata server once more, for a quarter of a minute.
    """
    from google.auth.exceptions import GoogleAuthError

    ways = ("anon",) if os.environ.get("STORAGE_EMULATOR_HOST") else ("google_default", "cache")
    for way in ways:
        with contextlib.suppress(GoogleAuthError, ValueError):
            return make(token=way)
    return make(token="anon")


_OPENERS: Final[Mapping[str, Callable[[str], tuple[Any, str]]]] = {
    **dict.fromkeys(("s3", "s3a"), _amazon),
    **dict.fromkeys(("gs", "gcs"), _google),
    **dict.fromkeys(("http", "https"), _anybodys),
    "hf": _fresh,
}
