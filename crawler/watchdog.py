"""Whether the event loop turns: when it stood still for more than a second, a warning that says in which function.

Does: let a thread look at what the loop's own thread is doing, a few times a second. Must not know what that should
be. Invariant: costs the loop one timer each quarter of a second; at most FEW warnings a minute; nobody is blamed where
the process as a whole was stopped (SIGSTOP, a machine that slept).
"""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import PurePath
from time import monotonic, process_time
from types import FrameType

from crawler.logs import Limiter

log = logging.getLogger("crawler")

STILL = 1.0  # seconds
FEW = 5
_LOOK = 0.25  # seconds between two looks, and between two beats of the loop
_IDLE = 0.1  # share of a time in which a process that was not stopped has used the processor
_FRAMES = 4


class Stillness:
    """Decides from beats of the loop and looks of the thread when the loop stood still; each stay is told once.

    All moments are monotonic seconds, `cpu` the seconds of processor time that the process has used.
    """

    def __init__(self, now: float, cpu: float) -> None:
        self._beat = now
        self._looked_at = now
        self._cpu = cpu
        self._told = False

    def beat(self, now: float) -> float:
        """The loop turned; for how many seconds it had stood still, where that was told, else 0."""
        still, told = now - self._beat, self._told
        self._beat, self._told = now, False
        return still if told else 0.0

    def look(self, now: float, cpu: float) -> float:
        """For how many seconds the loop has stood still, where that is to be told now, else 0."""
        late, used = now - self._looked_at - _LOOK, cpu - self._cpu
        self._looked_at, self._cpu = now, cpu
        if late > STILL and used < _IDLE * late:
            self._beat += late  # the looking thread stood still as well, and nothing ran meanwhile
        still = now - self._beat
        if self._told or still <= STILL:
            return 0.0
        self._told = True
        return still


@contextmanager
def watching() -> Iterator[None]:
    """Watch over the running loop, from its own thread, while inside."""
    loop, looked = asyncio.get_running_loop(), threading.get_ident()
    stillness, over = Stillness(monotonic(), process_time()), threading.Event()
    timer: list[asyncio.TimerHandle] = []

    def beat() -> None:
        if (still := stillness.beat(monotonic())) > 0:
            log.info("the event loop turns again after %.1f s; nobody's timeouts ran meanwhile", still)
        timer[:] = [loop.call_later(_LOOK, beat)]

    thread = threading.Thread(target=_look, args=(stillness, over, looked), name="watchdog", daemon=True)
    beat()
    thread.start()
    try:
        yield
    finally:
        over.set()
        timer[0].cancel()


def _look(stillness: Stillness, over: threading.Event, thread: int) -> None:
    limiter = Limiter(FEW)
    while not over.wait(_LOOK):
        now = monotonic()
        still = stillness.look(now, process_time())
        if not still:
            continue
        for _, hidden in limiter.over(now):
            log.warning("the event loop stood still %d times more", hidden)
        if limiter.allow("still", now):
            log.warning(
                "the event loop has stood still for %.1f s, in %s", still, where(sys._current_frames().get(thread))
            )


def where(frame: FrameType | None) -> str:
    """Where a thread is, the innermost function first, without the frames of asyncio that lead there."""
    found: list[str] = []
    while frame is not None and len(found) < _FRAMES:
        code = frame.f_code
        path = PurePath(code.co_filename)
        if path.parent.name != "asyncio":
            found.append(f"{code.co_qualname} ({path.name}:{frame.f_lineno})")
        frame = frame.f_back
    return ", called by ".join(found) or "a place that nobody knows"
