"""Which rows lie in an inbox, by host: some 12 bytes a row and 100 a host.

Decides the order in which rows leave it: host by host, each host's rows by id. Must not know SQLite or what a row
says. Invariant: an id that was added and not taken is named exactly once; a host is taken whole or not at all.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator
from typing import NamedTuple


class Taken(NamedTuple):
    """Rows that left: their ids by host and id, how many were of each host, and the last host."""

    ids: list[int]
    counts: dict[int, int]
    last: int


class Inbox:
    """Ids by host key, each host a chain through arrays: its newest row names the one before it."""

    __slots__ = ("_earlier", "_ids", "_newest", "_order", "_ordered", "_size")

    def __init__(self, rows: Iterable[tuple[int, int]] = ()) -> None:
        self._ids = array("q")
        self._earlier = array("i")
        self._newest: dict[int, int] = {}
        self._order: Iterator[int] = iter(())
        self._ordered = False
        self._size = 0
        self.add(rows)

    def __len__(self) -> int:
        return self._size

    def __repr__(self) -> str:
        return f"<Inbox {self._size} rows of {len(self._newest)} hosts>"

    def add(self, rows: Iterable[tuple[int, int]]) -> None:
        """New rows, each as (host, id)."""
        ids, earlier, newest = self._ids, self._earlier, self._newest
        for host, id in rows:
            earlier.append(newest.get(host, -1))
            newest[host] = len(ids)
            ids.append(id)
            self._size += 1

    def of(self, host: int) -> list[int]:
        """The ids of a host, in their order."""
        found = []
        at = self._newest.get(host, -1)
        while at >= 0:
            found.append(self._ids[at])
            at = self._earlier[at]
        found.sort()
        return found

    def counts(self) -> dict[int, int]:
        """How many rows of each host there are."""
        return {host: len(self.of(host)) for host in self._newest}

    def take(self, count: int) -> Taken:
        """At least `count` rows of the next hosts, or all that are left. Nothing may be added once this was called."""
        if not self._ordered:
            self._ordered, self._order = True, iter(sorted(self._newest))
        ids: list[int] = []
        counts: dict[int, int] = {}
        last = 0
        for last in self._order:
            some = self.of(last)
            ids += some
            counts[last] = len(some)
            del self._newest[last]
            if len(ids) >= count:
                break
        self._size -= len(ids)
        return Taken(ids, counts, last)
