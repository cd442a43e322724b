"""The wire: one pooled aiohttp session, behind a seam that a second transport could fill as well.

Does: send one request (one hop), hand back status, headers and pieces of the body as they came (not decoded).
Must not know jobs, retries, files or what a status means. Invariant: aiohttp's types and exceptions end here; every
trouble of the wire leaves as TransportError with a Reason, only bugs and cancellation pass as they are. The session
carries no credentials, cookies or redirects: those are decided per hop, above; where it may connect to, by guard.
"""

from __future__ import annotations

import errno
import socket
import ssl
from collections.abc import Mapping
from time import monotonic
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

import aiohttp
from aiohttp import http_exceptions
from aiohttp.abc import AbstractResolver, ResolveResult
from multidict import CIMultiDict

from crawler.errors import Reason
from crawler.guard import REAL_WAIT, Attempt, Blocked, Guard, current, guarded_socket
from crawler.model import Message, Timing, milliseconds
from crawler.resolver import Lookup
from crawler.retry import REPEATABLE
from crawler.watch import Phase, Transfer
from crawler.wire import Wire

if TYPE_CHECKING:
    from aiohttp.client import ClientTimeout
    from aiohttp.client_proto import ResponseHandler
    from aiohttp.client_reqrep import ClientRequest
    from aiohttp.tracing import Trace

# A certificate's fault as OpenSSL numbers it (x509_vfy.h).
_EXPIRED = {9, 10}
_WRONG_NAME = {62, 63, 64}


class TransportError(Exception):
    """The wire gave no usable answer: `reason` and a sentence."""

    def __init__(self, reason: Reason, error: str) -> None:
        super().__init__(error)
        self.reason = reason
        self.error = error


class SessionSettings(NamedTuple):
    """What the pool needs to know: connections open at once, seconds an idle one is kept, seconds a name is cached.

    `headers` go to whatever origin, so none of them may be a credential. `pins` as `addresses.parse_pins` reads them;
    `allow_private` lifts the guard from all addresses.
    """

    connections: int
    keepalive: float
    dns_ttl: float
    headers: Mapping[str, str]
    pins: Mapping[str, str] = MappingProxyType({})
    allow_private: bool = False


class _Resolver(AbstractResolver):
    """The guard as aiohttp wants to ask it."""

    def __init__(self, guard: Guard) -> None:
        self._guard = guard

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        found = await self._guard.addresses(host, port)
        return [ResolveResult(hostname=host, host=to, port=at, family=of, proto=0, flags=0) for to, at, of in found]

    async def close(self) -> None: ...  # the session closes the guard


class _Connector(aiohttp.TCPConnector):
    """Times new connections without aiohttp's TraceConfig, which costs 30-50 us a request."""

    async def connect(
        self,
        req: ClientRequest,
        traces: list[Trace],
        timeout: ClientTimeout,  # noqa: ASYNC109
    ) -> aiohttp.connector.Connection:
        attempt = current.get()
        started = monotonic()
        attempt.transfer.enter(Phase.CONNECT, started)
        connection = await super().connect(req, traces, timeout)
        connected = monotonic()
        attempt.transfer.enter(Phase.ANSWER, connected)
        if connected - started > REAL_WAIT:  # else it came from the pool
            attempt.timing.connect = milliseconds(connected - started)
        return connection

    async def _create_connection(
        self,
        req: ClientRequest,
        traces: list[Trace],
        timeout: ClientTimeout,  # noqa: ASYNC109
    ) -> ResponseHandler:
        current.get().fresh = True
        return await super()._create_connection(req, traces, timeout)


class Answer:
    """The head of a response; `read` gives the body in pieces, b"" at its end. Close it unless read to the end."""

    __slots__ = ("_content", "_response", "headers", "length", "length_checked", "status")

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response
        self._content = response.content
        self.status = response.status
        self.headers: Mapping[str, str] = response.headers
        length = self.headers.get("Content-Length")
        # A length that is not a number does not get past aiohttp's parser, nor one beside Transfer-Encoding.
        self.length = int(length) if length is not None else None
        self.length_checked = length is not None or "Transfer-Encoding" in self.headers

    @property
    def content_encoding(self) -> str | None:
        """All Content-Encoding lines as one list (RFC 9110 5.3)."""
        if "Content-Encoding" not in self.headers:
            return None
        return ", ".join(self._response.headers.getall("Content-Encoding")) or None

    async def read(self) -> bytes:
        """The next piece of the body. Raises TransportError."""
        try:
            return await self._content.readany()
        except (aiohttp.ClientError, OSError) as error:
            raise translate(error, "while reading the body") from error

    def close(self) -> None:
        """Drop the connection: the rest of the body is not wanted."""
        self._response.close()


class Session:
    """One connection pool. An async context manager; must be entered in a running loop.

    Requests go out through `Wire`, without the detour through `ClientSession.request`: its cookies, redirects, proxies
    and timers are all decided elsewhere here, and passing through them costs 23 of 77 us a request. `test_session`
    holds what an upgrade of aiohttp must keep.
    """

    def __init__(self, settings: SessionSettings, lookup: Lookup | None = None) -> None:
        """`lookup` stands in for the system's name lookup."""
        self._settings = settings
        self._lookup = lookup

    async def __aenter__(self) -> Session:
        settings = self._settings
        self._guard = Guard(settings.connections, settings.dns_ttl, settings.pins, self._lookup)
        self._connector = _Connector(
            limit=settings.connections,
            limit_per_host=0,  # the frontier counts per host; a second count could only disagree
            keepalive_timeout=settings.keepalive,
            use_dns_cache=False,  # a second memory could only disagree
            resolver=_Resolver(self._guard),
            socket_factory=guarded_socket,
        )
        self._session = aiohttp.ClientSession(connector=self._connector, cookie_jar=aiohttp.DummyCookieJar())
        self._wire = Wire(self._session, CIMultiDict(settings.headers))
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()
        await self._guard.close()

    async def address_of(self, host: str) -> str | None:
        """The first address of a canonical host; None where it has none, or nobody says."""
        return await self._guard.first(host)

    async def send(self, message: Message, transfer: Transfer, timing: Timing) -> Answer:
        """Send one message and wait for the head of the answer. Raises TransportError."""
        attempt = Attempt(transfer, timing, message.trusted or self._settings.allow_private)
        current.set(attempt)
        try:
            try:
                response = await self._wire.send(message)
            except aiohttp.ClientConnectorError:  # nothing was sent
                raise
            except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError, aiohttp.ClientConnectionResetError):
                if attempt.fresh or message.method not in REPEATABLE:
                    raise
                # The pooled connection was closed by the server as we took it (RFC 9112 9.3.1): once more, on another.
                response = await self._wire.send(message)
        except (aiohttp.ClientError, OSError, ValueError, http_exceptions.HttpProcessingError) as error:
            raise translate(error, "before the answer") from error
        if (response.version is not None and response.version.major != 1) or not 100 <= response.status <= 999:
            response.close()
            raise TransportError(Reason.BAD_RESPONSE, f"not a status line of HTTP/1.x: status {response.status}")
        return Answer(response)


def translate(error: Exception, when: str) -> TransportError:
    """An exception of aiohttp or the socket layer as a Reason with a sentence."""
    if isinstance(error, aiohttp.ClientConnectorError) and isinstance(error.os_error, Blocked):
        return TransportError(Reason.BLOCKED_ADDRESS, str(error.os_error))
    reason = _reason(error)
    text = str(error) or type(error).__name__
    return TransportError(reason, f"{reason.value} {when}: {text[:300]}")


def _reason(error: Exception) -> Reason:
    match error:
        case aiohttp.ClientConnectorDNSError():
            return _dns_reason(error.os_error)
        case aiohttp.ClientConnectorCertificateError():
            return _certificate_reason(error.certificate_error)
        case aiohttp.ClientSSLError() | ssl.SSLError():
            return Reason.TLS_PROTOCOL
        case aiohttp.ClientPayloadError():
            return _payload_reason(error)
        case aiohttp.ServerTimeoutError():
            return Reason.READ_TIMEOUT
        case aiohttp.ClientConnectorError():
            return _connect_reason(error)
        case aiohttp.ClientResponseError() | http_exceptions.HttpProcessingError():
            return Reason.BAD_RESPONSE
        case aiohttp.ServerDisconnectedError() if isinstance(error.message, http_exceptions.HttpProcessingError):
            return Reason.BAD_RESPONSE
        case aiohttp.ClientConnectionError() | OSError():
            return Reason.CONNECTION_RESET
        case ValueError():  # aiohttp.InvalidURL among others
            return Reason.BAD_INPUT
    return Reason.BAD_RESPONSE


def _dns_reason(error: OSError) -> Reason:
    # EAI_NODATA is a glibc extension (a name without addresses).
    absent = {socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME)}
    return Reason.DNS_NOT_FOUND if isinstance(error, socket.gaierror) and error.errno in absent else Reason.DNS_FAILED


def _certificate_reason(error: Exception) -> Reason:
    code = getattr(error, "verify_code", None)
    if code in _EXPIRED:
        return Reason.TLS_EXPIRED
    if code in _WRONG_NAME:
        return Reason.TLS_HOSTNAME
    return Reason.TLS_UNTRUSTED


def _payload_reason(error: aiohttp.ClientPayloadError) -> Reason:
    """A body that ended early is `truncated`; a framing no server may send is `bad-response`."""
    cause = error.__cause__
    if isinstance(cause, http_exceptions.TransferEncodingError) and "Not enough data" not in str(cause):
        return Reason.BAD_RESPONSE
    return Reason.TRUNCATED


def _connect_reason(error: aiohttp.ClientConnectorError) -> Reason:
    number, text = error.os_error.errno, str(error.os_error)
    # Happy eyeballs joins several failures into one text without an errno.
    if number == errno.ECONNREFUSED or f"[Errno {errno.ECONNREFUSED}]" in text:
        return Reason.CONNECT_REFUSED
    if number == errno.ETIMEDOUT:
        return Reason.CONNECT_TIMEOUT
    if number in (errno.ECONNRESET, errno.EPIPE):
        return Reason.CONNECTION_RESET
    return Reason.CONNECT_FAILED
