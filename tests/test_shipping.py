"""The shipper: windows in, files out, reports back; retries, a target that refuses, deadlines and restarts."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from random import Random
from threading import Event, Lock
from time import monotonic

import pytest

from crawler import shippinglog
from crawler.cargo import Cargo
from crawler.dock import REFUSALS, Dock
from crawler.parcels import Counts, Delivered, Parcel, Thing, Trouble, Undeliverable, Undelivered
from crawler.retry import Backoff
from crawler.shipping import WINDOW, Errands, Shipper

AT_ONCE = Backoff.model_validate({"initial": "0s", "jitter": "none"})


class Shelf:
    """A target in memory: `rule` may raise in place of taking a file."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.sent: list[tuple[str, bool]] = []  # each attempt: key, and was it looked for
        self.rule: Callable[[str], None] = lambda key: None
        self.closed = False
        self.under_way = self.peak = 0
        self.full = Event()  # two are sent side by side
        self._lock = Lock()

    def send(self, key: str, cargo: Cargo, *, before: bool) -> None:
        with self._lock:
            self.sent.append((key, before))
            self.under_way += 1
            self.peak = max(self.peak, self.under_way)
            if self.under_way >= 2:
                self.full.set()
        try:
            self.rule(key)
            self.files[key] = b"".join(cargo.pieces(0, cargo.size))
        finally:
            with self._lock:
                self.under_way -= 1

    def close(self) -> None:
        self.closed = True


class Yard:
    """A run's folder, its table, and what the wiring does for a shipper; each report is committed at once."""

    def __init__(self, folder: Path, db: sqlite3.Connection) -> None:
        self.folder = folder
        self.db = db
        self.shelf = Shelf()
        self.windows: list[int] = []
        self.reports: list[Delivered | Undeliverable] = []
        shippinglog.create(db)

    def add(self, *names: str) -> None:
        for name in names:
            (self.folder / name).write_text(name)
        shippinglog.add(self.db, "run", [Thing(name, len(name)) for name in names])

    @property
    def counts(self) -> Counts:
        return shippinglog.counts(self.db, "run")

    async def read(self, after: int, limit: int) -> list[Parcel]:
        await asyncio.sleep(0)
        found = shippinglog.waiting(self.db, after, limit)
        self.windows.append(len(found))
        return found

    def report(self, end: Delivered | Undeliverable) -> None:
        self.reports.append(end)
        shippinglog.settle(self.db, [end])

    @asynccontextmanager
    async def shipper(self, *, parallel: int = 4, attempts: int = 3) -> AsyncIterator[Shipper]:
        errands = Errands(
            path=lambda parcel: self.folder / parcel.name,
            key=lambda parcel: f"job/{parcel.run}/{parcel.name}",
            read=self.read,
            report=self.report,
        )
        counts = self.counts
        dock = Dock(parallel, attempts, AT_ONCE, probing=counts.failed > 0)
        shipper = Shipper(self.shelf, dock, errands, counts, parallel, Random(1))
        shipper.start()
        try:
            yield shipper
        finally:
            await shipper.close()


@pytest.fixture
def yard(tmp_path: Path) -> Iterator[Yard]:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as db:
        yield Yard(tmp_path, db)


def held(let_go: Event) -> None:
    assert let_go.wait(10)


def refuse(key: str) -> None:
    raise Undelivered(Trouble.AUTH, "no right")


async def test_what_is_committed_arrives(yard: Yard) -> None:
    """What waited before, and what comes: each file whole under its key; then nothing waits."""
    yard.add("a", "b")
    async with yard.shipper() as shipper:
        yard.add("c")
        shipper.more(1)
        assert await shipper.finish() == yard.counts == Counts(done=3, waiting=0, failed=0, bytes=3)
    assert yard.shelf.files == {"job/run/a": b"a", "job/run/b": b"b", "job/run/c": b"c"}
    assert yard.shelf.closed


async def test_only_what_an_earlier_process_left_is_looked_for(yard: Yard) -> None:
    """It may have arrived; what was committed since cannot have."""
    yard.add("old")
    async with yard.shipper() as shipper:
        yard.add("new")
        shipper.more(1)
        await shipper.finish()
    assert sorted(yard.shelf.sent) == [("job/run/new", False), ("job/run/old", True)]


async def test_many_are_read_in_windows(yard: Yard) -> None:
    """Memory does not grow with what waits; no more go side by side than were asked for."""
    yard.add(*(f"f{n}" for n in range(3 * WINDOW)))
    async with yard.shipper(parallel=3) as shipper:
        await shipper.finish()
    assert max(yard.windows) == WINDOW
    assert sum(yard.windows) == 3 * WINDOW == len(yard.shelf.files)
    assert yard.shelf.peak <= 3


async def test_no_more_is_read_than_can_be_sent(yard: Yard) -> None:
    """While the target holds everything up, what waits stays in the table."""
    let_go = Event()
    yard.shelf.rule = lambda key: held(let_go)
    yard.add(*(f"f{n}" for n in range(3 * WINDOW)))
    async with yard.shipper() as shipper:
        assert await asyncio.to_thread(yard.shelf.full.wait, 10)
        assert sum(yard.windows) == WINDOW
        let_go.set()
        assert (await shipper.finish()).done == 3 * WINDOW


async def test_a_failure_is_tried_again(yard: Yard) -> None:
    """The second time it is looked for first, since an answer may have been lost."""
    left = [Undelivered(Trouble.CONNECTION, "cut")]

    def once(key: str) -> None:
        if left:
            raise left.pop()

    yard.shelf.rule = once
    async with yard.shipper() as shipper:
        yard.add("a")
        shipper.more(1)
        assert (await shipper.finish()).done == 1
    assert yard.shelf.sent == [("job/run/a", False), ("job/run/a", True)]
    assert [type(end) for end in yard.reports] == [Delivered]


async def test_a_target_that_refuses_is_left_alone(yard: Yard, caplog: pytest.LogCaptureFixture) -> None:
    """Five of a thousand are asked for, one sentence is said; at the end one probe; all wait for the next start."""
    yard.shelf.rule = refuse
    yard.add(*(f"f{n}" for n in range(1000)))
    said = asyncio.Event()
    caplog.handler.addFilter(lambda record: said.set() is None)
    with caplog.at_level(logging.WARNING, "crawler"):
        async with yard.shipper() as shipper:
            await said.wait()
            at_most = REFUSALS + 3  # three more may be under way when the fifth is refused
            assert len(yard.shelf.sent) <= at_most
            counts = await shipper.finish()
            assert len(yard.shelf.sent) <= at_most + 1
    [sentence] = [record.message for record in caplog.records]
    assert "upload-auth: no right" in sentence
    assert counts.done == 0
    assert counts.waiting + counts.failed == 1000
    assert counts.failed >= REFUSALS - 1
    assert yard.counts == counts
    assert shipper.trouble is not None
    assert shipper.trouble.trouble is Trouble.AUTH


async def test_the_next_start_probes_and_goes_on(yard: Yard) -> None:
    """Still refused: one is asked for, and one at the end. Allowed again: all arrive."""
    yard.shelf.rule = refuse
    yard.add(*(f"f{n}" for n in range(20)))
    async with yard.shipper() as shipper:
        await shipper.finish()
    yard.shelf.sent.clear()
    async with yard.shipper() as shipper:
        await shipper.finish()
    assert len(yard.shelf.sent) <= 2  # at its start and at its end
    yard.shelf.rule = lambda key: None
    yard.shelf.sent.clear()
    async with yard.shipper() as shipper:
        assert await shipper.finish() == Counts(done=20, waiting=0, failed=0, bytes=50)
    assert all(before for _, before in yard.shelf.sent)
    assert yard.counts == Counts(done=20, waiting=0, failed=0, bytes=50)


async def test_a_local_file_that_is_gone_fails_alone(yard: Yard) -> None:
    """The others arrive; its error says what it is."""
    yard.add("a", "b", "c")
    (yard.folder / "b").unlink()
    async with yard.shipper() as shipper:
        counts = await shipper.finish()
    assert (counts.done, counts.failed) == (2, 1)
    [error] = [end.error for end in yard.reports if isinstance(end, Undeliverable)]
    assert error.startswith("upload-gone: ")


async def test_a_target_that_is_down_ends_the_waiting(yard: Yard) -> None:
    """After some attempts in a row; what was tried says why, all waits on."""
    yard.add("a", "b")

    def down(key: str) -> None:
        raise Undelivered(Trouble.CONNECTION, "nobody there")

    yard.shelf.rule = down
    async with yard.shipper() as shipper:
        counts = await shipper.finish()
    assert (counts.done, counts.waiting + counts.failed) == (0, 2)
    assert counts.failed >= 1
    assert yard.counts == counts
    errors = {end.error for end in yard.reports if isinstance(end, Undeliverable)}
    assert errors == {"upload-connection: nobody there"}


async def test_a_deadline_is_kept(yard: Yard) -> None:
    """A target that takes for ever holds nobody up: what is under way waits for the next start."""
    let_go = Event()
    yard.shelf.rule = lambda key: held(let_go)
    yard.add("a", "b")
    async with yard.shipper() as shipper:
        counts = await shipper.finish(monotonic() + 0.05)
        assert counts == Counts(done=0, waiting=2, failed=0, bytes=0)
    let_go.set()
    assert yard.reports == []


async def test_the_loop_goes_on_while_files_are_sent(yard: Yard) -> None:
    """All threads are stuck in the target, and others work."""
    let_go = Event()
    yard.shelf.rule = lambda key: held(let_go)
    yard.add("a", "b")
    async with yard.shipper(parallel=2) as shipper:
        assert await asyncio.to_thread(yard.shelf.full.wait, 10)
        let_go.set()
        assert (await shipper.finish()).done == 2


async def test_one_more_may_come_after_the_end(yard: Yard) -> None:
    """The summary is written when the rest has arrived, and goes the same way; what was refused is asked for again."""
    yard.add("a")
    yard.shelf.rule = refuse
    async with yard.shipper() as shipper:
        assert (await shipper.finish()).failed == 1
        yard.shelf.rule = lambda key: None
        yard.add("summary.json")
        shipper.more(1)
        counts = await shipper.finish()
    assert counts == yard.counts == Counts(done=2, waiting=0, failed=0, bytes=13)


async def test_a_bug_is_not_hidden(yard: Yard) -> None:
    """What is no fault of uploading is raised where somebody waits."""

    def broken(key: str) -> None:
        raise ZeroDivisionError

    yard.shelf.rule = broken
    yard.add("a")
    async with yard.shipper() as shipper:
        with pytest.raises(ZeroDivisionError):
            await shipper.finish()
