"""The demo site as a web application: which handler answers at which path, and a count of what was asked.

Does: answer with the bytes of `demosite` in proper HTTP (validators, ranges, paging links), beside the faults of
`demofaults`. Must not know where or how it is served, or the crawler. Invariant: two applications share nothing.
"""

from __future__ import annotations

import time
import zlib
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from hashlib import sha256

import orjson
from aiohttp import web

from crawler import demofaults, demopages, demosite
from crawler.demofaults import number

_HTML, _JSON, _TEXT, _XML = (
    "text/html; charset=utf-8",
    "application/json",
    "text/plain; charset=utf-8",
    "application/xml",
)
TOKEN = "almanac-reader"  # opens /members
_SESSION = "spring"  # the cookie that does the same from then on
_LAST_MODIFIED = "Mon, 06 Jan 2025 09:00:00 GMT"
_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass
class Stats:
    """What a site was asked so far (`/stats` itself left out). `hits` counts each request target, with its query."""

    hits: Counter[str] = field(default_factory=Counter)
    in_flight: int = 0
    peak: int = 0

    def prefixes(self) -> dict[str, int]:
        """Requests by the first segment of their path."""
        counts: Counter[str] = Counter()
        for target, count in self.hits.copy().items():
            counts["/" + target.split("?")[0].split("/", 2)[1]] += count
        return dict(sorted(counts.items()))


STATS = web.AppKey("stats", Stats)


@web.middleware
async def _count(request: web.Request, handler: _Handler) -> web.StreamResponse:
    if request.path == "/stats":
        return await handler(request)
    stats = request.app[STATS]
    stats.hits[request.raw_path] += 1
    stats.in_flight += 1
    stats.peak = max(stats.peak, stats.in_flight)
    try:
        return await handler(request)
    except KeyError:  # no such article, item or coding
        return web.Response(status=404, text="not here\n")
    finally:
        stats.in_flight -= 1


def _content(request: web.Request, body: bytes, media: str, **headers: str) -> web.Response:
    tag = f'"{zlib.crc32(body):08x}-{len(body):x}"'
    if request.headers.get("If-None-Match") == tag:
        return web.Response(status=304, headers={"ETag": tag})
    return web.Response(body=body, headers={"Content-Type": media, "ETag": tag, **headers})


def _origin(request: web.Request) -> str:
    return f"http://{request.host}"


async def _index(request: web.Request) -> web.Response:
    return _content(request, demopages.index(), _HTML)


async def _article(request: web.Request) -> web.Response:
    return _content(request, demopages.article(number(request, "n")), _HTML, **{"Last-Modified": _LAST_MODIFIED})


async def _compressed(request: web.Request) -> web.Response:
    coding = request.match_info["coding"]
    body = demosite.compressed(coding, number(request, "n"))
    return _content(request, body, _HTML, **{"Content-Encoding": coding})


async def _robots(request: web.Request) -> web.Response:
    return _content(request, demosite.robots(_origin(request)), _TEXT)


async def _sitemap(request: web.Request) -> web.Response:
    return _content(request, demosite.sitemap(_origin(request)), _XML)


async def _item(request: web.Request) -> web.Response:
    return _content(request, demosite.item(number(request, "n")), _JSON)


async def _items(request: web.Request) -> web.Response:
    try:
        page, per_page = (int(request.query.get(k, d)) for k, d in (("page", 1), ("per_page", demosite.PER_PAGE)))
        body = demosite.items(page, per_page)
    except ValueError as wrong:
        return web.json_response({"error": str(wrong)}, status=400)
    link = demosite.items_link(page, per_page)
    return _content(request, body, _JSON, **({"Link": f'<{link}>; rel="next"'} if link else {}))


async def _create(request: web.Request) -> web.Response:
    """Answers as if the item were kept; it is not, so that every run finds the same catalogue."""
    body = await request.read()
    try:
        item = orjson.loads(body)
    except orjson.JSONDecodeError as wrong:
        return web.json_response({"error": str(wrong)}, status=400)
    if not isinstance(item, dict):
        return web.json_response({"error": "an item is a JSON object"}, status=400)
    return web.json_response({**item, "id": demosite.ITEMS + 1 + zlib.crc32(body)}, status=201)


async def _echo(request: web.Request) -> web.Response:
    body = (await request.read()).decode(errors="replace")
    headers = {name: ", ".join(request.headers.getall(name)) for name in request.headers}
    return web.json_response({"method": request.method, "target": request.raw_path, "headers": headers, "body": body})


async def _member(request: web.Request) -> web.Response:
    """An order, for who has the token or the cookie that came with it; for all others a login page with status 200."""
    kind, _, token = request.headers.get("Authorization", "").partition(" ")
    if kind.lower() != "bearer" and request.cookies.get("session") != _SESSION:
        return web.Response(text="<title>Log in</title><h1>Members only</h1>", content_type="text/html")
    if kind.lower() == "bearer" and token.strip() != TOKEN:
        challenge = 'Bearer realm="members", error="invalid_token"'
        return web.json_response({"error": "invalid_token"}, status=401, headers={"WWW-Authenticate": challenge})
    response = _content(request, demosite.item(number(request, "n")), _JSON)
    response.set_cookie("session", _SESSION, path="/members", httponly=True)
    return response


async def _upload(request: web.Request) -> web.Response:
    """Answers with what arrived, in pieces so that it may be of any size; nothing of it is kept."""
    size, digest = 0, sha256()
    async for piece in request.content.iter_chunked(demosite.MIB):
        size += len(piece)
        digest.update(piece)
    answer = {"name": request.match_info["name"], "bytes": size, "sha256": digest.hexdigest()}
    return web.json_response({**answer, "content_type": request.content_type}, status=201)


async def _stats(request: web.Request) -> web.Response:
    stats = request.app[STATS]
    requests = stats.prefixes()
    answer = {"total": sum(requests.values()), "in_flight": stats.in_flight, "peak": stats.peak, "requests": requests}
    return web.json_response(answer)


async def _large(request: web.Request) -> web.StreamResponse:
    """A file in pieces; a single range where asked for, if If-Range allows (RFC 9110, sections 13.1.5 and 14.2)."""
    mib = number(request, "mib")
    if not 1 <= mib <= demosite.MAX_MIB:
        raise KeyError(mib)
    size, tag = mib * demosite.MIB, f'"large-{mib}"'
    response = web.StreamResponse(headers={"Accept-Ranges": "bytes", "ETag": tag, "Last-Modified": _LAST_MODIFIED})
    response.content_type = "application/octet-stream"
    wanted = None
    if request.method == "GET" and request.headers.get("If-Range", tag) in (tag, _LAST_MODIFIED):
        wanted = demosite.byte_range(request.headers.get("Range", ""), size)
    if wanted is not None:
        response.set_status(206 if wanted else 416)
        part = f"{wanted.start}-{wanted.stop - 1}" if wanted else "*"
        response.headers["Content-Range"] = f"bytes {part}/{size}"
    span = range(size) if wanted is None else wanted
    response.content_length = len(span)
    await response.prepare(request)
    if request.method != "HEAD":
        for piece in demosite.large(mib, span.start, span.stop):
            await response.write(piece)
    return response


_ROUTES = (
    web.get("/", _index),
    web.get(r"/articles/{n:\d+}", _article),
    web.get("/robots.txt", _robots),
    web.get("/sitemap.xml", _sitemap),
    web.get("/api/items", _items),
    web.post("/api/items", _create),
    web.get(r"/api/items/{n:\d+}", _item),
    web.route("*", "/api/echo", _echo),
    web.get(r"/members/orders/{n:\d+}", _member),
    web.put(r"/uploads/{name:[\w.-]+}", _upload),
    web.get(r"/compressed/{coding:\w+}/{n:\d+}", _compressed),
    web.get(r"/large/{mib:\d+}.bin", _large),
    web.get("/stats", _stats),
)


def make_app(*, clock: Callable[[], float] = time.monotonic) -> web.Application:
    """A fresh site: nothing asked, nothing failed yet. `clock` (monotonic, seconds) drives the windows of /limited."""
    app = web.Application(middlewares=[_count], client_max_size=16 * demosite.MIB)
    app[STATS] = Stats()
    app[demofaults.MEMORY] = demofaults.Memory(clock)
    app.add_routes([*_ROUTES, *demofaults.ROUTES])
    return app
