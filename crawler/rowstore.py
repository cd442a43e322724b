"""The rows of a run: put where they cost little, found again by host in the order of their ids.

Does: insert rows into `requests` (clustered by host), or into an inbox where each would dirty a page of its own, and
merge the inbox later host by host. Must not know runs, sources or ends beyond `States`. Invariant: a row lies either in
`requests` or in an inbox, never in both nor in neither; `window` sees no difference.

Two inboxes: one fills while the other is merged, some rows with every insert, so that no insert pauses for a merge.
Up to `merged` the hosts of the latter lie in `requests` already; the table is emptied once all of them do.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from operator import itemgetter
from pathlib import Path
from typing import Any

import orjson

from crawler.inbox import Inbox
from crawler.rows import NewRow
from crawler.schema import damaged
from crawler.states import WAITING, States

# Rows of an inbox: with 10^7 rows over 10^5 hosts the merge of so many writes 1.3 KB a row, that of half as many 2.4.
_FULL = 500_000
_CLUSTERED = 8  # rows of a host in one insert that are worth a page
# Rows go in and out as one JSON text: Python's sqlite3 gives the interpreter lock away at every step of a statement,
# and a thread that asks for it back a thousand times a group waits for the event loop each time. Here one does all.
_INSERT = "INSERT INTO requests SELECT value->>0, value->>1, value->>2, value->>3, value->>4 FROM json_each(?)"
_STAGE = (
    "INSERT INTO inbox{} (host, id, fingerprint, url, more) "
    "SELECT value->>0, value->>1, value->>2, value->>3, value->>4 FROM json_each(?)"
)
_MERGE = (
    "INSERT INTO requests SELECT host, inbox.id, fingerprint, url, more "
    "FROM json_each(?) AS moved CROSS JOIN inbox{} AS inbox ON inbox.id = moved.value"
)
_COUNT = "UPDATE hosts SET waiting = waiting + (new.value->>1) FROM json_each(?) AS new WHERE hosts.id = new.value->>0"
_SET = "INSERT OR REPLACE INTO meta VALUES (?, ?)"
_WINDOW = (
    "SELECT json_group_array(json_array(id, url, more, fingerprint)) FROM "
    "(SELECT id, url, more, fingerprint FROM requests "
    "WHERE host = ? AND id >= ? ORDER BY id LIMIT ?)"
)
_STAGED = (
    "SELECT json_group_array(json_array(id, url, more, fingerprint)) FROM (SELECT inbox.id, url, more, fingerprint "
    "FROM json_each(?) AS asked CROSS JOIN inbox{} AS inbox ON inbox.id = asked.value WHERE host = ?)"
)
_IDS = "SELECT json_group_array(id) FROM (SELECT id FROM requests WHERE host = ? AND id >= ? ORDER BY id LIMIT 4096)"
_FINGERPRINTS = (
    "SELECT json_group_array(json_array(host, id, fingerprint)) FROM (SELECT host, id, fingerprint FROM requests "
    "WHERE (host, id) > (?, ?) ORDER BY host, id LIMIT 10000)"
)
_STAGED_FINGERPRINTS = (
    "SELECT json_group_array(json_array(id, fingerprint)) FROM (SELECT id, fingerprint FROM inbox{} "
    "WHERE id > ? AND host > ? ORDER BY id LIMIT 10000)"
)
_ROWS = (
    "SELECT hosts.name, rows.id, fingerprint, url FROM {} AS rows JOIN hosts ON hosts.id = host "
    "WHERE host > ? AND (more IS NULL OR more->>'r' IS NULL)"
)
_URLS = "SELECT url FROM {} WHERE host > ? AND (more IS NULL OR more->>'e' IS NULL)"

StoredRow = tuple[int, str, str | None, int]  # id, URL, more, fingerprint


class RowStore:
    """The rows as the open database has them. Every change is part of the caller's transaction."""

    def __init__(self, db: sqlite3.Connection, path: Path) -> None:
        self._db = db
        self._path = path
        self._filling = self._meta("filling") & 1
        self._merged = self._meta("merged")
        self._inboxes = [self._found(0), self._found(1)]
        if self._meta("staged") != self.staged:
            raise damaged(path, f"of {self._meta('staged')} new rows {self.staged} are there")
        # At its end the tree grows without a page that is written twice, however few rows of a host come.
        self._last_host = db.execute("SELECT COALESCE(MAX(host), 0) FROM requests").fetchone()[0]

    def _found(self, table: int) -> Inbox:
        query = f"SELECT host, id FROM inbox{table} WHERE host > ? ORDER BY id"
        rows = self._db.execute(query, (self._merged_of(table),)).fetchall()
        if not all(isinstance(host, int) for host, _ in rows) or any(a[1] >= b[1] for a, b in pairwise(rows)):
            raise damaged(self._path, "its new rows are not those that were written")  # a page in place of another
        return Inbox(rows)

    @property
    def staged(self) -> int:
        """Rows that lie in an inbox."""
        return len(self._inboxes[0]) + len(self._inboxes[1])

    def staged_of_hosts(self) -> Mapping[int, int]:
        """The same by host key; no host without one is named."""
        return Counter(self._inboxes[0].counts()) + Counter(self._inboxes[1].counts())

    # -- writing ------------------------------------------------------------------------------------------------------

    def insert(self, rows: Sequence[NewRow], keys: Mapping[str, int]) -> None:
        """New rows; `keys` has the host key of each home. Raises sqlite3.Error, StorageError."""
        counts: dict[str, int] = {}
        for row in rows:
            counts[row.home] = counts.get(row.home, 0) + 1
        direct = {home for home, n in counts.items() if n >= _CLUSTERED or keys[home] >= self._last_host}
        staged: list[NewRow] = []
        if len(direct) < len(counts):
            staged = [row for row in rows if row.home not in direct]
            rows = [row for row in rows if row.home in direct]
        if rows:
            self._db.execute(_INSERT, (_json(rows, keys),))
            self._requests_grew({keys[home]: counts[home] for home in direct})
        if staged:
            self._stage(staged, keys)

    def _stage(self, rows: Sequence[NewRow], keys: Mapping[str, int]) -> None:
        filled = self._inboxes[self._filling]
        self._db.execute(_STAGE.format(self._filling), (_json(rows, keys),))
        filled.add([(keys[row.home], row.id) for row in rows])
        self._merge(2 * len(rows))  # it is empty before the other is full
        if len(filled) >= _FULL:
            self._merge(len(self._inboxes[1 - self._filling]))
            self._filling = 1 - self._filling
            self._db.execute(_SET, ("filling", self._filling))
        self._db.execute(_SET, ("staged", self.staged))

    def _merge(self, count: int) -> None:
        """Bring about `count` rows of the inbox that is not filled to where they belong."""
        table = 1 - self._filling
        inbox = self._inboxes[table]
        if not inbox:
            return
        taken = inbox.take(count)
        if self._db.execute(_MERGE.format(table), (orjson.dumps(taken.ids).decode(),)).rowcount != len(taken.ids):
            raise damaged(self._path, f"of {len(taken.ids)} new rows some are gone")
        self._requests_grew(taken.counts)
        self._merged = taken.last
        if not inbox:
            self._db.execute(f"DELETE FROM inbox{table}")  # without a WHERE it frees whole pages
            self._inboxes[table] = Inbox()
            self._merged = 0
        self._db.execute(_SET, ("merged", self._merged))

    def _requests_grew(self, counts: dict[int, int]) -> None:
        add_waiting(self._db, counts)
        self._last_host = max(self._last_host, *counts)

    # -- reading ------------------------------------------------------------------------------------------------------

    def window(self, host: int, first: int, limit: int, states: States) -> list[StoredRow]:
        """Waiting rows of a host from the id `first` on, by id. Raises StorageError."""
        staged = self._window_of_inboxes(host, first, limit, states) if self.staged else []
        found: list[StoredRow] = []
        while len(found) < limit:
            before = len(found)
            rows = orjson.loads(self._db.execute(_WINDOW, (host, states.waiting_from(first), limit)).fetchone()[0])
            for number, url, more, print_ in rows:
                if not (isinstance(number, int) and number >= first and isinstance(url, str)):
                    raise damaged(self._path, f"a row of host {host} is {number!r}")
                first = number + 1
                if states[number] == WAITING:
                    found.append((number, url, more, print_))
            if len(rows) < limit:
                break
            if len(found) == before:
                first = self._pass_over(host, first, states)
        if staged:
            found = sorted(found + staged, key=itemgetter(0))
        return found[:limit]

    def _pass_over(self, host: int, first: int, states: States) -> int:
        """From `first` on, the first id of a host that waits: what ended before a restart may be millions."""
        while ids := orjson.loads(self._db.execute(_IDS, (host, states.waiting_from(first))).fetchone()[0]):
            for id in ids:
                if not (isinstance(id, int) and id >= first):
                    raise damaged(self._path, f"a row of host {host} is {id!r}")
                first = id + 1
                if states[id] == WAITING:
                    return int(id)
        return first

    def _window_of_inboxes(self, host: int, first: int, limit: int, states: States) -> list[StoredRow]:
        found: list[StoredRow] = []
        for table, inbox in enumerate(self._inboxes):
            ids = [id for id in inbox.of(host) if id >= first and states[id] == WAITING][:limit]
            if ids:
                asked = (orjson.dumps(ids).decode(), host)
                rows = orjson.loads(self._db.execute(_STAGED.format(table), asked).fetchone()[0])
                if [row[0] for row in rows] != ids or not all(isinstance(row[1], str) for row in rows):
                    raise damaged(self._path, f"of {len(ids)} new rows of host {host} some are gone")
                found += [tuple(row) for row in rows]
        return found

    def fingerprints(self) -> Iterator[list[int]]:
        """The fingerprints of every row, some thousands at a time.

        The inboxes come first: a row that is merged between two steps may come twice, but is not missed.
        """
        for table in (0, 1):
            above = 0
            while rows := self._json_of(_STAGED_FINGERPRINTS.format(table), (above, self._merged_of(table))):
                yield [print_ for _, print_ in rows]
                above = rows[-1][0]
        at = (0, 0)
        while rows := self._json_of(_FINGERPRINTS, at):
            yield [print_ for _, _, print_ in rows]
            at = rows[-1][:2]

    def counts(self, names: Mapping[int, str]) -> dict[str, int]:
        """Rows by host, whatever became of them; nothing may be inserted meanwhile."""
        found: Counter[str] = Counter()
        for key, count in self._db.execute("SELECT host, COUNT(*) FROM requests GROUP BY host"):
            found[names[key]] += count
        for key, count in self.staged_of_hosts().items():
            found[names[key]] += count
        return dict(found)

    def listed(self) -> Iterator[tuple[str, int, int, str]]:
        """Every row that a list named, as (host, id, fingerprint, url); nothing may be inserted meanwhile."""
        for table in (0, 1):
            yield from self._db.execute(_ROWS.format(f"inbox{table}"), (self._merged_of(table),))
        yield from self._db.execute(_ROWS.format("requests"), (0,))

    def urls(self) -> Iterator[str]:
        """The URL of every row that is one; nothing may be inserted meanwhile."""
        for name, merged in (("inbox0", self._merged_of(0)), ("inbox1", self._merged_of(1)), ("requests", 0)):
            yield from (url for (url,) in self._db.execute(_URLS.format(name), (merged,)))

    def _json_of(self, query: str, values: tuple[int, int]) -> list[Any]:
        rows: list[Any] = orjson.loads(self._db.execute(query, values).fetchone()[0])
        return rows

    def _merged_of(self, table: int) -> int:
        """Up to which host the rows of an inbox lie in `requests` already."""
        return 0 if table == self._filling else self._merged

    def _meta(self, key: str) -> int:
        row = self._db.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return int(row[0]) if row else 0


def add_waiting(db: sqlite3.Connection, counts: Mapping[int, int]) -> None:
    """Change how many rows of `requests` wait, by host key; hosts that are neighbours share their pages."""
    db.execute(_COUNT, (orjson.dumps(sorted(counts.items())).decode(),))


def _json(rows: Sequence[NewRow], keys: Mapping[str, int]) -> str:
    return orjson.dumps([(keys[row.home], row.id, row.fingerprint, row.url, row.more) for row in rows]).decode()
