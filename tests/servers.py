"""Real servers on loopback: nginx, and a site in the test's own loop that answers and logs as the test says."""

from __future__ import annotations

import asyncio
import shutil
import socket
import subprocess
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from time import monotonic
from types import TracebackType
from typing import NamedTuple

_CONF = """\
daemon off;
user root;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ worker_connections 4096; }}
http {{
    include /etc/nginx/mime.types;
    default_type application/octet-stream;
    charset utf-8;
    log_format seen '$msec\\t$status\\t$request_uri\\t$server_addr\\t$http_x_request_id\\t$connection';
    access_log {log};
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    sendfile on;
    keepalive_requests 10000000;
    server {{
        listen {address}:{port} backlog=4096;
        allow 127.0.0.0/8;
        deny all;
        root {root};
        {extra}
    }}
}}
"""


def free_port() -> int:
    """A port that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Nginx:
    """nginx serving `root`; `log` keeps an access log. `address` 0.0.0.0 answers all of 127/8, and nobody else."""

    def __init__(
        self, root: Path, folder: Path, *, address: str = "127.0.0.1", log: bool = False, extra: str = ""
    ) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = folder / "access.log"
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        where = f"{self.log} seen" if log else "off"
        text = _CONF.format(folder=folder, root=root, address=address, port=self.port, log=where, extra=extra)
        self._conf = folder / "nginx.conf"
        self._conf.write_text(text)
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Nginx:
        program = shutil.which("nginx") or "/usr/sbin/nginx"
        self._process = subprocess.Popen([program, "-c", str(self._conf), "-p", str(self._folder)])
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return self
            if self._process.poll() is not None:
                break
        raise RuntimeError(f"nginx did not start: {(self._folder / 'error.log').read_text()}")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process is not None
        self._process.terminate()
        self._process.wait(10)

    def requests(self) -> list[list[str]]:
        """The access log: msec, status, URI, server address, X-Request-ID, connection."""
        return [line.split("\t") for line in self.log.read_text().splitlines()]


class Asked(NamedTuple):
    """One request as the site saw it: the monotonic moment its head was there, the address it came to, its path, and
    how many requests that address had then, this one among them.
    """

    at: float
    address: str
    path: str
    headers: Mapping[str, str]  # names in lower case
    at_once: int

    @property
    def host(self) -> str:
        """Of the Host header, without port."""
        return self.headers["host"].partition(":")[0]


Answer = Callable[[Asked], bytes | AsyncIterator[bytes]]


def reply(status: int = 200, body: bytes = b"x", headers: Mapping[str, object] | None = None) -> bytes:
    """A whole answer; the connection stays open."""
    lines = [f"HTTP/1.1 {status} Whatever", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


class RawSite:
    """What a running site saw. `answer` may be exchanged; an answer in pieces ends its connection."""

    def __init__(self, answer: Answer, latency: float) -> None:
        self.answer = answer
        self.port = 0
        self.asked: list[Asked] = []
        self.connections: Counter[str] = Counter()  # by address
        self.latency = latency
        self._under_way: Counter[str] = Counter()

    def url(self, path: str = "/", address: str = "127.0.0.1") -> str:
        """The URL of a path, at one of the addresses."""
        return f"http://{address}:{self.port}{path}"

    def paths(self, address: str | None = None) -> list[str]:
        """The paths asked for, in their order, at one address or at all."""
        return [asked.path for asked in self.asked if address in (None, asked.address)]

    def times(self, address: str = "127.0.0.1", but: str = "/robots.txt") -> list[float]:
        """When an address was asked, in order; `but` is a path that does not count."""
        return [asked.at for asked in self.asked if asked.address == address and asked.path != but]

    def peak(self, address: str = "127.0.0.1") -> int:
        """The most requests that an address had at once."""
        return max((asked.at_once for asked in self.asked if asked.address == address), default=0)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        address = writer.get_extra_info("sockname")[0]
        self.connections[address] += 1
        try:
            while await self._one(address, reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def _one(self, address: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        pairs = (line.split(": ", 1) for line in head[1:] if line)
        headers = {name.lower(): value for name, value in pairs}
        self._under_way[address] += 1
        try:
            asked = Asked(monotonic(), address, head[0].split(" ")[1], headers, self._under_way[address])
            self.asked.append(asked)
            if self.latency:
                await asyncio.sleep(self.latency)
            answer = self.answer(asked)
            if not isinstance(answer, bytes):
                async for piece in answer:
                    writer.write(piece)
                    await writer.drain()
                return False
        finally:
            self._under_way[address] -= 1  # before the write of a whole answer: the client may go on at once
        writer.write(answer)
        await writer.drain()
        return True


@asynccontextmanager
async def raw_site(
    answer: Answer = lambda _: reply(), *, addresses: Sequence[str] = ("127.0.0.1",), latency: float = 0.0
) -> AsyncIterator[RawSite]:
    """A site at one port of some loopback addresses, which takes `latency` seconds for each answer."""
    site, open_ones = RawSite(answer, latency), set[asyncio.Task[None]]()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(site.serve(reader, writer))
        open_ones.add(task)
        task.add_done_callback(open_ones.discard)

    site.port = free_port()
    async with await asyncio.start_server(accept, list(addresses), site.port):
        try:
            yield site
        finally:
            for task in open_ones:
                task.cancel()
            await asyncio.gather(*open_ones, return_exceptions=True)
