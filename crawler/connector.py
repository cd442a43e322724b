"""The connections of one route, kept and used again by aiohttp's pool: direct, through a proxy, over a unix socket.

Does: time new connections, hold them to the guard and to pinned certificates, tell the watch. Must not know what is
sent over them. Invariant: no byte of a request goes over a connection whose certificate is not one of those pinned, nor
over one on which the server spoke unasked (its words would be taken for the answer).
"""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
from collections.abc import Callable, Iterator
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.client_exceptions import UnixClientConnectorError
from aiohttp.client_proto import ResponseHandler

from crawler.guard import Guard, current, guarded_socket, literal
from crawler.model import milliseconds
from crawler.routes import Route
from crawler.tls import context_of, matches
from crawler.tunnel import FAMILIES, Tunnel
from crawler.watch import Phase
from crawler.wirefaults import WrongCertificate

if TYPE_CHECKING:
    from aiohttp.client import ClientTimeout
    from aiohttp.client_reqrep import ClientRequest, ConnectionKey
    from aiohttp.tracing import Trace


_TURNS = 4  # of the loop: a closing transport tells its protocol within two


class _Resolver(AbstractResolver):
    """The guard as aiohttp wants to ask it."""

    def __init__(self, guard: Guard) -> None:
        self._guard = guard

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        found = await self._guard.addresses(host, port, family)
        return [ResolveResult(hostname=host, host=to, port=at, family=of, proto=0, flags=0) for to, at, of in found]

    async def close(self) -> None: ...  # the session closes the guard


class _Protocol(ResponseHandler):
    """Whoever closes a connection does not wait for its peer to take what was written, as a transport would: with a
    peer that takes nothing and stays that is for ever, and the session's end, too, would wait for it.
    """

    def close(self) -> None:
        if self.transport is not None and self.transport.get_write_buffer_size():
            self.abort()
        else:
            super().close()


class Connector(aiohttp.TCPConnector):
    """Times new connections without aiohttp's TraceConfig, which costs 30-50 us a request."""

    def __init__(
        self,
        route: Route,
        guard: Guard,
        connections: int,
        keepalive: float,
        make_room: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__(
            limit=connections,
            limit_per_host=0,  # the frontier counts per host; a second count could only disagree
            keepalive_timeout=keepalive,
            use_dns_cache=False,  # a second memory could only disagree
            resolver=_Resolver(guard),
            socket_factory=guarded_socket,
            family=FAMILIES[route.family],
            local_addr=(route.local_address, 0) if route.local_address else None,
        )
        self._route = route
        self._make_room = make_room
        self._factory = partial(_Protocol, loop=self._loop)  # type: ignore[assignment]
        self._tunnel = Tunnel(route, guard) if route.proxy is not None and route.unix_socket is None else None

    @property
    def busy(self) -> bool:
        """Is a connection in use, made or waited for."""
        return bool(self._acquired or self._waiters)

    @property
    def idle(self) -> int:
        """Connections that are kept for another use."""
        return sum(map(len, self._conns.values()))

    def unused(self) -> Iterator[tuple[float, Callable[[], None]]]:
        """Each of these: since when it is idle, and how to close it."""
        for key, kept in self._conns.items():
            for protocol, since in kept:
                yield since, partial(self._close_unused, key, protocol, since)

    def _close_unused(self, key: ConnectionKey, protocol: ResponseHandler, since: float) -> None:
        kept = self._conns[key]
        kept.remove((protocol, since))
        if not kept:
            del self._conns[key]
        protocol.close()

    async def connect(
        self,
        req: ClientRequest,
        traces: list[Trace],
        timeout: ClientTimeout,  # noqa: ASYNC109
    ) -> aiohttp.connector.Connection:
        """As aiohttp has it, but timed."""
        attempt = current.get()
        started = monotonic()
        attempt.transfer.enter(Phase.CONNECT, started)
        while True:
            connection = await super().connect(req, traces, timeout)
            if attempt.fresh or connection.protocol is None or not connection.protocol.should_close:
                break
            connection.close()
        connected = monotonic()
        attempt.transfer.enter(attempt.then, connected)
        if attempt.fresh:  # else it came from the pool
            attempt.timing.connect = milliseconds(connected - started)
        return connection

    async def _create_connection(
        self,
        req: ClientRequest,
        traces: list[Trace],
        timeout: ClientTimeout,  # noqa: ASYNC109
    ) -> ResponseHandler:
        current.get().fresh = True
        self._make_room()
        route = self._route
        if self._tunnel is not None:
            protocol = await self._tunnel.open(self._factory, req.host, req.port or 0, req.is_ssl())
        elif route.unix_socket is not None:
            protocol = await self._by_unix_socket(req, route.unix_socket)
        else:
            self._check_family(req)
            protocol = await super()._create_connection(req, traces, timeout)
        if req.is_ssl():
            self._check_pinned(req, protocol)
            await _read_what_came(protocol)
        return protocol

    async def _by_unix_socket(self, req: ClientRequest, path: str) -> ResponseHandler:
        context = context_of(self._route.tls) if req.is_ssl() else None
        name = req.host.rstrip(".") if req.is_ssl() else None
        loop = asyncio.get_running_loop()
        try:
            return (await loop.create_unix_connection(self._factory, path, ssl=context, server_hostname=name))[1]
        except ssl.SSLError:
            raise
        except OSError as error:
            raise UnixClientConnectorError(path, req.connection_key, error) from error

    def _check_family(self, req: ClientRequest) -> None:
        """An address in the URL passes no lookup, and aiohttp leaves those of another family out."""
        found = literal(req.host, 0)
        if self._family and found is not None and found.family != self._family:
            told = f"{req.host} is of another family than the job allows (connection.family)"
            error = OSError(errno.EAFNOSUPPORT, told)
            raise aiohttp.ClientConnectorError(req.connection_key, error)

    def _check_pinned(self, req: ClientRequest, protocol: ResponseHandler) -> None:
        if not self._route.tls.fingerprints:
            return
        transport = protocol.transport
        tls = None if transport is None else transport.get_extra_info("ssl_object")
        if tls is not None and not matches(self._route.tls, tls.getpeercert(binary_form=True)):
            assert transport is not None
            transport.abort()
            raise WrongCertificate(
                f"the certificate of {req.host} is not one of those pinned (connection.fingerprints)"
            )


async def _read_what_came(protocol: ResponseHandler) -> None:
    """In TLS 1.3 a server refuses our certificate after the handshake, and hangs up: on asyncio's own loop a request
    that is written at once fails before the reason is read (93 of 100; uvloop writes later). Raises what the protocol
    would.
    """
    if not isinstance(asyncio.get_running_loop(), asyncio.BaseEventLoop):
        return
    for _ in range(_TURNS):
        await _turn()
        if (error := protocol.exception()) is not None:
            raise error
        if protocol.is_connected():
            return


def _turn() -> asyncio.Future[None]:
    """Done when the loop has come round once."""
    loop = asyncio.get_running_loop()
    turn: asyncio.Future[None] = loop.create_future()
    loop.call_soon(turn.set_result, None)
    return turn
