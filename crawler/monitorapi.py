"""What the monitor answers over HTTP, as JSON and downloads; docs/monitor.md has the list.

Does: requests in, answers out. Must not know who may ask (monitor.py lets nobody else in) nor read state itself.
Invariant: nothing is written; a file is served only where a record names it (its link is signed), as a download that
no browser shows; a name that is not listed is 404.
"""

from __future__ import annotations

import asyncio
import hmac
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from hashlib import sha256
from typing import Any
from urllib.parse import quote, urlencode

import orjson
from aiohttp import web

from crawler.control import NotRunning, ask_async
from crawler.errors import CrawlerError, JobError, StorageError
from crawler.monitoraccess import Keys
from crawler.monitordownload import as_download, send
from crawler.monitorfiles import Tree
from crawler.monitorfilter import wanted
from crawler.monitorrecords import Browser
from crawler.monitorrows import Named, named, row_of
from crawler.monitorwatch import Parts, Watch

ROWS = 50
ORDER = 4096  # bytes of an order
_ORDERS = ("pause", "resume", "stop", "set")
_REPORT = "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:"
_KINDS: dict[int, type[web.HTTPException]] = {
    400: web.HTTPBadRequest,
    401: web.HTTPUnauthorized,
    403: web.HTTPForbidden,
    404: web.HTTPNotFound,
    409: web.HTTPConflict,
    415: web.HTTPUnsupportedMediaType,
    503: web.HTTPServiceUnavailable,
    504: web.HTTPGatewayTimeout,
}


class Api:
    """The answers about one output folder. `secret` signs links to bodies; it is as old as the process."""

    def __init__(self, tree: Tree, watch: Watch, browser: Browser, keys: Keys, secret: bytes) -> None:
        self._tree = tree
        self._watch = watch
        self._browser = browser
        self._keys = keys
        self._secret = secret
        self._slices = asyncio.Semaphore(4)  # that read records at once

    def __repr__(self) -> str:
        return f"<Api {self._tree.root}>"

    def routes(self) -> list[web.RouteDef]:
        """What is asked for where; orders only where they may be given."""
        run = "/api/jobs/{job}/runs/{run}"
        routes = [
            web.get("/api/overview", self.overview),
            web.get("/api/jobs/{job}", self.job),
            web.get(run, self.job),
            web.get(f"{run}/history", self.history),
            web.get(f"{run}/records", self.records),
            web.get(f"{run}/file", self.file),
            web.get(f"{run}/report.html", self.report),
            web.get("/metrics", self.metrics),
        ]
        return [*routes, web.post("/api/jobs/{job}/control", self.control)] if self._keys.control else routes

    async def overview(self, request: web.Request) -> web.Response:
        """All jobs."""
        return answer(await self.overview_json())

    async def overview_json(self) -> bytes:
        """The same as text."""
        jobs = await self._watch.overview()
        return orjson.dumps({"kind": "overview", "control": self._keys.control, "jobs": jobs})

    async def job(self, request: web.Request) -> web.Response:
        """A job by its last run, or the named one."""
        job, run = request.match_info["job"], request.match_info.get("run")
        with _told():
            parts = await self._watch.parts(job, run)
        return answer(joined(job, parts, control=self._keys.control))

    async def history(self, request: web.Request) -> web.Response:
        """Moments of a run, for its plot."""
        with _told():
            points = await self._watch.history(request.match_info["job"], request.match_info["run"])
        return answer(b'{"points":%b}' % points)

    async def records(self, request: web.Request) -> web.Response:
        """Records that are wanted, from a cursor on."""
        job, run = await self._run(request)
        try:
            asked = wanted(request.query)
            cursor, rows = _number(request, "cursor", 0), _number(request, "rows", ROWS)
        except ValueError as error:
            raise refused(400, str(error)) from None
        with _told():
            async with self._slices:
                found = await asyncio.to_thread(self._browser.browse, job, run, asked, cursor, rows)
        shown = [row_of(record, self._link(job, run, record)) for record in found.records]
        return answer(orjson.dumps({"records": shown, "next": found.next, "looked": found.looked, "note": found.note}))

    async def file(self, request: web.Request) -> web.StreamResponse:
        """A body, or the piece of an archive that holds it."""
        job, run = await self._run(request)
        query = request.query
        try:
            offset = _number(request, "offset", 0) if "offset" in query else None
            length = _number(request, "length", 0) if "length" in query else None
            place = Named(query.get("path", ""), offset, length)
        except ValueError as error:
            raise refused(400, str(error)) from None
        if not hmac.compare_digest(self._signature(job, run, place).encode(), query.get("sign", "").encode()):
            raise refused(403, "no record names this file, or the monitor was started anew: open the list again")
        with _told():
            fd = await asyncio.to_thread(self._tree.opened, job, "runs", run, *place.path.split("/"))
        return await send(request, fd, as_download(place.path), place.offset or 0, place.length)

    async def report(self, request: web.Request) -> web.StreamResponse:
        """report.html of a run, in which nothing runs, and which belongs to no origin."""
        job, run = await self._run(request)
        with _told():
            fd = await asyncio.to_thread(self._tree.opened, job, "runs", run, "report.html")
        headers = {"Content-Type": "text/html; charset=utf-8", "Content-Security-Policy": _REPORT}
        if "download" in request.query:
            headers = as_download("report.html")
        return await send(request, fd, headers)

    async def metrics(self, request: web.Request) -> web.Response:
        """OpenMetrics of all jobs."""
        from crawler.metrics import openmetrics
        from crawler.monitormetrics import standing

        text = openmetrics([standing(view) for view in await self._watch.overview() if view.run is not None])
        kind = "application/openmetrics-text; version=1.0.0; charset=utf-8"
        return web.Response(body=text.encode(), headers={"Content-Type": kind})

    async def control(self, request: web.Request) -> web.Response:
        """An order to a running job."""
        if not self._keys.may_order(request.headers.get("Authorization")):
            raise refused(401, "an order needs the token that the monitor printed when it was started")
        if request.content_type != "application/json":
            raise refused(415, "an order is JSON")
        job = request.match_info["job"]
        if not self._tree.is_job(job):
            raise refused(404, "there is no such job")
        try:
            async with asyncio.timeout(10):
                order = _order(await request.content.read(ORDER + 1))
        except (ValueError, TimeoutError) as error:
            raise refused(400, str(error) or "the order did not come") from None
        try:
            said = await ask_async(self._tree.root / job, order)
        except NotRunning as error:
            raise refused(409, str(error)) from None
        except CrawlerError as error:
            raise refused(504, str(error)) from None
        return answer(orjson.dumps(said), status=200 if said.get("ok") is True else 400)

    async def _run(self, request: web.Request) -> tuple[str, str]:
        """Names of a job and a run, both as they are listed."""
        job, run = request.match_info["job"], request.match_info["run"]
        with _told():
            if (await self._watch.known(job)).run(run) is None:
                raise KeyError(run)
        return job, run

    def _link(self, job: str, run: str, record: Mapping[str, Any]) -> str | None:
        place = named(record)
        if place is None:
            return None
        query = {"path": place.path}
        if place.offset is not None:
            query |= {"offset": str(place.offset), "length": str(place.length)}
        query["sign"] = self._signature(job, run, place)
        return f"/api/jobs/{quote(job, safe='')}/runs/{quote(run, safe='')}/file?{urlencode(query)}"

    def _signature(self, job: str, run: str, place: Named) -> str:
        text = f"{job}\n{run}\n{place.text}".encode("utf-8", "surrogatepass")
        return hmac.new(self._secret, text, sha256).hexdigest()


def answer(body: bytes, status: int = 200) -> web.Response:
    """JSON."""
    return web.Response(body=body, status=status, headers={"Content-Type": "application/json"})


def refused(status: int, why: str) -> web.HTTPException:
    """What to raise; the body says why, as JSON."""
    return _KINDS[status](text=orjson.dumps({"error": why}).decode(), content_type="application/json")


def joined(job: str, parts: Parts, *, control: bool) -> bytes:
    """Parts of a job as one object."""
    inner = b",".join(b'"%b":%b' % (name.encode(), text) for name, text in parts.items())
    head = orjson.dumps({"kind": "job", "name": job, "control": control})
    return b'%b,"parts":{%b}}' % (head[:-1], inner)


@contextmanager
def _told() -> Iterator[None]:
    """What is not there, and what cannot be read, as answers."""
    try:
        yield
    except (KeyError, FileNotFoundError):
        raise refused(404, "there is no such job, run or file") from None
    except StorageError as error:
        raise refused(404, str(error)) from None
    except JobError as error:
        raise refused(400, str(error)) from None


def _number(request: web.Request, key: str, default: int) -> int:
    text = request.query.get(key) or str(default)
    if not re.fullmatch(r"[0-9]{1,18}", text, re.ASCII):
        raise ValueError(f"{key} is a whole number")
    return int(text)


def _order(data: bytes) -> dict[str, Any]:
    """Raises ValueError."""
    if len(data) > ORDER:
        raise ValueError(f"an order has at most {ORDER} bytes")
    said = orjson.loads(data)
    if not isinstance(said, dict) or said.get("do") not in _ORDERS:
        raise ValueError(f"do is one of {', '.join(_ORDERS)}")
    return {key: said[key] for key in ("do", "key", "value") if key in said}
