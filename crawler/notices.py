"""Whom a run tells: a heartbeat, a file for Prometheus, a command of the job's own.

Does: tell them when a run begins, ends or breaks off. Must not know how a run works. Invariant: nothing here ends a run
or changes its exit code; a start that only found another at work, or that a signal stopped, tells nobody; the command
is run when the lock is given back.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from pathlib import Path
from time import time as wall_clock
from urllib.request import getproxies

from crawler import heartbeat, logs
from crawler.errors import BusyError, CrawlerError, ExitCode, JobError
from crawler.folders import JobFolder
from crawler.heartbeat import Beat
from crawler.hook import run_hook
from crawler.identity import user_agent
from crawler.job import Job
from crawler.masking import Mask
from crawler.references import Resolver
from crawler.report import Summary
from crawler.secretrefs import is_reference
from crawler.standing import refresh_textfile

log = logging.getLogger("crawler")


class Notices:
    """What one start of a job tells others; `base` is the folder of the job file, in which commands are run."""

    def __init__(self, job: Job, base: Path, folder: JobFolder, resolver: Resolver) -> None:
        self._job = job
        self._base = base
        self._folder = folder
        self._resolver = resolver
        self._url: str | None = None
        self._mask = Mask(())
        self._started: asyncio.Task[None] | None = None
        self._run: Path | None = None

    def __repr__(self) -> str:
        return f"<Notices of {self._job.name}>"

    async def prepare(self) -> None:
        """Find out the heartbeat's URL; what is missing is told with all else that is (`means.given`)."""
        said = self._job.run.heartbeat
        if said is None:
            return
        try:
            self._url = await asyncio.to_thread(self._resolver.resolve, said) if is_reference(said) else said
        except JobError:
            return
        self._mask = Mask((self._url,))
        logs.mask_with(self._mask)

    async def began(self, run_folder: Path) -> None:
        """A run is opened."""
        self._run = run_folder
        self._started = asyncio.create_task(self._beat("start"))
        await self._textfile(None)

    async def ended(self, summary: Summary, planned: bool) -> None:
        """A run came to its end, or was stopped: by what was planned for it (`planned`), or by somebody."""
        code = ExitCode(summary.exit_code)
        await self._textfile(code)
        if code is ExitCode.STOPPED:
            await self._beat_after("success" if planned else None)
            return
        good = code is ExitCode.OK
        told = {
            "RUN": summary.run,
            "FETCHED": str(summary.outcomes["fetched"]),
            "FAILED": str(summary.outcomes["failed"]),
            "SKIPPED": str(summary.outcomes["skipped"]),
            "WHY": "; ".join([*summary.failed_because, *(summary.warnings if code is ExitCode.NO_ROOM else [])]),
        }
        await self._beat_after("success" if good else "fail")
        await self._hook(code, told)

    async def broke(self, error: Exception) -> None:
        """It came to no end: an error was raised."""
        code = error.code if isinstance(error, CrawlerError) else ExitCode.BUG
        if not isinstance(error, BusyError):  # the file is that of the run at work
            await self._textfile(code)
        await self._beat_after("fail")
        await self._hook(code, {"WHY": logs.masked(str(error) or type(error).__name__)})

    async def _hook(self, code: ExitCode, told: Mapping[str, str]) -> None:
        key = "on_success" if code is ExitCode.OK else "on_failure"
        command = getattr(self._job.run, key)
        if command is None:
            return
        run = self._run
        known = {
            "JOB": self._job.name,
            "RUN": run.name if run is not None else "",
            "EXIT": str(int(code)),
            "FOLDER": str((run or self._folder.path).absolute()),
            "SUMMARY": str((run / "summary.json").absolute()) if run is not None else "",
            **dict.fromkeys(("FETCHED", "FAILED", "SKIPPED"), ""),
            **told,
        }
        log.info("run.%s is run", key)
        fault = await run_hook(command, {f"CRAWLER_{name}": value for name, value in known.items()}, self._base)
        if fault is not None:
            log.error("run.%s %s", key, fault)

    async def _beat_after(self, beat: Beat | None) -> None:
        """A beat behind that of the start: they must come in this order."""
        started, self._started = self._started, None
        if started is not None and beat is None:
            started.cancel()  # who stops a run is not kept waiting
        elif started is not None:
            await started
        if beat is not None:
            await self._beat(beat)

    async def _beat(self, beat: Beat) -> None:
        if self._url is None:
            return
        proxies = getproxies() if self._job.connection.trust_env else {}
        fault = await heartbeat.send(self._url, beat, user_agent(self._job), proxies)
        if fault is not None:
            log.warning("run.heartbeat (%s) was not told: %s", beat, fault)

    async def _textfile(self, code: ExitCode | None) -> None:
        path = self._job.metrics.textfile
        if path is None:
            return
        fault = await asyncio.to_thread(refresh_textfile, path, self._folder, code, wall_clock())
        if fault is not None:
            log.warning("metrics.textfile: %s", fault)
