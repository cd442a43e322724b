"""The monitor as a server, attacked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import aiohttp
import pytest

import crawler.monitor
from crawler.errors import StorageError
from crawler.monitor import CONNECTIONS, Wanted, served
from crawler.monitoraccess import Keys
from tests.monitored import OPEN, RUN, Job, monitor, record

TOKEN = "a-token-of-enough-characters"
LOCKED = Keys(TOKEN, "session" * 6, reading=True, control=False)
PATHS = ["/", "/app.js", "/style.css", "/api/overview", "/metrics", f"/api/jobs/almanac/runs/{RUN}/records", "/nothing"]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "secret").write_text("outside")
    Job(tmp_path / "out").run([record(1)])
    return tmp_path / "out"


@asynccontextmanager
async def asking(root: Path, keys: Keys = OPEN) -> AsyncIterator[aiohttp.ClientSession]:
    """A client whose paths are those of the monitor."""
    async with monitor(root, keys) as port, aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session:
        yield session


async def raw(port: int, data: bytes) -> bytes:
    """What the server says until it closes, to these bytes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(data)
        async with asyncio.timeout(20):
            return await reader.read()
    except ConnectionResetError:
        return b""
    finally:
        writer.close()


def request(port: int, target: str, *more: str) -> bytes:
    lines = [f"GET {target} HTTP/1.1", f"Host: 127.0.0.1:{port}", "Connection: close", *more]
    return "\r\n".join([*lines, "", ""]).encode()


def status(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


@pytest.mark.parametrize("path", PATHS)
async def test_every_answer_keeps_others_away(root: Path, path: str) -> None:
    """Frames, sniffing, caches, referrers, foreign embedding; and no word on what serves it."""
    async with asking(root) as session, session.get(path) as answer:
        headers = answer.headers
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["X-Frame-Options"] == "DENY"
        assert headers["Referrer-Policy"] == "no-referrer"
        assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
        assert headers["Cache-Control"] == "no-store"
        assert "Access-Control-Allow-Origin" not in headers
        policy = headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'")
        assert "unsafe" not in policy
        assert policy.endswith("form-action 'none'")


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Host": "127.0.0.1:1"},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
@pytest.mark.parametrize("path", [*PATHS, "/ws"])
async def test_foreign_pages_are_refused(root: Path, path: str, headers: dict[str, str]) -> None:
    """Whatever they ask for; a name that leads to our address is foreign."""
    async with asking(root) as session, session.get(path, headers=headers) as answer:
        assert answer.status == 403
        assert "almanac" not in await answer.text()


async def test_a_foreign_page_gets_no_websocket(root: Path) -> None:
    """Browsers ask for one without preflight, and tell the Origin."""
    async with asking(root) as session:
        with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
            await session.ws_connect("/ws", origin="http://evil.example")
        assert caught.value.status == 403
        async with session.ws_connect("/ws", origin=str(session._base_url).rstrip("/")) as socket:
            assert not socket.closed


ESCAPES = [
    "/../secret",
    "/../../secret",
    "/%2e%2e/secret",
    "/..%2fsecret",
    "/%2e%2e%2fsecret",
    "/..%5csecret",
    "/..\\secret",
    "/app.js/../../secret",
    "/app.js%00",
    "/api/jobs/..",
    "/api/jobs/%2e%2e",
    "/api/jobs/..%2f..",
    "/api/jobs/almanac%2f..%2f..%2fsecret",
    "/api/jobs/almanac%00",
    "/api/jobs/%00",
    "/api/jobs/almanac/runs/..",
    "/api/jobs/almanac/runs/..%2f..%2f..%2fsecret",
    "/api/jobs/almanac/runs/%2e%2e/report.html",
    f"/api/jobs/almanac/runs/{RUN}%2f../records",
    f"/api/jobs/almanac/runs/{RUN}/file?path=../../../../secret",
    f"/api/jobs/almanac/runs/{RUN}/file?path=records.jsonl&sign=0",
    f"/api/jobs/almanac/runs/{RUN}/file?path=%00&sign=%ff",
    f"/api/jobs/almanac/runs/{RUN}/history/../../../..",
    "/api/jobs/almanac/runs/latest",
    "/monitor_pages/login.html",
    "//etc/passwd",
    "http://127.0.0.1/etc/passwd",
]


@pytest.mark.parametrize("target", ESCAPES)
async def test_no_path_leads_out(root: Path, target: str) -> None:
    """Raw and encoded: an answer of its own, and nothing of what is outside."""
    async with monitor(root) as port:
        answer = await raw(port, request(port, target))
    assert status(answer) in (400, 403, 404)
    assert b"outside" not in answer
    assert b"root:" not in answer


@pytest.mark.parametrize(
    "more",
    [
        pytest.param("GET /api/overview?" + "a=b&" * 25_000 + " HTTP/1.1", id="query"),
        pytest.param("GET /" + "a" * 100_000 + " HTTP/1.1", id="path"),
        pytest.param("GET / HTTP/1.1\r\n" + "X-A: b\r\n" * 10_000, id="headers"),
        pytest.param("GET / HTTP/1.1\r\nX-A: " + "b" * 100_000, id="header"),
        pytest.param("GARBAGE", id="garbage"),
        pytest.param("GET / HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked", id="smuggling"),
    ],
)
async def test_giants_are_refused_and_the_next_is_served(root: Path, more: str) -> None:
    """As a bad request, whose sender is told nothing else."""
    async with monitor(root) as port:
        answer = await raw(port, f"{more}\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode())
        assert answer == b"" or status(answer) in (400, 413, 414, 431)
        assert status(await raw(port, request(port, "/api/overview"))) == 200


@pytest.mark.parametrize("query", ["?cursor=x", "?cursor=-1", "?rows=99999999999999999999", "?status=x", "?cursor=%00"])
async def test_a_query_that_means_nothing_is_told(root: Path, query: str) -> None:
    """As JSON."""
    async with asking(root) as session, session.get(f"/api/jobs/almanac/runs/{RUN}/records{query}") as answer:
        assert answer.status == 400
        assert (await answer.json())["error"]


@pytest.mark.slow
async def test_who_brings_no_request_is_closed(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One who sends a header a moment, for ever, as much as one who says nothing."""
    monkeypatch.setattr(crawler.monitor, "IDLE", 0.5)
    async with monitor(root) as port:
        for data in (b"", b"GET / HTTP/1.1\r\nX-"):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(data)
            sending = asyncio.create_task(drip(writer, b"a" if data else b""))
            async with asyncio.timeout(20):
                with suppress(ConnectionError):
                    assert await reader.read() == b""
            sending.cancel()
            writer.close()


async def drip(writer: asyncio.StreamWriter, data: bytes) -> None:
    """A byte a moment, for ever."""
    stop = asyncio.Event()
    while True:
        with suppress(TimeoutError):
            async with asyncio.timeout(0.05):
                await stop.wait()
        writer.write(data)


@pytest.mark.slow
async def test_connections_are_bounded(root: Path) -> None:
    """One too many is closed at once, and there is room again when others have gone."""
    async with monitor(root) as port:
        open_ = [await asyncio.open_connection("127.0.0.1", port) for _ in range(CONNECTIONS)]
        assert await raw(port, request(port, "/")) == b""
        for _, writer in open_:
            writer.close()
            await writer.wait_closed()
        answer = b""
        async with asyncio.timeout(20):
            while not answer:
                answer = await raw(port, request(port, "/"))
        assert status(answer) == 200


async def test_a_locked_monitor_opens_by_its_token(root: Path) -> None:
    """As a Bearer, or once in a form, for a cookie that is not the token."""
    async with asking(root, LOCKED) as session:
        for path in PATHS:
            async with session.get(path, allow_redirects=False) as answer:
                assert answer.status == (200 if path == "/style.css" else 303 if path == "/" else 401)
        async with session.get("/api/overview", headers={"Authorization": f"Bearer {TOKEN}"}) as answer:
            assert answer.status == 200
        async with session.post("/login", data={"token": TOKEN + "x"}) as answer:
            assert answer.status == 401
        async with session.post("/login", data={"token": TOKEN}, allow_redirects=False) as answer:
            cookie = answer.headers["Set-Cookie"]
        assert TOKEN not in cookie
        assert "HttpOnly" in cookie
        assert "SameSite=Strict" in cookie


@pytest.mark.parametrize("keys", [OPEN, LOCKED])
async def test_the_form_is_there_where_it_is_needed(root: Path, keys: Keys) -> None:
    """And may send to us alone."""
    async with asking(root, keys) as session, session.get("/login") as answer:
        assert answer.status == (200 if keys is LOCKED else 404)
        if keys is LOCKED:
            assert answer.headers["Content-Security-Policy"].endswith("form-action 'self'")


async def test_a_login_from_another_site_is_refused(root: Path) -> None:
    """Whoever sends the right token."""
    async with asking(root, LOCKED) as session:
        async with session.post("/login", data={"token": TOKEN}, headers={"Origin": "http://evil.example"}) as answer:
            assert answer.status == 403
        async with session.post("/login", data={"token": "x" * 100_000}) as answer:
            assert answer.status == 413


async def test_a_port_that_is_taken_is_told(root: Path) -> None:
    """As a sentence."""
    async with monitor(root) as port:
        with pytest.raises(StorageError, match=str(port)):
            async with served(Wanted(root, OPEN), "127.0.0.1", port):
                pass
