"""Whole runs that capture WebSockets: what ends them, what is kept, over lost connections, stops and kills."""

from __future__ import annotations

import asyncio
import signal
import sys
from base64 import b64encode
from hashlib import sha1
from pathlib import Path
from typing import Any

import pytest
import trustme
from aiohttp import web

from crawler.errors import ExitCode
from crawler.jobfile import build
from crawler.opening import Options
from crawler.pipeline import Pipeline
from crawler.run import run_job
from tests.jobs import Results, Unseen, records_of, run
from tests.peers import leading_on, peer, pem, server_tls
from tests.sockets import WsSite, counting, cut, frames_of, on_each, read_by_client, until_closed, ws_site

pytestmark = pytest.mark.slow


def texts(results: Results) -> list[str]:
    """The data of all frames, in their order."""
    return [frame["data"] for frame in frames_of(results.folder)]


def numbered(folder: Path) -> None:
    """Frames of one input are numbered from 1 without a gap, and belong to its record."""
    [record] = records_of(folder)
    frames = frames_of(folder)
    assert [frame["n"] for frame in frames] == list(range(1, len(frames) + 1))
    assert {(frame["id"], frame["run"], frame["url"]) for frame in frames} == {
        (record["id"], record["run"], record["url"])
    }
    assert record["frames"] == len(frames)


# -- what ends a capture ----------------------------------------------------------------------------------------------


async def test_a_count_ends_it(tmp_path: Path) -> None:
    """So many frames are kept and no more, and the record says so."""
    async with ws_site(counting(1, 10)) as site:
        results = await run(tmp_path, [{"url": site.url(), "case": "a"}], websocket={"count": 4})
    assert texts(results) == ["1", "2", "3", "4"]
    record = results.of("a")
    assert (record["outcome"], record["method"], record["status"]) == ("fetched", "WEBSOCKET", 101)
    assert (record["url"], record["final_url"]) == (site.url(), site.url())
    assert (record["frames"], record["bytes"], record["body"], record["sha256"]) == (4, 4, None, None)
    assert results.exit_code == ExitCode.OK
    numbered(results.folder)


async def test_time_ends_it(tmp_path: Path) -> None:
    """When the time is up, what came is kept."""
    async with ws_site(counting(1, 3)) as site:
        results = await run(tmp_path, [{"url": site.url(), "case": "a"}], websocket={"time": "200ms"})
    assert texts(results) == ["1", "2", "3"]
    assert results.of("a")["outcome"] == "fetched"
    assert 200 <= results.of("a")["elapsed_ms"]["total"] < 2000


async def test_a_pattern_ends_it(tmp_path: Path) -> None:
    """The text that matches is the last one kept."""
    async with ws_site(counting(1, 30)) as site:
        results = await run(tmp_path, [{"url": site.url(), "case": "a"}], websocket={"pattern": "^1[2-9]$"})
    assert texts(results)[-1] == "12"
    assert results.of("a")["frames"] == 12


async def test_the_servers_close_ends_it(tmp_path: Path) -> None:
    """Where the job names no end, the server's normal close is one."""
    async with ws_site(counting(1, 3, close=1000)) as site:
        results = await run(tmp_path, [{"url": site.url(), "case": "a"}])
    assert texts(results) == ["1", "2", "3"]
    assert results.of("a")["outcome"] == "fetched"
    assert site.connected == 1


async def test_several_at_once(tmp_path: Path) -> None:
    """Captures of one host go on beside each other, each with its own numbers."""
    async with ws_site(counting(1, 50)) as site:
        rows = [{"url": site.url(f"/{number}"), "case": str(number)} for number in range(5)]
        results = await run(tmp_path, rows, websocket={"count": 50})
    for record in results.records:
        mine = [frame for frame in frames_of(results.folder) if frame["id"] == record["id"]]
        assert [frame["n"] for frame in mine] == list(range(1, 51))
        assert {frame["url"] for frame in mine} == {record["url"]}


# -- what is sent -----------------------------------------------------------------------------------------------------


async def echo(site: WsSite, socket: web.WebSocketResponse) -> None:
    while not socket.closed:
        message = await site.heard(socket)
        await (socket.send_str(message) if isinstance(message, str) else socket.send_bytes(message))


async def test_messages_are_sent_and_kept(tmp_path: Path) -> None:
    """Those of the job, or of a row in their place; binary ones come back as base64."""
    async with ws_site(echo) as site:
        rows: list[dict[str, Any]] = [
            {"url": site.url("/job"), "case": "job"},
            {"url": site.url("/row"), "case": "row", "send": ["x", {"base64": "AP8="}]},
        ]
        results = await run(tmp_path, rows, websocket={"send": ["grüß", "b"], "count": 2})
    sent: dict[str, list[tuple[str, str]]] = {case: [] for case in ("/job", "/row")}
    for frame in frames_of(results.folder):
        sent[frame["url"][-4:]].append((frame["type"], frame["data"]))
    assert sent == {"/job": [("text", "grüß"), ("text", "b")], "/row": [("text", "x"), ("binary", "AP8=")]}
    assert (results.of("job")["bytes"], results.of("row")["bytes"]) == (7, 3)
    assert results.of("row")["input"] == {"case": "row"}


async def test_a_column_send_of_other_rows_is_their_own(tmp_path: Path) -> None:
    """For an http(s) URL `send` is a column like any other."""

    def plain(request: web.Request) -> web.StreamResponse:
        return web.Response(text="ok")

    async with ws_site(until_closed, guard=plain) as site:
        url = site.url().replace("ws://", "http://")
        results = await run(tmp_path, [{"url": url, "case": "a", "send": "yes"}])
    assert results.of("a")["input"] == {"case": "a", "send": "yes"}
    assert results.of("a")["outcome"] == "fetched"
    assert not (results.folder / "frames.jsonl").exists()


async def test_headers_and_subprotocols(tmp_path: Path) -> None:
    """Headers of job and row, cookies and the subprotocols go with the handshake."""
    async with ws_site(counting(1, 1), protocols=("second",)) as site:
        await run(
            tmp_path,
            [{"url": site.url(), "headers": {"X-Row": "r"}, "cookies": "a=b"}],
            request={"headers": {"X-Job": "j"}},
            websocket={"count": 1, "subprotocols": ["first", "second"]},
        )
    [shaken] = site.handshakes
    assert (shaken["x-row"], shaken["x-job"], shaken["cookie"]) == ("r", "j", "a=b")
    assert shaken["sec-websocket-protocol"] == "first, second"


# -- connections that are lost ----------------------------------------------------------------------------------------


async def test_it_is_connected_again(tmp_path: Path) -> None:
    """After a lost connection, a restart of the server, and a normal close before the count, numbers go on."""

    async def lost(site: WsSite, socket: web.WebSocketResponse) -> None:
        await socket.send_str("1")
        await socket.send_str("2")
        await cut(site, socket)

    talk = on_each(lost, counting(3, 3, close=1012), counting(4, 5, close=1000), counting(6, 9))
    async with ws_site(talk) as site:
        results = await run(tmp_path, [{"url": site.url(), "case": "a"}], websocket={"count": 8, "send": ["hello"]})
    assert texts(results) == ["1", "2", "3", "4", "5", "6", "7", "8"]
    assert site.connected == 4
    assert len({shaken["x-request-id"] for shaken in site.handshakes}) == 4
    numbered(results.folder)


async def test_attempts_count_anew_after_a_frame(tmp_path: Path) -> None:
    """Ten lost connections do not end a capture with two attempts, if each brought something."""
    talks = [counting(number, number, close=1011) for number in range(1, 11)]
    async with ws_site(on_each(*talks, counting(11, 11))) as site:
        results = await run(
            tmp_path,
            [{"url": site.url(), "case": "a"}],
            websocket={"count": 11},
            retry={"attempts": 2, "backoff": {"initial": "1ms", "max": "5ms"}},
        )
    assert texts(results) == [str(number) for number in range(1, 12)]


async def test_silence_ends_by_retry_attempts(tmp_path: Path) -> None:
    """A server that always hangs up before it says anything is given up; the record says why."""
    async with ws_site(cut) as site:
        results = await run(
            tmp_path,
            [{"url": site.url(), "case": "a"}],
            websocket={"count": 1},
            retry={"attempts": 3, "backoff": {"initial": "1ms", "max": "5ms"}},
        )
    record = results.of("a")
    assert (record["reason"], record["attempts"], record["frames"]) == ("websocket-closed", 3, 0)
    assert "the connection was lost" in record["error"]
    assert site.connected == 3


@pytest.mark.parametrize("code", [1003, 1008, 1009, 3003])
async def test_some_closes_are_for_good(tmp_path: Path, code: int) -> None:
    """What the server would only say again is a failure at once; what came before it is kept."""
    async with ws_site(counting(1, 2, close=code)) as site:
        results = await run(tmp_path, [{"url": site.url(), "case": "a"}], websocket={"count": 9})
    record = results.of("a")
    assert (record["reason"], record["frames"], record["bytes"]) == ("websocket-closed", 2, 2)
    assert f"{code} (" in record["error"]
    assert "'as told'" in record["error"]
    assert site.connected == 1
    assert texts(results) == ["1", "2"]


async def test_without_reconnect_a_lost_connection_is_the_end(tmp_path: Path) -> None:
    """reconnect = false: a connection that was there is not made again."""
    async with ws_site(counting(1, 2, close=1011)) as site:
        results = await run(tmp_path, [{"url": site.url(), "case": "a"}], websocket={"count": 9, "reconnect": False})
    assert (results.of("a")["reason"], results.of("a")["frames"], site.connected) == ("websocket-closed", 2, 1)


async def test_a_dead_server_is_found_by_the_heartbeat(tmp_path: Path) -> None:
    """Who answers no ping is left, and asked anew."""
    release = asyncio.Event()

    async def deaf(site: WsSite, socket: web.WebSocketResponse) -> None:
        await socket.send_str("1")
        await release.wait()  # nothing is read, so that no pong is sent

    try:
        async with ws_site(on_each(deaf, counting(2, 2))) as site:
            results = await run(
                tmp_path, [{"url": site.url(), "case": "a"}], websocket={"count": 2, "heartbeat": "100ms"}
            )
            release.set()
    finally:
        release.set()
    assert texts(results) == ["1", "2"]


async def test_silence_is_no_timeout(tmp_path: Path) -> None:
    """timeouts.read and timeouts.total hold for the handshake alone."""

    async def slow(site: WsSite, socket: web.WebSocketResponse) -> None:
        await asyncio.sleep(0.5)
        await socket.send_str("late")
        await until_closed(site, socket)

    async with ws_site(slow) as site:
        results = await run(
            tmp_path,
            [{"url": site.url(), "case": "a"}],
            websocket={"count": 1},
            timeouts={"connect": "200ms", "read": "200ms", "total": "300ms", "stall": "200ms"},
        )
    assert texts(results) == ["late"]


async def test_a_message_too_large(tmp_path: Path) -> None:
    """One of max_message is kept; one byte more is a failure."""

    async def large(site: WsSite, socket: web.WebSocketResponse) -> None:
        await socket.send_str("x" * 1024)
        await socket.send_str("x" * 1025)
        await until_closed(site, socket)

    async with ws_site(large) as site:
        results = await run(tmp_path, [{"url": site.url(), "case": "a"}], websocket={"max_message": "1KiB"})
    assert [len(text) for text in texts(results)] == [1024]
    assert results.of("a")["reason"] == "too-large"
    assert site.connected == 1


# -- the handshake ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("status", "reason"), [(200, "status-200"), (404, "status-404"), (426, "status-426")])
async def test_no_websocket_is_a_failure(tmp_path: Path, status: int, reason: str) -> None:
    """Any answer but 101 is no success, 200 neither."""
    async with ws_site(until_closed, guard=lambda _: web.Response(status=status, text="no")) as site:
        results = await run(tmp_path, [{"url": site.url(), "case": "a"}])
    assert results.ends() == {"a": reason}
    assert results.of("a")["frames"] is None


async def test_a_busy_server_is_asked_again(tmp_path: Path) -> None:
    """503 to a handshake is retried as for any request."""
    answers = [web.Response(status=503), None]
    async with ws_site(counting(1, 1), guard=lambda _: answers.pop(0)) as site:
        results = await run(tmp_path, [{"url": site.url(), "case": "a"}], websocket={"count": 1})
    assert texts(results) == ["1"]
    assert results.of("a")["attempts"] == 2


@pytest.mark.parametrize("status", [302, 303, 307])
@pytest.mark.parametrize("scheme", ["ws", "http"])
async def test_redirects_are_followed(tmp_path: Path, status: int, scheme: str) -> None:
    """To another path, named as ws:// or http://; the record names both ends as ws://."""

    def elsewhere(request: web.Request) -> web.StreamResponse | None:
        if request.path == "/ws":
            place = f"{scheme}://127.0.0.1:{site.port}/there"
            return web.Response(status=status, headers={"Location": place})
        return None

    async with ws_site(echo, guard=elsewhere) as site:
        results = await run(tmp_path, [{"url": site.url(), "case": "a"}], websocket={"count": 1, "send": ["m"]})
    assert texts(results) == ["m"]
    assert (results.of("a")["url"], results.of("a")["final_url"]) == (site.url(), site.url("/there"))


async def test_messages_do_not_go_to_another_origin(tmp_path: Path) -> None:
    """A redirect cannot lead them to where nobody meant them to go."""
    async with ws_site(echo) as other:

        def elsewhere(request: web.Request) -> web.StreamResponse:
            return web.Response(status=307, headers={"Location": other.url()})

        async with ws_site(echo, guard=elsewhere) as site:
            results = await run(tmp_path, [{"url": site.url(), "case": "a"}], websocket={"count": 1, "send": ["m"]})
    assert results.ends() == {"a": "cannot-replay"}
    assert other.connected == 0


async def test_a_credential_goes_with_the_handshake(tmp_path: Path) -> None:
    """A bearer token is sent to its host; where the server wants another, the failure is auth-rejected."""

    def asks(request: web.Request) -> web.StreamResponse | None:
        good = request.headers.get("Authorization") == "Bearer token-of-the-test"
        return None if good else web.Response(status=401, headers={"WWW-Authenticate": "Bearer"})

    (tmp_path / "good").write_text("token-of-the-test")
    (tmp_path / "bad").write_text("another-one-of-it")
    async with ws_site(counting(1, 1), guard=asks) as site:
        for name, end in (("good", "fetched"), ("bad", "auth-rejected")):
            folder = tmp_path / f"job-{name}"
            folder.mkdir()
            auth = {"x": {"type": "bearer", "token": f"file:{tmp_path / name}", "hosts": ["127.0.0.1"]}}
            results = await run(folder, [{"url": site.url(), "case": "a"}], websocket={"count": 1}, auth=auth)
            assert results.ends() == {"a": end}


async def test_tls(tmp_path: Path) -> None:
    """wss:// is checked as https:// is: the job's own authority, and no other."""
    authority = trustme.CA()
    pem(tmp_path, "ca.pem", authority.cert_pem)
    async with ws_site(counting(1, 1), tls=server_tls(authority.issue_cert("127.0.0.1"))) as site:
        rows = [{"url": site.url(), "case": "a"}]
        good = await run(tmp_path, rows, websocket={"count": 1}, connection={"ca_bundle": "ca.pem"})
        (tmp_path / "second").mkdir()
        bad = await run(tmp_path / "second", rows, websocket={"count": 1})
    assert texts(good) == ["1"]
    assert good.of("a")["url"].startswith("wss://")
    assert bad.ends() == {"a": "tls-untrusted"}


async def test_an_http_proxy_leads_on(tmp_path: Path) -> None:
    """ws:// goes through CONNECT as well (RFC 6455 4.1), beside plain requests that the proxy answers itself."""
    async with ws_site(counting(1, 2)) as site, peer(leading_on) as proxy:
        results = await run(
            tmp_path,
            [{"url": site.url(), "case": "ws"}, {"url": f"http://127.0.0.1:{site.port}/", "case": "http"}],
            websocket={"count": 2},
            connection={"proxy": f"http://127.0.0.1:{proxy.port}"},
        )
    assert results.ends() == {"ws": "fetched", "http": "fetched"}
    assert texts(results) == ["1", "2"]
    assert sorted(head.split(" ")[0] for head in proxy.heads) == ["CONNECT", "GET"]


async def test_a_server_that_speaks_with_the_handshake(tmp_path: Path) -> None:
    """Frames that come in one piece with the handshake's answer are not lost, nor is the close behind them."""

    async def script(one: Any, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await one.head(reader)
        key = next(line.split(": ")[1] for line in head.split("\r\n") if line.lower().startswith("sec-websocket-key"))
        proof = b64encode(sha1(key.encode() + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()).decode()
        answer = f"HTTP/1.1 101 x\r\nUpgrade: websocket\r\nConnection: upgrade\r\nSec-WebSocket-Accept: {proof}\r\n\r\n"
        writer.write(answer.encode() + b"\x81\x01a\x81\x01b\x88\x02\x03\xe8")

    async with peer(script) as one:
        results = await run(tmp_path, [{"url": f"ws://127.0.0.1:{one.port}/", "case": "a"}])
    assert texts(results) == ["a", "b"]
    assert results.of("a")["outcome"] == "fetched"


@pytest.mark.parametrize(
    "lines",
    [
        ["Upgrade: websocket", "Connection: upgrade", "Sec-WebSocket-Accept: AAAA"],
        ["Upgrade: h2c", "Connection: upgrade"],
        ["Upgrade: websocket", "Connection: upgrade"],
    ],
)
async def test_a_handshake_without_proof_is_refused(tmp_path: Path, lines: list[str]) -> None:
    """A 101 that does not belong to our key is no WebSocket."""

    async def script(one: Any, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await one.head(reader)
        writer.write("\r\n".join(["HTTP/1.1 101 x", *lines, "", ""]).encode() + b"\x81\x01a")
        await reader.read()

    async with peer(script) as one:
        results = await run(tmp_path, [{"url": f"ws://127.0.0.1:{one.port}/", "case": "a"}])
    assert results.ends() == {"a": "bad-response"}
    assert texts(results) == []


async def test_rows_that_cannot_be_captures(tmp_path: Path) -> None:
    """A method, a body, or messages that are none are told as bad input."""
    rows: list[dict[str, Any]] = [
        {"url": "ws://127.0.0.1:9/", "case": "method", "method": "POST"},
        {"url": "ws://127.0.0.1:9/", "case": "body", "body": "x"},
        {"url": "ws://127.0.0.1:9/", "case": "send", "send": [1]},
        {"url": "ws:///", "case": "host"},
    ]
    results = await run(tmp_path, rows)
    assert [record["reason"] for record in results.records] == ["bad-input"] * 4


# -- stops and kills --------------------------------------------------------------------------------------------------


async def test_a_stop_lets_go_at_once_and_the_next_run_goes_on(tmp_path: Path) -> None:
    """The first order to stop ends a capture without an end; its frames stay, and the next numbers follow."""
    held: list[Pipeline] = []

    async def talk(site: WsSite, socket: web.WebSocketResponse) -> None:
        await socket.send_str("before")
        await read_by_client(socket)
        held[0].stop()
        await until_closed(site, socket)
        assert socket.close_code == 1001

    async with ws_site(on_each(talk, counting(1, 1))) as site:
        data = {
            "name": "t",
            "input": {"urls": [site.url()]},
            "output": {"dir": str(tmp_path / "out")},
            "websocket": {"count": 2},
        }
        async with asyncio.timeout(20):
            ended = await run_job(build(data, tmp_path), Options(held=held.append), lambda _: Unseen())
        assert ended.exit_code == ExitCode.STOPPED
        assert [frame["data"] for frame in frames_of(ended.run_folder)] == ["before"]
        assert records_of(ended.run_folder) == []
        ended = await run_job(build(data, tmp_path), Options(), lambda _: Unseen())
    assert ended.exit_code == ExitCode.OK
    assert [frame["data"] for frame in frames_of(ended.run_folder)] == ["before", "1"]
    numbered(ended.run_folder)


async def test_time_counts_over_stops(tmp_path: Path) -> None:
    """Seconds connected before a stop are not captured again after it."""
    held: list[Pipeline] = []

    async def talk(site: WsSite, socket: web.WebSocketResponse) -> None:
        await asyncio.sleep(0.5)
        held[0].stop()
        await until_closed(site, socket)

    async with ws_site(on_each(talk, counting(1, 1))) as site:
        data = {
            "name": "t",
            "input": {"urls": [site.url()]},
            "output": {"dir": str(tmp_path / "out")},
            "websocket": {"time": "900ms"},
        }
        await run_job(build(data, tmp_path), Options(held=held.append), lambda _: Unseen())
        ended = await run_job(build(data, tmp_path), Options(), lambda _: Unseen())
    [record] = records_of(ended.run_folder)
    assert 200 <= record["elapsed_ms"]["total"] < 600


KILLS = 3


async def test_kills_lose_and_repeat_no_frame(tmp_path: Path) -> None:
    """SIGKILL again and again: numbers go on without a gap, and what the server said to one connection is in order."""

    async def talk(site: WsSite, socket: web.WebSocketResponse) -> None:
        mine, said = site.connected, 0
        while True:  # until the client is gone
            said += 1
            await socket.send_str(f"{mine} {said}")
            await asyncio.sleep(0.002)  # slow enough that the end is far from any kill

    async with ws_site(talk) as site:
        (tmp_path / "t.toml").write_text(
            f'name = "t"\n[input]\nurls = ["{site.url()}"]\n[websocket]\ncount = 3000\n'
            f'[output]\ndir = "{tmp_path}/out"\n'
        )
        folder, kept = tmp_path / "out/t/latest", 0
        for _ in range(KILLS):
            command = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "crawler", "run", str(tmp_path / "t.toml"), "--quiet"
            )
            async with asyncio.timeout(30):
                while len(frames_of_torn(folder)) < kept + 50:  # noqa: ASYNC110 - another process writes
                    await asyncio.sleep(0.02)
            command.send_signal(signal.SIGKILL)
            assert await command.wait() == -signal.SIGKILL
            kept = len(frames_of_torn(folder))
        command = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "crawler", "run", str(tmp_path / "t.toml"), "--quiet"
        )
        async with asyncio.timeout(60):
            assert await command.wait() == ExitCode.OK
    numbered(folder)
    frames = frames_of(folder)
    assert len(frames) == 3000
    heard = [tuple(map(int, frame["data"].split(" "))) for frame in frames]
    assert heard == sorted(heard)  # connections in order, and what each said as well
    for connection in {connection for connection, _ in heard}:
        numbers = [number for one, number in heard if one == connection]
        assert numbers == list(range(1, 1 + len(numbers)))
    assert len({connection for connection, _ in heard}) > 1


def frames_of_torn(folder: Path) -> list[bytes]:
    """Whole lines of a file that is being written."""
    path = folder / "frames.jsonl"
    return path.read_bytes().split(b"\n")[:-1] if path.exists() else []


async def test_what_was_not_committed_is_captured_anew(tmp_path: Path) -> None:
    """Lines behind the committed length are dropped at the next start, and their numbers given again."""
    held: list[Pipeline] = []

    async def talk(site: WsSite, socket: web.WebSocketResponse) -> None:
        await socket.send_str("before")
        await read_by_client(socket)
        held[0].stop()
        await until_closed(site, socket)

    async with ws_site(on_each(talk, counting(1, 1))) as site:
        data = {
            "name": "t",
            "input": {"urls": [site.url()]},
            "output": {"dir": str(tmp_path / "out")},
            "websocket": {"count": 2},
        }
        ended = await run_job(build(data, tmp_path), Options(held=held.append), lambda _: Unseen())
        path = ended.run_folder / "frames.jsonl"
        path.write_bytes(path.read_bytes() + b'{"n": 2, "data": "torn"}\n{"n": 3, "da')
        ended = await run_job(build(data, tmp_path), Options(), lambda _: Unseen())
    assert [frame["data"] for frame in frames_of(ended.run_folder)] == ["before", "1"]
    numbered(ended.run_folder)


async def test_what_is_over_is_not_connected_again(tmp_path: Path) -> None:
    """A run that was cut between the last frame and the record only writes the record."""
    held: list[Pipeline] = []

    async def talk(site: WsSite, socket: web.WebSocketResponse) -> None:
        await socket.send_str("only")
        await read_by_client(socket)
        held[0].stop()
        await until_closed(site, socket)

    async with ws_site(talk) as site:
        data = {
            "name": "t",
            "input": {"urls": [site.url()]},
            "output": {"dir": str(tmp_path / "out")},
            "websocket": {"count": 2},
        }
        await run_job(build(data, tmp_path), Options(held=held.append), lambda _: Unseen())
        data["websocket"] = {"count": 1}
        ended = await run_job(build(data, tmp_path), Options(), lambda _: Unseen())
    assert site.connected == 1
    [record] = records_of(ended.run_folder)
    assert (record["outcome"], record["status"], record["frames"]) == ("fetched", 101, 1)
