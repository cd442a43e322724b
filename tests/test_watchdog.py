"""Whether the event loop turns: when that is told, what is named, and who is not blamed."""

from __future__ import annotations

import asyncio
import logging
import re
import sys
import threading
from collections.abc import Sequence
from time import monotonic, process_time, sleep

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawler.watchdog import STILL, Stillness, watching, where


def run(stillness: Stillness, *, until: float, start: float, busy: float = 1.0) -> list[float]:
    """Look four times a second; what is told. `busy` is the share of the time in which the processor is used."""
    told, now = [], start
    while now < until:
        now += 0.25
        told.append(stillness.look(now, now * busy))
    return [still for still in told if still]


def test_a_loop_that_stands_still_is_told_once() -> None:
    """When more than a second has passed since its last beat; the end of it is told as well."""
    stillness = Stillness(0.0, 0.0)
    assert run(stillness, start=0.0, until=10.0) == [1.25]
    assert stillness.beat(10.0) == 10.0
    assert run(stillness, start=10.0, until=20.0) == [1.25]


@given(st.lists(st.floats(0.0, 0.999 * STILL), max_size=50))
def test_a_loop_that_turns_once_a_second_is_well(gaps: list[float]) -> None:
    """However irregularly."""
    stillness, now = Stillness(0.0, 0.0), 0.0
    for gap in gaps:
        now += gap
        assert stillness.look(now, now) == 0.0
        assert stillness.beat(now) == 0.0


def test_a_stopped_process_blames_nobody() -> None:
    """Where the looks themselves came late and no processor was used the whole process stood still."""
    stillness = Stillness(0.0, 0.0)
    assert stillness.look(600.0, 0.01) == 0.0
    assert stillness.beat(600.1) == 0.0
    assert run(stillness, start=600.1, until=605.0, busy=0.0) == [pytest.approx(1.25)]


def test_what_lets_no_other_thread_run_is_told_all_the_same() -> None:
    """A call into C that keeps the interpreter to itself makes the look late, and uses the processor."""
    stillness = Stillness(0.0, 0.0)
    assert stillness.look(5.0, 5.0) == 5.0


def test_the_innermost_function_is_named_first() -> None:
    """With file and line, and those that called it, but for asyncio's own."""

    def inner() -> str:
        return where(sys._getframe())

    def outer() -> str:
        return inner()

    told = outer().split(", called by ")
    assert re.fullmatch(r".*inner \(test_watchdog\.py:\d+\)", told[0])
    assert re.fullmatch(r".*outer \(test_watchdog\.py:\d+\)", told[1])
    assert where(None) == "a place that nobody knows"


def slow_extractor(told: Sequence[object]) -> None:
    """Blocks the loop, as a function of a user may, until that is told."""
    until = monotonic() + 20
    while not told and monotonic() < until:
        sleep(0.05)


@pytest.mark.slow
async def test_a_slow_function_is_named(caplog: pytest.LogCaptureFixture) -> None:
    """One warning with its name while it runs, one line when the loop turns again; the thread ends with it."""
    with caplog.at_level(logging.INFO, "crawler"):
        with watching():
            slow_extractor(caplog.records)
            while len(caplog.records) == 1:  # noqa: ASYNC110 - it tells nobody
                await asyncio.sleep(0.05)
        threads = [thread for thread in threading.enumerate() if thread.name == "watchdog"]
        for thread in threads:
            thread.join(5)
    warning, again = caplog.records
    assert warning.levelname == "WARNING"
    assert re.search(r"in slow_extractor \(test_watchdog\.py:\d+\), called by test_a_slow", warning.getMessage())
    assert re.match(r"the event loop turns again after \d+\.\d s", again.getMessage())
    assert not any(thread.is_alive() for thread in threads)


@pytest.mark.slow
async def test_it_costs_next_to_nothing() -> None:
    """Less than half a percent of a processor, thread and timer together."""
    with watching():
        began = process_time()
        await asyncio.sleep(2.0)
        spent = process_time() - began
    assert spent < 0.005 * 2.0
