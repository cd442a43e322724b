"""SIGINT and SIGTERM outside of a run at work: both end a command in the same way.

Does: set and put back handlers. Must not know what is interrupted. Invariant: whatever took the signals meanwhile, they
do again what they did before; outside the main thread, which alone gets signals, nothing is done.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)
_AGAIN = 0.02  # seconds until it is tried again


@contextmanager
def handlers_kept() -> Iterator[None]:
    """What the signals did before they do again: a loop that gives them back leaves the system's own ways."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before: dict[signal.Signals, Any] = {number: signal.getsignal(number) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            if handler is not None:
                signal.signal(number, handler)


_seen = threading.Event()


def interrupted() -> bool:
    """Did a signal come. What it raised may be lost: within a callback of the garbage collector Python drops it."""
    return _seen.is_set()


@contextmanager
def interruptible() -> Iterator[None]:
    """Both signals raise KeyboardInterrupt, as soon as nothing is being imported: an extension whose loading is cut off
    may take the process with it.
    """

    def interrupt(number: int, frame: FrameType | None) -> None:
        _seen.set()
        if _importing(frame):
            signal.setitimer(signal.ITIMER_REAL, _AGAIN)
            return
        raise KeyboardInterrupt

    with handlers_kept():
        main = threading.current_thread() is threading.main_thread()
        if main:
            _seen.clear()
            for number in (*SIGNALS, signal.SIGALRM):
                signal.signal(number, interrupt)
        try:
            yield
        finally:
            if main:
                signal.setitimer(signal.ITIMER_REAL, 0.0)


def _importing(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False
