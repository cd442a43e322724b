"""From a job to a finished run: lock, recovery, resume or anew, the pipeline, the summary, the exit code.

Does: everything in the order in which faults can be told before anything is created. Must not know the command line.
Invariant: whatever happens after the lock is taken, the checkpoint says where the run stands and the lock is given
back.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from random import Random
from time import time as wall_clock
from typing import NamedTuple

from crawler import allowance
from crawler.checkpoint import SourceMark
from crawler.commit import Outputs
from crawler.crawling import functions_of
from crawler.diskguard import Reserve, require_room
from crawler.errors import BusyError, ExitCode, Interrupted, NothingToDo, StorageError
from crawler.folders import JobFolder
from crawler.interrupts import handlers_kept, interrupted
from crawler.job import Job
from crawler.jobfile import LoadedJob
from crawler.means import given
from crawler.notices import Notices
from crawler.opening import Opened, Options, opened_run, stopped_by_storage
from crawler.parcels import Counts
from crawler.parts import sources_of
from crawler.pipeline import Pipeline, Shown
from crawler.pruning import prune
from crawler.references import Resolver
from crawler.report import Summary, summarize, write_summary
from crawler.resume import inputs_of
from crawler.room import Headroom
from crawler.sources import Source, preflight
from crawler.tally import Snapshot, Tally
from crawler.timekeeping import Timekeeper, jittered, locked
from crawler.working import Worked, work

log = logging.getLogger("crawler")


class Ended(NamedTuple):
    """How a run ended: its exit code, its last snapshot and counts, where its results are."""

    exit_code: ExitCode
    snapshot: Snapshot
    tally: Tally
    started: float
    run_folder: Path
    warnings: tuple[str, ...] = ()
    uploads: Counts | None = None
    traps: tuple[tuple[str, int], ...] = ()
    failed_because: tuple[str, ...] = ()
    stopped_by: str | None = None  # a deadline of its own; None: somebody, where it was stopped

    def summary(self) -> Summary:
        """Its numbers put together."""
        told = (self.warnings, self.uploads, self.traps)
        found = summarize(self.tally, self.snapshot, self.started, self.exit_code, *told)
        return replace(found, failed_because=list(self.failed_because), stopped_by=self.stopped_by)


async def run_job(
    loaded: LoadedJob, options: Options, shown: Callable[[Path], Shown], *, jitter: bool = False
) -> Ended:
    """Run or resume a job to its end, and tell whom it tells of that. Raises JobError, BusyError, Interrupted,
    StorageError; `shown` is given the run's folder; `jitter`: wait as run.jitter says first.
    """
    job = loaded.job
    folder = JobFolder(Path(job.output.dir), job.name)
    base = loaded.base.absolute()
    keeper, resolver = Timekeeper(job.run, folder), Resolver(base)
    notices = Notices(job, base, folder, resolver)
    await notices.prepare()
    try:
        if jitter:
            await jittered(job.run.jitter, Random(), signals=options.signals)
        ended = await _started(loaded, options, shown, Start(folder, keeper, notices, resolver))
    except (Interrupted, NothingToDo):
        raise
    except BusyError as busy:
        if job.run.if_running != "skip":
            await notices.broke(busy)
        raise
    except Exception as error:
        await notices.broke(error)
        raise
    await notices.ended(ended.summary(), planned=ended.stopped_by is not None)
    return ended


class Start(NamedTuple):
    """What one start of a job has beside the job."""

    folder: JobFolder
    keeper: Timekeeper
    notices: Notices
    resolver: Resolver


async def _started(loaded: LoadedJob, options: Options, shown: Callable[[Path], Shown], start: Start) -> Ended:
    sources: list[Source] = []
    if options.again is None:
        sources = sources_of(loaded)
        preflight(sources)
    found, functions = given(loaded, start.resolver), functions_of(loaded, options.page)
    folder, output = start.folder, loaded.job.output
    headroom = Headroom(output.min_free, output.min_free_percent)
    require_room(folder.path, headroom)
    await locked(folder, loaded.job.run, signals=options.signals)
    start.keeper.begin()
    try:
        reserve = Reserve(folder.path, headroom)
        reserve.keep()
        with (
            opened_run(loaded, found, folder, options, functions) as opened,
            stopped_by_storage(opened, reserve),
        ):
            return await _run(opened, sources, options, shown, start)
    except sqlite3.Error as error:
        raise StorageError(f"{folder.state}: {error}; what was reported is safe, the next run goes on") from error
    finally:
        folder.unlock()


async def _run(
    opened: Opened,
    sources: list[Source],
    options: Options,
    shown: Callable[[Path], Shown],
    start: Start,
) -> Ended:
    job, taken, outputs = opened.job, opened.taken, opened.outputs
    watcher = shown(outputs.folder)
    if taken.resumed:
        log.warning("resumed run %s: %s", taken.run, _recovered(outputs))
    again = options.again is not None
    to_read = [] if again else inputs_of(job, sources, outputs, taken, opened.rules, opened.defaults)
    for warning in opened.found.warnings:
        log.warning("%s", warning)
    if taken.anew is not None:
        log.warning("%s: changed since the last run, so nothing of it counts as known: all is fetched", taken.anew)
    if job.request.contact is None and not any(name.lower() == "user-agent" for name in job.request.headers):
        log.warning("request.contact is not set: give an address or a page, so that site owners can reach you")
    await start.notices.began(outputs.folder)
    with ThreadPoolExecutor(1, thread_name_prefix="storage") as storage:
        worked = await _worked(opened, to_read, storage, options, watcher, start.keeper)
        if worked.drained and not again:
            await worked.pipeline.ledger.forget_partials()
    outputs.close()
    if opened.jar is not None:
        opened.jar.close()
    ended = _ended(opened, worked, start.keeper)
    write_summary(outputs.folder, ended.summary())  # before: a run that is finished is not taken up again to write it
    opened.checkpoint.end_run(taken.run, wall_clock(), ended.snapshot.state, ended.exit_code)
    if worked.drained and job.run.keep_runs is not None:
        prune(opened.folder, opened.checkpoint, job.run.keep_runs, bodies=job.output.keeps_bodies)
    return ended


async def _worked(
    opened: Opened,
    to_read: list[tuple[Source, SourceMark]],
    storage: ThreadPoolExecutor,
    options: Options,
    watcher: Shown,
    keeper: Timekeeper,
) -> Worked:
    """Let it work, within its time. Raises StorageError where its folder went away meanwhile."""

    def held(pipeline: Pipeline) -> None:
        keeper.watch(pipeline)
        if options.signals and interrupted():
            pipeline.stop()
        if options.held is not None:
            options.held(pipeline)

    try:
        with handlers_kept() if options.signals else nullcontext():
            worked = await work(opened, to_read, storage, options._replace(held=held), watcher)
    except StorageError:
        keeper.check()  # that its folder is gone says more
        raise
    finally:
        keeper.end()
    if keeper.fault is not None:
        raise keeper.fault
    return worked


def _ended(opened: Opened, worked: Worked, keeper: Timekeeper) -> Ended:
    """The verdict on a run that came to its end, or was stopped."""
    taken, pipeline, uploads = opened.taken, worked.pipeline, worked.uploads
    because, warnings = too_many(opened.job, taken.tally), opened.found.warnings
    if left := uploads.left if uploads is not None else 0:
        because += (f"{left:,} files were not uploaded",)
        trouble = worked.trouble or "stopped"
        warnings = (*warnings, f"{left} files wait for their upload, and go with the next start; {trouble}")
    code = ExitCode.FAILED if because else ExitCode.OK
    stopped_by = None
    if not worked.drained:
        code, stopped_by = ExitCode.STOPPED, keeper.stopped_by
    if pipeline.no_room is not None:
        code, warnings, stopped_by = ExitCode.NO_ROOM, (*warnings, pipeline.no_room), None
    traps = tuple(opened.crawling.discovery.stopped()) if opened.crawling is not None else ()
    last = _last(pipeline.snapshot(), "finished" if worked.drained else "stopped")
    folder = opened.outputs.folder
    return Ended(
        code,
        last,
        taken.tally,
        taken.started,
        folder,
        warnings,
        uploads,
        traps,
        because if worked.drained else (),
        stopped_by,
    )


def too_many(job: Job, tally: Tally) -> tuple[str, ...]:
    """Why a run that ended like this has failed, if it has."""
    if job.crawl is not None and "max_failed" not in job.run.model_fields_set:
        # Of a crawl only what the job itself names counts: dead links are findings.
        seeds = tally.failed_seeds
        return (f"{seeds:,} {'seed' if seeds == 1 else 'seeds'} failed",) if seeds else ()
    counts = allowance.Counts(tally.fetched, tally.failed, tally.reasons)
    return tuple(allowance.exceeded(counts, job.run.max_failed))


def _last(snapshot: Snapshot, state: str) -> Snapshot:
    """How a run stood when it ended: what is over has no time left."""
    left = snapshot.eta if state != "finished" else None
    return snapshot._replace(state=state, eta=left, eta_host=snapshot.eta_host if left is not None else None)


def _recovered(outputs: Outputs) -> str:
    """What the start had to repair, in words."""
    bytes_, files = outputs.recovered
    if not (bytes_ or files):
        return "nothing to repair"
    return f"{bytes_} bytes of uncommitted records and {files} uncommitted files removed"
