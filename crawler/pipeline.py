"""The wiring: feed -> frontier -> dispatch -> worker -> settle -> commit; the one file that knows queues and tasks.

Does: run the decisions and effects of the other modules concurrently until the sources are exhausted and nothing is
outstanding, or until told to stop. Must not decide anything about requests itself. Invariant: each request is in one
place (store, frontier, queue, a worker, the batch); no worker ever sleeps for a host; what is shown is committed.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import islice
from math import inf
from random import Random
from time import time as wall_clock
from typing import NamedTuple, Protocol, TypeVar

from aiolimiter import AsyncLimiter

from crawler.checkpoint import FAILED, FETCHED, SKIPPED, NewRow, Retry, Settled, SourceMark
from crawler.commit import Batch, Ending, Outputs
from crawler.errors import Reason, StorageError
from crawler.feed import Defaults, request_of
from crawler.fingerprints import Fingerprints
from crawler.frontier import DRAINED, Frontier, Want
from crawler.model import BadRow, Failed, Outcome, Request, Row, Timing
from crawler.settle import End, Host, Rules, Verdict, judge
from crawler.sources import Source
from crawler.tally import Snapshot, Speed, Tally, eta
from crawler.watch import Watch

log = logging.getLogger("crawler")
T = TypeVar("T")
Fetch = Callable[[Request], Awaitable[Outcome]]

_STATES = {"fetched": FETCHED, "failed": FAILED, "skipped": SKIPPED}
# A commit is due after so long, so many ends, or so many bytes of bodies in memory, whichever comes first.
_GROUP_SECONDS = 0.7
_GROUP_ENDS = 1000
_GROUP_BYTES = 16 * 1024 * 1024
_SLICE = 500  # rows read and canonicalised in one go: about 3 ms of the loop
_DRAIN_SECONDS = 30.0


class Shown(Protocol):
    """Who watches the run: called with each new snapshot."""

    def update(self, snapshot: Snapshot) -> None: ...


class Plan(NamedTuple):
    """What one run works with; everything is built, opened and recovered already."""

    job: str
    run: str
    workers: int
    rate: float | None  # requests per second, the whole job
    rules: Rules
    defaults: Defaults
    dedupe: bool


class Start(NamedTuple):
    """Where the run takes up: sources with what was taken of them, ids, and what an earlier process counted."""

    sources: Sequence[tuple[Source, SourceMark]]
    next_id: int
    known: int
    elapsed: float
    tally: Tally


class Wake:
    """One task waits here until told, or until a moment of the loop's clock."""

    def __init__(self) -> None:
        self._told = False
        self._waiter: asyncio.Future[None] | None = None

    def set(self) -> None:
        """Let the waiting task go on; remembered when none waits."""
        self._told = True
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def wait(self, until: float = inf) -> None:
        """Wait to be told, at most until `until`."""
        if not self._told:
            loop = asyncio.get_running_loop()
            self._waiter = loop.create_future()
            timer = loop.call_at(until, self.set) if until < inf else None
            try:
                await self._waiter
            finally:
                self._waiter = None
                if timer is not None:
                    timer.cancel()
        self._told = False


class _Counts(NamedTuple):
    """What may be shown: counts of committed ends."""

    fetched: int
    failed: int
    skipped: int
    retries: int
    bytes: int


def _counts(tally: Tally) -> _Counts:
    return _Counts(tally.fetched, tally.failed, tally.skipped, tally.retries, tally.bytes)


class Pipeline:
    """One run of one job."""

    def __init__(
        self, plan: Plan, start: Start, outputs: Outputs, frontier: Frontier, watch: Watch, storage: ThreadPoolExecutor
    ) -> None:
        self._plan = plan
        self._start = start
        self._outputs = outputs
        self._frontier = frontier
        self.watch = watch
        self._storage = storage
        self._loop = asyncio.get_running_loop()
        self._began = self._loop.time()
        self._rng = Random()
        self._queue: asyncio.Queue[Request | None] = asyncio.Queue(maxsize=plan.workers * 2)
        self._idle = plan.workers
        self._wake = Wake()  # dispatch waits here
        self._low = Wake()  # the feed of windows waits here
        self._full = Wake()  # the committer waits here
        self._room = asyncio.Event()
        self._room.set()
        self._batch = Batch()
        self._new: list[NewRow] = []
        self._marks: dict[int, SourceMark] = {}
        self.tally = start.tally
        self._committed = _counts(start.tally)
        self._speed = Speed()
        self._known = start.known
        self._importing = True
        self._stopping = False
        self._over = False
        self._workers: list[asyncio.Task[None]] = []

    # -- from outside -------------------------------------------------------------------------------------------------

    def stop(self) -> None:
        """First call: take nothing new, let what is in flight finish, commit. Second call: cut what is in flight."""
        if self._stopping:
            for worker in self._workers:
                worker.cancel()
        self._stopping = True
        self._wake.set()

    def snapshot(self) -> Snapshot:
        """The run as it stands; counts of ends are those committed."""
        now = self._loop.time()
        state, counts = self._frontier.state(), self._committed
        done = counts.fetched + counts.failed + counts.skipped
        rate, byte_rate = self._speed.sample(now, done, counts.bytes)
        return Snapshot(
            job=self._plan.job,
            run=self._plan.run,
            state="draining" if self._stopping else "running",
            at=wall_clock(),
            elapsed=self._start.elapsed + now - self._began,
            known=self._known,
            importing=self._importing,
            waiting=state.waiting,
            in_flight=state.leased,
            **counts._asdict(),
            rate=rate,
            byte_rate=byte_rate,
            eta=eta(state.waiting + state.leased, rate, self._importing),
            hosts=state.hosts,
            hosts_waiting=state.hosts_waiting,
            next_at=state.next_at - now if now < state.next_at < inf else None,
            longest=self.watch.longest(now),
        )

    async def run(self, fetch: Fetch, shown: Shown) -> bool:
        """Work until drained (True) or stopped (False). Raises StorageError, or an ExceptionGroup for our bugs."""
        async with asyncio.TaskGroup() as group:
            self._workers = [group.create_task(self._worker(fetch)) for _ in range(self._plan.workers)]
            others = [
                group.create_task(task) for task in (self._feed(), self._refill(), self._look(), self._show(shown))
            ]
            group.create_task(self._commits())
            await self._dispatch()
            for _ in self._workers:
                self._queue.put_nowait(None)
            await asyncio.wait(self._workers, timeout=_DRAIN_SECONDS if self._stopping else None)
            for task in (*others, *self._workers):
                task.cancel()
            self._over = True
            self._full.set()
        await self._commit()
        return not self._stopping

    # -- feed ---------------------------------------------------------------------------------------------------------

    async def _feed(self) -> None:
        """Read the sources into frontier and store: at full speed while a worker idles, else now and then."""
        seen = await self._seen()
        number = self._start.next_id
        for source, mark in self._start.sources:
            rows = source.rows(mark.taken)
            try:
                while chunk := await asyncio.to_thread(_slice, rows):
                    began = self._loop.time()
                    for row in chunk:
                        request, print_ = request_of(row, number, self._plan.defaults)
                        if seen is None or seen.add(print_):
                            self._frontier.add(request, began)
                            self._new.append(NewRow(request, print_))
                            self._known += 1
                            number += 1
                    mark = mark._replace(taken=mark.taken + len(chunk))
                    self._marks[mark.n] = mark
                    self._wake.set()
                    if len(self._new) >= 4 * _SLICE:
                        await self._store_new()
                    if self._idle == 0:
                        await asyncio.sleep(14 * (self._loop.time() - began))
            finally:
                rows.close()
            self._marks[mark.n] = mark._replace(complete=True)
        self._importing = False
        self._frontier.close()
        self._full.set()
        self._wake.set()

    async def _seen(self) -> Fingerprints | None:
        """The fingerprints already known; None where duplicates are welcome or nothing is left to read."""
        if not self._plan.dedupe or not self._start.sources:
            return None
        seen = Fingerprints()
        if self._start.next_id > 1:
            await self._stored(lambda: seen.update(self._outputs.checkpoint.fingerprints()))
        return seen

    async def _store_new(self) -> None:
        rows, self._new = self._new, []
        marks, self._marks = list(self._marks.values()), {}
        await self._stored(lambda: self._outputs.add_rows(rows, marks))

    async def _refill(self) -> None:
        """Bring rows of the store into windows that run low."""
        while True:
            wants = self._frontier.hungry(64)
            if not wants:
                await self._low.wait(self._loop.time() + 0.05 if self._frontier.waiting else inf)
                continue
            if self._new:
                await self._store_new()
            answers = await self._stored(partial(self._windows, wants))
            now, wall = self._loop.time(), wall_clock()
            for want, rows in zip(wants, answers, strict=True):
                self._frontier.refill(want, [(row, now + due - wall if due > wall else 0.0) for row, due in rows], now)
            self._wake.set()

    def _windows(self, wants: list[Want]) -> list[list[tuple[Request, float]]]:
        return [self._outputs.checkpoint.window(*want) for want in wants]

    # -- take, fetch, settle ------------------------------------------------------------------------------------------

    async def _dispatch(self) -> None:
        """Give each idle worker the next request that may go. Paces and rate are charged at the moment of sending."""
        limiter = _limiter(self._plan.rate) if self._plan.rate else None
        paid = limiter is None
        while not self._stopping:
            if self._idle == 0:
                await self._wake.wait()
                continue
            if not paid and limiter is not None:
                await limiter.acquire()
                paid = True
            step = self._frontier.take(self._loop.time())
            if isinstance(step, Request):
                self._idle -= 1
                paid = limiter is None
                self._queue.put_nowait(step)
            elif step is DRAINED:
                return
            else:
                self._low.set()
                await self._wake.wait(step.moment)

    async def _worker(self, fetch: Fetch) -> None:
        while (request := await self._queue.get()) is not None:
            following: Request | None = request
            while following is not None:
                await self._process(fetch, following)
                following = self._next_now()
            self._idle += 1
            self._wake.set()

    async def _process(self, fetch: Fetch, request: Request) -> None:
        host, sent_at = request.host, self._loop.time()
        try:
            outcome = await fetch(request)
        except Exception as error:
            outcome = _internal(request, error)
        self.settle(outcome, host, sent_at)
        if not self._room.is_set():
            await self._room.wait()

    def _next_now(self) -> Request | None:
        """What dispatch would hand to this worker at once: spares two switches of tasks, 10 us a request."""
        if self._stopping or self._plan.rate:
            return None
        step = self._frontier.take(self._loop.time())
        return step if isinstance(step, Request) else None

    def settle(self, outcome: Outcome, host: str, sent_at: float) -> None:
        """Let the verdict on an outcome take effect: in the frontier, on the host, in the batch."""
        now = self._loop.time()
        request = outcome.request
        verdict = judge(outcome, self._plan.rules, now, self._rng)
        self._tell_host(verdict, host, sent_at, now)
        then = verdict.then
        if isinstance(then, End):
            self._frontier.done(host, now)
            self.end(request, then)
            return
        self._frontier.again(request, then.not_before, now, came_from=host)
        if then.slug is not None:
            self.tally.retries += 1
            due = wall_clock() + then.not_before - now
            self._batch.retries.append(Retry(request.home, request.id, request.attempt, due))
            log.info("retry %s after %s: %s", request.url, then.slug, then.error)

    def end(self, request: Request, end: End) -> None:
        """Put the end of a request into the batch."""
        record = end.record
        self.tally.add(record, request.home)
        state = _STATES[record.outcome]
        self._batch.end(
            Ending(Settled(request.home, request.id, state, request.attempt), record, end.body, request.filename)
        )
        if record.outcome == "failed":
            log.warning(
                "failed %s: %s",
                record.url,
                record.error,
                extra={"reason": record.reason, "request_id": record.request_id},
            )
        if len(self._batch) >= _GROUP_ENDS or self._batch.weight >= _GROUP_BYTES:
            self._full.set()
            if len(self._batch) >= 2 * _GROUP_ENDS or self._batch.weight >= 2 * _GROUP_BYTES:
                self._room.clear()

    def _tell_host(self, verdict: Verdict, host: str, sent_at: float, now: float) -> None:
        if verdict.host is Host.NOTHING and verdict.blocked_until is None:
            return
        pace = self._frontier.pace(host)
        if verdict.host is Host.FINE:
            pace.fine()
        elif verdict.host is Host.FAULT and pace.fault(sent_at, now):
            pace.block(now + self._plan.rules.retry.backoff.delay(pace.faults, self._rng))
        if verdict.blocked_until is not None:
            pace.block(verdict.blocked_until)
            self._batch.blocked[host] = wall_clock() + pace.blocked_until - now

    # -- commit -------------------------------------------------------------------------------------------------------

    async def _commits(self) -> None:
        """Never cancelled: a group on its way to disk is counted before the run ends."""
        while not self._over:
            await self._full.wait(self._loop.time() + _GROUP_SECONDS)
            await self._commit()

    async def _commit(self) -> None:
        """Make durable what happened; then, and only then, count and show it."""
        batch, self._batch = self._batch, Batch()
        rows, self._new = self._new, []
        marks, self._marks = list(self._marks.values()), {}
        if not (len(batch) or rows or marks or batch.blocked):
            return
        tally = self.tally
        counted = tally.to_json()
        elapsed = self._start.elapsed + self._loop.time() - self._began

        def write() -> None:
            if rows or marks:
                self._outputs.add_rows(rows, marks)
            self._outputs.write(batch, counted, elapsed)

        counts = _counts(tally)
        await self._stored(write)
        self._committed = counts
        self._room.set()

    async def _stored(self, work: Callable[[], T]) -> T:
        """Run blocking storage work in its one thread; a cancelled wait still lets the work finish."""
        return await asyncio.shield(self._loop.run_in_executor(self._storage, work))

    # -- looking ------------------------------------------------------------------------------------------------------

    async def _look(self) -> None:
        """Stop transfers that have overstayed."""
        while True:
            await asyncio.sleep(self.watch.tick)
            for transfer in self.watch.overdue(self._loop.time()):
                task = transfer.owner
                assert isinstance(task, asyncio.Task)
                task.cancel()

    async def _show(self, shown: Shown) -> None:
        while True:
            await asyncio.sleep(0.25)
            shown.update(self.snapshot())


def _slice(rows: Iterator[Row | BadRow]) -> list[Row | BadRow]:
    return list(islice(rows, _SLICE))


def _internal(request: Request, error: Exception) -> Outcome:
    """A fault of ours, met by one input. Raises StorageError where the disk is at fault."""
    if isinstance(error, OSError):
        raise StorageError(f"a body could not be written: {error}") from error
    log.error("internal error at %s", request.url, exc_info=error)
    return Failed(request, "", Reason.INTERNAL, f"internal error: {error!r}", Timing(wall_clock()))


def _limiter(rate: float) -> AsyncLimiter:
    """`rate` a second, at most a twentieth of a second's worth in one go."""
    burst = max(1.0, rate / 20)
    return AsyncLimiter(burst, burst / rate)


def throttle(bandwidth: float) -> Callable[[int], Awaitable[None]]:
    """Waits until so many bytes may pass, for the whole job together; at most a tenth of a second's worth in one go."""
    burst = max(1.0, bandwidth / 10)
    limiter = AsyncLimiter(burst, burst / bandwidth)

    async def spend(size: int) -> None:
        while size > 0:
            part = min(size, burst)
            await limiter.acquire(part)
            size -= int(part) or 1

    return spend
