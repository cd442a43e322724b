"""The wiring: feed -> frontier -> dispatch -> worker -> settle -> commit; the one file that knows queues and tasks.

Does: run the decisions and effects of the other modules concurrently until the sources are exhausted and nothing is
outstanding, or until told to stop. Must not decide anything about requests itself. Invariant: each request is in one
place (store, frontier, queue, a worker, the batch); no worker ever sleeps for a host; what is shown is committed.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from math import inf
from random import Random
from time import monotonic
from time import time as wall_clock
from typing import NamedTuple, Protocol

from aiolimiter import AsyncLimiter

from crawler.admission import Admission, Ask
from crawler.bound import at_once, eta
from crawler.capture import METHOD
from crawler.errors import Reason, StorageError
from crawler.frontier import DRAINED, Frontier
from crawler.intake import Import, Intake
from crawler.keys import Keys
from crawler.ledger import Ledger
from crawler.memory import MemoryGuard
from crawler.model import Failed, Fetched, Outcome, Request, Timing
from crawler.pace import Pace
from crawler.penalties import tell
from crawler.settle import End, Host, News, Rules, judge, move, news_of
from crawler.tally import Snapshot, Speed
from crawler.urls import BadURL, hostname, join
from crawler.wake import Wake
from crawler.watch import Transfer, Watch

log = logging.getLogger("crawler")
Fetch = Callable[[Request], Awaitable[Outcome]]

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
    memory: int | None  # bytes above which nothing new is begun


class Gates(NamedTuple):
    """What is asked about a request before it is queued, and before it is sent."""

    keys: Keys
    admission: Admission
    address_of: Callable[[str], Awaitable[str | None]]  # the first address of a host, where that is its politeness key
    barred: Callable[[Request], str | None] | None = None  # why a credential is not worth another try, if it is not


class Pipeline:
    """One run of one job."""

    def __init__(
        self, plan: Plan, given: Import, gates: Gates, frontier: Frontier, ledger: Ledger, watch: Watch
    ) -> None:
        self._plan = plan
        self._gates = gates
        self._frontier = frontier
        self._ledger = ledger
        self.watch = watch
        self._known = ledger.tally.done + frontier.waiting  # before anything is read
        self._rng = Random()
        self._queue: asyncio.Queue[Request | None] = asyncio.Queue(maxsize=plan.workers * 2)
        self._idle = plan.workers
        self._wake = Wake()  # dispatch waits here
        self._intake = Intake(
            given,
            gates.keys,
            gates.address_of,
            frontier,
            ledger,
            busy=lambda: self._idle == 0,
            fed=self._wake.set,
        )
        self._speed = Speed()
        self._stopping = False
        self._paying: asyncio.Future[None] | None = None
        self._memory = MemoryGuard(plan.memory)
        self._workers: list[asyncio.Task[None]] = []

    # -- from outside -------------------------------------------------------------------------------------------------

    def stop(self) -> None:
        """First call: take nothing new, let what is in flight finish, commit. Second call: cut what is in flight.

        What may never finish is cut by the first; it waits for the next run, as whatever is cut.
        """
        if self._stopping:
            for worker in self._workers:
                worker.cancel()
        for transfer in self.watch.transfers:
            if transfer.endless and not self._stopping:
                _cut(transfer)
        self._stopping = True
        if self._paying is not None:
            self._paying.cancel()
        self._wake.set()

    @property
    def ledger(self) -> Ledger:
        """Where all goes that is to be kept."""
        return self._ledger

    def named(self, request: Request) -> bool:
        """Does the job's own input name the host at which this request stands, or began."""
        host = hostname(request.url)
        if host == hostname(request.seed):
            return True
        # A domain or an address may stand for hosts that nobody named.
        return self._frontier.named(host) if self._gates.keys.plain else host in self._intake.names

    def paced(self, host: str) -> Callable[[float], None] | None:
        """Whom to tell when a request goes onto the wire: the next ones keep their distance to that moment."""
        pace = self._frontier.pace(host)
        return pace.sent if pace.paced else None

    def snapshot(self) -> Snapshot:
        """The run as it stands; counts of ends are those committed."""
        now = monotonic()
        state, counts = self._frontier.state(), self._ledger.committed
        done = counts.fetched + counts.failed + counts.skipped
        rate, byte_rate = self._speed.sample(now, done, counts.bytes)
        longest, host = self._frontier.longest(now)
        left = eta(longest, state.waiting + state.leased, rate)
        return Snapshot(
            job=self._plan.job,
            run=self._plan.run,
            state="draining" if self._stopping else "running",
            at=wall_clock(),
            elapsed=self._ledger.elapsed,
            known=self._known + self._intake.read,
            importing=self._intake.reading,
            waiting=state.waiting,
            in_flight=state.leased,
            **counts._asdict(),
            uploaded=self.watch.uploaded,
            rate=rate,
            byte_rate=byte_rate,
            eta=left if left < inf and not self._intake.reading else None,
            eta_host=host if longest >= left else None,
            hosts=state.hosts,
            hosts_waiting=state.hosts_waiting,
            next_at=state.next_at - now if now < state.next_at < inf else None,
            longest=self.watch.longest(now),
        )

    async def run(self, fetch: Fetch, shown: Shown) -> bool:
        """Work until drained (True) or stopped (False). Raises StorageError, or an ExceptionGroup for our bugs."""
        async with asyncio.TaskGroup() as group:
            self._workers = [group.create_task(self._worker(fetch)) for _ in range(self._plan.workers)]
            intake = self._intake
            others = [
                group.create_task(task)
                for task in (intake.read_sources(), intake.refill(), self._look(), self._show(shown))
            ]
            group.create_task(self._ledger.commits())
            await self._dispatch()
            for _ in self._workers:
                self._queue.put_nowait(None)
            await asyncio.wait(self._workers, timeout=_DRAIN_SECONDS if self._stopping else None)
            for task in (*others, *self._workers):
                task.cancel()
            self._ledger.close()
        await self._ledger.commit()
        return not self._stopping

    # -- take, fetch, settle ------------------------------------------------------------------------------------------

    async def _dispatch(self) -> None:
        """Give each idle worker the next request that may go. Paces and rate are charged at the moment of sending."""
        rate = self._plan.rate
        limiter = AsyncLimiter(at_once(rate), at_once(rate) / rate) if rate else None
        paid = limiter is None
        while not self._stopping:
            if self._idle == 0 or (self._memory.full and self._frontier.leased):
                await self._wake.wait()
                continue
            if not paid and limiter is not None:
                paid = await self._pay(limiter)
                continue
            step = self._frontier.take(monotonic())
            if isinstance(step, Request):
                self._idle -= 1
                paid = limiter is None
                self._queue.put_nowait(step)
            elif step is DRAINED:
                return
            else:
                self._intake.low.set()
                await self._wake.wait(step.moment)

    async def _pay(self, limiter: AsyncLimiter) -> bool:
        """Wait until the rate of the job allows one more; False when told to stop meanwhile."""
        self._paying = asyncio.ensure_future(limiter.acquire())
        try:
            await self._paying
        except asyncio.CancelledError:
            if not self._stopping:
                raise
            return False
        return True

    async def _worker(self, fetch: Fetch) -> None:
        while (request := await self._queue.get()) is not None:
            following: Request | None = request
            while following is not None:
                sent = await self._process(fetch, following)
                following = self._next_now(unspent=not sent)
            self._idle += 1
            self._wake.set()

    async def _process(self, fetch: Fetch, request: Request) -> bool:
        """One attempt at a request, or its end before it; False when nothing was sent."""
        if self._stopping and request.method == METHOD:
            return False  # it would be cut at once
        host, sent_at = request.host, monotonic()
        pace = self._frontier.pace(host)
        if (why := self._barred(request)) is not None:
            await self._refuse(Failed(request, "", Reason.AUTH_REJECTED, why, None), host)
            return False
        if self._gates.admission.asks or pace.breaker is not None:
            gate = self._gates.admission.look(request, wall_clock(), dead=pace.dead)
            if isinstance(gate, Ask):
                if not self._frontier.hold(request, sent_at):
                    return False
                request = gate.request
            elif gate is not None:
                await self._refuse(gate, host)
                return False
        try:
            outcome = await fetch(request)
        except Exception as error:
            outcome = _internal(request, error)
        if request.robots is not None:
            await self._robots_answered(outcome, host, sent_at)
        else:
            if not self._gates.keys.plain and isinstance(outcome, Fetched):
                await self._know_next(outcome)
            self._settle(outcome, host, pace, sent_at)
        unsent = _unsent(outcome)
        if unsent:
            await asyncio.sleep(0)  # of 100,000 of these others get their turn between
        if self._ledger.crowded:
            await self._ledger.room()
        return not unsent

    def _barred(self, request: Request) -> str | None:
        """Why the credential of a request is not worth another try, if it has one."""
        if self._gates.barred is None or request.robots is not None or request.error is not None:
            return None
        return self._gates.barred(request)

    async def _refuse(self, outcome: Outcome, host: str) -> None:
        """End a request that is not sent; of a host with 100,000 of them others get their turn between."""
        if outcome.request.robots is not None:
            await self._robots_answered(outcome, host, monotonic())
            return
        now = monotonic()
        then = judge(outcome, self._plan.rules, now, self._rng).then
        assert isinstance(then, End)
        self._frontier.done(host, now, sent=False)
        self._end(outcome.request, then)
        await asyncio.sleep(0)
        await self._ledger.room()

    async def _robots_answered(self, outcome: Outcome, host: str, sent_at: float) -> None:
        """A robots.txt came, or did not: the host that was held for it goes on, or is asked again after its block."""
        now, wall, admission = monotonic(), wall_clock(), self._gates.admission
        request = outcome.request
        self._tell_host(news_of(outcome, self._plan.rules), host, sent_at, now)
        step = admission.hop(outcome)
        if step is not None:
            await self._intake.know(step.url.host)
            move(request, step, self._gates.keys.key_of)
            self._frontier.again(request, 0.0, now, came_from=host)
            self._wake.set()
            return
        taught = await asyncio.to_thread(admission.learned, outcome, wall)
        now, pace = monotonic(), self._frontier.pace(request.home)
        if taught is not None:
            assert request.robots is not None
            pace.slow_to(admission.take_up(request.robots, taught, request.home), now)
            self._ledger.robots(request.robots, taught.entry.dumps())
            log.info("robots.txt of %s: %s", request.robots, taught.entry.kind)
        else:
            pace.block(now + self._plan.rules.retry_of(request.home).backoff.ceiling(request.attempt))
        self._frontier.done(host, now)
        self._frontier.let_go(request.home, now)
        self._wake.set()

    async def _know_next(self, outcome: Fetched) -> None:
        """Where hosts are told apart by address, that of the next hop or page has to be known before it is queued."""
        if outcome.next_url is not None:  # of a run that goes on, the addresses of its rows are not known
            await self._intake.know(hostname(outcome.next_url))
        location = outcome.headers.get("Location")
        if location is not None and 300 <= outcome.status < 400:
            with suppress(BadURL):
                await self._intake.know(join(outcome.request.url, location).host)

    def _next_now(self, *, unspent: bool) -> Request | None:
        """What dispatch would hand to this worker at once: spares two switches of tasks, 10 us a request.

        Under a rate of the whole job it goes on only with what that allowed for a request that was not sent.
        """
        if self._stopping or (self._plan.rate and not unspent) or self._memory.full:
            return None
        step = self._frontier.take(monotonic())
        if not isinstance(step, Request):
            return None
        if self._idle and self._frontier.ready:  # the host bears more at once than before
            self._wake.set()
        return step

    def _settle(self, outcome: Outcome, host: str, pace: Pace, sent_at: float) -> None:
        """Let the verdict on an outcome take effect: in the frontier, on the host, in the batch."""
        now = monotonic()
        request = outcome.request
        verdict = judge(outcome, self._plan.rules, now, self._rng)
        news = verdict.news
        if news.host is Host.FINE and news.wait is None and news.quota is None:
            pace.fine(sent_at, now, news.latency)
        else:
            self._tell_host(news, host, sent_at, now)
        then = verdict.then
        if isinstance(then, End):
            if then.following is not None:
                self._intake.found(then.following, now)  # before its page is done: else all might seem drained
            self._frontier.done(host, now, sent=not _unsent(outcome))
            self._end(request, then)
            return
        self._frontier.again(request, then.not_before, now, came_from=host)
        if then.slug is not None:
            self._ledger.retry(request, then.not_before)
            log.info("retry %s after %s: %s", request.url, then.slug, then.error)

    def _end(self, request: Request, end: End) -> None:
        self._ledger.end(request, end)
        record = end.record
        if record.outcome == "failed":
            log.warning(
                "failed %s: %s",
                record.url,
                record.error,
                extra={"reason": record.reason, "request_id": record.request_id},
            )

    def _tell_host(self, news: News, host: str, sent_at: float, now: float) -> None:
        if news.host is Host.NOTHING:
            return
        pace, backoff = self._frontier.pace(host), self._plan.rules.retry_of(host).backoff
        if tell(pace, news, sent_at, now, backoff, self._rng):
            self._ledger.learned(host, at_once=news.wait is not None or news.quota is not None)
            self._say(host, pace, now)

    def _say(self, host: str, pace: Pace, now: float) -> None:
        if pace.dead:
            log.warning("%s is given up: nothing but failures since [breaker] give_up; its requests end", host)
        elif pace.blocked_until > now:
            log.info("%s is left alone for %.1f s: %r", host, pace.blocked_until - now, pace)

    # -- looking ------------------------------------------------------------------------------------------------------

    async def _look(self) -> None:
        """Stop transfers that have overstayed."""
        while True:
            await asyncio.sleep(self.watch.tick)
            for transfer in self.watch.overdue(monotonic()):
                _cut(transfer)
            if self._memory.look():
                self._intake.paused = self._memory.full
                self._wake.set()
                self._intake.eased.set()

    async def _show(self, shown: Shown) -> None:
        while True:
            await asyncio.sleep(0.25)
            shown.update(self.snapshot())


def _cut(transfer: Transfer) -> None:
    task = transfer.owner
    assert isinstance(task, asyncio.Task)
    task.cancel()


def _unsent(outcome: Outcome) -> bool:
    """Did nothing of it go onto the wire: no request at all, or one whose body or credential is not to be had."""
    return isinstance(outcome, Failed) and outcome.timing is None


def _internal(request: Request, error: Exception) -> Outcome:
    """A fault of ours, met by one input. Raises StorageError where the disk is at fault."""
    if isinstance(error, OSError):
        raise StorageError(f"a body could not be written: {error}") from error
    log.error("internal error at %s", request.url, exc_info=error)
    return Failed(request, "", Reason.INTERNAL, f"internal error: {error!r}", Timing(wall_clock()))
