"""The table of uploads: added with a commit, gone when they arrived, in order, over runs."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from crawler import shippinglog
from crawler.parcels import Counts, Delivered, Parcel, Thing, Undeliverable


@pytest.fixture
def db(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(tmp_path / "state.db", isolation_level=None)) as found:
        shippinglog.create(found)
        yield found


def things(*names: str) -> list[Thing]:
    return [Thing(name, len(name), None) for name in names]


def names(db: sqlite3.Connection) -> list[str]:
    return [parcel.name for parcel in shippinglog.waiting(db, 0, 100)]


def test_tables_are_made_once(db: sqlite3.Connection) -> None:
    """To make them again keeps what is there."""
    shippinglog.add(db, "run", things("a"))
    shippinglog.create(db)
    assert names(db) == ["a"]


def test_what_waits_is_read_in_windows(db: sqlite3.Connection) -> None:
    """In the order in which it came, from behind a number."""
    shippinglog.add(db, "run", [Thing("a", 1, "ff"), *things("b", "c")])
    first = shippinglog.waiting(db, 0, 2)
    assert first == [Parcel(1, "run", "a", 1, "ff"), Parcel(2, "run", "b", 1)]
    assert [parcel.name for parcel in shippinglog.waiting(db, first[-1].n, 2)] == ["c"]


def test_a_commit_that_fails_leaves_nothing(db: sqlite3.Connection) -> None:
    """It is part of the transaction of whoever calls."""
    db.execute("BEGIN IMMEDIATE")
    shippinglog.add(db, "run", things("a"))
    db.execute("ROLLBACK")
    assert names(db) == []


def test_what_arrived_is_counted_once(db: sqlite3.Connection) -> None:
    """Also where a process that was killed is told of it twice; only its own run counts it."""
    shippinglog.add(db, "run", things("a", "bb"))
    first, second = shippinglog.waiting(db, 0, 9)
    shippinglog.settle(db, [Delivered(second)])
    shippinglog.settle(db, [Delivered(second)])
    assert shippinglog.counts(db, "run") == Counts(done=1, waiting=1, failed=0, bytes=2)
    assert shippinglog.counts(db, "another") == Counts(done=0, waiting=1, failed=0, bytes=0)
    assert names(db) == [first.name]


def test_what_failed_waits_on(db: sqlite3.Connection) -> None:
    """With its attempts and what is wrong, and may have arrived."""
    shippinglog.add(db, "run", things("a"))
    [parcel] = shippinglog.waiting(db, 0, 9)
    shippinglog.settle(db, [Undeliverable(parcel._replace(attempts=3), "upload-auth: no")])
    assert shippinglog.waiting(db, 0, 9) == [parcel._replace(attempts=3, before=True)]
    assert shippinglog.counts(db, "run") == Counts(done=0, waiting=0, failed=1, bytes=0)
    shippinglog.settle(db, [Delivered(parcel)])
    assert shippinglog.counts(db, "run") == Counts(done=1, waiting=0, failed=0, bytes=1)


def test_numbers_are_not_given_twice(db: sqlite3.Connection) -> None:
    """A late report of one that arrived never hits another that came since."""
    shippinglog.add(db, "run", things("a"))
    [old] = shippinglog.waiting(db, 0, 9)
    shippinglog.settle(db, [Delivered(old)])
    shippinglog.add(db, "next", things("b"))
    shippinglog.settle(db, [Delivered(old)])
    assert names(db) == ["b"]
