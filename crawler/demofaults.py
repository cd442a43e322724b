"""The doors of the demo site that stick: slow, flaky, limited, redirecting, cut short, reset.

Decides how a path misbehaves, and remembers how often it has. Must not know what else stands on the site, or the
crawler. Invariant: a fault is named by its path and is the same each time; what is remembered (flaky and limited keys)
belongs to one application and ends with it.
"""

from __future__ import annotations

import asyncio
import math
import socket
import struct
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from email.utils import formatdate

from aiohttp import web

from crawler import demosite

LIMIT = 5  # requests to one /limited key in each WINDOW
WINDOW = 1.0  # seconds
_PROMISED = 64 * 1024  # bytes that /reset and /truncated declare
_SENT = 16 * 1024  # bytes that they send
_ABORT = struct.pack("ii", 1, 0)  # SO_LINGER on, 0 s: closing sends RST


@dataclass
class Memory:
    """What the faults of one application remember. `clock` is monotonic, in seconds."""

    clock: Callable[[], float] = time.monotonic
    failures: Counter[str] = field(default_factory=Counter)
    windows: dict[str, tuple[float, int]] = field(default_factory=dict)  # key: start, requests since then


MEMORY = web.AppKey("memory", Memory)


def number(request: web.Request, name: str) -> int:
    """A number in the path. Raises KeyError (answered by 404) where it is absurdly long."""
    digits = request.match_info[name]
    if len(digits) > 9:
        raise KeyError(digits)
    return int(digits)


def _text(body: bytes, status: int = 200, **headers: str) -> web.Response:
    return web.Response(status=status, body=body, headers={"Content-Type": "text/plain; charset=utf-8", **headers})


async def _cut(request: web.Request) -> web.Response:
    # The length is that of what is sent: only the coding itself can tell that something is missing.
    coding = request.match_info["coding"]
    body = demosite.compressed(coding, number(request, "n"))
    headers = {"Content-Type": "text/html; charset=utf-8", "Content-Encoding": coding}
    return web.Response(body=body[: len(body) // 2], headers=headers)


async def _slow(request: web.Request) -> web.Response:
    ms = min(number(request, "ms"), demosite.MAX_SLOW)
    await asyncio.sleep(ms / 1000)
    return _text(demosite.slow(ms))


async def _status(request: web.Request) -> web.Response:
    code = number(request, "code")
    if not 200 <= code <= 999:
        return _text(b"a status has three digits, and a final one is 200 or more\n", 404)
    body = demosite.status(code)
    return web.Response(status=code) if body is None else _text(body, code)


async def _flaky(request: web.Request) -> web.Response:
    failures = request.app[MEMORY].failures
    if failures[request.path] < number(request, "n"):
        failures[request.path] += 1
        return _text(b"not yet\n", 503)
    return _text(demosite.flaky(request.match_info["key"]))


async def _limited(request: web.Request) -> web.Response:
    memory, key = request.app[MEMORY], request.match_info["key"]
    now = memory.clock()
    start, count = memory.windows.get(key, (-math.inf, 0))
    if now - start >= WINDOW:
        start, count = now, 0
    memory.windows[key] = start, count + 1
    if count < LIMIT:
        return _text(demosite.limited(key))
    # A date counts whole seconds: one rounded down would ask people back before the window ends.
    date = formatdate(math.ceil(time.time() + WINDOW), usegmt=True)
    return _text(b"later\n", 429, **{"Retry-After": date if "date" in request.query else "1"})


async def _redirect(request: web.Request) -> web.Response:
    n = number(request, "n")
    return _moved(f"/redirect/{n - 1}" if n > 1 else "/articles/1")


async def _loop(request: web.Request) -> web.Response:
    return _moved("/redirect-loop/" + ("b" if request.match_info["side"] == "a" else "a"))


async def _redirect_to(request: web.Request) -> web.Response:
    url = request.query.get("url", "")
    return _moved(url) if url.isprintable() and url else _text(b"?url= says where to\n", 400)


def _moved(location: str) -> web.Response:
    return web.Response(status=302, headers={"Location": location})


async def _begin(request: web.Request) -> web.StreamResponse:
    """An answer of which only a part has been sent."""
    response = web.StreamResponse(headers={"Content-Type": "text/plain; charset=utf-8"})
    response.content_length = _PROMISED
    await response.prepare(request)
    if request.method != "HEAD":
        await response.write(b"." * _SENT)
    return response


async def _truncated(request: web.Request) -> web.StreamResponse:
    response = await _begin(request)
    response.force_close()  # only now: the headers do not give it away
    return response


async def _reset(request: web.Request) -> web.StreamResponse:
    response = await _begin(request)
    if request.method != "HEAD" and request.transport is not None:
        request.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _ABORT)
        request.transport.abort()
    return response


ROUTES = (
    web.get(r"/compressed/cut/{coding}/{n:\d+}", _cut),
    web.get(r"/slow/{ms:\d+}", _slow),
    web.get(r"/status/{code:\d+}", _status),
    web.get(r"/flaky/{n:\d+}/{key:[\w.-]+}", _flaky),
    web.get(r"/limited/{key:[\w.-]+}", _limited),
    web.get(r"/redirect/{n:[1-9]\d*}", _redirect),
    web.get("/redirect-loop/{side:a|b}", _loop),
    web.get("/redirect-to", _redirect_to),
    web.get("/truncated", _truncated),
    web.get("/reset", _reset),
)
