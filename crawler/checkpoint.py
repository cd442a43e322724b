"""state.db: what the job knows across kills. One connection, one writer thread, one transaction per group.

Does: keep requests (clustered by host), hosts, sources, segments and runs in SQLite. Must not know sockets, output
formats or pace. Invariant: a request counts as done only by the transaction that vouches for the length of the
outputs that hold its record; rows, source positions and hosts they came with are committed together.

A lease lives in memory alone: a row that is not settled is waiting, so a kill gives every lease back by itself.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from sys import intern
from typing import Any, NamedTuple

import orjson

from crawler.durable import EMPTY, Mark
from crawler.endlog import Ended, EndLog
from crawler.model import Captured, Request
from crawler.rows import NewRow, request_from
from crawler.rowstore import RowStore
from crawler.schema import COUNT_WAITING, begin_anew, damaged, open_db
from crawler.states import WAITING

_LAST_ID = "INSERT INTO meta VALUES ('last_id', ?) ON CONFLICT DO UPDATE SET value = max(value, excluded.value)"
_ROWS = "INSERT INTO meta VALUES ('rows', ?) ON CONFLICT DO UPDATE SET value = value + excluded.value"
# As one JSON text: see rowstore.py.
_FAILURES = "INSERT OR REPLACE INTO failures SELECT value->>0, value->>1, value->>2, value->>3 FROM json_each(?)"


class SourceMark(NamedTuple):
    """How far a source was read: `taken` items of the content that `signature` names."""

    n: int
    name: str
    signature: str
    taken: int
    complete: bool


class Settled(NamedTuple):
    """A request that came to its end in this group; `reason` and wall second `at` where it failed."""

    home: str
    id: int
    state: int
    reason: str | None = None
    at: float = 0.0


class Retry(NamedTuple):
    """A request that waits for another attempt, due at a wall-clock second."""

    id: int
    attempt: int
    due: float


class Progress(NamedTuple):
    """How far the capture of a request came; of several the last one counts."""

    id: int
    captured: Captured


class Failure(NamedTuple):
    """A request that failed: its host, the slug of its reason, the wall second of its end."""

    id: int
    host: str
    reason: str
    at: float


class Group(NamedTuple):
    """All that one transaction vouches for. `paces` and `robots` are texts by host and by origin."""

    number: int
    settled: Sequence[Settled]
    retries: Sequence[Retry]
    paces: Sequence[tuple[str, str]]
    robots: Sequence[tuple[str, str]]
    segments: Sequence[tuple[str, Mark]]
    tally: bytes
    elapsed: float
    captures: Sequence[Progress] = ()


class RunRow(NamedTuple):
    """One run as the checkpoint knows it; times are wall-clock seconds, `elapsed` counts seconds at work."""

    id: str
    started: float
    ended: float | None
    state: str
    exit_code: int | None
    elapsed: float
    tally: bytes | None
    job: str


class Checkpoint:
    """The open state.db. Every method may block on the disk: call them from the one storage thread."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._db = open_db(path)
        self._hosts: dict[str, int] = {}
        self._hosts_known = False
        try:
            self._load()
        except BaseException as error:
            self._db.close()
            if isinstance(error, sqlite3.Error):
                raise damaged(path, str(error)) from error
            raise

    def _load(self) -> None:
        """Take into memory what is small: a byte a request, the rows of the inboxes by host, the retries that are
        outstanding and the captures under way. Raises StorageError.

        Where what waits and what ended do not add up to the rows that were inserted, a page was lost or replaced, of
        which SQLite itself knows nothing.
        """
        self._ends = EndLog(self._db, self.path, self.last_id())
        self._rows = RowStore(self._db, self.path)
        self._retries = {id: (attempt, due) for id, attempt, due in self._db.execute("SELECT * FROM retries")}
        self._captures = {
            id: Captured(frames, size, seconds, bool(over))
            for id, frames, size, seconds, over in self._db.execute("SELECT * FROM captures")
        }
        rows, waiting, ended = self._meta("rows"), self.waiting(), self._ends.states.ended
        if rows != waiting + ended:
            raise damaged(self.path, f"of {rows} requests {waiting} wait and {ended} ended")

    # -- runs ---------------------------------------------------------------------------------------------------------

    def last_run(self) -> RunRow | None:
        """The run begun last, finished or not; the clock may have been set back since."""
        row = self._db.execute(
            "SELECT id, started, ended, state, exit_code, elapsed, tally, job FROM runs ORDER BY n DESC LIMIT 1"
        ).fetchone()
        return RunRow(*row) if row else None

    def begin_run(self, run: str, started: float, job: str) -> None:
        """Start a new run with nothing known but hosts and robots.txt: the requests of the run before are forgotten."""
        self._begin()
        begin_anew(self._db)
        self._db.execute("DELETE FROM hosts WHERE pace IS NULL")
        self._db.execute("UPDATE hosts SET waiting = 0 WHERE waiting != 0")
        self._db.execute("DELETE FROM meta")
        self._add_run(run, started, job)
        self._load()
        self._hosts_known = False

    def begin_retry(self, run: str, started: float, job: str, again: Sequence[Failure]) -> None:
        """Start a new run of these failures alone; what else was settled stays settled, and is not of this run."""
        self._begin()
        ids = self._host_ids(failure.host for failure in again)
        self._ends.wait_again((ids[failure.host], failure.id) for failure in again)
        self._db.execute(
            "DELETE FROM failures WHERE id IN (SELECT value FROM json_each(?))", (_json([f.id for f in again]),)
        )
        self._db.execute("DELETE FROM segments")
        self._add_run(run, started, job)

    def _add_run(self, run: str, started: float, job: str) -> None:
        self._db.execute("DELETE FROM meta WHERE key = 'group'")
        self._db.execute("UPDATE runs SET state = 'abandoned' WHERE ended IS NULL")
        self._db.execute("INSERT INTO runs (id, started, state, job) VALUES (?, ?, 'running', ?)", (run, started, job))
        self._db.execute("COMMIT")

    def resume_run(self, run: str, job: str) -> None:
        """The unfinished run goes on, by today's job."""
        self._db.execute("UPDATE runs SET state = 'running', ended = NULL, job = ? WHERE id = ?", (job, run))

    def end_run(self, run: str, ended: float, state: str, exit_code: int) -> None:
        """The run stops here; `finished` is for ever, `stopped` will be resumed."""
        self._begin()
        self._db.execute(
            "UPDATE runs SET ended = ?, state = ?, exit_code = ? WHERE id = ?", (ended, state, exit_code, run)
        )
        self._db.execute("COMMIT")

    @property
    def group(self) -> int:
        """Number of the last committed group; 0 before the first."""
        return self._meta("group")

    def segment(self, name: str) -> Mark:
        """The committed state of an append-only output."""
        row = self._db.execute("SELECT length, tail FROM segments WHERE name = ?", (name,)).fetchone()
        return Mark(*row) if row else EMPTY

    # -- writing ------------------------------------------------------------------------------------------------------

    def insert(self, rows: Sequence[NewRow], sources: Sequence[SourceMark]) -> None:
        """New requests and how far their sources were read; durable with the next commit."""
        self._begin()
        self._rows.insert(rows, self._host_ids(row.home for row in rows))
        if rows:
            self._db.execute(_LAST_ID, (max(row.id for row in rows),))
            self._db.execute(_ROWS, (len(rows),))
        self._db.executemany("INSERT OR REPLACE INTO sources VALUES (?, ?, ?, ?, ?)", sources)

    def commit(self, run: str, group: Group) -> None:
        """One transaction for all of a group, durable when this returns. Raises sqlite3.Error."""
        db = self._db
        self._begin()
        for retry in group.retries:
            self._retries[retry.id] = (retry.attempt, retry.due)
        db.executemany("INSERT OR REPLACE INTO retries VALUES (?, ?, ?)", group.retries)
        for progress in group.captures:
            self._captures[progress.id] = progress.captured
        captures = [(progress.id, *progress.captured) for progress in group.captures]
        db.executemany("INSERT OR REPLACE INTO captures VALUES (?, ?, ?, ?, ?)", captures)
        self._settle(group.settled)  # behind these: what was retried may have ended in the same group
        if group.paces:
            ids = self._host_ids(name for name, _ in group.paces)
            db.executemany("UPDATE hosts SET pace = ? WHERE id = ?", [(text, ids[name]) for name, text in group.paces])
        db.executemany("INSERT OR REPLACE INTO robots VALUES (?, ?)", group.robots)
        db.executemany(
            "INSERT OR REPLACE INTO segments VALUES (?, ?, ?)", [(name, *mark) for name, mark in group.segments]
        )
        db.execute("INSERT OR REPLACE INTO meta VALUES ('group', ?)", (group.number,))
        db.execute("UPDATE runs SET tally = ?, elapsed = ? WHERE id = ?", (group.tally, group.elapsed, run))
        db.execute("COMMIT")

    def _settle(self, settled: Sequence[Settled]) -> None:
        ids = self._host_ids(item.home for item in settled)
        self._ends.add([Ended(ids[item.home], item.id, item.state) for item in settled])
        retried: list[tuple[int]] = []
        if self._retries:
            retried = [(item.id,) for item in settled if self._retries.pop(item.id, None) is not None]
        self._db.executemany("DELETE FROM retries WHERE id = ?", retried)
        if self._captures:
            captured = [(item.id,) for item in settled if self._captures.pop(item.id, None) is not None]
            self._db.executemany("DELETE FROM captures WHERE id = ?", captured)
        failed = [(item.id, ids[item.home], item.reason, item.at) for item in settled if item.reason is not None]
        if failed:
            self._db.execute(_FAILURES, (_json(failed),))

    def roll_back(self) -> None:
        """Forget what is not committed (a group failed). Raises sqlite3.Error or StorageError."""
        if self._db.in_transaction:  # a full disk or one that fails may have rolled it back already
            self._db.execute("ROLLBACK")
        self._hosts_known = False  # hosts made in that transaction are gone
        self._load()

    # -- reading ------------------------------------------------------------------------------------------------------

    def hosts(self) -> list[tuple[str, int, str | None]]:
        """Hosts with rows that wait, or of which something is known (redirects and the next run may lead there).

        As name, rows waiting, pace as it was committed. Raises StorageError.
        """
        found, staged = [], self._rows.staged_of_hosts()
        for key, name, counted, pace in self._db.execute("SELECT id, name, waiting, pace FROM hosts ORDER BY id"):
            waiting = counted + staged.get(key, 0) - self._ends.counted_off(key)
            if waiting < 0:
                raise damaged(self.path, f"of {name} {-waiting} more ended than there were")
            if waiting > 0 or pace is not None:
                found.append((name, waiting, pace))
        return found

    def robots(self) -> list[tuple[str, str]]:
        """Every robots.txt known, as origin and entry."""
        return self._db.execute("SELECT origin, entry FROM robots").fetchall()

    def window(self, host: str, after: int, limit: int, known: int = 0) -> list[tuple[Request, float]]:
        """Waiting requests of a host with an id above `after`, by id, each with the wall second it is due.

        Raises StorageError when fewer come than `known` and fewer than `limit`: then rows were lost.
        """
        key = self._known_hosts().get(host)
        rows = self._rows.window(key, after + 1, limit, self._ends.states) if key is not None else []
        if len(rows) < min(limit, known):
            raise damaged(self.path, f"of {known} requests of {host} only {len(rows)} are there")
        found = []
        for number, url, more in rows:
            attempt, due = self._retries.get(number, (1, 0.0)) if self._retries else (1, 0.0)
            request = self._request(host, number, attempt, url, more)
            if self._captures:
                request.captured = self._captures.get(number)
            found.append((request, due))
        return found

    def _request(self, host: str, number: int, attempt: int, url: str, more: str | None) -> Request:
        try:
            return request_from(host, number, attempt, url, more)
        except (AttributeError, TypeError, ValueError) as error:
            raise damaged(self.path, f"row {number} of {host} cannot be read: {error}") from error

    def waiting(self) -> int:
        """Requests that wait."""
        count: int = self._db.execute(COUNT_WAITING).fetchone()[0]
        return count

    def last_id(self) -> int:
        """The highest request id given so far; 0 when there is none."""
        return self._meta("last_id")

    def failures(self) -> Iterator[Failure]:
        """What failed in this run, or in the runs whose failures it made again. Raises StorageError."""
        names = {key: name for name, key in self._known_hosts().items()}
        for id, host, reason, at in self._db.execute("SELECT id, host, reason, at FROM failures ORDER BY id"):
            if host not in names:
                raise damaged(self.path, f"failure {id} is of host {host}, which is unknown")
            yield Failure(id, names[host], intern(reason), at)  # few texts, shared by 10^6 failures

    def sources(self) -> list[SourceMark]:
        """How far each source was read."""
        rows = self._db.execute("SELECT n, name, signature, taken, complete FROM sources ORDER BY n").fetchall()
        return [SourceMark(n, name, signature, taken, bool(complete)) for n, name, signature, taken, complete in rows]

    def fingerprints(self) -> Iterator[list[int]]:
        """The fingerprints of every request of this run, some thousands at a time."""
        return self._rows.fingerprints()

    def forget_sources(self) -> None:
        """The inputs changed: they will be read again from their start."""
        self._begin()
        self._db.execute("DELETE FROM sources")

    def waiting_rows(self) -> Iterator[tuple[str, int, int, str]]:
        """Waiting rows that a list named, as (host, id, fingerprint, url)."""
        states = self._ends.states
        return (row for row in self._rows.listed() if states[row[1]] == WAITING)

    def close(self) -> None:
        """Close; a clean end folds the WAL into the database. What was not committed is gone."""
        try:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        except sqlite3.Error:
            pass  # no room to fold it now: the WAL is as good, and the next start folds it
        finally:
            self._db.close()

    def _meta(self, key: str) -> int:
        row = self._db.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return int(row[0]) if row else 0

    def _begin(self) -> None:
        if not self._db.in_transaction:
            self._db.execute("BEGIN IMMEDIATE")

    def _host_ids(self, names: Iterable[str]) -> dict[str, int]:
        """Row ids of hosts, made where they are new. Kept in memory: a join per row costs more than the row."""
        known = self._known_hosts()
        for name in names:
            if name not in known:
                self._begin()
                cursor = self._db.execute("INSERT INTO hosts (name) VALUES (?)", (name,))
                assert cursor.lastrowid is not None
                known[name] = cursor.lastrowid
        return known

    def _known_hosts(self) -> dict[str, int]:
        if not self._hosts_known:
            self._hosts = dict(self._db.execute("SELECT name, id FROM hosts"))
            self._hosts_known = True
        return self._hosts


def _json(rows: Sequence[Any]) -> str:
    return orjson.dumps(rows).decode()
