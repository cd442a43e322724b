"""The clocks of one start: its turn, its deadline, and its lock, looked at while it works.

Does: wait for jitter and for the lock, stop a pipeline whose time is over or whose folder is gone. Must not know what a
run does, nor decide when its time is over. Invariant: each wait has an end or can be ended by SIGINT and SIGTERM; a
pipeline is told once to stop, so that it drains.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from math import inf
from random import Random
from typing import Protocol

from crawler.deadline import Deadline
from crawler.errors import BusyError, Interrupted, StorageError
from crawler.folders import JobFolder
from crawler.interrupts import SIGNALS, handlers_kept
from crawler.jobrun import Run
from crawler.progress import duration

log = logging.getLogger("crawler")
_TICK = 1.0  # seconds between two looks at clocks and lock
_KNOCK = 0.25  # seconds between two tries to get the lock


class Stoppable(Protocol):
    """What works until it is told to stop: the first call drains, the second cuts."""

    def stop(self) -> None: ...
    @property
    def stopping(self) -> bool: ...


def steady() -> float:
    """Seconds that nobody sets, and that count while the machine sleeps, where the system has such a clock."""
    clock = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
    return time.clock_gettime(clock)


class Timekeeper:
    """Watches one start. `stopped_by` says which deadline ended it, `fault` what became of its folder."""

    def __init__(self, run: Run, folder: JobFolder) -> None:
        self._deadline = Deadline(run.max_time, run.until, time.time(), steady())
        self._folder = folder
        self._pipeline: Stoppable | None = None
        self._timer: asyncio.TimerHandle | None = None
        self.stopped_by: str | None = None
        self.fault: StorageError | None = None

    def __repr__(self) -> str:
        return f"<Timekeeper {self._deadline!r} stopped_by={self.stopped_by}>"

    def check(self) -> None:
        """Raise StorageError where the folder was moved away or deleted."""
        self._folder.check_lock()

    def begin(self) -> None:
        """It has its turn: `max_time` counts from here."""
        self._deadline.begin(steady())

    def watch(self, pipeline: Stoppable) -> None:
        """Look after a pipeline, until `end`."""
        self._pipeline = pipeline
        self._look()

    def end(self) -> None:
        """It is over."""
        self._pipeline = None
        if self._timer is not None:
            self._timer.cancel()

    def _look(self) -> None:
        pipeline = self._pipeline
        if pipeline is None:
            return
        if not self._in_place():
            pipeline.stop()
            pipeline.stop()  # what is under way would be written into nowhere
            return
        left = self._deadline.left(time.time(), steady())
        if left.seconds <= 0 and not pipeline.stopping:
            self.stopped_by = left.why
            log.info("stopped by %s: what is under way may end", left.why)
            pipeline.stop()
        self._timer = asyncio.get_running_loop().call_later(max(0.01, min(_TICK, left.seconds or inf)), self._look)

    def _in_place(self) -> bool:
        try:
            self._folder.check_lock()
        except StorageError as fault:
            self.fault = fault
            log.error("%s", fault)
            return False
        return True


async def jittered(longest: float, rng: Random, *, signals: bool) -> None:
    """Wait a random time up to `longest` seconds. Raises Interrupted."""
    if longest > 0:
        with ended_by_signals(signals) as ended:
            await _wait(ended, rng.uniform(0.0, longest))


async def locked(folder: JobFolder, run: Run, *, signals: bool) -> None:
    """Hold the lock of a folder, as the job has it: at once or never, or when it is free.

    Raises BusyError, Interrupted, StorageError.
    """
    try:
        folder.lock(time.time())
        return
    except BusyError as busy:
        if run.if_running != "wait":
            raise
        log.warning("%s; waits for its end", busy)
    began = steady()
    with ended_by_signals(signals) as ended:
        while True:
            left = inf if run.wait is None else began + run.wait - steady()
            await _wait(ended, max(0.0, min(_KNOCK, left)))
            try:
                folder.lock(time.time())
                return
            except BusyError as busy:
                if left <= _KNOCK:
                    waited = duration(run.wait or 0.0)
                    raise BusyError(f"{busy}; it was waited for {waited} in vain (run.wait)") from None


async def _wait(ended: asyncio.Event, seconds: float) -> None:
    """Wait, or until a signal comes. Raises Interrupted."""
    with suppress(TimeoutError):
        await asyncio.wait_for(ended.wait(), seconds)
    if ended.is_set():
        raise Interrupted("stopped while it waited for its turn; nothing was begun")


@contextmanager
def ended_by_signals(signals: bool) -> Iterator[asyncio.Event]:
    """An event that SIGINT and SIGTERM set, where they are ours to take."""
    ended = asyncio.Event()
    if not signals:
        yield ended
        return
    with handlers_kept():
        loop = asyncio.get_running_loop()
        for number in SIGNALS:
            loop.add_signal_handler(number, ended.set)
        try:
            yield ended
        finally:
            for number in SIGNALS:
                loop.remove_signal_handler(number)
