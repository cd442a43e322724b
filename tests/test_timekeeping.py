"""The clocks of one start."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path
from random import Random

import pytest

from crawler import timekeeping
from crawler.errors import BusyError, Interrupted, StorageError
from crawler.folders import JobFolder
from crawler.jobrun import Run
from crawler.timekeeping import Timekeeper, jittered, locked


class Work:
    """Counts orders to stop."""

    def __init__(self) -> None:
        self.orders = 0
        self.told = asyncio.Event()

    def stop(self) -> None:
        self.orders += 1
        self.told.set()

    @property
    def stopping(self) -> bool:
        return self.orders > 0


class Clocks:
    """Stand still until they are set."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.wall, self.still = 1_800_000_000.0, 100.0
        monkeypatch.setattr(timekeeping.time, "time", lambda: self.wall)
        self.read = 0
        monkeypatch.setattr(timekeeping, "steady", self._steady)
        monkeypatch.setattr(timekeeping, "_TICK", 0.01)
        monkeypatch.setattr(timekeeping, "_KNOCK", 0.01)

    def _steady(self) -> float:
        self.read += 1
        return self.still

    async def looks(self) -> None:
        """Let some looks at the clocks pass."""
        until = self.read + 5
        async with asyncio.timeout(20):
            while self.read < until:  # noqa: ASYNC110 - it tells nobody
                await asyncio.sleep(0)


@pytest.fixture
def folder(tmp_path: Path) -> JobFolder:
    return JobFolder(tmp_path, "j")


def run(**said: object) -> Run:
    return Run.model_validate(said)


async def test_at_its_deadline_work_is_told_once_to_stop(folder: JobFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once, since twice would cut; and it is known which deadline it was."""
    clocks, work = Clocks(monkeypatch), Work()
    keeper = Timekeeper(run(max_time="50m"), folder)
    clocks.still += 500
    keeper.begin()
    keeper.watch(work)
    clocks.wall += 86400  # max_time is not of the wall clock
    await clocks.looks()
    assert work.orders == 0
    clocks.still += 3000
    async with asyncio.timeout(20):
        await work.told.wait()
    await clocks.looks()
    keeper.end()
    assert (work.orders, keeper.stopped_by) == (1, "max_time 50m")


async def test_who_is_stopping_already_is_left_alone(folder: JobFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    """A deadline behind a signal neither cuts nor takes the blame."""
    clocks, work = Clocks(monkeypatch), Work()
    keeper = Timekeeper(run(max_time="1m"), folder)
    keeper.begin()
    work.stop()
    clocks.still += 100
    keeper.watch(work)
    keeper.end()
    assert (work.orders, keeper.stopped_by) == (1, None)


async def test_the_clock_that_jumps_past_until_ends_it(folder: JobFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is looked at again and again."""
    clocks, work = Clocks(monkeypatch), Work()
    keeper = Timekeeper(run(until="06:00"), folder)
    keeper.begin()
    keeper.watch(work)
    clocks.wall += 86400
    async with asyncio.timeout(20):
        await work.told.wait()
    keeper.end()
    assert keeper.stopped_by == "until 06:00"


async def test_work_whose_folder_is_gone_is_cut(folder: JobFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Twice told: what is under way would be written into nowhere."""
    Clocks(monkeypatch)
    work, keeper = Work(), Timekeeper(run(), folder)
    folder.lock(0.0)
    keeper.watch(work)
    folder.path.rename(folder.path.with_name("gone"))
    async with asyncio.timeout(20):
        await work.told.wait()
    assert work.orders == 2
    assert isinstance(keeper.fault, StorageError)
    folder.unlock()


async def test_a_lock_is_waited_for(folder: JobFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Until it is free; with skip and fail it is not."""
    clocks = Clocks(monkeypatch)
    other = JobFolder(folder.path.parent, "j")
    other.lock(0.0)
    for choice in ("skip", "fail"):
        with pytest.raises(BusyError, match=f"pid {os.getpid()}"):
            await locked(folder, run(if_running=choice), signals=False)
    waiting = asyncio.create_task(locked(folder, run(if_running="wait", wait="1h"), signals=False))
    await clocks.looks()
    assert not waiting.done()
    other.unlock()
    await asyncio.wait_for(waiting, 20)
    assert folder.held()
    folder.unlock()


async def test_the_wait_for_a_lock_has_its_bound(folder: JobFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the steady clock: run.wait, and no longer."""
    clocks = Clocks(monkeypatch)
    other = JobFolder(folder.path.parent, "j")
    other.lock(0.0)
    waiting = asyncio.create_task(locked(folder, run(if_running="wait", wait="10m"), signals=False))
    await clocks.looks()
    clocks.wall += 86400
    await clocks.looks()
    assert not waiting.done()
    clocks.still += 600
    with pytest.raises(BusyError, match="it was waited for 10m00s in vain"):
        await asyncio.wait_for(waiting, 20)
    other.unlock()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_signals_end_a_wait(folder: JobFolder, number: signal.Signals) -> None:
    """For the lock, and of jitter; afterwards signals do what they did."""
    other = JobFolder(folder.path.parent, "j")
    other.lock(0.0)
    before = signal.getsignal(number)
    for wait in (
        locked(folder, run(if_running="wait"), signals=True),
        jittered(3600.0, Random(1), signals=True),
    ):
        waiting = asyncio.create_task(wait)
        async with asyncio.timeout(20):
            while signal.getsignal(number) is before:  # noqa: ASYNC110 - it tells nobody
                await asyncio.sleep(0)
        os.kill(os.getpid(), number)
        with pytest.raises(Interrupted):
            await asyncio.wait_for(waiting, 20)
        assert signal.getsignal(number) is before
    other.unlock()


async def test_no_jitter_is_no_wait() -> None:
    """Not even a turn of the loop; and a jitter is random up to its bound."""
    with pytest.raises(StopIteration):
        jittered(0.0, Random(1), signals=False).send(None)
    began = asyncio.get_running_loop().time()
    await asyncio.wait_for(jittered(0.02, Random(1), signals=False), 20)
    assert asyncio.get_running_loop().time() - began >= Random(1).uniform(0.0, 0.02) - 0.001
