"""SIGINT and SIGTERM outside of a run at work."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from crawler.interrupts import handlers_kept, interruptible


def test_a_termination_is_an_interrupt() -> None:
    """Before and after a run is at work; then it is as it was."""
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt), interruptible(), handlers_kept():
        os.kill(os.getpid(), signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is before


def test_handlers_that_others_leave_are_put_back() -> None:
    """A loop that takes a signal and gives it back leaves the system's own way."""
    with interruptible():
        ours = signal.getsignal(signal.SIGTERM)
        with handlers_kept():
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
        assert signal.getsignal(signal.SIGTERM) is ours


def test_another_thread_takes_no_signals() -> None:
    """It may not: nothing is set, nothing raised."""
    before, seen = signal.getsignal(signal.SIGTERM), []

    def inside() -> None:
        with interruptible():
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=inside)
    thread.start()
    thread.join()
    assert seen == [before]
