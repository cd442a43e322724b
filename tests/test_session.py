"""The pool on its own: name lookups, the guard before private addresses, what aiohttp must keep.

No packet leaves loopback: what would go to a public address is noted, and led to a server here.
"""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from time import monotonic
from typing import Any

import pytest

from crawler.errors import Reason
from crawler.filelimit import OutOfFiles
from crawler.model import Message, Timing
from crawler.resolver import Address
from crawler.session import Session, SessionSettings, TransportError
from crawler.watch import Limits, Transfer
from crawler.wire import Wire

LIMITS = Limits(connect=5, read=5, total=5, stall=5, min_speed=1)
SETTINGS = SessionSettings(connections=4, keepalive=30, dns_ttl=60, headers={})
PUBLIC, OTHER, SIXTH = "93.184.215.14", "1.1.1.1", "2606:4700::1111"
LOOPBACK = "127.0.0.1"
HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n"


class Server:
    """Answers "ok" on 127.0.0.1; `accepted` counts its connections, `heads` holds what it was asked."""

    def __init__(self, *, close: bool) -> None:
        self.accepted = 0
        self.heads: list[str] = []
        self.port = 0
        self._close = close

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        try:
            while True:
                self.heads.append((await reader.readuntil(b"\r\n\r\n")).decode())
                writer.write(HEAD + (b"Connection: close\r\n" if self._close else b"") + b"\r\nok")
                if self._close:
                    return
        except (ConnectionError, asyncio.IncompleteReadError):
            return
        finally:
            writer.close()


@asynccontextmanager
async def serving(*, close: bool = False) -> AsyncIterator[Server]:
    server = Server(close=close)
    open_ones = asyncio.TaskGroup()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        open_ones.create_task(server.serve(reader, writer))

    async with open_ones, await asyncio.start_server(accept, LOOPBACK, 0) as listening:
        server.port = listening.sockets[0].getsockname()[1]
        yield server


class Lookups:
    """A scripted name server: each name's answers one after another, the last for ever."""

    def __init__(self, **names: Sequence[str | Exception]) -> None:
        self._names = {name.replace("_", "."): list(answers) for name, answers in names.items()}
        self.asked: list[str] = []

    async def __call__(self, host: str) -> Sequence[Address]:
        self.asked.append(host)
        answers = self._names[host]
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if isinstance(answer, Exception):
            raise answer
        return [Address(text, 0, socket.AF_INET6 if ":" in text else socket.AF_INET) for text in answer.split()]


@pytest.fixture
async def dialled(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """All addresses that packets went to. The public ones lead to the same port here; IPv6 is not reachable."""
    found: list[str] = []
    loop = asyncio.get_running_loop()
    connect: Callable[[socket.socket, Any], Awaitable[None]] = loop.sock_connect

    async def sock_connect(sock: socket.socket, address: tuple[Any, ...]) -> None:
        found.append(address[0])
        if ":" in address[0]:
            raise OSError(errno.ENETUNREACH, "Network is unreachable")
        await connect(sock, (LOOPBACK, address[1]))

    monkeypatch.setattr(loop, "sock_connect", sock_connect)
    return found


async def send(session: Session, url: str, *, trusted: bool = False, timing: Timing | None = None) -> bytes:
    """The body of one answer, read to its end. Raises TransportError."""
    transfer = Transfer(url, LIMITS, monotonic())
    answer = await session.send(Message("GET", url, {}, trusted=trusted), transfer, timing or Timing(0.0))
    body = b""
    while piece := await answer.read():
        body += piece
    return body


async def refusal(session: Session, url: str, *, trusted: bool = False) -> TransportError:
    with pytest.raises(TransportError) as caught:
        await send(session, url, trusted=trusted)
    return caught.value


# -- the guard ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("host", "told"),
    [
        ("127.0.0.1", "127.0.0.1 is a loopback address"),
        ("127.8.9.1", "127.8.9.1 is a loopback address"),
        ("0.0.0.0", "0.0.0.0 is an unspecified address"),
        ("169.254.169.254", "169.254.169.254 is a metadata address"),
        ("10.0.0.1", "10.0.0.1 is a private address"),
        ("[::1]", "::1 is a loopback address"),
        ("[::]", "::"),
        ("[::ffff:7f00:1]", "::ffff:7f00:1 is a loopback address"),
        ("[fe80::1]", "fe80::1 is a link-local address"),
    ],
)
async def test_an_address_in_the_url_is_refused(dialled: list[str], host: str, told: str) -> None:
    """It never passes a lookup, and yet no packet leaves; the sentence names the address and the way out."""
    async with serving() as server, Session(SETTINGS) as session:
        error = await refusal(session, f"http://{host}:{server.port}/")
    assert error.reason is Reason.BLOCKED_ADDRESS
    assert error.error.startswith(told)
    assert error.error.endswith("; the job's own input does not name this host (connection.allow_private)")
    assert (server.accepted, dialled) == (0, [])


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_a_name_that_leads_to_a_private_address_is_refused(dialled: list[str], scheme: str) -> None:
    """By the address that the lookup gave, of whatever family, before TLS or anything else is begun."""
    lookups = Lookups(a_test=["127.0.0.1"], b_test=["::1"], c_test=["10.1.2.3 169.254.169.254"])
    async with serving() as server, Session(SETTINGS, lookups) as session:
        told = [await refusal(session, f"{scheme}://{name}.test:{server.port}/") for name in "abc"]
    assert {error.reason for error in told} == {Reason.BLOCKED_ADDRESS}
    assert [error.error.split(" ")[0] for error in told] == ["127.0.0.1", "::1", "10.1.2.3"]
    assert (server.accepted, dialled) == (0, [])


async def test_a_name_that_changes_its_address_is_refused(dialled: list[str]) -> None:
    """Public when it was looked up first, loopback when the next connection is made (DNS rebinding)."""
    lookups = Lookups(a_test=[PUBLIC, LOOPBACK])
    async with serving(close=True) as server, Session(SETTINGS._replace(dns_ttl=0), lookups) as session:
        url = f"http://a.test:{server.port}/"
        assert await send(session, url) == b"ok"
        error = await refusal(session, url)
    assert error.reason is Reason.BLOCKED_ADDRESS
    assert (server.accepted, dialled) == (1, [PUBLIC])


async def test_a_remembered_address_is_guarded_each_time(dialled: list[str]) -> None:
    """What a trusted attempt looked up is no way in for the others."""
    lookups = Lookups(a_test=[LOOPBACK])
    async with serving(close=True) as server, Session(SETTINGS, lookups) as session:
        url = f"http://a.test:{server.port}/"
        assert await send(session, url, trusted=True) == b"ok"
        assert (await refusal(session, url)).reason is Reason.BLOCKED_ADDRESS
    assert lookups.asked == ["a.test"]
    assert (server.accepted, dialled) == (1, [LOOPBACK])


async def test_of_several_addresses_the_private_ones_are_left_out(dialled: list[str]) -> None:
    """The others are tried as if they were all, one after another, each seen by the guard in its own task."""
    lookups = Lookups(a_test=[f"{LOOPBACK} {SIXTH} 10.0.0.1 {PUBLIC} ::1"])
    async with serving() as server, Session(SETTINGS, lookups) as session:
        assert await send(session, f"http://a.test:{server.port}/") == b"ok"
    assert dialled == [SIXTH, PUBLIC]


async def test_when_the_public_ones_fail_the_private_ones_stay_out(dialled: list[str]) -> None:
    """The failure is that of the connection."""
    lookups = Lookups(a_test=[f"{LOOPBACK} {SIXTH}"])
    async with serving() as server, Session(SETTINGS, lookups) as session:
        error = await refusal(session, f"http://a.test:{server.port}/")
    assert error.reason is Reason.CONNECT_FAILED
    assert (server.accepted, dialled) == (0, [SIXTH])


@pytest.mark.parametrize("host", ["127.0.0.1", "a.test"])
@pytest.mark.parametrize(("trusted", "allowed"), [(True, False), (False, True)])
async def test_the_trusted_and_the_allowed_get_through(host: str, trusted: bool, allowed: bool) -> None:
    """The job named the host itself, or allows private addresses altogether."""
    settings = SETTINGS._replace(allow_private=allowed)
    async with serving() as server, Session(settings, Lookups(a_test=[LOOPBACK])) as session:
        assert await send(session, f"http://{host}:{server.port}/", trusted=trusted) == b"ok"
    assert server.accepted == 1


async def test_trust_is_of_one_attempt(dialled: list[str]) -> None:
    """The same task, trusted before, is not trusted at its next hop; a kept connection serves its own host alone."""
    lookups = Lookups(a_test=[LOOPBACK], b_test=[LOOPBACK])
    async with serving() as server, Session(SETTINGS, lookups) as session:
        assert await send(session, f"http://a.test:{server.port}/", trusted=True) == b"ok"
        for host in ("b.test", LOOPBACK):
            assert (await refusal(session, f"http://{host}:{server.port}/")).reason is Reason.BLOCKED_ADDRESS
        assert await send(session, f"http://a.test:{server.port}/") == b"ok"
    assert (server.accepted, len(server.heads), dialled) == (1, 2, [LOOPBACK])


async def test_a_pin_is_followed_wherever_it_leads() -> None:
    """Without a lookup, also to another port and an address that is not public; the address itself stays refused."""
    lookups = Lookups(b_test=[LOOPBACK])
    async with serving() as server:
        pins = {"a.test": f"127.0.0.1:{server.port}", "b.test:81": f"127.0.0.1:{server.port}"}
        async with Session(SETTINGS._replace(pins=pins), lookups) as session:
            for url in ("http://a.test/", "http://a.test.:8080/", "http://b.test:81/"):
                assert await send(session, url) == b"ok"
            for url in (f"http://b.test:{server.port}/", f"http://127.0.0.1:{server.port}/"):
                assert (await refusal(session, url)).reason is Reason.BLOCKED_ADDRESS
    assert server.accepted == 3
    assert lookups.asked == ["b.test"]


async def test_a_refusal_leaves_the_pool_as_it_was() -> None:
    """Refused attempts hold no place among the connections."""
    async with serving() as server, Session(SETTINGS._replace(connections=1)) as session:
        url = f"http://127.0.0.1:{server.port}/"
        for _ in range(3):
            await refusal(session, url)
        assert await asyncio.wait_for(send(session, url, trusted=True), 20) == b"ok"


@pytest.mark.parametrize("text", ["127.1", "2130706433", "0x7f.1", "127.0.0.1."])
async def test_other_spellings_of_an_address_do_not_connect(dialled: list[str], text: str) -> None:
    """Canonical URLs have none of them; should one come, it is refused rather than read in some way."""
    lookups = Lookups(**{text: [LOOPBACK], text.rstrip("."): [LOOPBACK]})
    async with serving() as server, Session(SETTINGS, lookups) as session:
        error = await refusal(session, f"http://{text}:{server.port}/")
    assert error.reason in (Reason.BLOCKED_ADDRESS, Reason.BAD_INPUT)
    assert dialled == []


# -- lookups -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("failure", "reason"),
    [
        (socket.gaierror(socket.EAI_NONAME, "Name or service not known"), Reason.DNS_NOT_FOUND),
        (socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution"), Reason.DNS_FAILED),
        (socket.gaierror(socket.EAI_FAIL, "Non-recoverable failure in name resolution"), Reason.DNS_FAILED),
        ("", Reason.DNS_NOT_FOUND),
    ],
)
async def test_the_failures_of_a_lookup(failure: str | Exception, reason: Reason) -> None:
    """A name that does not exist, or has no address, is told from a lookup that failed; both when remembered too."""
    lookups = Lookups(a_test=[failure])
    async with Session(SETTINGS, lookups) as session:
        first, again = await refusal(session, "http://a.test/"), await refusal(session, "https://a.test/")
    assert (first.reason, again.reason) == (reason, reason)
    assert "a.test" in first.error
    assert lookups.asked == ["a.test"]


async def test_too_many_open_files_are_no_fault_of_a_name() -> None:
    """The request is to be made again: nothing is known of its host."""
    lookups = Lookups(a_test=[OSError(errno.EMFILE, "Too many open files")])
    async with Session(SETTINGS, lookups) as session:
        with pytest.raises(OutOfFiles):
            await refusal(session, "http://a.test/")


async def test_a_name_that_dns_cannot_hold_does_not_exist() -> None:
    """By the system's own lookup."""
    async with Session(SETTINGS) as session:
        assert (await refusal(session, f"http://{'a' * 64}.test/")).reason is Reason.DNS_NOT_FOUND


@pytest.mark.parametrize(("ttl", "lookups"), [(60.0, 1), (0.0, 3)])
async def test_names_are_remembered_in_one_place(ttl: float, lookups: int) -> None:
    """For dns_ttl, and where that is 0 each new connection asks anew: aiohttp has no memory of its own beside it."""
    script = Lookups(a_test=[LOOPBACK])
    async with serving(close=True) as server, Session(SETTINGS._replace(dns_ttl=ttl), script) as session:
        for _ in range(3):
            await send(session, f"http://a.test:{server.port}/", trusted=True)
    assert (server.accepted, len(script.asked)) == (3, lookups)


@pytest.mark.parametrize(("close", "second"), [(True, (False, True)), (False, (False, False))])
async def test_only_what_really_happened_is_timed(close: bool, second: tuple[bool, bool]) -> None:
    """A lookup and a connection the first time; then the name is known, and the connection too if it was kept."""
    timings = Timing(0.0), Timing(0.0)
    script = Lookups(a_test=[LOOPBACK])
    async with serving(close=close) as server, Session(SETTINGS, script) as session:
        for timing in timings:
            await send(session, f"http://a.test:{server.port}/", trusted=True, timing=timing)
    happened = [(timing.dns is not None, timing.connect is not None) for timing in timings]
    assert happened == [(True, True), second]


async def test_a_slow_lookup_is_timed_for_all_who_wait_for_it() -> None:
    """Whoever joins it waits as well."""
    answered = asyncio.Event()

    async def slow(host: str) -> Sequence[Address]:
        await answered.wait()
        return [Address(LOOPBACK, 0, socket.AF_INET)]

    timings = [Timing(0.0) for _ in range(3)]
    async with serving() as server, Session(SETTINGS, slow) as session, asyncio.TaskGroup() as group:
        for timing in timings:
            group.create_task(send(session, f"http://a.test:{server.port}/", trusted=True, timing=timing))
        asyncio.get_running_loop().call_later(0.02, answered.set)
    assert all(timing.dns is not None and timing.dns > 10 for timing in timings)


async def test_the_first_address_of_a_host_is_told() -> None:
    """As connections to it would use it; whether it may be connected to is another question."""
    failure = socket.gaierror(socket.EAI_AGAIN, "Temporary failure")
    lookups = Lookups(a_test=[f"{LOOPBACK} {PUBLIC}"], b_test=[failure])
    async with Session(SETTINGS._replace(pins={"c.test": OTHER}), lookups) as session:
        found = [await session.address_of(host) for host in ("a.test", "b.test", "c.test", "[::1]")]
    assert found == [LOOPBACK, None, OTHER, "::1"]


async def test_lookups_under_way_do_not_outlive_the_session() -> None:
    """Even those whose names nobody answers for."""
    asked = asyncio.Event()

    async def never(host: str) -> Sequence[Address]:
        asked.set()
        await asyncio.Event().wait()
        raise AssertionError

    async with Session(SETTINGS, never) as session:
        waiting = asyncio.create_task(send(session, "http://a.test/"))
        await asked.wait()
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
    assert asyncio.all_tasks() == {asyncio.current_task()}


# -- what an upgrade of aiohttp must keep ------------------------------------------------------------------------------


async def test_a_bare_request_takes_few_of_the_sessions_headers() -> None:
    """Those that say who asks and what can be read; otherwise all go along, and the request's own stand before them."""
    given = {"user-agent": "bot/1", "Accept": "*/*", "Accept-Encoding": "gzip", "Accept-Language": "de", "Range": "x"}
    async with serving() as server, Session(SETTINGS._replace(headers=given, allow_private=True)) as session:
        url = f"http://127.0.0.1:{server.port}/"
        for bare in (True, False):
            transfer, timing = Transfer(url, LIMITS, monotonic()), Timing(0.0)
            answer = await session.send(Message("GET", url, {"ACCEPT": "text/html"}, bare=bare), transfer, timing)
            assert await answer.read() == b"ok"
    bare_names, all_names = ([line.split(":")[0].lower() for line in head.split("\r\n")[1:-2]] for head in server.heads)
    assert sorted(bare_names) == ["accept", "accept-encoding", "host", "user-agent"]
    assert sorted(all_names) == ["accept", "accept-encoding", "accept-language", "host", "range", "user-agent"]
    assert all("text/html" in head and "*/*" not in head for head in server.heads)


async def test_no_more_connections_than_allowed_and_each_used_again() -> None:
    """Requests beyond the pool's size wait for a connection."""
    async with serving() as server, Session(SETTINGS._replace(connections=2, allow_private=True)) as session:
        url = f"http://127.0.0.1:{server.port}/"
        assert await asyncio.gather(*[send(session, url) for _ in range(20)]) == [b"ok"] * 20
    assert (server.accepted, len(server.heads)) == (2, 20)


async def test_a_header_that_is_no_header_is_bad_input() -> None:
    """A line break in a value sends nothing."""
    async with serving() as server, Session(SETTINGS._replace(allow_private=True)) as session:
        url = f"http://127.0.0.1:{server.port}/"
        message = Message("GET", url, {"X": "a\r\nY: b"})
        with pytest.raises(TransportError) as caught:
            await session.send(message, Transfer(url, LIMITS, monotonic()), Timing(0.0))
    assert caught.value.reason is Reason.BAD_INPUT
    assert server.heads == []


async def test_a_header_of_the_job_that_is_no_header_is_bad_input() -> None:
    """Nor does a line break in what goes with every request, where that is written by hand."""
    settings = SETTINGS._replace(headers={"User-Agent": "a\nX: b"}, allow_private=True)
    async with serving() as server, Session(settings) as session:
        url = f"http://127.0.0.1:{server.port}/"
        message = Message("GET", url, {"X-Request-ID": "r-1"})
        with pytest.raises(TransportError) as caught:
            await session.send(message, Transfer(url, LIMITS, monotonic()), Timing(0.0))
    assert caught.value.reason is Reason.BAD_INPUT
    assert server.heads == []


@pytest.mark.parametrize("target", ["/", "/a/b?x=1&y=%20", "/%E2%82%AC", "//double/./x"])
async def test_a_plain_get_is_what_aiohttp_would_send(target: str) -> None:
    """Byte for byte, on the same connection; what is not plain goes through aiohttp's own request."""
    headers = {"User-Agent": "t/1", "Accept": "*/*", "Accept-Encoding": "gzip"}
    async with serving() as server, Session(SETTINGS._replace(headers=headers)) as session:
        url = f"http://{LOOPBACK}:{server.port}{target}"
        for extra in ({}, {"X-Request-ID": "r-1"}):
            transfer, timing = Transfer(url, LIMITS, monotonic()), Timing(0.0)
            same = {**(extra or headers), "X-Request-ID": "r-1"}
            answer = await session.send(Message("GET", url, same, trusted=True), transfer, timing)
            assert await answer.read() == b"ok"
    by_aiohttp, by_hand = server.heads
    assert by_hand == by_aiohttp
    assert by_hand.startswith(f"GET {target} HTTP/1.1\r\nHost: {LOOPBACK}:{server.port}\r\n")
    assert server.accepted == 1


@pytest.mark.parametrize(
    "own",
    [
        {"X-Request-ID": "r-1", "Authorization": "Bearer abc", "Cookie": "a=b; c=d"},
        {"Authorization": "Basic YTpi", "X-Request-ID": "r-1", "X-Text": "grün \N{SNOWMAN}"},
        {"X-Empty": "", "x-lower": " spaced ", "X-Request-ID": "r-1"},
        {"X-Request-ID": "r-1", "user-agent": "other/2", "Range": "bytes=0-"},
        {"X-Request-ID": "r-1", "Host": "other.example"},
        {"Accept": "text/html"},
        {"X-Request-ID": "r-1", "Connection": "close"},
    ],
)
async def test_a_get_with_headers_of_its_own_is_what_aiohttp_would_send(
    own: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Byte for byte too, whether they only add to those of all or take the place of some."""
    headers = {"User-Agent": "t/1", "Accept": "*/*", "Accept-Encoding": "gzip"}
    async with serving() as server, Session(SETTINGS._replace(headers=headers)) as session:
        url = f"http://{LOOPBACK}:{server.port}/a?b=c"
        for _ in range(2):
            transfer, timing = Transfer(url, LIMITS, monotonic()), Timing(0.0)
            answer = await session.send(Message("GET", url, own, trusted=True), transfer, timing)
            assert await answer.read() == b"ok"
            monkeypatch.setattr(Wire, "_lines", lambda self, headers: None)  # from now on by aiohttp's own request
    by_hand, by_aiohttp = server.heads
    assert by_hand == by_aiohttp


async def test_a_new_connection_that_is_closed_without_an_answer_is_one_attempt() -> None:
    """Only one of the pool may have been closed before we took it; this one was ours alone."""
    asked: list[bytes] = []

    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readuntil(b"\r\n\r\n"))
        writer.close()

    server = await asyncio.start_server(hang_up, LOOPBACK, 0)
    async with server, Session(SETTINGS) as session:
        port = server.sockets[0].getsockname()[1]
        error = await refusal(session, f"http://{LOOPBACK}:{port}/", trusted=True)
    assert error.reason is Reason.CONNECTION_RESET
    assert len(asked) == 1


# -- the body ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("chunked", [False, True])
async def test_what_came_before_a_break_is_given(chunked: bool) -> None:
    """aiohttp keeps to itself what waits when a connection is lost: who goes on with a body later needs it."""
    lost = asyncio.Event()
    head = b"Transfer-Encoding: chunked" if chunked else b"Content-Length: 900000"
    body = b"".join(b"%x\r\n%s\r\n" % (3, b"abc") for _ in range(1000)) if chunked else b"abc" * 1000

    async def breaks(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\n" + head + b"\r\n\r\n" + body)
        await writer.drain()
        writer.close()
        lost.set()

    settings = SETTINGS._replace(allow_private=True)
    async with await asyncio.start_server(breaks, LOOPBACK, 0) as listening, Session(settings) as session:
        url = f"http://{LOOPBACK}:{listening.sockets[0].getsockname()[1]}/"
        message = Message("GET", url, {})
        answer = await session.send(message, Transfer(url, LIMITS, monotonic()), Timing(0.0))
        connection = answer.response.connection
        assert connection is not None
        while connection.protocol is not None and connection.protocol.transport is not None:
            await lost.wait()
            await asyncio.sleep(0)
        came = b""
        reason = None
        try:
            while piece := await answer.read():
                came += piece
        except TransportError as trouble:
            reason = trouble.reason
        answer.close()
    assert (came, reason) == (b"abc" * 1000, Reason.TRUNCATED)


async def test_an_answer_knows_which_headers_were_sent() -> None:
    """Those of all requests and those of this one, however they are spelled."""
    settings = SETTINGS._replace(headers={"Range": "bytes=0-1"}, allow_private=True)
    async with serving() as server, Session(settings) as session:
        url = f"http://{LOOPBACK}:{server.port}/"
        message = Message("GET", url, {"if-range": "x", "X-Request-ID": "1"})
        answer = await session.send(message, Transfer(url, LIMITS, monotonic()), Timing(0.0))
        while await answer.read():
            pass
        assert answer.asked("range")
        assert answer.asked("If-Range")
        assert not answer.asked("If-Match")
