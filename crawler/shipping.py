"""Finished files on their way to a target, beside the crawl: read in windows, sent by threads, reported back.

Does: let threads send what the dock hands out; tell what arrived and what did not. Must not know SQL or what a target
is. Invariant: nothing is sent before the commit that names it (what `read` gives is committed), and nothing counts as
sent to the next process before the commit that takes the report; the crawl never waits for it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from random import Random
from threading import Event, Thread
from time import monotonic
from typing import NamedTuple

from crawler.cargo import opened
from crawler.dock import Dock
from crawler.parcels import COURSES, Counts, Delivered, Parcel, Undeliverable, Undelivered
from crawler.targets import Target
from crawler.wake import Wake

log = logging.getLogger("crawler")

WINDOW = 256  # parcels read at once
_GRACE = 1.0  # seconds that `close` waits for threads to take away what they sent in part


class Errands(NamedTuple):
    """What the wiring does for a shipper. All but `read` return at once; `read` may wait for the storage thread."""

    path: Callable[[Parcel], Path]  # of the local file
    key: Callable[[Parcel], str]  # under the target's prefix
    read: Callable[[int, int], Awaitable[list[Parcel]]]  # what is committed and waits, above a number, so many at most
    report: Callable[[Delivered | Undeliverable], None]  # to be committed with the next group


class _Porters:
    """Threads that send; the end of a process does not wait for them, since a target may be silent for long."""

    def __init__(self, number: int) -> None:
        self._number = number
        self._jobs: SimpleQueue[tuple[Future[Undelivered | None], Callable[[], Undelivered | None]] | None]
        self._jobs = SimpleQueue()
        self._threads: list[Thread] = []

    def begin(self, job: Callable[[], Undelivered | None]) -> asyncio.Future[Undelivered | None]:
        """Let a thread do it."""
        future: Future[Undelivered | None] = Future()
        self._jobs.put((future, job))
        if len(self._threads) < self._number:
            self._threads.append(Thread(target=self._work, name=f"upload-{len(self._threads)}", daemon=True))
            self._threads[-1].start()
        return asyncio.wrap_future(future)

    def close(self) -> None:
        """Each thread ends when it has done what it does."""
        for _ in self._threads:
            self._jobs.put(None)

    def _work(self) -> None:
        while (item := self._jobs.get()) is not None:
            future, job = item
            if not future.set_running_or_notify_cancel():
                continue
            try:
                future.set_result(job())
            except BaseException as error:
                future.set_exception(error)


class Shipper:
    """Works from `start` to `close`. `counts` are those of the checkpoint at the start."""

    def __init__(
        self, target: Target, dock: Dock, errands: Errands, counts: Counts, parallel: int, rng: Random
    ) -> None:
        self._target = target
        self._dock = dock
        self._errands = errands
        self._rng = rng
        self._porters = _Porters(parallel)
        self._counts = Counts(counts.done, counts.waiting + counts.failed, 0, counts.bytes)
        self._unread = self._old = self._counts.waiting
        self._after = 0
        self._wake = Wake()
        self._settled = asyncio.Event()
        self._abandoned = Event()
        self._closing = False
        self._task: asyncio.Task[None] | None = None
        self._errors: dict[int, str] = {}  # of parcels that wait for another attempt
        self._failed: set[int] = set()  # of these what a `finish` has reported, and may be sent by the next
        self._under_way: set[asyncio.Future[Undelivered | None]] = set()
        self._fault: BaseException | None = None  # a bug, in a thread
        self._said: set[str] = set()
        self.trouble: Undelivered | None = None  # the last one

    def __repr__(self) -> str:
        return f"<Shipper {self._counts} {self._dock!r}>"

    @property
    def counts(self) -> Counts:
        """As they are now; what arrived may not be committed yet."""
        return self._counts

    def start(self) -> None:
        """Begin with what waits already."""
        self._task = asyncio.create_task(self._work())

    def more(self, number: int) -> None:
        """So many parcels were committed."""
        self._unread += number
        self._counts = self._counts._replace(waiting=self._counts.waiting + number)
        self._wake.set()

    async def finish(self, deadline: float | None = None) -> Counts:
        """No more will come: wait for what is left, as long as any of it arrives, at most until a monotonic moment.

        May be called again after `more`. Raises what went wrong with `read`.
        """
        assert self._task is not None
        self._closing = True
        self._settled.clear()
        self._dock.close()
        self._wake.set()
        settled = asyncio.create_task(self._settled.wait())
        timeout = None if deadline is None else max(0.0, deadline - monotonic())
        try:
            await asyncio.wait({settled, self._task}, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        finally:
            settled.cancel()
        if self._task.done():
            self._task.result()
        for parcel in self._dock.left():
            self._fail(parcel, self._errors[parcel.n])
        return self._counts

    async def close(self) -> None:
        """Stop; what is under way is cut at its next piece, and sent again by the next process."""
        self._abandoned.set()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self._under_way:
            await asyncio.wait(set(self._under_way), timeout=_GRACE)
        for future in list(self._under_way):
            future.cancel()
        self._porters.close()
        self._target.close()

    async def _work(self) -> None:
        while True:
            await self._fill()
            while (parcel := self._dock.next(monotonic())) is not None:
                self._send(parcel)
            if self._closing and self._dock.over and (self._unread <= 0 or self._dock.shut):
                self._settled.set()
            await self._wake.wait(self._dock.wakes())
            if self._fault is not None:
                raise self._fault

    async def _fill(self) -> None:
        """Read the next window when little is left of the one before."""
        while self._unread > 0 and len(self._dock) < WINDOW // 2 and not self._dock.shut:
            found = await self._errands.read(self._after, WINDOW)
            if not found:
                self._unread = 0
            for parcel in found:
                self._dock.put(parcel._replace(before=True) if self._old > 0 else parcel)
                self._old -= 1
                self._unread -= 1
                self._after = parcel.n

    def _send(self, parcel: Parcel) -> None:
        future = self._porters.begin(partial(self._sent, parcel))
        self._under_way.add(future)
        future.add_done_callback(lambda ended: self._ended(parcel, ended))

    def _sent(self, parcel: Parcel) -> Undelivered | None:
        """In a thread: None when the parcel arrived."""
        try:
            with opened(self._errands.path(parcel), parcel, self._abandoned.is_set) as cargo:
                self._target.send(self._errands.key(parcel), cargo, before=parcel.before)
        except Undelivered as error:
            return error
        return None

    def _ended(self, parcel: Parcel, ended: asyncio.Future[Undelivered | None]) -> None:
        self._under_way.discard(ended)
        if ended.cancelled() or ((fault := ended.exception()) is not None and self._abandoned.is_set()):
            return
        self._wake.set()
        if fault is not None:
            self._fault = fault
        elif (error := ended.result()) is not None:
            self._missed(parcel, error)
        else:
            self._arrived(parcel)

    def _arrived(self, parcel: Parcel) -> None:
        self._dock.arrived(parcel)
        self._errors.pop(parcel.n, None)
        counts = self._without(parcel)
        self._counts = counts._replace(done=counts.done + 1, bytes=counts.bytes + parcel.size)
        self._errands.report(Delivered(parcel))

    def _missed(self, parcel: Parcel, error: Undelivered) -> None:
        self.trouble = error
        if self._dock.failed(parcel, error.trouble, monotonic(), self._rng):
            self._errors[parcel.n] = str(error)
        else:
            self._errors.pop(parcel.n, None)
            self._fail(parcel._replace(attempts=parcel.attempts + 1), str(error))
        if not self._closing:
            self._warn(error)

    def _warn(self, error: Undelivered) -> None:
        """Say once what holds up all that waits."""
        text = ""
        if self._dock.shut:
            text = "uploads wait until the end of the run, since the target takes none: %s"
        elif self._dock.troubled and not COURSES[error.trouble].refusal:
            text = "uploads wait, since the target has trouble; it is tried again and again: %s"
        if text and text not in self._said:
            self._said.add(text)
            log.warning(text, error)

    def _fail(self, parcel: Parcel, error: str) -> None:
        counts = self._without(parcel)
        self._counts = counts._replace(failed=counts.failed + 1)
        self._failed.add(parcel.n)
        self._errands.report(Undeliverable(parcel, error))

    def _without(self, parcel: Parcel) -> Counts:
        """The counts less a parcel that waits, or that had failed in a `finish` before."""
        if parcel.n in self._failed:
            self._failed.discard(parcel.n)
            return self._counts._replace(failed=self._counts.failed - 1)
        return self._counts._replace(waiting=self._counts.waiting - 1)
