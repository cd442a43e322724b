"""The log of ends: folded or not, it tells the same."""

from __future__ import annotations

import sqlite3
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from crawler import endlog
from crawler.endlog import Ended, EndLog
from crawler.errors import StorageError
from crawler.schema import COUNT_WAITING, open_db
from crawler.states import CHUNK, FAILED, FETCHED, SKIPPED, WAITING

PATH = Path("state.db")


@pytest.fixture
def db(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    """A hundred requests of each of two hosts wait."""
    opened = open_db(tmp_path / "state.db")
    opened.execute("INSERT INTO hosts (id, name, waiting) VALUES (1, 'a', 100), (2, 'b', 100)")
    yield opened
    opened.close()


def counted(db: sqlite3.Connection) -> list[int]:
    return [waiting for (waiting,) in db.execute("SELECT waiting FROM hosts ORDER BY id")]


def size(db: sqlite3.Connection, table: str) -> int:
    count: int = db.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
    return count


@pytest.mark.parametrize("folded_at", [1, 2, 3, 1000])
def test_it_tells_the_same_folded_or_not(
    db: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch, folded_at: int
) -> None:
    """States, what waits, and what waits of each host; opened anew after each group as well."""
    monkeypatch.setattr(endlog, "_FOLDED_AT", folded_at)
    log, known = EndLog(db, PATH, 200), dict[int, tuple[int, int]]()
    groups = [[(1, 5, FETCHED), (2, 110, FAILED)], [(1, 6, SKIPPED)], [(1, 6, FAILED), (2, 111, FETCHED)], []]
    for group in groups:
        log.add([Ended(*end) for end in group])
        known |= {id: (host, state) for host, id, state in group}
        for told in (log, EndLog(db, PATH, 200)):
            assert [told.states[id] for id in range(201)] == [known.get(id, (0, WAITING))[1] for id in range(201)]
            assert [n - told.counted_off(key) for key, n in enumerate(counted(db), 1)] == [
                100 - sum(host == key for host, _ in known.values()) for key in (1, 2)
            ]
        assert db.execute(COUNT_WAITING).fetchone()[0] == 200 - len(known)


def test_a_fold_empties_the_log(db: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    """Until then chunks and counts are not written at all."""
    monkeypatch.setattr(endlog, "_FOLDED_AT", 3)
    log = EndLog(db, PATH, 200)
    log.add([Ended(1, 1, FETCHED), Ended(2, 101, FETCHED)])
    assert (size(db, "endlog"), size(db, "states"), counted(db)) == (1, 0, [100, 100])
    log.add([Ended(2, 102, FETCHED)])
    assert (size(db, "endlog"), size(db, "states"), counted(db)) == (0, 1, [99, 98])


def test_ends_can_be_taken_back(db: sqlite3.Connection) -> None:
    """From the log and from the chunks, each once."""
    log = EndLog(db, PATH, 200)
    log.add([Ended(1, 1, FAILED), Ended(1, 2, FAILED), Ended(2, 101, FAILED)])
    log.wait_again([(1, 1), (1, 1), (1, 3)])
    assert (counted(db), log.states[1], log.states[2]) == ([99, 99], WAITING, FAILED)
    log.wait_again([(1, 2), (2, 101)])
    assert (counted(db), log.states.ended, EndLog(db, PATH, 200).states.ended) == ([100, 100], 0, 0)


@pytest.mark.parametrize(
    "ends",
    [
        b"",
        b"\0" * 16,
        b"\xa5" * 16,
        b"\0" * 7,
        "text",
        None,
        struct.pack("<qq", 1, CHUNK << 2 | FETCHED),
        struct.pack("<qqqq", 1, 5 << 2 | FETCHED, 1, 6 << 2 | FETCHED),
    ],
)
def test_a_log_that_was_not_written_so_is_refused(db: sqlite3.Connection, ends: object) -> None:
    """SQLite checks no content: other bytes, fewer ends and more are damage."""
    EndLog(db, PATH, 200).add([Ended(1, 5, FETCHED)])
    if ends is None:
        db.execute("DELETE FROM endlog")
    else:
        db.execute("UPDATE endlog SET ends = ?", (ends,))
    with pytest.raises(StorageError, match="is damaged"):
        EndLog(db, PATH, 200)
