"""One attempt against raw servers that misbehave, each in one way; what of the job's rules goes with it."""

from __future__ import annotations

import asyncio
import gzip
import socket
import struct
import sys
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from hashlib import sha256
from pathlib import Path

import pytest

from crawler.errors import Reason
from crawler.fetch import Fetcher, FetchRules
from crawler.hosts import HostRules
from crawler.model import Failed, Fetched, Promised, Request
from crawler.pace import PaceLimits
from crawler.robotstext import MAX_TEXT
from crawler.session import Session, SessionSettings
from crawler.spool import SMALL, Keep
from crawler.watch import Limits, Watch
from tests.fakes import HOST_RULES
from tests.peers import looked_after

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

Script = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
LIMITS = Limits(connect=2, read=0.15, total=2, stall=0.2, min_speed=100)
HOST = HOST_RULES._replace(pace=PaceLimits(1), timeouts=LIMITS, crawl_delay_max=30.0)


@asynccontextmanager
async def server(script: Script) -> AsyncIterator[str]:
    """Ends when each of its connections has ended, which is for the client to see to."""
    open_ones = asyncio.TaskGroup()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await script(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            return
        finally:
            writer.close()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        open_ones.create_task(serve(reader, writer))

    async with open_ones, await asyncio.start_server(accept, "127.0.0.1", 0) as listening:
        yield f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/"


def rules_of(
    folder: Path | None,
    of: Callable[[str], HostRules] = lambda _: HOST,
    named: Callable[[Request], bool] = lambda _: False,
) -> FetchRules:
    keep = Keep(str(folder) if folder is not None else None)
    return FetchRules(run="run", headers={"X-Api-Key": "k"}, keep=keep, of=of, named=named)


async def fetch(url: str, folder: Path, request: Request | None = None, host: HostRules = HOST) -> Fetched | Failed:
    """One attempt, watched as the pipeline watches it; afterwards nothing is under way and no part is left over."""
    watch = Watch(0.02)
    async with Session(SessionSettings(4, 30, 60, {"Accept": "*/*"})) as session, looked_after(watch):
        fetcher = Fetcher(session, rules_of(folder, lambda _: host), watch)
        outcome = await fetcher(request or Request(1, url, "127.0.0.1"))
    kept = {outcome.body.part} if isinstance(outcome, Fetched) and outcome.body.part else set()
    assert {str(path) for path in folder.iterdir()} == kept
    return outcome


def answers(*pieces: bytes, hang: bool = False, reset: bool = False) -> Script:
    """Reads one request, sends the pieces, then closes, hangs or resets."""

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
        if hang:
            await reader.read()
        if reset:
            linger = struct.pack("ii", 1, 0)
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)

    return script


OK = b"HTTP/1.1 200 OK\r\n"
GZIP = b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n"
CUT_GZIP = gzip.compress(b"x" * 5000)[:-9]
BOMB = gzip.compress(b"\0" * (8 << 20))


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        (answers(), Reason.CONNECTION_RESET),
        (answers(reset=True), Reason.CONNECTION_RESET),
        (answers(OK + b"Content-Length: 10\r\n\r\nabc"), Reason.TRUNCATED),
        (answers(OK + b"Content-Length: 10\r\n\r\nabc", reset=True), Reason.TRUNCATED),
        (answers(OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n"), Reason.TRUNCATED),
        (answers(OK + b"Transfer-Encoding: chunked\r\n\r\nZZ\r\nabcde\r\n"), Reason.BAD_RESPONSE),
        (answers(OK + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab"), Reason.BAD_RESPONSE),
        (answers(OK + b"Content-Length: -1\r\n\r\nab"), Reason.BAD_RESPONSE),
        (answers(b"SSH-2.0-OpenSSH_9.2\r\n"), Reason.BAD_RESPONSE),
        (answers(b"HTTP/2.0 200 OK\r\nContent-Length: 1\r\n\r\na"), Reason.BAD_RESPONSE),
        (answers(OK + b"X: " + b"y" * 1_000_000 + b"\r\n\r\n"), Reason.BAD_RESPONSE),
        (answers(OK + b"X: y\r\n" * 1000 + b"\r\n"), Reason.BAD_RESPONSE),
        (answers(hang=True), Reason.READ_TIMEOUT),
        (answers(OK + b"Content-Length: 10\r\n\r\nabc", hang=True), Reason.READ_TIMEOUT),
        (answers(OK + b"Content-Length: 9999999\r\n\r\n"), Reason.TOO_LARGE),
        (answers(OK + b"\r\n" + b"x" * (2 << 20)), Reason.TOO_LARGE),
        (
            answers(OK + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(CUT_GZIP) + CUT_GZIP),
            Reason.BAD_ENCODING,
        ),
        (answers(OK + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(BOMB) + BOMB), Reason.TOO_LARGE),
        (answers(OK + b"Content-Encoding: rot13\r\nContent-Length: 1\r\n\r\na"), Reason.BAD_ENCODING),
    ],
)
async def test_each_fault_has_its_reason(tmp_path: Path, script: Script, reason: Reason) -> None:
    """Nothing raises, nothing is kept, and the class of the fault is named."""
    async with server(script) as url:
        outcome = await fetch(url, tmp_path)
    assert isinstance(outcome, Failed), outcome
    assert outcome.reason is reason, outcome.error


async def test_a_204_has_no_body_whatever_it_declares(tmp_path: Path) -> None:
    """The outcome is by the status, and nothing is waited for."""
    async with server(answers(b"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n")) as url:
        outcome = await fetch(url, tmp_path)
    assert isinstance(outcome, Fetched)
    assert outcome.body.size == 0


async def test_a_closed_port_is_refused(tmp_path: Path) -> None:
    """Nobody listens: connect-refused."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        outcome = await fetch(f"http://127.0.0.1:{probe.getsockname()[1]}/", tmp_path)
    assert isinstance(outcome, Failed)
    assert outcome.reason is Reason.CONNECT_REFUSED


async def test_a_drip_is_a_stall(tmp_path: Path) -> None:
    """A byte now and then resets no clock of ours: the body counts as stalled."""

    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(OK + b"Content-Length: 100\r\n\r\n")
        for _ in range(100):
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(0.05)

    async with server(drip) as url:
        outcome = await fetch(url, tmp_path)
    assert isinstance(outcome, Failed)
    assert outcome.reason is Reason.STALL


async def test_a_large_body_goes_to_a_part_file(tmp_path: Path) -> None:
    """What does not fit into memory's share is streamed, counted and hashed."""
    data = bytes(range(256)) * 3000
    async with server(answers(OK + b"Content-Length: %d\r\n\r\n" % len(data), data)) as url:
        outcome = await fetch(url, tmp_path)
    assert isinstance(outcome, Fetched)
    assert outcome.body.part is not None
    assert Path(outcome.body.part).read_bytes() == data
    assert (outcome.body.size, outcome.body.sha256) == (len(data), sha256(data).hexdigest())


async def test_a_body_that_differs_from_its_row_is_refused(tmp_path: Path) -> None:
    """The sha256 of the row is compared, and the wrong body not kept."""
    async with server(answers(OK + b"Content-Length: 1\r\n\r\na")) as url:
        outcome = await fetch(url, tmp_path, Request(1, url, "h", promised=Promised(sha256="0" * 64)))
    assert isinstance(outcome, Failed)
    assert outcome.reason is Reason.DIGEST_MISMATCH


async def test_a_large_body_that_differs_from_its_row_leaves_no_part(tmp_path: Path) -> None:
    """Its file is removed once, and the attempt ends as any other that failed."""
    size = 4 * SMALL
    async with server(answers(OK + b"Content-Length: %d\r\n\r\n" % size, bytes(size))) as url:
        outcome = await fetch(url, tmp_path, Request(1, url, "h", promised=Promised(sha256="0" * 64)))
    assert isinstance(outcome, Failed)
    assert outcome.reason is Reason.DIGEST_MISMATCH
    assert not list(tmp_path.rglob("*.part"))


@pytest.mark.parametrize("foreign", [False, True])
async def test_headers_stay_with_their_origin(tmp_path: Path, foreign: bool) -> None:
    """After a hop to another origin no custom header of job or row is on the wire; the request id always is."""
    seen: list[bytes] = []

    async def note(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(OK + b"Content-Length: 0\r\n\r\n")

    async with server(note) as url:
        request = Request(7, url, "h", headers={"X-Mine": "m", "Accept": "text/html"})
        request.foreign = foreign
        await fetch(url, tmp_path, request)
    wire = seen[0].lower()
    assert b"x-request-id: run-7-1-0" in wire
    assert b"accept: text/html" in wire
    assert (b"x-api-key" in wire, b"x-mine" in wire) == (not foreign, not foreign)


@pytest.mark.parametrize(("method", "sent"), [("GET", 3), ("POST", 2)])
async def test_a_pooled_connection_that_was_closed_is_tried_once_more(tmp_path: Path, method: str, sent: int) -> None:
    """An idempotent request is sent again on a fresh connection, within the same attempt; a POST is not."""
    count = 0

    async def second_closes(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal count
        while await reader.readuntil(b"\r\n\r\n"):
            count += 1
            if count == 2:
                return
            writer.write(OK + b"Content-Length: 2\r\n\r\nok")

    async with server(second_closes) as url, Session(SessionSettings(4, 30, 60, {})) as session:
        fetcher = Fetcher(session, rules_of(tmp_path), Watch(1))
        assert isinstance(await fetcher(Request(1, url, "h")), Fetched)
        outcome = await fetcher(Request(2, url, "h", method=method))
    assert count == sent
    assert isinstance(outcome, Fetched) == (method == "GET")


async def test_a_row_that_cannot_be_sent_was_not_sent(tmp_path: Path) -> None:
    """It ends as bad input, without a timing: there was no attempt."""
    outcome = await fetch("", tmp_path, Request(1, "not a url", "", error="is no URL"))
    assert isinstance(outcome, Failed)
    assert (outcome.reason, outcome.error, outcome.timing) == (Reason.BAD_INPUT, "is no URL", None)


# -- what holds for the host -------------------------------------------------------------------------------------------


async def test_the_rules_are_those_of_the_host_with_its_port(tmp_path: Path) -> None:
    """They are asked for by the host of this hop as its URL has it: bare, with a port, or an address in brackets."""
    asked: list[str] = []

    def of(netloc: str) -> HostRules:
        asked.append(netloc)
        return HOST

    async with Session(SessionSettings(4, 30, 60, {}, pins={"a.test": "127.0.0.1:1"})) as session:
        fetcher = Fetcher(session, rules_of(tmp_path, of), Watch(1))
        for url in ("http://a.test/b/c", "https://a.test/", "http://a.test:81/?q=/", "http://[::1]:1/x"):
            assert isinstance(await fetcher(Request(1, url, "a.test")), Failed)
    assert asked == ["a.test", "a.test", "a.test:81", "[::1]:1"]


async def test_timeouts_are_the_hosts_own(tmp_path: Path) -> None:
    """A host that is given less time is given up earlier, and told so by its own number."""
    async with server(answers(hang=True)) as url:
        short = HOST._replace(timeouts=LIMITS._replace(read=0.04))
        outcome = await fetch(url, tmp_path, host=short)
    assert isinstance(outcome, Failed)
    assert outcome.reason is Reason.READ_TIMEOUT
    assert "0.04 s" in outcome.error


async def test_the_largest_body_is_the_hosts_own(tmp_path: Path) -> None:
    """Another host may send more."""
    async with server(answers(OK + b"Content-Length: 3\r\n\r\nabc")) as url:
        assert isinstance(await fetch(url, tmp_path, host=HOST._replace(max_body=3)), Fetched)
        outcome = await fetch(url, tmp_path, host=HOST._replace(max_body=2))
    assert isinstance(outcome, Failed)
    assert outcome.reason is Reason.TOO_LARGE


def noting(seen: list[str], answer: bytes = OK + b"Content-Length: 0\r\n\r\n") -> Script:
    """Answers and notes the heads of requests, in lower case."""

    async def note(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            seen.append((await reader.readuntil(b"\r\n\r\n")).decode().lower())
            writer.write(answer)

    return note


@pytest.mark.parametrize("foreign", [False, True])
async def test_a_hosts_headers_go_to_it_wherever_one_comes_from(tmp_path: Path, foreign: bool) -> None:
    """Over the job's, under the row's, without regard to case; after a foreign hop too, since they are meant for it."""
    seen: list[str] = []
    host = HOST._replace(headers={"x-api-key": "host's", "X-Host": "h", "X-MINE": "host's", "accept": "text/css"})
    async with server(noting(seen)) as url:
        request = Request(7, url, "h", headers={"x-mine": "row's", "Accept": "text/html"})
        request.foreign = foreign
        await fetch(url, tmp_path, request, host)
    lines = seen[0].split("\r\n")
    assert {"x-api-key: host's", "x-host: h", "accept: text/html", "x-request-id: run-7-1-0"} < set(lines)
    assert [line for line in lines if line.startswith("x-mine")] == ["x-mine: host's" if foreign else "x-mine: row's"]
    assert len([line for line in lines if line.startswith(("x-api-key", "accept:"))]) == 2


async def test_the_request_id_is_ours(tmp_path: Path) -> None:
    """Whatever the job's headers, the host's or the row's call so, there is one, and it is found in our logs."""
    seen: list[str] = []
    rules = rules_of(tmp_path)._replace(headers={"x-request-id": "theirs"})
    async with server(noting(seen)) as url, Session(SessionSettings(4, 30, 60, {})) as session:
        fetcher = Fetcher(session, rules, Watch(1))
        await fetcher(Request(1, url, "h"))
        await fetcher(Request(1, url, "h", headers={"X-REQUEST-ID": "theirs"}))
    assert [head.count("x-request-id") for head in seen] == [1, 1]
    assert all("x-request-id: run-1-1-0" in head for head in seen)


# -- whom the job trusts -----------------------------------------------------------------------------------------------


def hop_to(url: str, host: str) -> Request:
    """A request of public.test that was led to `url`."""
    request = Request(1, "http://public.test/", "public.test")
    request.url, request.host, request.hops, request.foreign = url, host, ("http://public.test/",), True
    return request


def robots_of(url: str, host: str = "127.0.0.1") -> Request:
    request = Request(0, url + "robots.txt", host)
    request.robots = url.rstrip("/")
    return request


@pytest.mark.parametrize(
    ("make", "named", "reached"),
    [
        (lambda url: Request(1, url, "127.0.0.1"), False, True),
        (lambda url: hop_to(url, "127.0.0.1"), False, False),
        (lambda url: hop_to(url, "127.0.0.1"), True, True),
        (lambda url: robots_of(url), False, False),
        (lambda url: robots_of(url), True, True),
    ],
    ids=["input", "hop", "hop to a named host", "robots.txt", "robots.txt of a named host"],
)
async def test_only_the_jobs_own_hosts_may_be_private(
    tmp_path: Path, make: Callable[[str], Request], named: bool, reached: bool
) -> None:
    """A redirect to an address that is not public, and the robots.txt there, are refused before anything is sent."""
    seen: list[str] = []
    asked: list[str] = []

    def names(request: Request) -> bool:
        asked.append(request.host)
        return named

    async with server(noting(seen)) as url, Session(SessionSettings(4, 30, 60, {})) as session:
        outcome = await Fetcher(session, rules_of(tmp_path, named=names), Watch(1))(make(url))
    assert len(seen) == reached
    assert set(asked) <= {"127.0.0.1"}
    if not reached:
        assert isinstance(outcome, Failed)
        assert outcome.reason is Reason.BLOCKED_ADDRESS
        assert outcome.error.startswith("127.0.0.1 is a loopback address; the job's own input does not name this host")


# -- robots.txt --------------------------------------------------------------------------------------------------------


async def ask_robots(script: Script, *, keep: bool = False, folder: Path | None = None) -> tuple[Fetched | Failed, int]:
    """The outcome of a robots.txt request, and how many connections two of them took."""
    count = 0

    async def counted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal count
        count += 1
        await script(reader, writer)

    watch = Watch(0.02)
    async with (
        server(counted) as url,
        Session(SessionSettings(4, 30, 60, {}, allow_private=True)) as session,
        looked_after(watch),
    ):
        rules = rules_of(folder, lambda _: HOST._replace(max_body=10, accepts=frozenset({404})))
        fetcher = Fetcher(session, rules, watch)
        outcome = await fetcher(robots_of(url))
        if isinstance(outcome, Fetched):
            await fetcher(robots_of(url))
    return outcome, count


def forever(*head: bytes, piece: bytes) -> Script:
    """Answers and never ends its body, until nobody listens."""

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"".join(head))
        while True:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0)

    return script


def whole(body: bytes, *headers: bytes) -> Script:
    """Answers whole, as often as it is asked."""
    return noting([], b"\r\n".join([OK[:-2], *headers, b"Content-Length: %d" % len(body), b"", body]))


TEXT = b"User-agent: *\nDisallow: /\n"
LONG = b"# lines\n" * 100_000
DEFLATED = zlib.compressobj(9, zlib.DEFLATED, 31).compress(b"#" * (64 << 20))


@pytest.mark.parametrize("keep", [False, True])
@pytest.mark.parametrize("status", [b"200 OK", b"226 IM Used"])
async def test_a_robots_txt_comes_in_memory(tmp_path: Path, keep: bool, status: bytes) -> None:
    """Whether bodies are kept, or limits.max_body is smaller, makes no difference; its connection serves again."""
    answer = b"HTTP/1.1 %s\r\nContent-Length: %d\r\n\r\n%s" % (status, len(TEXT), TEXT)
    outcome, connections = await ask_robots(noting([], answer), folder=tmp_path if keep else None)
    assert isinstance(outcome, Fetched)
    assert (outcome.body.data, outcome.body.size, outcome.body.sha256) == (TEXT, len(TEXT), sha256(TEXT).hexdigest())
    assert (outcome.warning, outcome.length_checked) == (None, True)
    assert connections == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "script",
    [
        forever(OK, b"\r\n", piece=LONG[: 64 << 10]),
        forever(OK, b"Content-Length: 100000000\r\n\r\n", piece=LONG[: 64 << 10]),
        forever(OK, b"Content-Encoding: gzip\r\n\r\n", DEFLATED, piece=b"\0" * (64 << 10)),
        whole(LONG, b"Content-Type: text/plain"),
        whole(gzip.compress(b"#" * (64 << 20)), b"Content-Encoding: gzip"),
        whole(gzip.compress(gzip.compress(b"#" * (64 << 20))), b"Content-Encoding: gzip, gzip"),
        whole(zstd.compress(LONG[:1000]) + zstd.compress(b"#" * (64 << 20)), b"Content-Encoding: zstd"),
    ],
    ids=["endless", "100 MB", "endless bomb", "800 kB", "bomb", "bomb in a bomb", "zstd bomb"],
)
async def test_too_much_robots_txt_is_cut_off(script: Script) -> None:
    """The first 500 KiB are the answer, without error and whatever more there is."""
    outcome, _ = await ask_robots(script)
    assert isinstance(outcome, Fetched), outcome.error
    assert outcome.body.data is not None
    assert len(outcome.body.data) == outcome.body.size == MAX_TEXT == 512_000
    assert set(outcome.body.data) <= set(LONG)
    assert outcome.warning == "cut off after 512,000 bytes: more of it is not read"
    assert not outcome.length_checked


async def test_an_endless_robots_txt_loses_its_connection() -> None:
    """Nobody waits for the rest."""
    _, connections = await ask_robots(forever(OK, b"\r\n", piece=LONG[: 64 << 10]))
    assert connections == 2


async def test_a_robots_txt_of_just_500_kib_is_whole() -> None:
    """The limit itself is within the limit."""
    outcome, connections = await ask_robots(whole(b"#" * MAX_TEXT))
    assert isinstance(outcome, Fetched)
    assert (outcome.body.size, outcome.warning, connections) == (MAX_TEXT, None, 1)


PACKED = gzip.compress(TEXT * 1000, 0)


@pytest.mark.parametrize(
    "script",
    [
        answers(OK + b"Content-Length: 1000\r\n\r\n" + TEXT),
        answers(OK + b"Content-Length: 1000\r\n\r\n" + TEXT, reset=True),
        answers(OK + b"Content-Encoding: gzip\r\nContent-Length: 900\r\n\r\n" + PACKED[:900]),
        answers(OK + b"Content-Encoding: gzip\r\n\r\n" + PACKED[:-4] + b"\0\0\0\0"),
        answers(OK + b"Content-Encoding: gzip\r\n\r\n" + PACKED + PACKED[:40]),
    ],
    ids=["truncated", "reset", "cut gzip", "damaged gzip", "cut second member"],
)
async def test_what_came_of_a_damaged_robots_txt_counts(script: Script) -> None:
    """Its first lines are better than none, and the damage is named."""
    outcome, _ = await ask_robots(script)
    assert isinstance(outcome, Fetched), outcome.error
    assert outcome.body.data is not None
    assert outcome.body.data.startswith(TEXT)
    assert outcome.warning is not None
    assert outcome.warning.startswith(f"only the first {outcome.body.size:,} bytes count: ")
    assert not outcome.length_checked


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        (answers(OK + b"Content-Length: 1000\r\n\r\n"), Reason.TRUNCATED),
        (answers(OK + b"Content-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc"), Reason.BAD_ENCODING),
        (answers(OK + b"Content-Encoding: rot13\r\nContent-Length: 3\r\n\r\nabc"), Reason.BAD_ENCODING),
        (answers(OK + b"Content-Length: 1000\r\n\r\nabc", hang=True), Reason.READ_TIMEOUT),
    ],
)
async def test_a_robots_txt_of_which_nothing_came_failed(script: Script, reason: Reason) -> None:
    """So has one that does not come to an end within the time limits."""
    outcome, _ = await ask_robots(script)
    assert isinstance(outcome, Failed)
    assert outcome.reason is reason


async def test_the_status_of_a_robots_txt_is_told_as_it_is() -> None:
    """What a 404 or a redirect means is for others to say; its body is not."""
    answer = b"HTTP/1.1 404 Not Found\r\nContent-Length: 5\r\n\r\nabcde"
    outcome, connections = await ask_robots(noting([], answer))
    assert isinstance(outcome, Fetched)
    assert (outcome.status, outcome.body.size, connections) == (404, 0, 1)


async def test_a_robots_txt_is_asked_for_without_the_users_headers(tmp_path: Path) -> None:
    """Only who asks and what can be read; no key, no condition, no range; each request has an id of its own."""
    seen: list[str] = []
    given = {"User-Agent": "bot/1", "accept": "*/*", "Accept-Encoding": "gzip", "Range": "bytes=0-1", "Pragma": "x"}
    host = HOST._replace(headers={"X-Host": "h", "Cookie": "c"})
    settings = SessionSettings(4, 30, 60, given, allow_private=True)
    async with server(noting(seen)) as url, Session(settings) as session:
        fetcher = Fetcher(session, rules_of(tmp_path, lambda _: host), Watch(1))
        request = robots_of(url)
        ids = {(await fetcher(request)).request_id, (await fetcher(request)).request_id}
    names = [line.partition(":")[0] for line in seen[0].split("\r\n")[1:] if line]
    assert sorted(names) == ["accept", "accept-encoding", "host", "user-agent", "x-request-id"]
    assert "user-agent: bot/1" in seen[0]
    assert len(ids) == 2
    assert all(id_.startswith("run-robots-1-0-") for id_ in ids)


# -- answers whose body nobody wants -----------------------------------------------------------------------------------


def drip(head: bytes, times: int, pause: float, size: int = 100) -> Script:
    """Answers, and then a little now and then."""

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(head)
        for _ in range(times):
            writer.write(b"x" * size)
            await writer.drain()
            await asyncio.sleep(pause)

    return script


LATE = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 7\r\nContent-Length: %d\r\n\r\n"


async def test_a_slow_error_body_is_no_silence(tmp_path: Path) -> None:
    """Longer than the read timeout in all, but never silent for so long: its connection serves again."""
    watch = Watch(0.02)
    connections = 0

    async def slow_then_fast(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        await drip(LATE % 500, 5, 0.045)(reader, writer)
        await answers(LATE % 0)(reader, writer)

    host = HOST._replace(timeouts=LIMITS._replace(stall=1.0))
    async with server(slow_then_fast) as url, Session(SessionSettings(4, 30, 60, {})) as session, looked_after(watch):
        fetcher = Fetcher(session, rules_of(tmp_path, lambda _: host), watch)
        for _ in range(2):
            outcome = await fetcher(Request(1, url, "127.0.0.1"))
            assert isinstance(outcome, Fetched)
            assert outcome.status == 503
    assert connections == 1


@pytest.mark.parametrize(
    "script", [drip(LATE % 9999, 100, 0.05, size=1), answers(LATE % 9999, hang=True)], ids=["drip", "silence"]
)
async def test_an_error_body_that_does_not_come_is_let_go(tmp_path: Path, script: Script) -> None:
    """The limits of time hold for it too; the status, and what its headers ask for, stand."""
    async with server(script) as url:
        outcome = await fetch(url, tmp_path, host=HOST._replace(timeouts=LIMITS._replace(read=0.1, stall=0.12)))
    assert isinstance(outcome, Fetched)
    assert (outcome.status, outcome.headers["Retry-After"]) == (503, "7")
    assert outcome.timing.total < 1000


async def test_who_is_told_to_end_ends_also_in_an_error_body(tmp_path: Path) -> None:
    """A cancellation that comes from elsewhere, even with that of the watch, is not taken for the watch's."""
    watch = Watch(0.02)
    reading = asyncio.Event()

    async def begun(_: Request, size: int) -> None:
        reading.set()

    script = answers(LATE % 9999 + b"x", hang=True)
    async with server(script) as url, Session(SessionSettings(4, 30, 60, {})) as session:
        fetcher = Fetcher(session, rules_of(tmp_path), watch, begun)
        task = asyncio.create_task(fetcher(Request(1, url, "127.0.0.1")))
        await reading.wait()
        (transfer,) = watch.transfers
        transfer.overdue = (Reason.STALL, "too slow")
        task.cancel()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert not watch.transfers


async def test_bandwidth_is_spent_by_every_body(tmp_path: Path) -> None:
    """Small, large, unwanted and robots.txt: each piece waits for its request's share."""
    spent: list[tuple[str, int]] = []

    async def throttle(request: Request, size: int) -> None:
        spent.append((request.url.rpartition("/")[2], size))

    async def by_path(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        path = (await reader.readuntil(b"\r\n\r\n")).split()[1]
        status = b"404 Not Found" if path == b"/missing" else b"200 OK"
        writer.write(b"HTTP/1.1 %s\r\nContent-Length: 1000\r\n\r\n%s" % (status, b"x" * 1000))

    async with server(by_path) as url, Session(SessionSettings(4, 30, 60, {}, allow_private=True)) as session:
        fetcher = Fetcher(session, rules_of(tmp_path), Watch(1), throttle)
        await fetcher(Request(1, url + "small", "h"))
        await fetcher(Request(1, url + "missing", "h"))
        await fetcher(robots_of(url))
    sums = {name: sum(size for of, size in spent if of == name) for name, _ in spent}
    assert sums == {"small": 1000, "missing": 1000, "robots.txt": 1000}
