"""A run inside the loop of another program: begun, listened to and ended by `async with`.

Does: what the command line does around `run_job`, without signals, terminal or log files. Must not set up logging,
handlers or loops: they belong to the program. Invariant: when `async with` is left, however it is left, the job's lock
is given back and no task of the run is alive; a record is given out once, and only after its commit.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from hashlib import sha256
from pathlib import Path
from types import MappingProxyType
from typing import Any

from crawler.errors import ExitCode, JobError, StorageError
from crawler.job import Job
from crawler.jobfile import LoadedJob, build, load
from crawler.listening import Listening
from crawler.logs import masked
from crawler.model import Record
from crawler.opening import Options
from crawler.pipeline import Pipeline
from crawler.run import Ended, run_job
from crawler.tally import Snapshot

log = logging.getLogger("crawler")

# A pipeline that was told to stop cuts after 30 s what is in flight; told twice it does so at once. What is not over
# then waits for something else, and is cancelled.
_DRAIN_SECONDS = 32.0
_CUT_SECONDS = 5.0


class _Masking(logging.Filter):
    """Takes the secrets of jobs out of our lines, wherever the program sends them."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Change the line where it holds a secret; it is always logged."""
        with suppress(Exception):  # wrong arguments: whoever formats the line will say so
            said = record.getMessage()
            if (hidden := masked(said)) != said:
                record.msg, record.args = hidden, ()
        if record.exc_info:
            trace = logging.Formatter().formatException(record.exc_info)
            if (hidden := masked(trace)) != trace:
                record.exc_info, record.exc_text = None, hidden
        return True


# Without a handler of its own Python would print our warnings in a program that has not set up logging.
log.addHandler(logging.NullHandler())
log.addFilter(_Masking())

AnyJob = str | Path | Mapping[str, Any] | Job | LoadedJob


@asynccontextmanager
async def open(job: AnyJob, *, fresh: bool = False) -> AsyncIterator[Run]:
    """A run of a job, to be iterated inside of `async with`; an unfinished run is gone on with.

    `job` is the path of a job file, a job as data (the keys of a file; paths relative to the working directory), or one
    that was loaded. `fresh` begins anew. Entering raises JobError, BusyError, StorageError; so does leaving where the
    run ended with a fault that iterating has not raised yet, unless it is left by another exception.
    """
    run = Run(job, fresh=fresh)
    async with _entered(run):
        yield run


@asynccontextmanager
async def crawl(
    seeds: Iterable[str],
    page: Callable[..., object] | None = None,
    *,
    name: str | None = None,
    output: str | Path = "output",
    fresh: bool = False,
    job: Mapping[str, Any] = MappingProxyType({}),
    **keys: Any,
) -> AsyncIterator[Run]:
    """A crawl from some seeds, iterated as the run of `open` is. `keys` are those of [crawl], `job` has other sections.

    `page(fetched, links)` is called with each page (see `crawler.Page`) and the canonical URLs that it leads to; it may
    be async. None lets all of `links` be followed, a list or generator of URLs or Follows just these, as far as the
    scope goes; dicts among them are items, and a dict that is returned are the fields of its record. With the same
    name, or seeds, an unfinished crawl is gone on with. Raises what `open` does.
    """
    urls = list(seeds)
    made = "crawl-" + sha256("\n".join(urls).encode(errors="replace")).hexdigest()[:8]
    data: dict[str, Any] = {
        **job,
        "name": name or made,
        "input": {"urls": urls},
        "crawl": {**job.get("crawl", {}), **keys},
    }
    data["output"] = {"dir": str(output), **job.get("output", {})}
    run = Run(from_data(data), fresh=fresh, page=page)
    async with _entered(run):
        yield run


@asynccontextmanager
async def _entered(run: Run) -> AsyncIterator[None]:
    """Wait for its begin, and see to its end."""
    await run._begin()
    try:
        yield
    except BaseException as error:
        await run._leave(cut=isinstance(error, asyncio.CancelledError))
        if (fault := run._fault()) is not None and fault is not error:
            log.error("the run that is left ended with a fault of its own: %s", fault)
        raise
    await run._leave(cut=False)
    if not run._told:
        run._raise()


class _Unseen:
    """Nobody watches: whoever wants a snapshot takes one."""

    def update(self, snapshot: Snapshot) -> None:
        """Nothing."""


class Run:
    """A run at work. Iterating gives each Record once it is committed, in the order of the commits.

    While none are taken it keeps some two thousand records, then the fetching waits. What an earlier process committed
    of the same run is in records.jsonl only. `folder` is where that file and the bodies are; `ended` says how the run
    ended, once it has. Leaving before that stops it: what is in flight ends first (half a minute at most), or is cut
    where a cancellation leaves; the next start goes on.
    """

    folder: Path  # known from the beginning of the run

    def __init__(self, job: AnyJob, *, fresh: bool, page: Callable[..., object] | None = None) -> None:
        loop = asyncio.get_running_loop()
        self.ended: Ended | None = None
        self._page = page
        self._told = False  # the fault that it ended with was raised already
        self._heard = Listening()
        self._begun = asyncio.Event()
        self._pipeline: Pipeline | None = None
        self._task = loop.create_task(self._work(job, fresh), name="crawler run")
        self._task.add_done_callback(self._over)

    def __repr__(self) -> str:
        return f"<Run {'ended' if self._task.done() else 'at work'}, {self._heard!r}>"

    def __aiter__(self) -> Run:
        return self

    async def __anext__(self) -> Record:
        record = await self._heard.next()
        if record is None:
            self._raise()
            raise StopAsyncIteration
        return record

    def snapshot(self) -> Snapshot:
        """How the run stands; counts are of committed ends."""
        if self.ended is not None:
            return self.ended.snapshot
        assert self._pipeline is not None
        return self._pipeline.snapshot()

    async def body(self, record: Record) -> bytes | None:
        """The body of a record, None where none is kept. Raises OSError."""
        return await asyncio.to_thread((self.folder / record.body).read_bytes) if record.body is not None else None

    async def _begin(self) -> None:
        """Wait until it is at work. Raises what keeps it from that."""
        try:
            await self._begun.wait()
        except asyncio.CancelledError:
            await self._leave(cut=True)
            raise
        if self._pipeline is None:
            self._raise()

    async def _work(self, job: AnyJob, fresh: bool) -> None:
        loaded = await asyncio.to_thread(_loaded, job)
        options = Options(fresh=fresh, listener=self._heard, held=self._hold, page=self._page)
        ended = await run_job(loaded, options, self._in_folder)
        self.ended = ended
        if ended.exit_code is ExitCode.NO_ROOM:
            raise StorageError(ended.warnings[-1])

    def _in_folder(self, folder: Path) -> _Unseen:
        self.folder = folder
        return _Unseen()

    def _hold(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline
        self._begun.set()

    def _over(self, task: asyncio.Task[None]) -> None:
        self._heard.over()
        self._begun.set()

    async def _leave(self, *, cut: bool) -> None:
        """Stop the run and wait for its end; a cancellation that comes meanwhile goes on to the next, harder order."""
        self._heard.close()
        interrupted: asyncio.CancelledError | None = None
        waits = [0.0 if cut else _DRAIN_SECONDS, _CUT_SECONDS] if self._pipeline is not None else []
        while not self._task.done():
            if waits:
                assert self._pipeline is not None
                self._pipeline.stop()
            else:
                self._task.cancel()
            try:
                await asyncio.wait([self._task], timeout=waits.pop(0) if waits else None)
            except asyncio.CancelledError as error:
                interrupted = error
        if interrupted is not None:
            raise interrupted

    def _fault(self) -> BaseException | None:
        """What the run ended with, if that was no good end."""
        return self._task.exception() if self._task.done() and not self._task.cancelled() else None

    def _raise(self) -> None:
        """Raise what the run ended with; of a run that another cancelled, that it was."""
        self._told = True
        if (fault := self._fault()) is not None:
            raise fault
        if self._task.cancelled():
            raise asyncio.CancelledError("the run was cancelled")


def _loaded(job: AnyJob) -> LoadedJob:
    """Read and validate, as far as that is not done. Raises JobError."""
    if isinstance(job, LoadedJob):
        return job
    if isinstance(job, Job):
        return LoadedJob(job, Path.cwd())
    if isinstance(job, Mapping):
        return from_data(job)
    return load(Path(job))


def from_data(data: Mapping[str, Any]) -> LoadedJob:
    """The job of a program's own data. Raises JobError."""
    try:
        return build(dict(data), Path.cwd())
    except JobError as error:
        raise JobError(*(problem.removeprefix("flags: ") for problem in error.problems)) from None
