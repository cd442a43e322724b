"""The socket of a running job: who is heard, what is refused, that nothing sent to it harms the run."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import stat
from contextlib import suppress
from pathlib import Path
from typing import Any

import orjson
import pytest

from crawler import controlling
from crawler.control import LINE, NAME, NotRunning, ask_async
from crawler.controlling import AT_ONCE, Peer, listening
from crawler.orders import NoOrder, Order


class Job:
    """Takes orders; refuses to stop, and has a bug in its pause."""

    def __init__(self) -> None:
        self.orders: list[Order] = []
        self.peers: list[Peer] = []

    async def obey(self, order: Order, peer: Peer) -> dict[str, Any]:
        self.orders.append(order)
        self.peers.append(peer)
        if order.do == "stop":
            raise NoOrder("not now")
        if order.do == "pause":
            raise ValueError("a bug")
        return {"did": order.do}


Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def connected(folder: Path) -> Streams:
    return await asyncio.open_unix_connection(str(folder / NAME))


async def said(streams: Streams, text: bytes) -> dict[str, Any]:
    reader, writer = streams
    writer.write(text)
    return dict(orjson.loads(await reader.readline()))


async def test_orders_are_obeyed_and_who_gave_them_is_known(tmp_path: Path) -> None:
    """Several over one connection; the kernel says who it is."""
    job = Job()
    async with listening(tmp_path, job.obey):
        streams = await connected(tmp_path)
        for _ in range(2):
            assert await said(streams, b'{"do":"resume"}\n') == {"ok": True, "did": "resume"}
        streams[1].close()
    assert job.peers == [Peer(os.getpid(), os.geteuid())] * 2


async def test_what_cannot_be_done_is_answered(tmp_path: Path) -> None:
    """No JSON, no order, a refusal: each a sentence, and the connection goes on."""
    async with listening(tmp_path, Job().obey):
        streams = await connected(tmp_path)
        assert await said(streams, b"pause\n") == {"ok": False, "error": "an order is one line of JSON"}
        assert "did you mean pause?" in (await said(streams, b'{"do":"pase"}\n'))["error"]
        assert await said(streams, b'{"do":"stop"}\n') == {"ok": False, "error": "not now"}
        assert not (await said(streams, b"[" * 2000 + b"]" * 2000 + b"\n"))["ok"]
        assert (await said(streams, b'{"do":"resume"}\n'))["ok"]
        streams[1].close()


async def test_only_its_user_may_reach_it_and_it_is_gone_at_the_end(tmp_path: Path) -> None:
    """The socket is 0600 whatever the umask; nothing is left of it, also where the run ends by a fault."""
    before = os.umask(0)
    try:
        with pytest.raises(ZeroDivisionError):
            await at_fault(tmp_path)
    finally:
        os.umask(before)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(NotRunning):
        await ask_async(tmp_path, {"do": "resume"})


async def at_fault(folder: Path) -> float:
    """A run that ends by a fault."""
    async with listening(folder, Job().obey):
        assert stat.S_IMODE((folder / NAME).stat().st_mode) == 0o600
        return 1 / 0


async def test_another_user_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the mode of the socket did not keep it out."""
    job = Job()
    async with listening(tmp_path, job.obey):
        monkeypatch.setattr(controlling, "_peer_of", lambda _: Peer(1, os.geteuid() + 1))
        assert "only the user" in (await ask_async(tmp_path, {"do": "resume"}))["error"]
    assert job.orders == []


async def test_what_a_killed_process_left_is_replaced(tmp_path: Path) -> None:
    """A socket at which nobody listens is no hindrance."""
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(tmp_path / NAME))
    async with listening(tmp_path, Job().obey):
        assert (await ask_async(tmp_path, {"do": "resume"}))["ok"]


async def test_a_deep_folder_takes_orders(tmp_path: Path) -> None:
    """A name that is too long for a socket goes another way."""
    deep = tmp_path / ("d" * 100) / ("e" * 100)
    deep.mkdir(parents=True)
    async with listening(deep, Job().obey):
        assert stat.S_IMODE((deep / NAME).stat().st_mode) == 0o600
        assert (await ask_async(deep, {"do": "resume"}))["ok"]
    assert list(deep.iterdir()) == []


@pytest.mark.parametrize("kind", ["file", "folder", "absent"])
async def test_where_no_socket_can_be_made_the_run_goes_on(
    tmp_path: Path, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    """One warning, and what is in the way stays as it is."""
    folder = tmp_path / "job"
    if kind != "absent":
        folder.mkdir()
    if kind == "file":
        (folder / NAME).write_text("mine")
    if kind == "folder":
        (folder / NAME).mkdir()
    with caplog.at_level(logging.WARNING, "crawler"):
        async with listening(folder, Job().obey):
            pass
    [record] = caplog.records
    assert "this run takes no orders" in record.getMessage()
    assert kind != "file" or (folder / NAME).read_text() == "mine"


async def test_a_line_too_long_is_refused(tmp_path: Path) -> None:
    """No more is kept of it than a line may have."""
    job = Job()
    async with listening(tmp_path, job.obey):
        streams = await connected(tmp_path)
        assert f"at most {LINE} bytes" in (await said(streams, b"x" * (3 * LINE)))["error"]
        assert await streams[0].read() == b""
        streams[1].close()
    assert job.orders == []


async def test_one_connection_too_many_is_told_and_the_others_go_on(tmp_path: Path) -> None:
    """When one of them has gone there is room again."""
    async with listening(tmp_path, Job().obey):
        many = [await connected(tmp_path) for _ in range(AT_ONCE)]
        assert [(await said(one, b'{"do":"resume"}\n'))["ok"] for one in many] == [True] * AT_ONCE
        assert "others are connected" in (await ask_async(tmp_path, {"do": "resume"}))["error"]
        many[0][1].close()
        await many[0][1].wait_closed()
        async with asyncio.timeout(20):
            while not (await ask_async(tmp_path, {"do": "resume"}))["ok"]:
                pass
        for _, writer in many:
            writer.close()


async def test_who_says_nothing_is_let_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection without a first line does not stay."""
    monkeypatch.setattr(controlling, "FIRST", 0.05)
    async with listening(tmp_path, Job().obey):
        reader, writer = await connected(tmp_path)
        async with asyncio.timeout(20):
            assert await reader.read() == b""
        writer.close()


async def test_a_bug_of_ours_ends_no_run(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It is logged, the connection ends, and the next one is heard."""
    async with listening(tmp_path, Job().obey):
        reader, writer = await connected(tmp_path)
        writer.write(b'{"do":"pause"}\n')
        async with asyncio.timeout(20):
            assert await reader.read() == b""
        writer.close()
        assert (await ask_async(tmp_path, {"do": "resume"}))["ok"]
    assert "a fault of ours" in caplog.text


async def test_connections_left_open_do_not_hold_up_the_end(tmp_path: Path) -> None:
    """They are closed with the socket, also those in the middle of a line."""
    async with asyncio.timeout(20):
        async with listening(tmp_path, Job().obey):
            reader, writer = await connected(tmp_path)
            await said((reader, writer), b'{"do":"resume"}\n')
            writer.write(b'{"do":')
            await writer.drain()
        with suppress(ConnectionResetError):  # the half line was never read
            assert await reader.read() == b""
        writer.close()
