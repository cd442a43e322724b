"""A job at work while a monitor shows it and nine others to two pages: how much slower it is than unwatched.

Rounds come in pairs, one with the monitor and one without, the order changing from pair to pair; wall time and
processor time of the job itself.
"""

from __future__ import annotations

import asyncio
import shutil
import statistics
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import aiohttp

from benchmarks.measure import Cost, Watched, cost
from benchmarks.site import Nginx, folder, make_pages, write_job
from benchmarks.table import Line
from tests.servers import free_port

WORKERS = 64
OTHERS = 9  # jobs that were run before
_LATE = 30.0  # seconds for the monitor to be there


def run(*, quick: bool, full: bool) -> list[Line]:
    """Medians of the ratios within each pair."""
    count, pairs = (20_000, 3) if quick else (100_000, 9 if full else 5)
    with folder() as where:
        paths = make_pages(where / "www", count)
        with Nginx(where / "www", where / "nginx") as server:
            limits = f"[limits]\nworkers = {WORKERS}\nper_host = {WORKERS}\n"
            settings = f'{limits}[output]\nbodies = "none"\ndir = "{where}/out"'
            urls = [server.url + path for path in paths]
            for number in range(OTHERS):
                assert cost(write_job(where, f"other-{number}", urls[:500], settings)).code == 0
            job = write_job(where, "watched", urls, settings)
            watched: list[Cost] = []
            alone: list[Cost] = []
            for number in range(pairs):
                for with_monitor in (True, False) if number % 2 else (False, True):
                    (watched if with_monitor else alone).append(_round(where, job, with_monitor))
    wall = statistics.median(one.wall / other.wall for one, other in zip(watched, alone, strict=True))
    cpu = statistics.median(one.cpu / other.cpu for one, other in zip(watched, alone, strict=True))
    rate = count / statistics.median(one.wall for one in alone)
    return [
        Line(f"{count:,} pages, unwatched", f"{rate:,.0f}/s", "the yardstick"),
        Line(f"  time with a monitor of {OTHERS + 1} jobs, 2 pages", f"{wall:.3f}x", "<= 1.02x"),
        Line("  processor time of the job", f"{cpu:.3f}x", "<= 1.02x"),
    ]


def _round(where: Path, job: list[str], with_monitor: bool) -> Cost:
    shutil.rmtree(where / "out" / "watched", ignore_errors=True)
    if not with_monitor:
        return _costs(job)
    with _monitor(where / "out"):
        return _costs(job)


def _costs(job: list[str]) -> Cost:
    spent = cost(job)
    assert spent.code == 0, "a round failed"
    return spent


@contextmanager
def _monitor(output: Path) -> Iterator[None]:
    """A monitor, a page of all jobs and a page of the job that runs."""
    port = free_port()
    server = Watched([sys.executable, "-m", "crawler", "monitor", "-o", str(output), "--port", str(port)])
    begun, over = threading.Event(), threading.Event()
    pages = threading.Thread(target=lambda: asyncio.run(_pages(port, begun, over)))
    pages.start()
    assert begun.wait(_LATE), "the monitor did not start"
    try:
        yield
    finally:
        over.set()
        pages.join()
        server.end()


async def _pages(port: int, begun: threading.Event, over: threading.Event) -> None:
    async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session:
        while True:
            try:
                all_, one = await session.ws_connect("/ws"), await session.ws_connect("/ws")
                break
            except aiohttp.ClientConnectorError:
                await asyncio.sleep(0.1)
        await all_.send_json({"watch": "overview"})
        await one.send_json({"watch": "job", "job": "watched"})
        begun.set()
        reading = [asyncio.create_task(_read(socket)) for socket in (all_, one)]
        await asyncio.to_thread(over.wait)
        for task in reading:
            task.cancel()


async def _read(socket: aiohttp.ClientWebSocketResponse) -> None:
    async for _ in socket:
        pass
