"""The log of sightings, and what it is folded into."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawler import historylog
from crawler.known import Known

KNOWN = Known("http://a/", 1, 1.0, 2.0, 2.0, sha256="aa", bytes=1)


@pytest.fixture
def db(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    opened = made(str(tmp_path / "state.db"))
    yield opened
    opened.close()


def made(path: str) -> sqlite3.Connection:
    db = sqlite3.connect(path, isolation_level=None)
    db.executescript(historylog.TABLES + "CREATE TABLE meta (key TEXT PRIMARY KEY, value) WITHOUT ROWID;")
    return db


def known(holder: int, sha256: str = "aa") -> list[object]:
    return list(KNOWN._replace(holder=holder, sha256=sha256))


def fold(db: sqlite3.Connection) -> int:
    return sum(historylog.fold(db))


def test_nothing_is_known_before_the_fold(db: sqlite3.Connection) -> None:
    """Who reads the history while a run is at work sees it as it was when the run began."""
    historylog.append(db, 1, orjson.dumps([[7, known(1)]]))
    assert historylog.known_of(db, 7) is None
    assert historylog.is_empty(db)
    assert fold(db) == 1
    assert historylog.known_of(db, 7) == KNOWN
    assert fold(db) == 0


def test_the_last_sighting_counts(db: sqlite3.Connection) -> None:
    """Of several of one URL, in one group or in two."""
    historylog.append(db, 1, orjson.dumps([[7, known(1)], [7, known(1, "bb")]]))
    historylog.append(db, 2, orjson.dumps([[7, known(2, "cc")]]))
    fold(db)
    found = historylog.known_of(db, 7)
    assert found is not None
    assert (found.holder, found.sha256) == (2, "cc")
    assert historylog.holders(db) == {2}


def test_what_is_gone_is_forgotten_and_what_failed_is_not(db: sqlite3.Connection) -> None:
    """A URL that was only noted keeps what is known of it."""
    historylog.append(db, 1, orjson.dumps([[7, known(1)], [8, known(1)]]))
    historylog.append(db, 2, orjson.dumps([[7, None], [8]]))
    fold(db)
    assert historylog.known_of(db, 7) is None
    assert historylog.known_of(db, 8) == KNOWN
    assert historylog.forget_unseen(db, 2) == 0
    assert historylog.known_of(db, 8) == KNOWN


def test_what_a_run_did_not_see_is_forgotten_once(db: sqlite3.Connection) -> None:
    """Asked twice, as after a kill, it says the same number."""
    historylog.append(db, 1, orjson.dumps([[7, known(1)], [8, known(1)], [9, known(1)]]))
    historylog.append(db, 2, orjson.dumps([[8]]))
    fold(db)
    assert historylog.forget_unseen(db, 2) == 2
    assert historylog.forget_unseen(db, 2) == 2
    assert [print_ for some in historylog.prints(db) for print_ in some] == [8]


def test_a_fold_that_is_cut_is_taken_up(db: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    """After any step, and a kill within one, the rest folds to the same."""
    monkeypatch.setattr(historylog, "_AT_ONCE", 1)
    for print_ in range(1, 6):
        historylog.append(db, 1, orjson.dumps([[print_, known(1)]]))
    steps = historylog.fold(db)
    next(steps)
    steps.close()
    db.execute("BEGIN IMMEDIATE")  # a step that never came to its commit
    historylog._fold(db, 1, [[2, known(1, "xx")]])
    db.execute("ROLLBACK")
    assert fold(db) == 4
    assert [historylog.known_of(db, print_) for print_ in range(1, 6)] == [KNOWN] * 5


def test_fingerprints_come_whole_in_pieces(db: sqlite3.Connection) -> None:
    """All of them once, negative ones too, however small the pieces."""
    prints = [-(2**63), -5, -1, 3, 2**63 - 1]
    historylog.append(db, 1, orjson.dumps([[print_, known(1)] for print_ in prints]))
    fold(db)
    pieces = list(historylog.prints(db, 2))
    assert max(map(len, pieces)) == 2
    assert [print_ for piece in pieces for print_ in piece] == prints


OPS = st.sampled_from(["known", "gone", "seen"])


@given(st.lists(st.tuples(st.integers(1, 3), st.lists(st.tuples(st.integers(1, 4), OPS)))))
def test_a_fold_is_what_its_rows_say_in_their_order(groups: list[tuple[int, list[tuple[int, str]]]]) -> None:
    """Against a dict; within a group a URL ends once."""
    db, model = made(":memory:"), dict[int, str]()
    for number, (run, ends) in enumerate(groups):
        rows: list[list[object]] = []
        for print_, op in dict(ends).items():
            sha = f"{number}-{print_}"
            rows.append([print_, known(run, sha)] if op == "known" else [print_, None] if op == "gone" else [print_])
            if op == "known":
                model[print_] = sha
            elif op == "gone":
                model.pop(print_, None)
        historylog.append(db, run, orjson.dumps(rows))
    fold(db)
    found = {print_: historylog.known_of(db, print_) for some in historylog.prints(db) for print_ in some}
    assert {print_: one.sha256 for print_, one in found.items() if one is not None} == model
    db.close()
