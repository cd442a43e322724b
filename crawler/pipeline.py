"""The wiring: feed -> frontier -> dispatch -> worker -> settle -> commit; the one file that knows queues and tasks.

Does: run the decisions and effects of the other modules concurrently until the sources are exhausted and nothing is
outstanding, or until told to stop. Must not decide anything about requests itself. Invariant: each request is in one
place (store, frontier, queue, a worker, the batch); no worker ever sleeps for a host; what is shown is committed.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from math import inf
from time import monotonic
from time import time as wall_clock
from typing import NamedTuple, Protocol

from crawler.admission import Ask
from crawler.bound import eta
from crawler.capture import METHOD
from crawler.discovery import TRAPS
from crawler.diskguard import DiskGuard, NoRoom
from crawler.errors import Reason, StorageError
from crawler.filelimit import open_files, out_of_files
from crawler.following import Following
from crawler.frontier import DRAINED, Frontier
from crawler.gates import Gates
from crawler.intake import Import, Intake
from crawler.jobrate import JobRate
from crawler.ledger import Ledger
from crawler.livestate import Hindered
from crawler.memory import MemoryGuard
from crawler.model import Failed, Outcome, Request, Skipped, Timing
from crawler.openfiles import Crew
from crawler.recall import Recall
from crawler.settle import Rules
from crawler.settling import Settling, unsent
from crawler.tally import Snapshot, Speed
from crawler.urls import hostname
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
        self._following = Following(given.discovery, gates.keys, gates.admission, self._intake)
        self._settling = Settling(plan.rules, gates, frontier, ledger, self._intake, given.discovery)
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
            if request.resting is not None and not self._following.leads_on(request):
                await self._refuse(Skipped(request, Reason.NOT_DUE, request.resting), host)
                return False
        pace = self._frontier.pace(host)
        if (why := self._gates.bars(request)) is not None:
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
        if not self._following.idle:
            await self._following.before(request)
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
            await self._settling.robots_answered(outcome, host, sent_at)
        else:
            if not self._following.idle:
                await self._following.after(outcome)
            self._settling.settle(outcome, host, pace, sent_at)
        if nothing_sent := unsent(outcome):
            await asyncio.sleep(0)  # of 100,000 of these others get their turn between
        if self._ledger.crowded:
            await self._ledger.room()
        return not nothing_sent

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

    async def _refuse(self, outcome: Outcome, host: str) -> None:
        """End a request that is not sent; of a host with 100,000 of them others get their turn between."""
        if outcome.request.robots is not None:
            await self._settling.robots_answered(outcome, host, monotonic())
            return
        await self._following.know_mirror(outcome.request)
        self._settling.refuse(outcome, host)
        await asyncio.sleep(0)
        await self._ledger.room()

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


def _cut(transfer: Transfer) -> None:
    task = transfer.owner
    assert isinstance(task, asyncio.Task)
    task.cancel()


def _internal(request: Request, error: Exception) -> Outcome:
    """A fault of ours, met by one input."""
    log.error("internal error at %s", request.url, exc_info=error, extra={"url": request.url})
    return Failed(request, "", Reason.INTERNAL, f"internal error: {error!r}", Timing(wall_clock()))
