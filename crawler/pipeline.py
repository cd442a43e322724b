"""The wiring: feed -> frontier -> dispatch -> worker -> settle -> commit; the one file that knows queues and tasks.

Does: run the decisions and effects of the other modules concurrently until the sources are exhausted and nothing is
outstanding, or until told to stop. Must not decide anything about requests itself. Invariant: each request is in one
place (store, frontier, queue, a worker, the batch); no worker ever sleeps for a host; what is shown is committed.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from math import inf
from random import Random
from time import monotonic
from time import time as wall_clock
from typing import NamedTuple, Protocol

from crawler.admission import Admission, Ask
from crawler.bound import eta
from crawler.capture import METHOD
from crawler.discovery import TRAPS, Discovery
from crawler.diskguard import DiskGuard, NoRoom
from crawler.errors import Reason, StorageError
from crawler.filelimit import open_files, out_of_files
from crawler.frontier import DRAINED, Frontier
from crawler.intake import Import, Intake
from crawler.jobrate import JobRate
from crawler.keys import Keys
from crawler.ledger import Ledger
from crawler.links import Leads
from crawler.livestate import Hindered
from crawler.memory import MemoryGuard
from crawler.mirrors import next_mirror
from crawler.model import Failed, Fetched, Outcome, Request, Skipped, Timing
from crawler.openfiles import Crew
from crawler.pace import Pace
from crawler.penalties import tell
from crawler.recall import Recall
from crawler.robots import origin_of
from crawler.settle import End, Host, News, Rules, Wait, judge, move, news_of
from crawler.tally import Snapshot, Speed
from crawler.urls import BadURL, hostname, join
from crawler.wake import Wake
from crawler.watch import Transfer, Watch

log = logging.getLogger("crawler")
Fetch = Callable[[Request], Awaitable[Outcome]]

_DRAIN_SECONDS = 30.0
_BREATH = 0.25  # seconds until a request that found no file to open is made again
_NOTED = 10.0  # seconds between two notes of what traps were found
_SLICE = 1_000  # hosts that are given other limits in one go


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
    disk: DiskGuard | None = None  # the one that bodies are written under
    recall: Recall = Recall(None)  # what earlier runs know
    sees_all: bool = False  # once it is over, what it did not see is gone


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
        self._discovery = given.discovery
        self._speed = Speed()
        self._stopping = False
        self._paused = False
        self._halted = False  # stopping or paused: nothing new is begun
        self._rate = JobRate(plan.rate)
        self._memory = MemoryGuard(plan.memory)
        self._disk = plan.disk or DiskGuard(None)
        self._crew = Crew(plan.workers)
        self.no_room: str | None = None  # why the run was stopped, where that was for want of room on the disk
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
        self._stopping = self._halted = True
        self._rate.stop()
        self._wake.set()

    def pause(self) -> None:
        """Begin nothing new until `resume`; what is under way ends, and is committed."""
        self._paused = self._halted = True

    def resume(self) -> None:
        """Go on after a pause."""
        self._paused, self._halted = False, self._stopping
        self._wake.set()

    def change_rate(self, rate: float | None) -> None:
        """Another limits.rate from now on, in requests per second."""
        self._rate.change(rate)
        self._wake.set()

    async def change_paces(self) -> int:
        """Let what the frontier is told of limits now hold for every host; to how many that was news."""
        changed, names = 0, list(self._frontier.queues)
        for start in range(0, len(names), _SLICE):
            changed += self._frontier.limit(names[start : start + _SLICE], monotonic())
            self._wake.set()
            await asyncio.sleep(0)
        return changed

    @property
    def hindered(self) -> Hindered:
        """What keeps it from beginning something new."""
        disk = self._disk.why if self._disk.full else ""
        full = "limits.memory is reached" if self._memory.full else disk
        idle = self._idle - self._crew.missing
        return Hindered(self._paused, self._stopping, full, self._rate.rate, self._rate.paying, idle)

    @property
    def queued(self) -> int:
        """Requests handed to workers that none has begun."""
        return self._queue.qsize()

    @property
    def frontier(self) -> Frontier:
        """What waits, by host."""
        return self._frontier

    @property
    def stopping(self) -> bool:
        """Was it told to stop."""
        return self._stopping

    @property
    def ledger(self) -> Ledger:
        """Where all goes that is to be kept."""
        return self._ledger

    def named(self, request: Request) -> bool:
        """Does the job's own input name the host at which this request stands, or began."""
        host = hostname(request.url)
        if not request.depth and host in (hostname(request.seed), *map(hostname, request.mirrors)):
            return True
        if self._discovery is not None:
            return self._discovery.names(host)
        # A domain or an address may stand for hosts that nobody named.
        return self._frontier.named(host) if self._gates.keys.plain else host in self._intake.names

    def paced(self, host: str) -> Callable[[float], None] | None:
        """Whom to tell when a request goes onto the wire: the next ones keep their distance to that moment."""
        pace = self._frontier.pace(host)
        return pace.sent if pace.paced else None

    def lend(self, request: Request) -> bool:
        """One more connection for a request under way, where its host and the job have one free, until `give_back`."""
        if self._idle <= self._crew.missing or self._halted or self._disk.full or not self._rate.free:
            return False
        if not self._frontier.lend(request.host, monotonic()):
            return False
        self._idle -= 1
        return True

    def give_back(self, request: Request) -> None:
        """A lent connection is of no more use."""
        self._frontier.done(request.host, monotonic())
        self._idle += 1
        self._wake.set()

    def snapshot(self) -> Snapshot:
        """The run as it stands; counts of ends are those committed."""
        now = monotonic()
        state, counts = self._frontier.state(), self._ledger.committed
        done = counts.fetched + counts.failed + counts.skipped
        rate, byte_rate = self._speed.sample(now, done, counts.bytes)
        longest, host = self._frontier.longest(now)
        left = eta(longest, state.waiting + state.leased, rate) if not self._paused else inf
        return Snapshot(
            job=self._plan.job,
            run=self._plan.run,
            state="draining" if self._stopping else "paused" if self._paused else "running",
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
        self._note()
        await self._ledger.commit()
        if not self._stopping:
            await self._ledger.finish(sees_all=self._saw_all())
        return not self._stopping

    def _saw_all(self) -> bool:
        """Is a URL that was not met gone: not where links may have stood on pages that could not be had."""
        if self._discovery is None or not self._plan.sees_all:
            return self._plan.sees_all
        return self._discovery.unbounded and self._ledger.tally.missed_nothing

    # -- take, fetch, settle ------------------------------------------------------------------------------------------

    async def _dispatch(self) -> None:
        """Give each idle worker the next request that may go. Paces and rate are charged at the moment of sending."""
        paid = self._rate.free
        while not self._stopping:
            if self._idle <= self._crew.missing or self._held_up():
                await self._wake.wait()
                continue
            if not paid:
                paid = await self._rate.pay()
                continue
            step = self._frontier.take(monotonic())
            if isinstance(step, Request):
                self._idle -= 1
                paid = self._rate.free
                self._queue.put_nowait(step)
            elif step is DRAINED:
                return
            else:
                self._intake.low.set()
                await self._wake.wait(step.moment)

    def _held_up(self) -> bool:
        """Is nothing new to be begun; when all is done, that is found out all the same."""
        if self._paused or self._disk.full:
            return self._frontier.waiting > 0
        return self._memory.full and self._frontier.leased > 0

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
        if not request.recalled and request.robots is None:
            self._plan.recall.look(request, wall_clock())
            if request.resting is not None and (self._discovery is None or not self._discovery.follows(request)):
                await self._refuse(Skipped(request, Reason.NOT_DUE, request.resting), host)
                return False
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
        if self._discovery is not None and not request.depth:
            await self._find_sitemaps(self._discovery, request)
        if self._discovery is not None and self._discovery.strange(request):
            request.foreign = True
        if request.partial is None and request.robots is None and request.headers is None:
            request.partial = self._ledger.begun(request.url)
        try:
            outcome = await fetch(request)
        except OSError as trouble:
            wait = self._lacking(trouble)
            log.info("%s waits: %s", request.url, trouble)
            self._frontier.again(request, monotonic() + wait, monotonic(), came_from=host)
            return True
        except Exception as error:
            outcome = _internal(request, error)
        if self._crew.missing:
            self._crew.fine()
        if request.robots is not None:
            await self._robots_answered(outcome, host, sent_at)
        else:
            if not self._gates.keys.plain:
                await self._know_mirror(request)
                if isinstance(outcome, Fetched):
                    await self._know_next(outcome)
            if self._discovery is not None and isinstance(outcome, Fetched):
                await self._discover(self._discovery, outcome)
            self._settle(outcome, host, pace, sent_at)
        unsent = _unsent(outcome)
        if unsent:
            await asyncio.sleep(0)  # of 100,000 of these others get their turn between
        if self._ledger.crowded:
            await self._ledger.room()
        return not unsent

    def _lacking(self, error: OSError) -> float:
        """What a fetch lacked on this machine: seconds until it is worth another try. Raises StorageError where it is
        neither room nor open files.
        """
        if isinstance(error, NoRoom):
            return 0.0
        if not out_of_files(error):
            raise StorageError(f"a body could not be written: {error}") from error
        told = self._crew.struck(self._frontier.leased, open_files())
        if told is not None:
            log.warning("%s", told)
        if self._crew.hopeless:
            raise StorageError(f"not one request finds a file to open: {error}") from error
        return _BREATH

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
        await self._know_mirror(outcome.request)
        now, request = monotonic(), outcome.request
        then = judge(outcome, self._plan.rules, now, self._rng).then
        if isinstance(then, Wait):  # at its next mirror
            self._again(request, then, host, now, _id_of(outcome))
        else:
            self._frontier.done(host, now, sent=False)
            self._end(request, then)
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

    async def _discover(self, discovery: Discovery, outcome: Fetched) -> None:
        """What a page leads to, as requests that are committed with its end; of very many most are put in before."""
        if outcome.again:
            return
        if not self._intake.knows.is_set():
            await self._intake.knows.wait()
        if outcome.sitemap is not None:
            await self._listed(discovery, outcome)
        last: list[Request] = []
        for found in discovery.found(outcome):
            if last:
                await self._intake.found_many(last)
            if self._gates.keys.by_address:
                await self._placed(found)
            last = found
        outcome.found = last

    async def _find_sitemaps(self, discovery: Discovery, request: Request) -> None:
        """Of the site of a seed, now that its robots.txt is known."""
        if not discovery.wants_sitemaps(request):
            return
        await self._intake.knows.wait()
        origin = origin_of(request.url)
        await self._intake.found_many(discovery.sitemaps(origin, self._gates.admission.sitemaps(origin)))

    async def _listed(self, discovery: Discovery, outcome: Fetched) -> None:
        """The same of a sitemap, which is read piece by piece, however large."""
        batches = outcome.sitemap or iter(())
        while (leads := await asyncio.to_thread(_next, batches)) is not None:
            outcome.leads = leads
            for found in discovery.found(outcome):
                if self._gates.keys.by_address:
                    await self._placed(found)
                await self._intake.found_many(found)
            if leads.warning is not None:
                outcome.warning = "; ".join(filter(None, [outcome.warning, leads.warning]))
        outcome.leads = None

    async def _placed(self, found: list[Request]) -> None:
        """Where hosts are told apart by address, those of new requests are looked up."""
        for request in found:
            name = hostname(request.url)
            await self._intake.know(name)
            request.host = request.home = self._gates.keys.key_of(name)

    async def _know_mirror(self, request: Request) -> None:
        """The same of the URL at which a request would go on if this one failed."""
        if (url := next_mirror(request)) is not None:
            await self._intake.know(hostname(url))

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
        if self._halted or (not self._rate.free and not unspent) or self._memory.full or self._disk.full:
            return None
        if self._crew.missing > self._idle:
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
            if isinstance(outcome, Fetched):
                for found in outcome.found:
                    self._intake.found(found, now)
                if outcome.items:
                    self._ledger.items(request, outcome.items)
            self._frontier.done(host, now, sent=not _unsent(outcome))
            self._end(request, then)
            return
        self._again(request, then, host, now, _id_of(outcome))

    def _again(self, request: Request, then: Wait, host: str, now: float, request_id: str) -> None:
        """Let a request that stood at `host` wait, wherever it stands now."""
        self._frontier.again(request, then.not_before, now, came_from=host)
        if then.slug is not None:
            self._ledger.retry(request, then.not_before)
            more = {"url": request.url, "request_id": request_id}
            log.info("retry %s after %s: %s", request.url, then.slug, then.error, extra=more)

    def _end(self, request: Request, end: End) -> None:
        self._ledger.end(request, end)
        record = end.record
        if self._discovery is not None and record.outcome == "fetched":  # else it may be made again
            self._ledger.claims(self._discovery.claimed(request))
        if record.outcome == "failed":
            log.warning(
                "failed %s: %s",
                record.url,
                record.error,
                extra={"reason": record.reason, "url": record.url, "request_id": record.request_id},
            )

    def _tell_host(self, news: News, host: str, sent_at: float, now: float) -> None:
        if news.host is Host.NOTHING:
            return
        pace, backoff = self._frontier.pace(host), self._plan.rules.retry_of(host).backoff
        known = max(pace.blocked_until, now)
        if tell(pace, news, sent_at, now, backoff, self._rng):
            self._ledger.tally.wait(host, pace.blocked_until - known)
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
        noted = monotonic()
        self.watch.begin(noted)
        while True:
            await asyncio.sleep(self.watch.tick)
            for transfer in self.watch.overdue(monotonic()):
                _cut(transfer)
            if self._memory.look() | self._disk.look(monotonic()):
                self._intake.paused = self._memory.full or self._disk.full
                self._wake.set()
                self._intake.eased.set()
            if monotonic() - noted > _NOTED:
                noted = monotonic()
                self._note()
            if self._disk.hopeless and self._frontier.waiting and not self._stopping:
                self.no_room = f"{self._disk.why}; the next run goes on"
                self.stop()

    def _note(self) -> None:
        """Let the next commit remember what traps were found; after a kill a little less is known of them."""
        if self._discovery is not None and (state := self._discovery.traps_state()) is not None:
            self._ledger.note(TRAPS, state)

    async def _show(self, shown: Shown) -> None:
        while True:
            await asyncio.sleep(0.25)
            shown.update(self.snapshot())


def _next(batches: Iterator[Leads]) -> Leads | None:
    return next(batches, None)


def _cut(transfer: Transfer) -> None:
    task = transfer.owner
    assert isinstance(task, asyncio.Task)
    task.cancel()


def _id_of(outcome: Outcome) -> str:
    return "" if isinstance(outcome, Skipped) else outcome.request_id


def _unsent(outcome: Outcome) -> bool:
    """Did nothing of it go onto the wire: no request at all, or one whose body or credential is not to be had."""
    if isinstance(outcome, Fetched):
        return outcome.request.resting is not None
    return isinstance(outcome, Failed) and outcome.timing is None


def _internal(request: Request, error: Exception) -> Outcome:
    """A fault of ours, met by one input."""
    log.error("internal error at %s", request.url, exc_info=error, extra={"url": request.url})
    return Failed(request, "", Reason.INTERNAL, f"internal error: {error!r}", Timing(wall_clock()))
