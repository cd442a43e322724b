"""Telling a watcher on the net that a job is alive, as healthchecks.io and others take it.

Does: ask for URL/start, URL, URL/fail. Must not know when. Invariant: it never ends a run, takes 25 s at most, and no
sentence of it holds the URL, which is a secret.
"""

from __future__ import annotations

import asyncio
from http.client import HTTPException
from threading import Thread
from typing import Literal
from urllib.error import HTTPError
from urllib.parse import urlsplit, urlunsplit
from urllib.request import ProxyHandler, Request, build_opener

TIMEOUT = 10.0  # seconds of one attempt
_TRIES = 2
_LONGEST = 25.0  # seconds of all, however slowly an answer trickles in
Beat = Literal["start", "success", "fail"]


def url_of(base: str, beat: Beat) -> str:
    """Where a beat goes: the URL itself for success, else a path below it."""
    if beat == "success":
        return base
    parts = urlsplit(base)
    return urlunsplit(parts._replace(path=f"{parts.path.rstrip('/')}/{beat}"))


async def send(base: str, beat: Beat, agent: str, proxies: dict[str, str] | None = None) -> str | None:
    """Ask for the URL, once more where that fails. Returns what went wrong, or None; `proxies` by scheme."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[str | None] = loop.create_future()

    def tell(fault: str | None) -> None:
        if not done.done():
            done.set_result(fault)

    def work() -> None:
        fault = _ask(url_of(base, beat), agent, proxies or {})
        if not loop.is_closed():
            loop.call_soon_threadsafe(tell, fault)

    # No thread of a pool: the end of the process would wait for a name server that does not answer.
    Thread(target=work, name="heartbeat", daemon=True).start()
    try:
        return await asyncio.wait_for(done, _LONGEST)
    except TimeoutError:
        return f"no answer within {_LONGEST:g} s"


def _ask(url: str, agent: str, proxies: dict[str, str]) -> str | None:
    opener = build_opener(ProxyHandler(proxies))
    fault: str | None = None
    for _ in range(_TRIES):
        try:
            with opener.open(Request(url, headers={"User-Agent": agent}), timeout=TIMEOUT):
                return None
        except HTTPError as error:
            fault = f"the answer was {error.code}"
            error.close()
        except (OSError, HTTPException, ValueError) as error:
            fault = _worded(error)
    return fault


def _worded(error: Exception) -> str:
    """What it was, without what it says: that may hold the URL."""
    reason = getattr(error, "reason", None)
    inner = reason if isinstance(reason, OSError) else error
    if isinstance(inner, TimeoutError):
        return f"no answer within {TIMEOUT:g} s"
    if isinstance(inner, OSError) and inner.strerror:
        return inner.strerror
    return type(inner).__name__
