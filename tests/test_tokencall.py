"""Calls of a token endpoint over real sockets: nothing goes along, answers are bounded, waits end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from time import monotonic
from typing import Any

import pytest

from crawler.grants import MAX_ANSWER, TokenAnswer, TokenRequest, TokenTrouble
from crawler.hosts import Hosts
from crawler.jobfile import build
from crawler.routing import Routing
from crawler.session import Session, SessionSettings
from crawler.tokencall import TokenCall
from crawler.watch import Watch
from tests.peers import LOOPBACK, Peer, peer, saying

FORM = {"Content-Type": "application/x-www-form-urlencoded", "Authorization": "Basic eA=="}
SETTINGS = SessionSettings(4, 30, 60, {"User-Agent": "own/1", "X-Job": "planted", "Accept": "*/*"})


@asynccontextmanager
async def calling(folder: Path, **sections: Any) -> AsyncIterator[tuple[TokenCall, Watch]]:
    """A call whose transfers are looked after as in a run."""
    data = {"name": "t", "input": {"urls": ["http://a.test/"]}, **sections}
    hosts, watch = Hosts(build(data, folder).job), Watch(0.02)

    async def look() -> None:
        while True:
            await asyncio.sleep(watch.tick)
            for transfer in watch.overdue(monotonic()):
                assert isinstance(transfer.owner, asyncio.Task)
                transfer.owner.cancel()

    looking = asyncio.create_task(look())
    async with Session(SETTINGS) as session:
        yield TokenCall(session, watch, hosts.of, Routing(str, str)), watch
    looking.cancel()
    assert not watch.transfers


def asked(server: Peer, path: str = "token") -> TokenRequest:
    return TokenRequest(server.url + path, FORM, b"grant_type=client_credentials")


async def test_the_form_goes_alone(tmp_path: Path) -> None:
    """With its own headers, and of the job's only those that say who asks; the endpoint may be on this machine."""
    async with peer() as server, calling(tmp_path) as (call, _):
        assert await call(asked(server)) == TokenAnswer(200, {"Content-Length": "2"}, b"ok")
    [head] = server.heads
    assert head.startswith("POST /token HTTP/1.1\r\n")
    assert "User-Agent: own/1" in head
    assert "Authorization: Basic eA==" in head
    assert "Accept-Encoding: identity" in head
    assert "Content-Length: 29" in head
    assert "planted" not in head


async def test_a_redirect_is_not_followed(tmp_path: Path) -> None:
    """The form holds a secret: where it is sent on to nobody said."""
    async with peer() as other:
        answer = f"HTTP/1.1 307 Go\r\nLocation: {other.url}\r\nContent-Length: 0\r\n\r\n".encode()
        async with peer(saying(answer)) as server, calling(tmp_path) as (call, _):
            assert (await call(asked(server))).status == 307
        assert other.accepted == 0


async def test_more_than_a_mebibyte_is_not_read(tmp_path: Path) -> None:
    """An answer without end ends, and its connection is not used again."""

    async def endless(one: Peer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await one.head(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n")
        while True:
            writer.write(b"x" * 65536)
            await writer.drain()

    async with peer(endless) as server, calling(tmp_path) as (call, _):
        answer = await call(asked(server))
        assert MAX_ANSWER < len(answer.body) < 2 * MAX_ANSWER
        await call(asked(server))
        assert server.accepted == 2


async def silent(one: Peer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await one.head(reader)
    await reader.read()


async def stalling(one: Peer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await one.head(reader)
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")
    await reader.read()


@pytest.mark.parametrize(
    ("script", "key"), [(silent, r"no answer .*timeouts\.read"), (stalling, r"no byte of the body .*timeouts\.read")]
)
async def test_an_endpoint_that_does_not_answer_is_left(tmp_path: Path, script: Any, key: str) -> None:
    """By the timeouts of its host, as trouble with a sentence; the task goes on uncancelled."""
    timeouts = {"read": "100ms"}
    async with peer(script) as server, calling(tmp_path, hosts={LOOPBACK: {"timeouts": timeouts}}) as (call, _):
        with pytest.raises(TokenTrouble, match=key):
            await call(asked(server))
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0


@pytest.mark.parametrize("script", [silent, stalling])
async def test_a_call_ends_also_where_nobody_looks(tmp_path: Path, script: Any) -> None:
    """While a run ends, and in `crawler plan`, no watch is awake; the total time still holds."""
    data = {"name": "t", "input": {"urls": ["http://a.test/"]}, "timeouts": {"total": "200ms"}}
    watch = Watch(1.0)
    async with peer(script) as server, Session(SETTINGS) as session, asyncio.timeout(20):
        call = TokenCall(session, watch, Hosts(build(data, tmp_path).job).of, Routing(str, str))
        with pytest.raises(TokenTrouble, match=r"gave no token: not finished after 0\.2 s"):
            await call(asked(server))
    assert not watch.transfers


async def test_an_endpoint_that_is_not_there_is_trouble(tmp_path: Path) -> None:
    """As the wire tells it."""
    async with peer() as server:
        request = asked(server)
    async with calling(tmp_path) as (call, _):
        with pytest.raises(TokenTrouble, match="connect-refused"):
            await call(request)


async def test_cancelled_from_outside_it_ends_as_cancelled(tmp_path: Path) -> None:
    """And nothing of it is left under way."""
    async with peer(silent) as server, calling(tmp_path) as (call, watch):
        task = asyncio.create_task(call(asked(server)))
        while not server.heads:  # noqa: ASYNC110
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not watch.transfers
