"""Serves the demo site on loopback: for `crawler demo`, and for tests that need a server with known content and faults.

Does: start a fresh application of `demoapp` in the running loop, or in a thread with a loop of its own, and stop it.
Must not know the crawler: nothing here imports job, pipeline or fetch. Invariant: two sites share nothing; when `serve`
or `serve_in_thread` is left, its port is closed and its thread has ended.
"""

from __future__ import annotations

import asyncio
import errno
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Future
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass

import uvloop
from aiohttp import web

from crawler.demoapp import STATS, Stats, make_app
from crawler.demosite import expected

__all__ = ["DEFAULT_PORT", "DemoSite", "Stats", "expected", "make_app", "serve", "serve_forever", "serve_in_thread"]

DEFAULT_PORT = 8089


@dataclass(frozen=True)
class DemoSite:
    """A site that is being served. `url` has no slash at its end; `stats` may be read from any thread."""

    url: str
    stats: Stats

    def at(self, path: str) -> str:
        """The URL of a path such as `/articles/1`."""
        return self.url + path

    def expected(self, path: str) -> bytes | None:
        """As `demosite.expected`, for this site's address."""
        return expected(path, self.url)


@asynccontextmanager
async def serve(host: str = "127.0.0.1", port: int = 0) -> AsyncIterator[DemoSite]:
    """Serves a fresh site in the running loop; port 0 takes a free one. Raises OSError if the address is taken."""
    app = make_app()
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port, backlog=1024).start()
        name = f"[{host}]" if ":" in host else host
        yield DemoSite(f"http://{name}:{runner.addresses[0][1]}", app[STATS])
    finally:
        await runner.cleanup()


async def _serve_until_told(host: str, port: int, started: Future[tuple[DemoSite, Callable[[], object]]]) -> None:
    loop, told = asyncio.get_running_loop(), asyncio.Event()
    async with serve(host, port) as site:
        started.set_result((site, lambda: loop.call_soon_threadsafe(told.set)))
        await told.wait()


def _thread(host: str, port: int, started: Future[tuple[DemoSite, Callable[[], object]]]) -> None:
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_serve_until_told(host, port, started))
    except BaseException as trouble:
        if started.done():
            raise
        started.set_exception(trouble)


def _start(host: str, port: int) -> tuple[threading.Thread, DemoSite, Callable[[], object]]:
    started: Future[tuple[DemoSite, Callable[[], object]]] = Future()
    thread = threading.Thread(target=_thread, args=(host, port, started), name="demo-site", daemon=True)
    thread.start()
    try:
        site, stop = started.result()
    except OSError:
        thread.join()
        raise
    return thread, site, stop


@contextmanager
def serve_in_thread(port: int = 0, *, host: str = "127.0.0.1") -> Iterator[DemoSite]:
    """Serves a fresh site from a thread with a loop of its own, until left.

    Where `port` is in use a free one is taken: `url` tells which. Raises OSError if the host has no such address.
    """
    try:
        thread, site, stop = _start(host, port)
    except OSError as trouble:
        if trouble.errno != errno.EADDRINUSE:
            raise
        thread, site, stop = _start(host, 0)
    try:
        yield site
    finally:
        stop()
        thread.join()


def serve_forever(port: int = DEFAULT_PORT) -> None:
    """Serves until Ctrl-C, and says on stderr where; as `serve_in_thread`, on a free port where `port` is in use."""
    with serve_in_thread(port) as site, suppress(KeyboardInterrupt):
        print(f"demo site on {site.url} (Ctrl-C ends it)", file=sys.stderr, flush=True)
        threading.Event().wait()
