"""Records in pages, from each form they are kept in."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from crawler.durable import EMPTY
from crawler.errors import JobError, StorageError
from crawler.monitorfiles import Tree
from crawler.monitorfilter import Wanted
from crawler.monitorrecords import Browser, Slice
from crawler.sinks.csv import CsvRecords
from tests.exportruns import RUN, JobRuns, lines_of, record

COUNT = 300
RECORDS = [
    record(n, outcome="failed", status=404, reason="status-404") if n % 10 == 0 else record(n) for n in range(COUNT)
]
FAILED = [n for n in range(COUNT) if n % 10 == 0]


@pytest.fixture(params=["jsonl", "zstd", "csv", "parquet"])
def browser(request: pytest.FixtureRequest, tmp_path: Path) -> Browser:
    runs = JobRuns(tmp_path)
    place = runs.begin()
    match request.param:
        case "jsonl":
            runs.jsonl(RECORDS, surplus=b'{"id":999,"outcome":"failed"}\nbegun')
        case "zstd":
            runs.jsonl(RECORDS, zstd=True)
        case "csv":
            sink = CsvRecords(place, EMPTY)
            sink.append(lines_of(RECORDS))
            runs.commit(sink.marks())
            sink.close()
        case _:
            runs.parquet([RECORDS[:120], RECORDS[120:]], rows=100, finished=True)
    return Browser(Tree(tmp_path))


def pages(browser: Browser, asked: Wanted, rows: int) -> Iterator[Slice]:
    cursor: int | None = 0
    while cursor is not None:
        page = browser.browse("j", RUN, asked, cursor, rows)
        yield page
        cursor = page.next


def numbers(found: Iterator[Slice]) -> list[Any]:
    return [one["id"] for page in found for one in page.records]


@pytest.mark.parametrize("rows", [7, 100, 200])
def test_pages_hold_every_record_once(browser: Browser, rows: int) -> None:
    """In their order, and no more than are asked for; what is not committed is not there."""
    found = list(pages(browser, Wanted(), rows))
    assert numbers(iter(found)) == list(range(COUNT))
    assert max(len(page.records) for page in found) == rows
    assert sum(page.looked for page in found) == COUNT


def test_a_filter_goes_over_pages(browser: Browser) -> None:
    """What is not wanted is looked at, and told as that."""
    found = list(pages(browser, Wanted(outcome="failed"), 20))
    assert numbers(iter(found)) == FAILED
    assert sum(page.looked for page in found) == COUNT


def test_time_ends_a_slice(browser: Browser) -> None:
    """Then a cursor goes on, until all was looked at."""
    ticks = count()
    slow = Browser(browser._tree, clock=lambda: float(next(ticks)))
    found = list(pages(slow, Wanted(reason="nothing"), 50))
    assert len(found) > 2
    assert sum(page.looked for page in found) == COUNT


def test_a_cursor_may_be_asked_again(browser: Browser) -> None:
    """A page that is opened anew has no place kept for it."""
    [first, *_] = pages(browser, Wanted(), 100)
    assert first.next is not None
    once = browser.browse("j", RUN, Wanted(), first.next, 10)
    again = Browser(browser._tree).browse("j", RUN, Wanted(), first.next, 10)
    assert [one["id"] for one in once.records] == [one["id"] for one in again.records] == list(range(100, 110))


@pytest.mark.parametrize("form", ["jsonl", "zstd"])
def test_the_last_failures_are_found_at_the_end(tmp_path: Path, form: str) -> None:
    """The latest first, without what is not committed."""
    runs = JobRuns(tmp_path)
    runs.begin()
    surplus = b'{"id":999,"outcome":"failed"}\n' if form == "jsonl" else b""
    runs.jsonl(RECORDS, zstd=form == "zstd", surplus=surplus)
    found = Browser(Tree(tmp_path)).failures("j", RUN, 3)
    assert [one["id"] for one in found] == [290, 280, 270]


def test_a_cursor_between_records_is_refused(tmp_path: Path) -> None:
    """Nobody is shown half a record."""
    runs = JobRuns(tmp_path)
    runs.begin()
    runs.jsonl(RECORDS)
    browser = Browser(Tree(tmp_path))
    for cursor in (1, 5, 10**15):
        with pytest.raises(JobError):
            browser.browse("j", RUN, Wanted(), cursor, 10)


def test_a_line_that_is_no_record_is_passed_over(tmp_path: Path) -> None:
    """One damaged line hides no other."""
    runs = JobRuns(tmp_path)
    place = runs.begin()
    runs.jsonl(RECORDS[:3])
    path = place / "records.jsonl"
    path.write_bytes(path.read_bytes().replace(b'{"id":1,', b'["id":1,'))
    page = Browser(Tree(tmp_path)).browse("j", RUN, Wanted(), 0, 10)
    assert [one["id"] for one in page.records] == [0, 2]


@pytest.mark.parametrize("form", ["jsonl", "zstd", "csv"])
def test_records_that_lie_elsewhere_are_not_shown(tmp_path: Path, form: str) -> None:
    """A link out of the folder in the place of a file, or of a run."""
    runs = JobRuns(tmp_path / "out")
    place = runs.begin()
    if form == "csv":
        sink = CsvRecords(place, EMPTY)
        sink.append(lines_of(RECORDS))
        runs.commit(sink.marks())
        sink.close()
    else:
        runs.jsonl(RECORDS, zstd=form == "zstd")
    [path] = place.iterdir()
    path.rename(tmp_path / path.name)
    path.symlink_to(tmp_path / path.name)
    browser = Browser(Tree(tmp_path / "out"))
    with pytest.raises((JobError, StorageError)):
        browser.browse("j", RUN, Wanted(), 0, 10)
    path.unlink()
    (tmp_path / path.name).rename(path)
    assert browser.browse("j", RUN, Wanted(), 0, 10).records
    place.rename(tmp_path / "run")
    place.symlink_to(tmp_path / "run")
    with pytest.raises((JobError, StorageError)):
        browser.browse("j", RUN, Wanted(), 0, 10)
