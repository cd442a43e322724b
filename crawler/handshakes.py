"""The words by which a proxy is asked to lead on: CONNECT (RFC 9110 9.3.6) and SOCKS5 (RFC 1928, 1929).

Does: say them over a connection to the proxy, read what it answers. Must not know how the connection was made, TLS,
or what will be sent over it. Invariant: whatever the proxy answers, it ends as a connection that leads on or as a
ProxyFault; no text of one shows credentials.
"""

from __future__ import annotations

import asyncio
import re
import socket
from typing import TYPE_CHECKING, cast

from crawler.errors import Reason
from crawler.proxytext import authorization, socks_credentials
from crawler.routes import Proxy
from crawler.urls import printable

if TYPE_CHECKING:
    from python_socks.async_.asyncio import Proxy as SocksProxy

_MAX_HEAD = 64 * 1024
_STATUS = re.compile(r"HTTP/1\.[01] ([0-9]{3})(?: ([^\r\n]*))?\r?\n")
_CHALLENGE = re.compile(r"(?mi)^(?:proxy|www)-authenticate:[ \t]*([A-Za-z0-9!#$%&'*+.^_`|~-]+)")
_A_DAY = 86400.0  # the watch keeps time


class ProxyFault(OSError):
    """A proxy did not do its part: `reason`, and a sentence."""

    def __init__(self, reason: Reason, error: str) -> None:
        super().__init__(error)
        self.reason = reason


class Pipe(asyncio.Protocol):
    """A connection to a proxy that has not led on yet."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport
        self._came = bytearray()
        self._ended = False
        self._news = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """As asyncio calls it."""
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """As asyncio calls it."""
        self._came += data
        self._news.set()

    def connection_lost(self, exc: Exception | None) -> None:
        """As asyncio calls it."""
        self._ended = True
        self._news.set()

    async def head(self) -> tuple[str, bytes]:
        """What came up to the first empty line, and what came after it. Raises EOFError, ValueError (too long)."""
        while (end := self._came.find(b"\r\n\r\n")) < 0:
            if len(self._came) > _MAX_HEAD:
                raise ValueError("a head without an end")
            if self._ended:
                raise EOFError
            self._news.clear()
            await self._news.wait()
        return self._came[: end + 4].decode("latin-1"), bytes(self._came[end + 4 :])


async def connect_by_http(pipe: Pipe, proxy: Proxy, host: str, port: int) -> None:
    """Have an HTTP proxy lead on to a canonical host. Raises ProxyFault."""
    place = f"[{host}]:{port}" if ":" in host.strip("[]") and not host.startswith("[") else f"{host}:{port}"
    lines = [f"CONNECT {place} HTTP/1.1", f"Host: {place}"]
    if (credentials := authorization(proxy)) is not None:
        lines.append(f"Proxy-Authorization: {credentials}")
    pipe.transport.write("\r\n".join([*lines, "", ""]).encode("ascii"))
    try:
        head, rest = await pipe.head()
    except (EOFError, ValueError) as error:
        told = "closes" if isinstance(error, EOFError) else "does not end its answer to"
        raise ProxyFault(Reason.PROXY_FAILED, f"the proxy {proxy} {told} CONNECT") from None
    status = _STATUS.match(head)
    if status is None:
        raise ProxyFault(Reason.PROXY_FAILED, f"the proxy {proxy} answers CONNECT with what is not HTTP")
    if status[1] in ("407", "401"):  # tinyproxy says 401 to a wrong password
        raise ProxyFault(Reason.PROXY_AUTH, refused(proxy, _CHALLENGE.findall(head)))
    if not status[1].startswith("2"):
        text = printable(f"{status[1]} {status[2] or ''}".strip(), 100)
        raise ProxyFault(Reason.PROXY_FAILED, f"the proxy {proxy} answers CONNECT with {text}")
    if rest:  # in TLS it is for us to speak first
        raise ProxyFault(
            Reason.PROXY_FAILED, f"the proxy {proxy} leads nowhere: it sends text of its own after CONNECT"
        )


def refused(proxy: Proxy, schemes: list[str]) -> str:
    """A sentence about a 407 whose challenges name these schemes."""
    wanted = printable(" or ".join(dict.fromkeys(schemes)) or "credentials", 100)
    if proxy.user is None:
        return f"the proxy {proxy} wants {wanted}; the job has no user and password for it"
    return f"the proxy {proxy} refuses user and password (it wants {wanted}, they were sent by Basic)"


class _Reached:
    """The way to the proxy as python-socks takes it, where it would connect by itself otherwise."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock

    async def connect(self, dest_host: str, dest_port: int, timeout: float | None = None) -> socket.socket:  # noqa: ASYNC109
        return self._sock


async def connect_by_socks(sock: socket.socket, proxy: Proxy, host: str, port: int) -> None:
    """Have a SOCKS5 proxy lead on to a host, or an address. Raises ProxyFault; then the socket is closed."""
    from python_socks import ProxyError, ProxyType
    from python_socks.async_.asyncio import Proxy as SocksProxy

    try:
        user, password = socks_credentials(proxy) or (None, None)
    except ValueError as error:
        raise ProxyFault(Reason.PROXY_AUTH, f"the proxy {proxy} cannot be given the credentials: {error}") from None
    reached = cast("SocksProxy", _Reached(sock))
    way = SocksProxy(ProxyType.SOCKS5, proxy.host, proxy.port, user, password, rdns=True, forward=reached)
    try:
        await way.connect(host.strip("[]"), port, timeout=_A_DAY)
    except ProxyError as error:
        raise _socks_fault(proxy, str(error), error.error_code) from None
    except UnicodeError:
        raise ProxyFault(Reason.PROXY_FAILED, f"SOCKS5 cannot name the host {printable(host, 100)}") from None
    except OSError as error:
        raise ProxyFault(Reason.PROXY_FAILED, f"the proxy {proxy} broke off: {error}") from None


def _socks_fault(proxy: Proxy, text: str, code: int | None) -> ProxyFault:
    if code is None and "authentication" in text.lower():
        given = (
            "refuses user and password" if proxy.user is not None else "wants a user and a password; the job has none"
        )
        return ProxyFault(Reason.PROXY_AUTH, f"the proxy {proxy} {given} ({text})")
    return ProxyFault(Reason.PROXY_FAILED, f"the proxy {proxy} leads nowhere: {printable(text, 100)}")
