"""Where rows are put, and that they are found again wherever they lie."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from crawler import rowstore
from crawler.errors import StorageError
from crawler.model import Request
from crawler.rows import NewRow
from crawler.rowstore import RowStore, add_waiting
from crawler.schema import COUNT_WAITING, open_db
from crawler.states import FETCHED, States

KEYS = {"a": 1, "b": 2, "c": 3}


@pytest.fixture
def db(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    opened = open_db(tmp_path / "state.db")
    opened.executemany("INSERT INTO hosts (id, name) VALUES (?, ?)", [(key, name) for name, key in KEYS.items()])
    yield opened
    opened.close()


@pytest.fixture
def store(db: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch) -> RowStore:
    """Its inbox is full with 12 rows; four rows of a host are worth a page."""
    monkeypatch.setattr(rowstore, "_FULL", 12)
    monkeypatch.setattr(rowstore, "_CLUSTERED", 4)
    return RowStore(db, Path("state.db"))


def insert(store: RowStore, first: int, hosts: str) -> None:
    store.insert([NewRow(Request(id, f"http://{h}/{id}", h), id * 7) for id, h in enumerate(hosts, first)], KEYS)


def sizes(db: sqlite3.Connection) -> list[int]:
    return [db.execute(f"SELECT count(*) FROM {name}").fetchone()[0] for name in ("requests", "inbox0", "inbox1")]


def ids(store: RowStore, key: int, first: int = 1, limit: int = 100, ended: tuple[int, ...] = ()) -> list[int]:
    states = States()
    for id in ended:
        states[id] = FETCHED
    return [id for id, *_ in store.window(key, first, limit, states)]


def filled(store: RowStore) -> None:
    """Rows of "c" in `requests`, and 36 of the others that pass through the inboxes, two of each at a time."""
    insert(store, 1, "cc")
    for first in range(3, 39, 4):
        insert(store, first, "aabb")


def test_rows_in_the_order_of_hosts_go_straight_to_their_place(store: RowStore, db: sqlite3.Connection) -> None:
    """Also a host that comes with few rows, or in two inserts."""
    insert(store, 1, "ab")
    insert(store, 3, "bbcc")
    insert(store, 7, "c")
    assert (sizes(db), store.staged) == ([7, 0, 0], 0)


def test_only_scattered_rows_are_staged(store: RowStore, db: sqlite3.Connection) -> None:
    """Many rows of one host share its pages wherever that host lies."""
    insert(store, 1, "c")
    insert(store, 2, "aabbbbc")
    assert (sizes(db), store.staged_of_hosts()) == ([6, 2, 0], {1: 2})


def test_a_full_inbox_is_merged_while_the_other_fills(store: RowStore, db: sqlite3.Connection) -> None:
    """Host by host, twice as many rows as come; no insert does all of it; then its table is empty again."""
    insert(store, 1, "c")
    found = []
    for first in range(2, 38, 4):
        insert(store, first, "abab")
        found.append(sizes(db))
    assert found == [
        [1, 4, 0],
        [1, 8, 0],
        [1, 12, 0],
        [13, 0, 4],
        [13, 0, 8],
        [13, 0, 12],
        [25, 4, 0],
        [25, 8, 0],
        [25, 12, 0],
    ]


def test_a_window_sees_rows_wherever_they_lie(store: RowStore, db: sqlite3.Connection) -> None:
    """In the order of their ids, from the first asked for, without those that ended."""
    filled(store)
    insert(store, 39, "a")
    assert min(sizes(db)[0], store.staged) > 2
    of_a = [id for id in range(3, 39) if (id - 3) % 4 < 2] + [39]
    assert ids(store, 1) == of_a
    for limit in (1, 5, 17):
        assert ids(store, 1, of_a[3], limit) == of_a[3:][:limit]
    assert ids(store, 1, ended=tuple(of_a[1:-1])) == [of_a[0], of_a[-1]]
    assert ids(store, 3) == [1, 2]


def test_all_that_waits_is_counted_once(store: RowStore, db: sqlite3.Connection) -> None:
    """Where a row lies makes no difference."""
    filled(store)
    assert db.execute(COUNT_WAITING).fetchone()[0] == 38
    add_waiting(db, {1: -3, 2: 1})
    assert db.execute(COUNT_WAITING).fetchone()[0] == 36


def test_a_store_opened_anew_tells_the_same(store: RowStore, db: sqlite3.Connection) -> None:
    """After each insert, so in every state of a merge."""
    insert(store, 1, "c")
    for first in range(2, 80, 5):
        insert(store, first, "abbca")
        again = RowStore(db, Path("state.db"))
        assert (again.staged, again.staged_of_hosts()) == (store.staged, store.staged_of_hosts())
        assert [ids(again, key) for key in (1, 2, 3)] == [ids(store, key) for key in (1, 2, 3)]
        prints = sorted(print_ for some in again.fingerprints() for print_ in some)
        assert prints == [id * 7 for id in range(1, first + 5)]
        assert sorted(id for _, id, _, _ in again.listed()) == list(range(1, first + 5))


def test_a_merge_between_two_steps_hides_no_fingerprint(store: RowStore) -> None:
    """What was there when the reading began comes at least once."""
    filled(store)
    for first in range(40, 200, 4):
        there = {id * 7 for _, id, _, _ in store.listed()}
        reading, seen = store.fingerprints(), set[int]()
        seen.update(next(reading))
        insert(store, first, "abab")
        for some in reading:
            seen.update(some)
        assert there <= seen


def change(db: sqlite3.Connection, store: RowStore, how: str) -> None:
    insert(store, 1, "cc")
    insert(store, 3, "aabb")
    db.execute(f"{how} WHERE id = 4")


@pytest.mark.parametrize("how", ["DELETE FROM inbox0", "UPDATE inbox0 SET host = 'x'"])
def test_staged_rows_that_are_gone_are_told(store: RowStore, db: sqlite3.Connection, how: str) -> None:
    """At once when opened, else by the window that misses them."""
    change(db, store, how)
    with pytest.raises(StorageError, match="is damaged"):
        RowStore(db, Path("state.db"))
    with pytest.raises(StorageError, match="new rows of host 1 some are gone"):
        ids(store, 1)


def test_a_merge_misses_what_is_gone(store: RowStore, db: sqlite3.Connection) -> None:
    """It moves no fewer rows than there were."""
    change(db, store, "DELETE FROM inbox0")
    insert(store, 7, "ababab")
    insert(store, 13, "ab")
    with pytest.raises(StorageError, match="of 6 new rows some are gone"):
        insert(store, 15, "ab")
