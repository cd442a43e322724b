"""What happened and is not durable yet, and the one thread that makes it so, group by group.

Does: gather ends, retries, new rows, source positions and what was learned of hosts; commit them together about every
second, sooner when they are many or when a host asked to be left alone. Must not decide anything about requests.
Invariant: what `committed` counts is durable; storage work runs in one thread, in the order in which it was asked for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import monotonic
from time import time as wall_clock
from typing import NamedTuple, TypeVar

import orjson

from crawler.checkpoint import Retry, Settled, SourceMark
from crawler.commit import Ending, Outputs
from crawler.frontier import Frontier, Want
from crawler.history import change_of
from crawler.known import Sighting
from crawler.model import Captured, Request
from crawler.paces import text_of
from crawler.parcels import Counts as Uploaded
from crawler.parcels import Delivered, Parcel, Undeliverable
from crawler.partial import Partial
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
        partials: dict[str, Partial] | None = None,
        *,
        extracts: bool = False,
    ) -> None:
        self._beside = beside
        self._extracts = extracts
        self._partials = partials or {}  # of earlier processes and runs, until they are gone on with
        self._outputs = outputs
        self._listener = outputs.listener
        self._storage = storage
        self._frontier = frontier
        self._loop = asyncio.get_running_loop()
        self._began = monotonic() - elapsed
        self.tally = tally
        self.committed = _counts(tally)
        self._batch = outputs.batch()
        self._rows: list[NewRow] = []
        self._marks: dict[int, SourceMark] = {}
        self._hosts: set[str] = set()  # whose pace is to be committed
        self.more: Callable[[int], None] | None = None  # told how many files a commit gave to upload
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
        change = change_of(request.known, record)
        self.tally.add(record, request.home, change)
        why, at = (record.reason, wall_clock()) if record.outcome == "failed" else (None, 0.0)
        settled = Settled(request.home, request.id, _STATES[record.outcome], why, at)
        batch = self._batch
        fields = (end.fields,) if self._extracts else None
        fetched = record.outcome == "fetched" and record.sha256 is not None
        at = end.visits[-1].at if end.visits else wall_clock()  # an archive knows its records by their dates
        sighting = Sighting(request.fingerprint, request.known, at, change, fetched, end.fresh_until)
        batch.end(Ending(settled, record, end.body, request.filename, end.visits, fields, sighting))
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

    def items(self, request: Request, items: Sequence[bytes]) -> None:
        """What a page's function gave, as JSON objects; committed with the end of the page."""
        head = b'{"page":%d,"url":%b,"item":' % (request.id, orjson.dumps(request.url))
        self._batch.items += [b"".join((head, item, b"}\n")) for item in items]
        self._batch.weight += sum(map(len, items))

    def partial(self, request: Request, partial: Partial | None) -> None:
        """What came of a large body so far; None where what stands at the request is of no more use.

        It is remembered by its URL alone, so not where a row has headers of its own: another may ask for another body.
        """
        if request.headers is not None:
            return
        kept = partial or request.partial  # the request may stand at another URL by now
        url = kept.url if kept is not None else request.url
        self._batch.partials[url] = partial.dumps() if partial is not None else None

    def shipped(self, end: Delivered | Undeliverable) -> None:
        """A file arrived at the target of uploads, or is not tried again by this process."""
        self._batch.shipped.append(end)

    async def to_ship(self, after: int, limit: int) -> list[Parcel]:
        """Files that wait for their upload, from behind a number."""
        return await self._stored(lambda: self._outputs.checkpoint.to_ship(after, limit))

    async def uploads(self) -> Uploaded:
        """How far they are, by what is committed."""
        return await self._stored(self._outputs.uploads)

    def begun(self, url: str) -> Partial | None:
        """What came of the body at a URL before this process, or in another run; to be asked for once."""
        return self._partials.pop(url, None) if self._partials else None

    async def forget_partials(self) -> None:
        """Bodies that came in part and that nobody went on with: their URLs are not asked for any more."""
        left, self._partials = list(self._partials.values()), {}
        for partial in left:
            self._batch.partials[partial.url] = None
        await self.commit()

        def remove() -> None:
            for partial in left:
                Path(partial.path).unlink(missing_ok=True)

        await self._stored(remove)

    def retry(self, request: Request, not_before: float) -> None:
        """A request waits for another attempt, until a moment of the monotonic clock."""
        self.tally.retries += 1
        if request.missed:
            return  # a kill leads back to its own URL, and what is kept of attempts is of that one
        self._batch.retries.append(Retry(request.id, request.attempt, wall_clock() + not_before - monotonic()))

    def learned(self, host: str, *, at_once: bool = False) -> None:
        """The pace of a host changed; `at_once`: a kill must not make us forget it."""
        self._hosts.add(host)
        if at_once:
            self._due.set()

    def places(self, places: Iterable[str]) -> None:
        """What a seed allows."""
        self._batch.places += places

    def claims(self, prints: Iterable[int]) -> None:
        """Fingerprints of URLs that a request stands for beside its own; committed with its end."""
        self._batch.claims += prints

    def note(self, name: str, text: str) -> None:
        """What is to be known again after a restart."""
        self._batch.notes[name] = text

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
        batch, self._batch = self._batch, self._outputs.batch()
        rows, marks = self._taken_rows()
        hosts, self._hosts = self._hosts, set()
        if not (len(batch) or rows or marks or hosts or batch.robots):
            return
        wall = wall_clock()
        skew = wall - monotonic()
        batch.paces = {host: text_of(self._frontier.pace(host).state().shifted(skew), wall) for host in hosts}
        counted, counts, elapsed = self.tally.to_json(), _counts(self.tally), self.elapsed

        beside = self._beside() if self._beside is not None else None

        def write() -> int:
            if beside is not None:  # before: a cookie too many does no harm, one too few may
                beside()
            if rows or marks:
                self._outputs.add_rows(rows, marks)
            return self._outputs.write(batch, counted, elapsed)

        self._tell(await self._stored(write))
        self.committed = counts
        # Who is slow to listen holds up the workers, never a commit: others rely on what is in it.
        self.crowded = self._listener is not None and self._listener.behind
        self._room.set()

    async def finish(self, *, sees_all: bool) -> None:
        """The run is over, and all of it committed: the outputs are made whole. `sees_all`: what it did not see of what
        was known is gone.
        """
        if sees_all:
            self.tally.forgotten = await self._stored(self._outputs.forget_unseen)
        else:
            await self._stored(self._outputs.fold)
        counted, elapsed = self.tally.to_json(), self.elapsed
        self._tell(await self._stored(lambda: self._outputs.finish(counted, elapsed)))

    def _tell(self, things: int) -> None:
        if things and self.more is not None:
            self.more(things)

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

    def known_prints(self) -> Iterator[list[int]]:
        """The fingerprints of all URLs that earlier runs know, some thousands at a time; each step is storage work."""
        return self._outputs.checkpoint.known_prints()

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
