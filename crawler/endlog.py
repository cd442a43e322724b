"""Which requests ended: a log that each group appends to, and what it is folded into now and then.

Does: keep the states of all requests in memory, store them in chunks, and count off `hosts.waiting` what ended. Must
not know rows, runs or why a request ended. Invariant: chunks, counts and log together say in every transaction what
ended; a fold writes the first two and empties the third, and changes nothing of what they say.

Ends come in an order that is not that of the input: a group of 1,000 would write a page for the chunk of each and one
for its host. The log takes 16 bytes an end; in a fold of many groups those that share a chunk or a page share its cost.
"""

from __future__ import annotations

import sqlite3
import struct
from collections.abc import Iterable, Sequence
from itertools import chain
from pathlib import Path
from typing import NamedTuple

from crawler.rowstore import add_waiting
from crawler.schema import damaged
from crawler.states import CHUNK, FETCHED, SKIPPED, WAITING, States

_FOLDED_AT = 100_000  # ends in the log; of 10^7 requests over 10^5 hosts a fold takes 0.2 to 0.3 s


class Ended(NamedTuple):
    """The end of a request: the key of its host, its id, and its state of states.py."""

    host: int
    id: int
    state: int


class EndLog:
    """The states as the open database has them. Every change is part of the caller's transaction."""

    def __init__(self, db: sqlite3.Connection, path: Path, highest: int) -> None:
        """Take in what is stored of the requests up to the id `highest`: a byte for each. Raises StorageError."""
        self._db = db
        self._counts: dict[int, int] = {}  # by host, what `hosts.waiting` still counts
        self._ended = 0  # the sum of these
        self._logged = 0  # ends in the log; more where some came twice
        beyond = (highest // CHUNK + 1) * CHUNK
        try:
            self.states = States(db.execute("SELECT chunk, bytes FROM states ORDER BY chunk"), highest)
            for n, ends in db.execute("SELECT n, ends FROM endlog ORDER BY n"):
                group = [Ended(host, said >> 2, said & 3) for host, said in struct.iter_unpack("<qq", ends)]
                if not all(0 <= end.id < beyond and FETCHED <= end.state <= SKIPPED for end in group):
                    raise ValueError(f"group {n} of the ends names what is no request")
                self._apply(group)
        except (TypeError, ValueError, struct.error) as error:
            raise damaged(path, str(error)) from error
        said = db.execute("SELECT value FROM meta WHERE key = 'logged'").fetchone()
        if self._ended != (said[0] if said else 0):
            raise damaged(path, "ends are gone from their log")

    def counted_off(self, host: int) -> int:
        """How many of a host ended that `hosts.waiting` still counts."""
        return self._counts.get(host, 0)

    def add(self, ends: Sequence[Ended]) -> None:
        """These ended, in this order; what had ended before counts once."""
        if not ends:
            return
        self._apply(ends)
        packed = chain.from_iterable((host, id << 2 | state) for host, id, state in ends)
        blob = struct.pack(f"<{2 * len(ends)}q", *packed)
        self._db.execute("INSERT INTO endlog (ends) VALUES (?)", (blob,))
        if self._logged >= _FOLDED_AT:
            self._fold()
        self._db.execute("INSERT OR REPLACE INTO meta VALUES ('logged', ?)", (self._ended,))

    def wait_again(self, requests: Iterable[tuple[int, int]]) -> None:
        """These, each as (host, id), wait as if they never ended."""
        for host, id in requests:
            if self.states[id] != WAITING:  # else it was named twice
                self.states[id] = WAITING
                self._counts[host] = self._counts.get(host, 0) - 1
        self._fold()

    def _apply(self, ends: Sequence[Ended]) -> None:
        states, counts = self.states, self._counts
        for host, id, state in ends:
            if states[id] == WAITING:
                counts[host] = counts.get(host, 0) + 1
                self._ended += 1
            states[id] = state
        self._logged += len(ends)

    def _fold(self) -> None:
        add_waiting(self._db, {host: -n for host, n in self._counts.items()})
        self._db.executemany("INSERT OR REPLACE INTO states VALUES (?, ?)", self.states.dirty())
        self._db.execute("DELETE FROM endlog")
        self._db.execute("DELETE FROM meta WHERE key = 'logged'")
        self._counts.clear()
        self._ended = self._logged = 0
