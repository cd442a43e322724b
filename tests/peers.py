"""Peers on loopback that keep every byte they were sent: servers with and without TLS, proxies that do as told."""

from __future__ import annotations

import asyncio
import inspect
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from functools import update_wrapper
from pathlib import Path
from time import monotonic
from typing import Any

import pytest
import trustme
import uvloop

from crawler.model import Message, Sending, Timing
from crawler.routes import DIRECT, Route
from crawler.session import Answer, Session, SessionSettings
from crawler.watch import Limits, Transfer, Watch
from tests.descriptors import sockets
from tests.servers import free_port

LOOPBACK = "127.0.0.1"
LIMITS = Limits(connect=5, read=5, total=5, stall=5, min_speed=1)
SETTINGS = SessionSettings(connections=4, keepalive=30, dns_ttl=60, headers={"User-Agent": "t/1"})
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def on_both_loops(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run a test on asyncio's loop and on uvloop: their TLS and sockets are not the same code."""
    signature = inspect.signature(test)
    loop = inspect.Parameter("loop_factory", inspect.Parameter.KEYWORD_ONLY)

    async def whole(arguments: Mapping[str, Any]) -> None:
        before = sockets()
        await asyncio.wait_for(test(**arguments), 60)
        # A handshake that the other end broke off is over a moment later; a loop that is closed before complains.
        until = monotonic() + 2
        while sockets() > before and monotonic() < until:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.005)

    def run(*, loop_factory: Callable[[], asyncio.AbstractEventLoop], **arguments: Any) -> None:
        with asyncio.Runner(loop_factory=loop_factory) as runner:
            runner.run(whole(arguments))

    update_wrapper(run, test)
    run.__signature__ = signature.replace(parameters=[*signature.parameters.values(), loop])  # type: ignore[attr-defined]
    return pytest.mark.parametrize("loop_factory", [asyncio.new_event_loop, uvloop.new_event_loop])(run)


class Peer:
    """What came to one listener: `heads` of requests, and the `raw` bytes of all its connections together."""

    def __init__(self) -> None:
        self.port = 0
        self.accepted = 0
        self.raw = b""
        self.heads: list[str] = []

    @property
    def url(self) -> str:
        return f"http://{LOOPBACK}:{self.port}/"

    @property
    def secure(self) -> str:
        return f"https://{LOOPBACK}:{self.port}/"

    async def head(self, reader: asyncio.StreamReader) -> str:
        """The next request's head. Raises EOFError at the end of the connection."""
        came = b""
        while not came.endswith(b"\r\n\r\n"):
            byte = await reader.read(1)
            if not byte:
                raise EOFError
            self.raw += byte
            came += byte
        self.heads.append(came.decode("latin-1"))
        return self.heads[-1]


Script = Callable[[Peer, asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def polite(peer: Peer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answers "ok" to every request without a body."""
    while True:
        await peer.head(reader)
        writer.write(OK)


def saying(answer: bytes) -> Script:
    """One request, this answer, and the end."""

    async def script(peer: Peer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await peer.head(reader)
        writer.write(answer)

    return script


async def leading_on(peer: Peer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A proxy for CONNECT and for plain requests, which it answers with "ok" by itself."""
    head = await peer.head(reader)
    if not head.startswith("CONNECT "):
        writer.write(OK)
        return
    host, _, port = head.split(" ")[1].rpartition(":")
    far_reader, far_writer = await asyncio.open_connection(host.strip("[]"), int(port))
    writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")

    async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter, seen: bool) -> None:
        try:
            while piece := await source.read(65536):
                peer.raw += piece if seen else b""
                sink.write(piece)
                await sink.drain()
        except OSError:
            pass
        finally:
            sink.close()

    await asyncio.gather(pump(reader, far_writer, True), pump(far_reader, writer, False))


@asynccontextmanager
async def peer(
    script: Script = polite, tls: ssl.SSLContext | None = None, path: str | None = None
) -> AsyncIterator[Peer]:
    """A listener on loopback, or at a unix socket, whose connections follow the script."""
    one, tasks, transports = Peer(), set[asyncio.Task[None]](), set[asyncio.WriteTransport]()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        one.accepted += 1
        transports.add(writer.transport)
        try:
            await script(one, reader, writer)
        except (EOFError, OSError):
            pass
        finally:
            writer.close()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(serve(reader, writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    if path is not None:
        server = await asyncio.start_unix_server(accept, path, ssl=tls)
    else:
        server = await asyncio.start_server(accept, LOOPBACK, 0, ssl=tls)
        one.port = server.sockets[0].getsockname()[1]
    async with server:
        try:
            yield one
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for transport in transports:  # some wait for the client's last word
                transport.abort()
            await asyncio.sleep(0)


@contextmanager
def alerting(context: ssl.SSLContext) -> Iterator[Peer]:
    """A TLS server that says by an alert what it dislikes, as asyncio's do not; "ok" to one request a connection."""
    one = Peer()

    def serve() -> None:
        while True:
            try:
                plain, _ = listener.accept()
            except OSError:
                return
            one.accepted += 1
            plain.settimeout(5)
            try:
                with context.wrap_socket(plain, server_side=True) as connection:
                    while not one.raw.endswith(b"\r\n\r\n"):
                        one.raw += connection.recv(65536)
                    one.heads.append(one.raw.decode())
                    connection.sendall(OK)
            except OSError:
                plain.close()

    with socket.create_server((LOOPBACK, 0)) as listener:
        one.port = listener.getsockname()[1]
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield one
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(10)


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((LOOPBACK, port)) == 0


@contextmanager
def running(command: Sequence[str], ports: Sequence[int], log: Path, patience: float = 20) -> Iterator[None]:
    """A server in a process of its own, from the moment it answers at its ports until the end of the block. Raises
    RuntimeError with what it said where it does not within `patience` seconds.
    """
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT)
    try:
        deadline = monotonic() + patience
        while not all(map(_answers, ports)):
            if process.poll() is not None or monotonic() > deadline:
                raise RuntimeError(f"{command[0]} did not start: {log.read_text()[-2000:]}")
            time.sleep(0.02)
        yield
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextmanager
def httpbin(folder: Path) -> Iterator[str]:
    """httpbin behind waitress; gives its URL without the last slash."""
    port = free_port()
    serve = [sys.executable, "-m", "waitress", "--threads=32", f"--listen={LOOPBACK}:{port}", "httpbin:app"]
    with running(serve, [port], folder / "httpbin.log"):
        yield f"http://{LOOPBACK}:{port}"


@asynccontextmanager
async def looked_after(watch: Watch) -> AsyncIterator[None]:
    """The watch stops what has overstayed, as in the pipeline; afterwards nothing is under way."""

    async def look() -> None:
        while True:
            await asyncio.sleep(watch.tick)
            for transfer in watch.overdue(monotonic()):
                assert isinstance(transfer.owner, asyncio.Task)
                transfer.owner.cancel()

    looking = asyncio.create_task(look())
    try:
        yield
    finally:
        looking.cancel()
    assert not watch.transfers


def server_tls(certificate: trustme.LeafCert, wants: trustme.CA | None = None) -> ssl.SSLContext:
    """A server with this certificate; `wants` client certificates of an authority."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    if wants is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        wants.configure_trust(context)
    return context


def pem(folder: Path, name: str, *blobs: trustme.Blob) -> str:
    """A file of these certificates and keys."""
    path = folder / name
    path.write_bytes(b"".join(blob.bytes() for blob in blobs))
    return str(path)


async def answer(
    session: Session,
    url: str,
    route: Route = DIRECT,
    *,
    method: str = "GET",
    headers: Mapping[str, str] | None = None,
    body: bytes | Sending | None = None,
    trusted: bool = True,
    transfer: Transfer | None = None,
) -> Answer:
    """The head of one answer. Raises TransportError."""
    message = Message(method, url, headers or {}, body, trusted=trusted, route=route)
    return await session.send(message, transfer or Transfer(url, LIMITS, monotonic()), Timing(0.0))


async def whole(one: Answer) -> bytes:
    """All of a body."""
    body = b""
    while piece := await one.read():
        body += piece
    return body


async def fetch(session: Session, url: str, route: Route = DIRECT, *, trusted: bool = True) -> bytes:
    """The whole body of one answer to a GET. Raises TransportError."""
    return await whole(await answer(session, url, route, trusted=trusted))
