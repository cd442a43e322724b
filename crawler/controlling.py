"""The socket at which a running job takes orders: one line of JSON each, and one for the answer.

Does: listen in the job's folder, let in who may, read lines, answer. Must not know what an order does. Invariant: only
processes of the same user, or root's, are heard; whatever they send costs bounded memory and ends no run; the socket is
gone when the run is.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import stat
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from crawler.control import LINE, NAME, reached
from crawler.filelimit import files_left
from crawler.orders import NoOrder, Order, order_of

log = logging.getLogger("crawler")

AT_ONCE = 16  # connections
FIRST, NEXT = 10.0, 120.0  # seconds that a connection may be silent before its first line, and between two
_SPARED = 16  # files that may be opened yet; to listen takes two
_TAKEN = 10.0  # seconds in which an answer must be taken


class Peer(NamedTuple):
    """Who gave an order."""

    pid: int
    uid: int

    def __str__(self) -> str:
        return f"pid {self.pid} (uid {self.uid})"


Obey = Callable[[Order, Peer], Awaitable[dict[str, Any]]]


@asynccontextmanager
async def listening(folder: Path, obey: Obey) -> AsyncIterator[None]:
    """Take orders while inside. Where no socket can be made that is told, and the job runs without."""
    try:
        if files_left() < _SPARED:  # of few every one is a request's
            raise OSError(0, "too few files may be open (ulimit -n)")
        listener = _bound(folder)
    except OSError as error:
        log.warning("%s cannot be made, so this run takes no orders: %s", folder / NAME, error.strerror or error)
        yield
        return
    taking = _Taking(obey)
    try:
        server = await asyncio.start_unix_server(taking.connected, sock=listener, limit=LINE)
        try:
            yield
        finally:
            server.close()
            await taking.end()
    finally:
        listener.close()
        with suppress(OSError):
            os.unlink(folder / NAME)


def _bound(folder: Path) -> socket.socket:
    """A socket in the folder; one that a killed process left is replaced. Raises OSError."""
    path = folder / NAME
    with suppress(FileNotFoundError):
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            raise OSError(0, "there is something of that name that is no socket")
        os.unlink(path)  # we hold the job's lock: nobody listens there
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        os.fchmod(made.fileno(), 0o600)  # Linux gives the mode of the socket to its name: at no moment is it wider
        with reached(folder) as short:
            made.bind(short)
            os.chmod(short, 0o600)
        made.listen(AT_ONCE)
    except BaseException:
        made.close()
        raise
    return made


class _Taking:
    """The connections of one socket."""

    def __init__(self, obey: Obey) -> None:
        self._obey = obey
        self._tasks: set[asyncio.Task[Any]] = set()

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        full = len(self._tasks) >= AT_ONCE
        self._tasks.add(task)
        try:
            peer = _peer_of(writer)
            if peer.uid not in (os.geteuid(), 0):
                await _say(writer, {"ok": False, "error": "only the user who runs the job may control it"})
            elif full:
                await _say(writer, {"ok": False, "error": f"{AT_ONCE} others are connected already; try again"})
            else:
                await self._converse(reader, writer, peer)
        except (OSError, TimeoutError, asyncio.CancelledError):
            pass  # whoever it was has gone, or is too slow, or the run ends
        except Exception:
            log.exception("a fault of ours in the control socket; the run goes on")
        finally:
            self._tasks.discard(task)
            writer.transport.abort() if full else writer.close()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, peer: Peer) -> None:
        wait = FIRST
        while True:
            try:
                async with asyncio.timeout(wait):
                    line = await reader.readuntil(b"\n")
            except asyncio.IncompleteReadError:
                return
            except asyncio.LimitOverrunError:
                await _say(writer, {"ok": False, "error": f"an order has at most {LINE} bytes"})
                return
            await _say(writer, await self._answer(line, peer))
            wait = NEXT

    async def _answer(self, line: bytes, peer: Peer) -> dict[str, Any]:
        try:
            return {"ok": True, **await self._obey(order_of(orjson.loads(line)), peer)}
        except orjson.JSONDecodeError:
            return {"ok": False, "error": "an order is one line of JSON"}
        except NoOrder as error:
            return {"ok": False, "error": str(error)}

    async def end(self) -> None:
        """Let go of all connections; an answer under way is given up."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=1.0)


async def _say(writer: asyncio.StreamWriter, answer: dict[str, Any]) -> None:
    writer.write(orjson.dumps(answer) + b"\n")
    async with asyncio.timeout(_TAKEN):
        await writer.drain()


def _peer_of(writer: asyncio.StreamWriter) -> Peer:
    """Who is connected, as the kernel says (SO_PEERCRED, unix(7)). Raises OSError."""
    said = writer.get_extra_info("socket").getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    pid, uid, _ = struct.unpack("3i", said)
    return Peer(pid, uid)
