"""What happened and is not durable yet, and the one thread that makes it so, group by group.

Does: gather ends, retries, new rows, source positions and what was learned of hosts; commit them together about every
second, sooner when they are many or when a host asked to be left alone. Must not decide anything about requests.
Invariant: what `committed` counts is durable; storage work runs in one thread, in the order in which it was asked for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from time import monotonic
from time import time as wall_clock
from typing import NamedTuple, TypeVar

from crawler.checkpoint import Retry, Settled, SourceMark
from crawler.commit import Batch, Ending, Outputs
from crawler.frontier import Frontier, Want
from crawler.model import Captured, Request
from crawler.paces import text_of
from crawler.rows import NewRow
from crawler.settle import End
from crawler.states import FAILED, FETCHED, SKIPPED
from crawler.tally import Tally
from crawler.wake import Wake

T = TypeVar("T")

_STATES = {"fetched": FETCHED, "failed": FAILED, "skipped": SKIPPED}
# A commit is due after so long, so many ends, or so many bytes of bodies in memory, whichever comes first.
_GROUP_SECONDS = 0.7
_GROUP_ENDS = 1000
_GROUP_BYTES = 16 * 1024 * 1024
_ROWS = 2000  # new rows kept before they go to the store


class Counts(NamedTuple):
    """What may be shown: counts of committed ends."""

    fetched: int
    failed: int
    skipped: int
    retries: int
    bytes: int


def _counts(tally: Tally) -> Counts:
    return Counts(tally.fetched, tally.failed, tally.skipped, tally.retries, tally.bytes)


class Ledger:
    """The open group of one run. `elapsed` is what earlier processes worked on it, in seconds; `beside` gives what
    else is to be written with a commit, if anything.
    """

    def __init__(
        self,
        outputs: Outputs,
        storage: ThreadPoolExecutor,
        frontier: Frontier,
        tally: Tally,
        elapsed: float,
        beside: Callable[[], Callable[[], None] | None] | None = None,
    ) -> None:
        self._beside = beside
        self._outputs = outputs
        self._listener = outputs.listener
        self._storage = storage
        self._frontier = frontier
        self._loop = asyncio.get_running_loop()
        self._began = monotonic() - elapsed
        self.tally = tally
        self.committed = _counts(tally)
        self._batch = Batch()
        self._rows: list[NewRow] = []
        self._marks: dict[int, SourceMark] = {}
        self._hosts: set[str] = set()  # whose pace is to be committed
        self._due = Wake()
        self._room = asyncio.Event()
        self._room.set()
        self.crowded = False  # far more has ended than was committed, or was heard: wait for `room`
        self._over = False

    @property
    def elapsed(self) -> float:
        """Seconds at work on this run."""
        return monotonic() - self._began

    # -- what happened ------------------------------------------------------------------------------------------------

    def end(self, request: Request, end: End) -> None:
        """A request came to its end."""
        record = end.record
        self.tally.add(record, request.home)
        why, at = (record.reason, wall_clock()) if record.outcome == "failed" else (None, 0.0)
        settled = Settled(request.home, request.id, _STATES[record.outcome], why, at)
        batch = self._batch
        batch.end(Ending(settled, record, end.body, request.filename))
        ends = len(batch.endings)
        if ends >= _GROUP_ENDS or batch.weight >= _GROUP_BYTES:
            self._due.set()
            if ends >= 2 * _GROUP_ENDS or batch.weight >= 2 * _GROUP_BYTES:
                self._room.clear()
                self.crowded = True

    def frames(self, request: Request, lines: list[bytes], progress: Captured) -> None:
        """Frames of a capture, as lines, and how far it came with them."""
        batch = self._batch
        batch.capture(request.id, lines, progress)
        if batch.weight >= _GROUP_BYTES:
            self._due.set()
            if batch.weight >= 2 * _GROUP_BYTES:
                self._room.clear()
                self.crowded = True

    def retry(self, request: Request, not_before: float) -> None:
        """A request waits for another attempt, until a moment of the monotonic clock."""
        self.tally.retries += 1
        self._batch.retries.append(Retry(request.id, request.attempt, wall_clock() + not_before - monotonic()))

    def learned(self, host: str, *, at_once: bool = False) -> None:
        """The pace of a host changed; `at_once`: a kill must not make us forget it."""
        self._hosts.add(host)
        if at_once:
            self._due.set()

    def robots(self, origin: str, entry: str) -> None:
        """What robots.txt of an origin says, as text."""
        self._batch.robots[origin] = entry

    def row(self, row: NewRow) -> None:
        """A new request."""
        self._rows.append(row)

    def mark(self, mark: SourceMark) -> None:
        """How far a source was read; its rows until there were all given."""
        self._marks[mark.n] = mark
        if mark.complete:
            self._due.set()

    @property
    def full(self) -> bool:
        """Enough new rows for the store."""
        return len(self._rows) >= _ROWS

    async def room(self) -> None:
        """Wait while far more has ended than was committed, or than whoever listens has taken."""
        await self._room.wait()
        if self._listener is not None:
            await self._listener.caught_up()

    # -- making it durable --------------------------------------------------------------------------------------------

    async def commits(self) -> None:
        """Commit whenever it is due, until `close`. Never cancelled: a group on its way to disk is counted."""
        while not self._over:
            await self._due.wait(monotonic() + _GROUP_SECONDS)
            await self.commit()

    def close(self) -> None:
        """No more will happen."""
        self._over = True
        self._due.set()

    async def commit(self) -> None:
        """Make durable what happened; then, and only then, count it."""
        batch, self._batch = self._batch, Batch()
        rows, marks = self._taken_rows()
        hosts, self._hosts = self._hosts, set()
        if not (len(batch) or rows or marks or hosts or batch.robots):
            return
        wall = wall_clock()
        skew = wall - monotonic()
        batch.paces = {host: text_of(self._frontier.pace(host).state().shifted(skew), wall) for host in hosts}
        counted, counts, elapsed = self.tally.to_json(), _counts(self.tally), self.elapsed

        beside = self._beside() if self._beside is not None else None

        def write() -> None:
            if beside is not None:  # before: a cookie too many does no harm, one too few may
                beside()
            if rows or marks:
                self._outputs.add_rows(rows, marks)
            self._outputs.write(batch, counted, elapsed)

        await self._stored(write)
        self.committed = counts
        # Who is slow to listen holds up the workers, never a commit: others rely on what is in it.
        self.crowded = self._listener is not None and self._listener.behind
        self._room.set()

    async def store_rows(self) -> None:
        """Hand new rows to the store, where they can be read again; durable with the next commit."""
        rows, marks = self._taken_rows()
        if rows or marks:
            await self._stored(lambda: self._outputs.add_rows(rows, marks))

    async def windows(self, wants: list[Want]) -> list[list[tuple[Request, float]]]:
        """Rows of the store for hosts that run low, each with the wall second it is due."""
        await self.store_rows()
        window = self._outputs.checkpoint.window
        return await self._stored(lambda: [window(*want) for want in wants])

    def fingerprints(self) -> Iterator[list[int]]:
        """The fingerprints of all rows of the store, some thousands at a time; each step is storage work."""
        return self._outputs.checkpoint.fingerprints()

    async def step(self, work: Iterator[T]) -> T | None:
        """The next item of storage work that comes in steps; None at its end."""
        return await self._stored(lambda: next(work, None))

    def _taken_rows(self) -> tuple[list[NewRow], list[SourceMark]]:
        rows, self._rows = self._rows, []
        marks, self._marks = list(self._marks.values()), {}
        return rows, marks

    async def _stored(self, work: Callable[[], T]) -> T:
        """Run blocking storage work in its one thread; a cancelled wait still lets the work finish."""
        return await asyncio.shield(self._loop.run_in_executor(self._storage, work))
