"""What earlier runs know of a request, looked up when it is its turn; and whether it is worth asking at all.

Does: read `history` of state.db through a connection of its own, from the event loop: one row by its fingerprint, some
microseconds. Must not write, nor decide what is changed. Invariant: it reads only what no run is writing (see
historylog.py); where nothing is known yet, a request costs nothing but its fingerprint.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import NamedTuple

from crawler import historylog
from crawler.errors import StorageError
from crawler.fingerprints import fingerprint
from crawler.history import due
from crawler.known import Known
from crawler.model import Request
from crawler.schema import reading_uri
from crawler.stamps import stamp_to_second


class Terms(NamedTuple):
    """When a URL that is known need not be asked: while it is fresh by its own word (`honors`), or not due yet by how
    often it changes, between `least` and `most` seconds.
    """

    honors: bool = False
    least: float | None = None
    most: float = 0.0


NOT_EVEN_FRESH = Terms()


class Recall:
    """The history as it was when the run began. Close it."""

    def __init__(self, path: Path | None, terms: Terms = NOT_EVEN_FRESH) -> None:
        """`path` is that of state.db; None where there is no history. Raises StorageError."""
        self._db: sqlite3.Connection | None = None
        self._terms = terms
        if path is None:
            return
        try:
            self._db = sqlite3.connect(reading_uri(path, wal=True), uri=True, timeout=60, check_same_thread=False)
            historylog.known_of(self._db, 0)
        except sqlite3.Error as error:
            raise StorageError(f"{path}: its history cannot be read: {error}") from error

    def __repr__(self) -> str:
        return f"<Recall {'of nothing' if self._db is None else self._terms}>"

    def look(self, request: Request, wall: float) -> None:
        """Let a request know what is known of it, once; and why it is not to be asked, if it is not due."""
        if request.recalled:
            return
        request.recalled = True
        if not request.fingerprint:
            request.fingerprint = fingerprint(request.method, request.url, request.body)
        if self._db is None:
            return
        request.known = known = self.of(request.fingerprint)
        if known is not None and request.error is None:
            request.resting = self._rests(known, wall)

    def of(self, print_: int) -> Known | None:
        """What is known of a fingerprint. Raises StorageError."""
        assert self._db is not None
        try:
            return historylog.known_of(self._db, print_)
        except (sqlite3.Error, TypeError, ValueError) as error:
            raise StorageError(f"the history cannot be read: {error}") from error

    def close(self) -> None:
        """Nothing is looked up any more."""
        if self._db is not None:
            self._db.close()
            self._db = None

    def _rests(self, known: Known, wall: float) -> str | None:
        """Why a URL is not worth asking now. A clock that was set back must not put it off: what was looked at in the
        future is looked at again.
        """
        if known.checked > wall:
            return None
        if self._terms.honors and known.fresh_until is not None and known.fresh_until > wall:
            return f"fresh until {stamp_to_second(known.fresh_until)} by its own word"
        if self._terms.least is not None:
            at = due(known, self._terms.least, self._terms.most)
            if at > wall:
                return f"not due before {stamp_to_second(at)}: changed {known.changes} times in {known.checks} looks"
        return None
