"""What the monitor knows of each job at this moment, for however many watch.

Does: put together what the checkpoint, the files and the running process tell, as often as somebody asks, but no more
than once in PERIOD a job. Must not know HTTP. Invariant: with nobody asking nothing is read and no process is asked;
files that did not change are not read again.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from time import monotonic
from typing import Any

import orjson

from crawler.control import ask_async
from crawler.errors import CrawlerError
from crawler.monitorfiles import Sign, Tree
from crawler.monitorrecords import Browser
from crawler.monitorrows import failure_rows
from crawler.monitorstate import JobState, Known
from crawler.monitortails import history, last_moment, tail_lines
from crawler.monitorviews import JobView, RunSeen, host_views, job_view, run_view, with_snapshot, with_state

PERIOD = 0.9  # seconds
_SELDOM = 5.0  # between two looks at the checkpoint of a job whose process answers
_ANSWER = 2.0  # seconds that a process has to answer
_LOG = 200  # lines
_FAILURES = 20
_AT_WORK = ("running", "draining", "paused")
Parts = dict[str, bytes]  # JSON by name: job, runs, hosts, failures, log, summary
Ask = Callable[..., Awaitable[dict[str, Any]]]


class Watch:
    """The jobs below one output folder."""

    def __init__(self, tree: Tree, browser: Browser, *, ask: Ask = ask_async, clock: Callable[[], float] = monotonic):
        self._tree = tree
        self._browser = browser
        self._ask = ask
        self._clock = clock
        self._jobs: dict[str, _Watched] = {}
        self._names: tuple[float, list[str]] = (-PERIOD, [])
        self._overview: tuple[float, list[JobView]] = (-PERIOD, [])
        self._lock = asyncio.Lock()

    def __repr__(self) -> str:
        return f"<Watch {self._tree.root} {len(self._jobs)} jobs>"

    async def overview(self) -> list[JobView]:
        """All jobs, each by its last run."""
        async with self._lock:
            if self._clock() - self._overview[0] >= PERIOD:
                names = await asyncio.to_thread(self._tree.jobs)
                self._jobs = {name: self._watched(name) for name in names}
                # One after the other: what is asked of this machine is spread, and one that hangs has its time limit.
                views = [await job.view() for job in self._jobs.values()]
                self._overview = self._clock(), views
            return self._overview[1]

    async def parts(self, job: str, run: str | None = None) -> Parts:
        """All of a job, by its last run or the named one. Raises KeyError where there is none."""
        return await self._of(job).parts(run)

    async def known(self, job: str) -> Known:
        """The runs of a job. Raises KeyError where there is no such job."""
        return await self._of(job).known()

    async def history(self, job: str, run: str) -> bytes:
        """Moments of a run as rows of JSON, each a `Point`. Raises KeyError where there is no such run."""
        if (await self.known(job)).run(run) is None:
            raise KeyError(run)
        return await asyncio.to_thread(self._history, job, run)

    def _history(self, job: str, run: str) -> bytes:
        with suppress(OSError), self._tree.open(job, "runs", run, "progress.jsonl") as fd:
            return orjson.dumps([tuple(point) for point in history(fd)])
        return b"[]"

    def _of(self, job: str) -> _Watched:
        if not self._tree.is_job(job):
            self._jobs.pop(job, None)
            raise KeyError(job)
        watched = self._jobs[job] = self._watched(job)
        return watched

    def _watched(self, job: str) -> _Watched:
        return self._jobs.get(job) or _Watched(self._tree, job, self._browser, self._ask, self._clock)


class _Watched:
    """One job."""

    def __init__(self, tree: Tree, job: str, browser: Browser, ask: Ask, clock: Callable[[], float]) -> None:
        self._tree = tree
        self._job = job
        self._browser = browser
        self._ask = ask
        self._clock = clock
        self._state = JobState(tree, job)
        self._lock = asyncio.Lock()
        self._known = Known()
        self._read_at = self._looked_at = -_SELDOM
        self._answer: Mapping[str, Any] = {}
        self._moment: tuple[Sign, Mapping[str, Any]] | None = None
        self._made: dict[tuple[str, str], tuple[object, bytes]] = {}

    async def known(self) -> Known:
        """Its runs; a process that answers is taken at its word for some seconds."""
        async with self._lock:
            now = self._clock()
            if now - self._looked_at >= PERIOD:
                self._looked_at = now
                if self._known.runs and self._known.runs[0].state == "running":
                    await self._ask_process()
                if not self._answer or now - self._read_at >= _SELDOM:
                    self._known = await asyncio.to_thread(self._state.read)
                    self._read_at = now
                    if not self._answer and self._known.runs and self._known.runs[0].state == "running":
                        await self._ask_process()
            return self._known

    async def view(self) -> JobView:
        """By its last run, with live numbers where there are some."""
        known = await self.known()
        row = known.run(None)
        if row is None:
            return JobView(self._job, state="unreadable" if known.error else "never", error=known.error)
        return await self._viewed(known, row)

    async def parts(self, run: str | None) -> Parts:
        """Everything of a run as JSON. Raises KeyError where there is no such run."""
        known = await self.known()
        row = known.run(run)
        if row is None:
            if run is not None:
                raise KeyError(run)
            return {"job": orjson.dumps(await self.view()), "runs": b"[]"}
        view = await self._viewed(known, row)
        last = row is known.run(None)
        hosts = host_views(row.tally, self._answer if last else {})
        files = await asyncio.to_thread(self._files, known, row)
        return {"job": orjson.dumps(view), "hosts": orjson.dumps(hosts), **files}

    async def _viewed(self, known: Known, row: RunSeen) -> JobView:
        if row is not known.run(None):
            return job_view(self._job, row, 0, known.last_success)
        view = replace(job_view(self._job, row, known.waiting, known.last_success), error=known.error)
        if row.state != "running":
            return view
        if self._answer:
            return with_state(view, self._answer)
        return with_snapshot(view, await asyncio.to_thread(self._last_moment, row.id), live=False)

    async def _ask_process(self) -> None:
        self._answer = {}
        with suppress(CrawlerError):
            answer = await self._ask(self._tree.root / self._job, {"do": "state"}, _ANSWER)
            if answer.get("ok") is True:
                self._answer = answer

    def _last_moment(self, run: str) -> Mapping[str, Any]:
        sign = self._tree.sign(self._job, "runs", run, "progress.jsonl")
        if self._moment is None or self._moment[0] != sign:
            said: Mapping[str, Any] = {}
            with suppress(OSError), self._tree.open(self._job, "runs", run, "progress.jsonl") as fd:
                said = last_moment(fd)
            self._moment = sign, said
        return self._moment[1]

    def _files(self, known: Known, row: RunSeen) -> Parts:
        """What stands in files; read again only where a file changed."""
        folder = (self._job, "runs", row.id)
        log, summary = self._tree.sign(*folder, "run.log"), self._tree.sign(*folder, "summary.json")
        return {
            "runs": self._kept("runs", "", known.runs, lambda: self._runs(known)),
            "log": self._kept("log", row.id, log, lambda: self._log(row.id)),
            "summary": self._kept("summary", row.id, summary, lambda: self._summary(row.id)),
            "failures": self._kept("failures", row.id, row.tally.failed, lambda: self._failures(row)),
        }

    def _kept(self, part: str, run: str, sign: object, make: Callable[[], bytes]) -> bytes:
        kept = self._made.get((part, run))
        if kept is None or kept[0] != sign:
            if len(self._made) > 100:
                self._made.clear()
            kept = self._made[part, run] = sign, make()
        return kept[1]

    def _runs(self, known: Known) -> bytes:
        views = []
        for row in known.runs:
            there = self._tree.is_folder(self._job, "runs", row.id)
            report = there and bool(self._tree.sign(self._job, "runs", row.id, "report.html").size)
            views.append(run_view(row, report=report, there=there))
        return orjson.dumps(views)

    def _log(self, run: str) -> bytes:
        with suppress(OSError), self._tree.open(self._job, "runs", run, "run.log") as fd:
            return orjson.dumps([line.decode("utf-8", "replace")[:4000] for line in tail_lines(fd, _LOG)])
        return b"[]"

    def _summary(self, run: str) -> bytes:
        with suppress(OSError, ValueError), self._tree.open(self._job, "runs", run, "summary.json") as fd:
            data = os.read(fd, 4 << 20)
            orjson.loads(data)
            return data.strip()
        return b"null"

    def _failures(self, row: RunSeen) -> bytes:
        if not row.tally.failed:
            return b"[]"
        with suppress(CrawlerError, OSError):
            return orjson.dumps(failure_rows(self._browser.failures(self._job, row.id, _FAILURES)))
        return b"[]"
