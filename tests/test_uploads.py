"""The uploads of one run: beside the crawl, to their end, and not for long once they are to stop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from threading import Event
from typing import cast

import pytest

from crawler import uploads
from crawler.cargo import Cargo
from crawler.folders import JobFolder
from crawler.jobupload import Upload
from crawler.ledger import Ledger
from crawler.parcels import Counts, Delivered, Parcel, Trouble, Undeliverable, Undelivered
from crawler.uploads import Uploads

SAID = Upload.model_validate({"to": "s3://bucket", "attempts": 2, "backoff": {"initial": "0s", "jitter": "none"}})


class Shelf:
    """A target in memory; `rule` may raise, or wait."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.rule: Callable[[str], None] = lambda key: None
        self.closed = False

    def send(self, key: str, cargo: Cargo, *, before: bool) -> None:
        self.rule(key)
        self.files[key] = b"".join(cargo.pieces(0, cargo.size))

    def close(self) -> None:
        self.closed = True


class Book:
    """What the uploads want of a ledger: rows that wait, and reports that count when they are committed."""

    def __init__(self) -> None:
        self.more: Callable[[int], None] | None = None
        self.rows: dict[int, Parcel] = {}
        self.errors: dict[int, str] = {}
        self.commits = self.done = self.bytes = 0
        self._reports: list[Delivered | Undeliverable] = []

    def add(self, *parcels: Parcel) -> None:
        self.rows |= {parcel.n: parcel for parcel in parcels}
        if self.more is not None:
            self.more(len(parcels))

    async def to_ship(self, after: int, limit: int) -> list[Parcel]:
        return [parcel for n, parcel in sorted(self.rows.items()) if n > after][:limit]

    def shipped(self, end: Delivered | Undeliverable) -> None:
        self._reports.append(end)

    async def commit(self) -> None:
        self.commits += 1
        ends, self._reports = self._reports, []
        for end in ends:
            if isinstance(end, Undeliverable):
                self.errors[end.parcel.n] = end.error
            elif self.rows.pop(end.parcel.n, None) is not None:
                self.done, self.bytes = self.done + 1, self.bytes + end.parcel.size

    async def uploads(self) -> Counts:
        failed = len(self.errors.keys() & self.rows.keys())
        return Counts(self.done, len(self.rows) - failed, failed, self.bytes)


class Yard:
    """Two runs of a job, their files, a ledger and a target."""

    def __init__(self, folder: Path) -> None:
        self.folder = JobFolder(folder, "job")
        self.shelf = Shelf()
        self.book = Book()

    def add(self, *numbers: int, run: str = "r2") -> None:
        found = []
        for n in numbers:
            path = self.folder.run(run) / str(n)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"x" * n)
            found.append(Parcel(n, run, str(n), n))
        self.book.add(*found)

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Uploads]:
        ledger = cast("Ledger", self.book)
        opened = Uploads(SAID, self.shelf, self.folder, ledger, await self.book.uploads())
        try:
            yield opened
        finally:
            await opened.close()


@pytest.fixture
def yard(tmp_path: Path) -> Yard:
    return Yard(tmp_path)


def never() -> bool:
    return False


async def test_all_arrives_under_the_names_of_its_job_and_run(yard: Yard) -> None:
    """What an earlier run left, and what comes; the counts are those that are committed."""
    yard.add(1, run="r1")
    async with yard.open() as opened:
        assert opened.counts == Counts(0, 1, 0, 0)
        yard.add(2, 3)
        await opened.finish(never)
        assert opened.counts == Counts(3, 0, 0, 6)
        assert opened.trouble is None
    assert yard.shelf.files == {"job/r1/1": b"x", "job/r2/2": b"xx", "job/r2/3": b"xxx"}
    assert yard.shelf.closed


async def test_what_is_left_is_told_with_its_trouble(yard: Yard) -> None:
    """One file is refused; the others arrive."""

    def refuse(key: str) -> None:
        if key.endswith("/2"):
            raise Undelivered(Trouble.REFUSED, "not this one")

    yard.shelf.rule = refuse
    async with yard.open() as opened:
        yard.add(1, 2, 3)
        await opened.finish(never)
        assert opened.counts == Counts(2, 0, 1, 4)
        assert opened.trouble == "upload-refused: not this one"


async def test_trouble_that_was_overcome_is_not_told(yard: Yard) -> None:
    """At the second attempt all is well."""
    met: list[str] = []

    def once(key: str) -> None:
        if not met:
            met.append(key)
            raise Undelivered(Trouble.BUSY, "slow down")

    yard.shelf.rule = once
    async with yard.open() as opened:
        yard.add(1)
        await opened.finish(never)
        assert met
        assert opened.trouble is None


async def test_a_stop_ends_the_wait(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    """What hangs waits for the next start; what arrived meanwhile is committed."""
    monkeypatch.setattr(uploads, "_STOPPED", 0.05)
    monkeypatch.setattr(uploads, "_COMMITS", 0.01)
    let_go, second = Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    def hang(key: str) -> None:
        if key.endswith("/2"):
            loop.call_soon_threadsafe(second.set)
            assert let_go.wait(10)

    yard.shelf.rule = hang
    async with yard.open() as opened:
        yard.add(1, 2)
        await second.wait()
        await opened.finish(lambda: True)
        assert opened.counts == Counts(1, 1, 0, 1)
        let_go.set()


async def test_a_bug_is_raised(yard: Yard) -> None:
    """It is no trouble of the target."""

    def bug(key: str) -> None:
        raise ZeroDivisionError

    yard.shelf.rule = bug
    async with yard.open() as opened:
        yard.add(1)
        with pytest.raises(ZeroDivisionError):
            await opened.finish(never)


async def test_a_file_that_changed_and_waits_anew_is_no_loss(yard: Yard) -> None:
    """Its old row is gone from the checkpoint while it was under way: only what is committed counts."""
    yard.add(1)
    async with yard.open() as opened:
        (yard.folder.run("r2") / "1").write_bytes(b"changed")
        del yard.book.rows[1]
        yard.book.add(Parcel(2, "r2", "1", 7))
        await opened.finish(never)
        assert opened.counts == Counts(1, 0, 0, 7)
        assert opened.trouble is None
    assert yard.shelf.files == {"job/r2/1": b"changed"}
