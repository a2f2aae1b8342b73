"""Files behind http:// and https://, whose servers are anybody's.

What fsspec has for them takes every fault for a file that is not there, an answer without content
for a file, and goes wherever a server points to.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from typing import Any, Final

import aiohttp
from fsspec.implementations.http import HTTPFileSystem
from yarl import URL

from audit.errors import RemoteError
from audit.remote.urls import pretty

#: Seconds until a connection stands, between two pieces, and until the head of an answer is there.
_CONNECT_SECONDS: Final = 4
_READ_SECONDS: Final = 6
_HEAD_SECONDS: Final = 10
#: Nothing is asked to be sent packed; what a server packs all the same is unpacked as it comes.
_HEADERS: Final = {"Accept-Encoding": "identity"}
_VERSIONS: Final = ("ETag", "Content-MD5", "Digest", "Last-Modified")


class Web(HTTPFileSystem):  # type: ignore[misc]  # fsspec has no types
    """fsspec's, with typed faults, and redirects that lead no further inward."""

    async def _info(self, url: str, **options: Any) -> dict[str, Any]:
        """Size and version, by HEAD, or by GET where HEAD does not tell: nothing is read."""
        answer = await self._answer("head", url)
        answer.close()
        if answer.status >= 300 or "Content-Length" not in answer.headers:
            answer = await self._answer("get", url)
            answer.close()
            _check(answer, url)
        known = {name: answer.headers[name] for name in _VERSIONS if name in answer.headers}
        packed = answer.headers.get("Content-Encoding", "identity") not in ("", "identity")
        size = None if packed else answer.content_length
        return {"name": url, "type": "file", "size": size, **known}

    async def _get_file(self, rpath: str, lpath: str, callback: Any = None, **options: Any) -> None:
        """The content of an answer, as it comes."""
        answer = await self._answer("get", rpath)
        async with answer:
            _check(answer, rpath)
            with open(lpath, "wb") as file:
                async for piece in answer.content.iter_any():
                    file.write(piece)
                    if callback is not None:
                        callback.relative_update(len(piece))

    async def _answer(self, method: str, url: str) -> aiohttp.ClientResponse:
        """The head of an answer."""
        session = await self.set_session()
        asked = session.request(method, self.encode_url(url), allow_redirects=True)
        answer: aiohttp.ClientResponse = await asyncio.wait_for(asked, _HEAD_SECONDS)
        return answer


def web() -> Web:
    """The file system of web addresses."""
    redirects = aiohttp.TraceConfig()
    redirects.on_request_redirect.append(_check_redirect)
    patience = aiohttp.ClientTimeout(
        total=None, sock_connect=_CONNECT_SECONDS, sock_read=_READ_SECONDS
    )
    options = {"timeout": patience, "trace_configs": [redirects], "headers": _HEADERS}
    return Web(client_kwargs=options, use_listings_cache=False, skip_instance_cache=True)


def _check(answer: aiohttp.ClientResponse, url: str) -> None:
    """Refuse an answer that is not the file."""
    if answer.status in (404, 410):
        raise FileNotFoundError(url)
    answer.raise_for_status()
    if answer.status != 200:
        raise RemoteError(
            f"{pretty(str(answer.url))} was answered with the status "
            f"{answer.status} and no file; check the address"
        )


async def _check_redirect(session: Any, context: Any, asked: Any) -> None:
    """Refuse a redirect to plain http, or from the network at large to a narrower one."""
    there = asked.response.headers.get("Location") or asked.response.headers.get("URI")
    if there is None:
        return
    target = asked.url.join(URL(there))
    shown = pretty(str(target))
    if target.scheme not in ("http", "https") or (asked.url.scheme, target.scheme) == (
        "https",
        "http",
    ):
        raise RemoteError(
            f"{asked.url.host} leads to {shown}: a redirect may lead to https:// alone, or from "
            "http:// to http://; check the address, or give the one that it leads to"
        )
    inward = await _nets(target) - {"public"} - await _nets(asked.url)
    if inward:
        raise RemoteError(
            f"{asked.url.host} leads to {shown}, which is on a {min(inward)} net: a redirect may "
            "lead to a public address, or one of the kind that it comes from; check the address, "
            "or give the one that it leads to"
        )


async def _nets(url: URL) -> set[str]:
    """The kinds of nets that a host's addresses are on."""
    loop = asyncio.get_running_loop()
    known = await loop.getaddrinfo(url.host, url.port, type=socket.SOCK_STREAM)
    names = {str(address[0]).partition("%")[0] for *_, address in known}
    return {_net(ipaddress.ip_address(name)) for name in names}


def _net(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> str:
    """The kind of net that an address is on.

    Example:
        >>> [_net(ipaddress.ip_address(a)) for a in ("1.1.1.1", "10.0.0.1", "::ffff:127.0.0.1")]
        ['public', 'private', 'loopback']
    """
    address = getattr(address, "ipv4_mapped", None) or address
    if address.is_loopback or address.is_unspecified:
        return "loopback"
    if address.is_link_local:
        return "link-local"
    return "public" if address.is_global else "private"
