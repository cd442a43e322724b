"""Connections that a proxy makes for us: HTTP CONNECT, SOCKS5, and the plain way to an HTTP proxy itself.

Does: connect to the proxy of one route, have it lead on, speak TLS with the target at the far end. Must not know
requests, their headers or aiohttp. Invariant: the proxy is told host and port of the target and its own credentials,
nothing else, and nothing at all of a host that the guard refuses; what the target's TLS protects it never sees.

Faults of the target's certificate stay what they are; whatever else goes wrong on the way is a ProxyFault.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

import aiohappyeyeballs

from crawler.errors import Reason
from crawler.guard import Guard, current, guarded_socket
from crawler.handshakes import Pipe, ProxyFault, connect_by_http, connect_by_socks
from crawler.resolver import Address
from crawler.routes import Proxy, Route
from crawler.tls import context_of, proxy_context_of

if TYPE_CHECKING:
    from aiohappyeyeballs import AddrInfoType

_STAGGER = 0.25  # seconds between two addresses of a proxy (RFC 8305 5)
FAMILIES = {"any": socket.AF_UNSPEC, "ipv4": socket.AF_INET, "ipv6": socket.AF_INET6}
# OpenSSL's words for bytes that are no TLS.
_NO_TLS = {"WRONG_VERSION_NUMBER", "HTTP_REQUEST", "UNKNOWN_PROTOCOL", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG"}

P = TypeVar("P", bound=asyncio.Protocol)


class Tunnel:
    """The way of one route that has a proxy."""

    def __init__(self, route: Route, guard: Guard) -> None:
        assert route.proxy is not None
        self._route = route
        self._proxy: Proxy = route.proxy
        self._guard = guard
        self._family = FAMILIES[route.family]
        self._from = aiohappyeyeballs.addr_to_addr_infos((route.local_address, 0) if route.local_address else None)

    async def open(self, factory: Callable[[], P], host: str, port: int, secure: bool) -> P:
        """A protocol that is connected to the target, by TLS where `secure`; else, of an HTTP proxy that need not lead
        on, to the proxy.

        Raises OSError: Blocked, ProxyFault, ssl.SSLError, or the lookup's.
        """
        by_socks = self._proxy.scheme in ("socks5", "socks5h")
        target = await self._target(host, port) if self._proxy.scheme == "socks5" else Address(host, port, 0)
        await self._guard.beyond(target.host, port)
        sock = await self._reached()
        try:
            if by_socks:
                await connect_by_socks(sock, self._proxy, target.host, target.port)
                return await self._speak(factory, sock, host, secure)
            if not secure and not self._route.tunnel:
                return await self._to_proxy(factory, sock)
            pipe = await self._to_proxy(Pipe, sock)
        except BaseException:
            sock.close()
            raise
        try:
            await connect_by_http(pipe, self._proxy, host, port)
            return await self._speak_within(factory, pipe, host) if secure else self._hand_over(factory, pipe)
        except BaseException:
            pipe.transport.abort()
            raise

    async def _target(self, host: str, port: int) -> Address:
        """The address that a SOCKS proxy is told. Raises OSError."""
        found = await self._guard.addresses(host, port, self._family)
        # Whether the proxy has IPv6 nobody knows; IPv4 it surely has.
        return min(found, key=lambda address: address.family != socket.AF_INET)

    async def _reached(self) -> socket.socket:
        """A socket connected to the proxy, which is the job's own wish wherever it is. Raises ProxyFault."""
        proxy = self._proxy
        current.get().anywhere = True  # the target has been judged
        try:
            found = await self._guard.addresses(proxy.host, proxy.port, self._family)
            infos = [_info(address) for address in found]
            return await aiohappyeyeballs.start_connection(
                infos, local_addr_infos=self._from, happy_eyeballs_delay=_STAGGER, socket_factory=guarded_socket
            )
        except OSError as error:
            raise ProxyFault(Reason.PROXY_REFUSED, f"no connection to the proxy {proxy}: {error}") from error

    async def _to_proxy(self, factory: Callable[[], P], sock: socket.socket) -> P:
        """Speak with the proxy itself, by TLS where it wants that. Raises ProxyFault."""
        proxy = self._proxy
        loop = asyncio.get_running_loop()
        if proxy.scheme != "https":
            return (await loop.create_connection(factory, sock=sock))[1]
        try:
            context = proxy_context_of(self._route.tls)
            return (await loop.create_connection(factory, sock=sock, ssl=context, server_hostname=proxy.host))[1]
        except OSError as error:
            raise ProxyFault(Reason.PROXY_FAILED, f"no TLS with the proxy {proxy}: {error}") from error

    async def _speak(self, factory: Callable[[], P], sock: socket.socket, host: str, secure: bool) -> P:
        """Speak with the target over a socket that leads to it. Raises ssl.SSLError, ProxyFault."""
        loop = asyncio.get_running_loop()
        if not secure:
            return (await loop.create_connection(factory, sock=sock))[1]
        try:
            context = context_of(self._route.tls)
            return (await loop.create_connection(factory, sock=sock, ssl=context, server_hostname=_name(host)))[1]
        except OSError as error:
            raise self._tunnel_fault(error) from error

    async def _speak_within(self, factory: Callable[[], P], pipe: Pipe, host: str) -> P:
        """Speak TLS with the target through a pipe that leads to it. Raises ssl.SSLError, ProxyFault."""
        protocol, loop = factory(), asyncio.get_running_loop()
        try:
            context = context_of(self._route.tls)
            transport = await loop.start_tls(pipe.transport, protocol, context, server_hostname=_name(host))
        except OSError as error:
            raise self._tunnel_fault(error) from error
        except TypeError as error:  # asyncio of Python 3.11 stumbles over a fault of TLS within TLS, which is known yet
            if not isinstance(error.__context__, OSError):
                raise
            raise self._tunnel_fault(error.__context__) from error
        if transport is None:  # the pipe was closed meanwhile
            raise self._tunnel_fault(ConnectionResetError("closed in the handshake"))
        protocol.connection_made(transport)
        return protocol

    def _hand_over(self, factory: Callable[[], P], pipe: Pipe) -> P:
        """Speak with the target as it is, through a pipe that leads to it. Raises ProxyFault."""
        if pipe.transport.is_closing():
            raise self._tunnel_fault(ConnectionResetError("closed behind CONNECT"))
        protocol = factory()
        pipe.transport.set_protocol(protocol)
        protocol.connection_made(pipe.transport)
        return protocol

    def _tunnel_fault(self, error: OSError) -> OSError:
        """What a failed handshake with the target is: the target's fault, or the proxy's."""
        reason = getattr(error, "reason", None)
        if isinstance(error, ssl.SSLCertVerificationError):
            return error
        if isinstance(error, ssl.SSLError) and not isinstance(error, ssl.SSLEOFError) and reason not in _NO_TLS:
            return error
        told = "what comes is no TLS" if reason in _NO_TLS else f"the tunnel was closed ({error})"
        return ProxyFault(Reason.PROXY_FAILED, f"the proxy {self._proxy} led on, but {told}")


def _info(address: Address) -> AddrInfoType:
    place = (address.host, address.port)
    of = socket.AddressFamily(address.family)
    return of, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", place if of == socket.AF_INET else (*place, 0, 0)


def _name(host: str) -> str:
    return host.strip("[]").rstrip(".")
