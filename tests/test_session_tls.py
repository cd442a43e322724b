"""Real handshakes on loopback: each fault of a certificate or a port has its reason."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from time import monotonic

import aiohttp.connector
import pytest
import trustme

from crawler.errors import Reason
from crawler.model import Message, Timing
from crawler.session import Session, SessionSettings, TransportError
from crawler.watch import Limits, Transfer

LIMITS = Limits(connect=5, read=5, total=5, stall=5, min_speed=1)
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"
NOW = datetime.now(UTC)
DAY = timedelta(days=1)


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(autouse=True)
def trusted(authority: trustme.CA, monkeypatch: pytest.MonkeyPatch) -> None:
    """The session trusts this authority alone, as it would one of the system's."""
    context = ssl.create_default_context()
    authority.configure_trust(context)
    monkeypatch.setattr(aiohttp.connector, "_SSL_CONTEXT_VERIFIED", context)


@asynccontextmanager
async def port(certificate: trustme.LeafCert | None) -> AsyncIterator[int]:
    """A server on loopback with this certificate; without one it speaks plain text."""
    context = None
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        certificate.configure_cert(context)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1024)
        writer.write(ANSWER)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def send(url: str) -> bytes:
    """The first piece of the answer. Raises TransportError."""
    transfer = Transfer(url, LIMITS, monotonic())
    async with Session(SessionSettings(connections=4, keepalive=30, dns_ttl=60, headers={})) as session:
        answer = await session.send(Message("GET", url, {}, trusted=True), transfer, Timing(0.0))
        return await answer.read()


async def reason(url: str) -> Reason:
    with pytest.raises(TransportError) as caught:
        await send(url)
    return caught.value.reason


async def test_a_good_certificate_passes(authority: trustme.CA) -> None:
    """The way the other tests go is open when nothing is wrong."""
    async with port(authority.issue_cert("127.0.0.1")) as number:
        assert await send(f"https://127.0.0.1:{number}/") == b"ok"


@pytest.mark.parametrize(
    ("begin", "end"),
    [(NOW - 2 * DAY, NOW - DAY), (NOW + DAY, NOW + 2 * DAY)],
    ids=["over", "not yet begun"],
)
async def test_a_certificate_out_of_its_time_is_expired(authority: trustme.CA, begin: datetime, end: datetime) -> None:
    """Before and after its time alike: often it is the clock that is wrong."""
    async with port(authority.issue_cert("127.0.0.1", not_before=begin, not_after=end)) as number:
        assert await reason(f"https://127.0.0.1:{number}/") is Reason.TLS_EXPIRED


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_a_certificate_for_another_host_is_the_wrong_name(authority: trustme.CA, host: str) -> None:
    """By address and by name."""
    async with port(authority.issue_cert("other.test", "127.0.0.2")) as number:
        assert await reason(f"https://{host}:{number}/") is Reason.TLS_HOSTNAME


async def test_an_unknown_authority_is_untrusted() -> None:
    """Signed by somebody, but by nobody we know."""
    async with port(trustme.CA().issue_cert("127.0.0.1")) as number:
        assert await reason(f"https://127.0.0.1:{number}/") is Reason.TLS_UNTRUSTED


async def test_a_port_without_tls_is_a_fault_of_the_protocol() -> None:
    """It answers the handshake with HTTP in plain text."""
    async with port(None) as number:
        assert await reason(f"https://127.0.0.1:{number}/") is Reason.TLS_PROTOCOL


async def test_plain_text_to_a_tls_port_is_no_answer(authority: trustme.CA) -> None:
    """The other way round: what comes back is not HTTP, or nothing comes back."""
    async with port(authority.issue_cert("127.0.0.1")) as number:
        assert await reason(f"http://127.0.0.1:{number}/") in (Reason.CONNECTION_RESET, Reason.BAD_RESPONSE)
