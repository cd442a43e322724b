"""What earlier runs know of a request, when it is its turn."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import orjson
import pytest

from crawler import historylog
from crawler.errors import StorageError
from crawler.fingerprints import fingerprint
from crawler.known import Known
from crawler.model import Request
from crawler.recall import Recall, Terms

URL = "http://a.example/x"
KNOWN = Known(URL, 1, 1000.0, 5000.0, 5000.0, 4, 2, "aa", 7, fresh_until=6000.0)


def stored(where: Path, *known: Known) -> Path:
    path = where / "state.db"
    with sqlite3.connect(path, isolation_level=None) as db:
        db.executescript(historylog.TABLES)
        historylog.append(db, 1, orjson.dumps([[fingerprint("GET", one.url, None), list(one)] for one in known]))
        assert sum(historylog.fold(db)) == len(known)
    return path


def looked(path: Path | None, wall: float, terms: Terms = Terms(), url: str = URL) -> Request:  # noqa: B008
    request, recall = Request(1, url, "a.example"), Recall(path, terms)
    recall.look(request, wall)
    recall.close()
    return request


def test_what_is_known_goes_along(tmp_path: Path) -> None:
    """A known URL has it, another has not; both have their fingerprint."""
    path = stored(tmp_path, KNOWN)
    assert looked(path, 5500.0).known == KNOWN
    other = looked(path, 5500.0, url="http://a.example/y")
    assert other.known is None
    assert other.fingerprint == fingerprint("GET", "http://a.example/y", None)
    assert looked(None, 5500.0).recalled


@pytest.mark.parametrize(
    ("terms", "wall", "rests"),
    [
        (Terms(), 5500.0, False),
        (Terms(honors=True), 5999.0, True),
        (Terms(honors=True), 6000.0, False),
        (Terms(least=600.0, most=1e6), 5500.0, True),
        (Terms(least=600.0, most=1e6), 5000.0 + 4000.0, False),
        (Terms(least=600.0, most=1e6), 4000.0, False),
        (Terms(honors=True), 4000.0, False),
    ],
)
def test_what_is_not_due_rests(tmp_path: Path, terms: Terms, wall: float, rests: bool) -> None:
    """While it is fresh or not due; a look that lies in the future was made by a clock that was wrong."""
    assert (looked(stored(tmp_path, KNOWN), wall, terms).resting is not None) is rests


def test_it_is_looked_up_once(tmp_path: Path) -> None:
    """A request that was moved on by a redirect keeps what is known of its own URL."""
    recall, request = Recall(stored(tmp_path, KNOWN)), Request(1, URL, "a.example")
    recall.look(request, 1.0)
    request.url = "http://a.example/elsewhere"
    recall.look(request, 1.0)
    recall.close()
    assert request.known == KNOWN
    assert request.fingerprint == fingerprint("GET", URL, None)


def test_a_history_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    """No table, and a row that is none."""
    sqlite3.connect(tmp_path / "empty.db").execute("CREATE TABLE other (x)").connection.close()
    with pytest.raises(StorageError, match=r"empty\.db: its history cannot be read"):
        Recall(tmp_path / "empty.db")
    path = stored(tmp_path, KNOWN)
    with sqlite3.connect(path, isolation_level=None) as db:
        db.execute("UPDATE history SET known = '[1'")
    with pytest.raises(StorageError, match="cannot be read"):
        looked(path, 1.0)
