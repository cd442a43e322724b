"""The wire: one pooled aiohttp session, behind a seam that a second transport could fill as well.

Does: send one request (one hop), hand back status, headers and pieces of the body as they came (not decoded).
Must not know jobs, retries, files or what a status means. Invariant: aiohttp's types and exceptions end here; every
trouble of the wire leaves as TransportError with a Reason, only bugs and cancellation pass as they are. The session
carries no credentials, cookies or redirects: those are decided per hop, above.
"""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
from collections.abc import Mapping
from contextvars import ContextVar
from time import monotonic
from typing import TYPE_CHECKING, NamedTuple

import aiohttp
from aiohttp import http_exceptions
from aiohttp.helpers import TimerNoop
from multidict import CIMultiDict
from yarl import URL

from crawler.errors import Reason
from crawler.model import Timing
from crawler.watch import Phase, Transfer

if TYPE_CHECKING:
    from aiohttp.abc import ResolveResult
    from aiohttp.client import ClientTimeout
    from aiohttp.client_reqrep import ClientRequest
    from aiohttp.tracing import Trace

# aiohttp's own bounds (8,190 bytes, 128 headers) refuse real sites with a long Content-Security-Policy.
_MAX_LINE = 64 * 1024
_MAX_HEADERS = 256
# The stream's high-water mark is twice this: large enough that a 1 GiB body is not throttled by pauses (440 against
# 180 MB/s with 64 KiB), and small bodies never fill it.
_READ_BUFFER = 1024 * 1024

# A certificate's fault as OpenSSL numbers it (x509_vfy.h).
_EXPIRED = {9, 10}
_WRONG_NAME = {62, 63, 64}

# The watch keeps time.
_NO_TIMEOUTS = aiohttp.ClientTimeout(total=None, connect=None, sock_connect=None, sock_read=None)
_TIMER = TimerNoop()

_IDEMPOTENT = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE", "TRACE"})  # RFC 9110 9.2.2
_NEVER_SENT = (aiohttp.ClientConnectorError,)


class TransportError(Exception):
    """The wire gave no usable answer: `reason` and a sentence."""

    def __init__(self, reason: Reason, error: str) -> None:
        super().__init__(error)
        self.reason = reason
        self.error = error


class SessionSettings(NamedTuple):
    """What the pool needs to know: connections open at once, seconds an idle one is kept, seconds a name is cached.

    `headers` go to whatever origin, so none of them may be a credential.
    """

    connections: int
    keepalive: float
    dns_ttl: float
    headers: Mapping[str, str]


class _Attempt(NamedTuple):
    transfer: Transfer
    timing: Timing


_current: ContextVar[_Attempt] = ContextVar("attempt")


class _Resolver(aiohttp.ThreadedResolver):
    """Times the name lookups that really happen, for the attempt that caused them."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        started = monotonic()
        try:
            return await super().resolve(host, port, family)
        finally:
            if attempt := _current.get(None):
                attempt.timing.dns = _ms(monotonic() - started)


class _Connector(aiohttp.TCPConnector):
    """Times new connections without aiohttp's TraceConfig, which costs 30-50 us a request."""

    async def connect(
        self,
        req: ClientRequest,
        traces: list[Trace],
        timeout: ClientTimeout,  # noqa: ASYNC109
    ) -> aiohttp.connector.Connection:
        attempt = _current.get()
        started = monotonic()
        attempt.transfer.enter(Phase.CONNECT, started)
        connection = await super().connect(req, traces, timeout)
        connected = monotonic()
        attempt.transfer.enter(Phase.ANSWER, connected)
        if connected - started > 0.0002:  # else it came from the pool
            attempt.timing.connect = _ms(connected - started)
        return connection


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

    Requests are built and sent by aiohttp's own ClientRequest and ClientResponse, without the detour through
    `ClientSession.request`: its cookies, redirects, proxies and timers are all decided elsewhere here, and passing
    through them costs 23 of 77 us a request. `test_session` holds what an upgrade of aiohttp must keep.
    """

    def __init__(self, settings: SessionSettings) -> None:
        self._settings = settings
        self._headers = CIMultiDict(settings.headers)

    async def __aenter__(self) -> Session:
        settings = self._settings
        self._loop = asyncio.get_running_loop()
        self._connector = _Connector(
            limit=settings.connections,
            limit_per_host=0,  # the frontier counts per host; a second count could only disagree
            keepalive_timeout=settings.keepalive,
            ttl_dns_cache=max(1, round(settings.dns_ttl)),
            resolver=_Resolver(),
        )
        self._session = aiohttp.ClientSession(connector=self._connector, cookie_jar=aiohttp.DummyCookieJar())
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    async def send(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None, transfer: Transfer, timing: Timing
    ) -> Answer:
        """Send one request to a canonical URL and wait for the head of the answer. Raises TransportError."""
        _current.set(_Attempt(transfer, timing))
        all_headers = self._headers.copy()
        all_headers.update(headers)
        try:
            try:
                response = await self._sent(method, url, all_headers, body)
            except _NEVER_SENT:
                raise
            except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError):
                if method not in _IDEMPOTENT:
                    raise
                # The pooled connection was closed by the server as we took it (RFC 9112 9.3.1): once more, on another.
                response = await self._sent(method, url, all_headers, body)
        except (aiohttp.ClientError, OSError, ValueError, http_exceptions.HttpProcessingError) as error:
            raise translate(error, "before the answer") from error
        if (response.version is not None and response.version.major != 1) or not 100 <= response.status <= 999:
            response.close()
            raise TransportError(
                Reason.BAD_RESPONSE, f"the status line is not HTTP/1.x with a status: {response.status}"
            )
        return Answer(response)

    async def _sent(
        self, method: str, url: str, headers: CIMultiDict[str], body: bytes | None
    ) -> aiohttp.ClientResponse:
        request = aiohttp.ClientRequest(
            method,
            URL(url, encoded=True),
            headers=headers,
            data=body,
            loop=self._loop,
            session=self._session,
            timer=_TIMER,
        )
        connection = await self._connector.connect(request, [], _NO_TIMEOUTS)
        try:
            assert connection.protocol is not None
            connection.protocol.set_response_params(
                timer=_TIMER,
                skip_payload=method == "HEAD",
                read_until_eof=True,
                auto_decompress=False,
                read_bufsize=_READ_BUFFER,
                max_line_size=_MAX_LINE,
                max_field_size=_MAX_LINE,
                max_headers=_MAX_HEADERS,
            )
            response = await request.send(connection)
            try:
                return await response.start(connection)
            except BaseException:
                response.close()
                raise
        except BaseException:
            connection.close()
            raise


def translate(error: Exception, when: str) -> TransportError:
    """An exception of aiohttp or the socket layer as a Reason with a sentence."""
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
        case aiohttp.InvalidURL():
            return Reason.BAD_INPUT
        case aiohttp.ClientResponseError() | http_exceptions.HttpProcessingError():
            return Reason.BAD_RESPONSE
        case aiohttp.ServerDisconnectedError() if isinstance(error.message, http_exceptions.HttpProcessingError):
            return Reason.BAD_RESPONSE
        case aiohttp.ClientConnectionError() | OSError():
            return Reason.CONNECTION_RESET
        case ValueError():
            return Reason.BAD_INPUT
    return Reason.BAD_RESPONSE


def _dns_reason(error: OSError) -> Reason:
    # EAI_NODATA is a glibc extension (a name without addresses).
    absent = {socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME)}
    return Reason.DNS_NOT_FOUND if error.errno in absent else Reason.DNS_FAILED


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


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 2)
