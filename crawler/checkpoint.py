"""state.db: what the job knows across kills. One connection, one writer thread, one transaction per group.

Does: keep requests (clustered by host), hosts, sources, segments and runs in SQLite. Must not know sockets, output
formats or pace. Invariant: a request counts as done only by the transaction that vouches for the length of the
outputs that hold its record; rows, source positions and hosts they came with are committed together.

A lease lives in memory alone: a row that is not settled is waiting, so a kill gives every lease back by itself.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from sys import intern
from typing import Any, NamedTuple

import orjson

from crawler import historylog, runrows, shippinglog
from crawler.durable import Mark
from crawler.endlog import Ended, EndLog
from crawler.entry import Sync
from crawler.known import Known
from crawler.model import Captured, Request
from crawler.parcels import Counts, Delivered, Parcel, Thing, Undeliverable
from crawler.rows import NewRow, request_from
from crawler.rowstore import RowStore
from crawler.runrows import RunRow
from crawler.schema import COUNT_WAITING, begin_anew, damaged, open_db
from crawler.states import WAITING
from crawler.urls import hostname

_LAST_ID = "INSERT INTO meta VALUES ('last_id', ?) ON CONFLICT DO UPDATE SET value = max(value, excluded.value)"
_ROWS = "INSERT INTO meta VALUES ('rows', ?) ON CONFLICT DO UPDATE SET value = value + excluded.value"
_REPLACE = "replace"  # in meta: see `Checkpoint.to_replace`
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
    """All that one transaction vouches for. `paces` and `robots` are texts by host and by origin, `states` by sink,
    `partials` by URL: what is None is forgotten. `things` are to be uploaded, `shipped` is what came of others, and
    what waits of the files `withdrawn` waits no longer, since they changed. `places` are what the seeds of a crawl
    allow, `claims` the fingerprints of URLs that redirects led to; `sightings` a JSON array of what ends say of
    their URLs, as `history.row_of` gives it.
    """

    number: int
    settled: Sequence[Settled]
    retries: Sequence[Retry]
    paces: Sequence[tuple[str, str]]
    robots: Sequence[tuple[str, str]]
    segments: Sequence[tuple[str, Mark]]
    tally: bytes
    elapsed: float
    captures: Sequence[Progress] = ()
    states: Sequence[tuple[str, str]] = ()
    partials: Sequence[tuple[str, str | None]] = ()
    things: Sequence[Thing] = ()
    shipped: Sequence[Delivered | Undeliverable] = ()
    withdrawn: Sequence[str] = ()
    places: Sequence[str] = ()
    claims: Sequence[int] = ()
    sightings: bytes = b""


class Rejoined(NamedTuple):
    """What a finished run that goes on has of other files than before: the marks of these by name, states of sinks, its
    tally, and what of them is to be uploaded.
    """

    segments: Mapping[str, Mark]
    states: Mapping[str, str]
    tally: bytes
    things: Sequence[Thing] = ()


class Checkpoint:
    """The open state.db. Every method may block on the disk: call them from the one storage thread."""

    def __init__(self, path: Path, sync: Sync = Sync.COMMIT) -> None:
        self.path = path
        self._db = open_db(path, sync)
        shippinglog.create(self._db)
        self._hosts: dict[str, int] = {}
        self._hosts_known = False
        self._numbered = ("", 0)
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
        """The run begun last, finished or not."""
        return runrows.last_run(self._db)

    def finished_before(self, run: str) -> RunRow | None:
        """The last finished run before this one."""
        return runrows.finished_before(self._db, run)

    def begin_run(self, run: str, started: float, job: str) -> None:
        """Start a new run with nothing known but hosts, robots.txt and the history of URLs: the requests of the run
        before are forgotten.
        """
        self.fold()
        self._begin()
        begin_anew(self._db)
        self._db.execute("DELETE FROM hosts WHERE pace IS NULL")
        self._db.execute("UPDATE hosts SET waiting = 0 WHERE waiting != 0")
        self._db.execute("DELETE FROM meta")
        self._add_run(run, started, job)
        self._load()
        self._hosts_known = False

    def rejoin(self, run: str, job: str, again: Mapping[int, str], now: Rejoined) -> None:
        """The finished run goes on, by today's job, with what failed of it: `again` are ids and their hosts.

        One transaction, durable when this returns whatever the job says of that. It vouches for files that are still
        to be put in their places: see `to_replace`. Nothing else may be uncommitted. Raises sqlite3.Error.
        """
        db = self._db
        (synchronous,) = db.execute("PRAGMA synchronous").fetchone()
        db.execute("PRAGMA synchronous = FULL")  # the files are moved only when there is no way back
        self._begin()
        ids = self._host_ids(again.values())
        self._ends.wait_again((ids[host], id) for id, host in again.items())
        db.execute("DELETE FROM failures WHERE id IN (SELECT value FROM json_each(?))", (_json(list(again)),))
        marks = [(name, *mark) for name, mark in now.segments.items()]
        db.executemany("INSERT OR REPLACE INTO segments VALUES (?, ?, ?, ?)", marks)
        db.executemany("INSERT OR REPLACE INTO sinks VALUES (?, ?)", now.states.items())
        shippinglog.withdraw(db, run, list(now.segments))
        shippinglog.add(db, run, now.things)
        db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (_REPLACE, _json(list(now.segments))))
        said = "state = 'running', ended = NULL, exit_code = NULL"
        db.execute(f"UPDATE runs SET {said}, job = ?, tally = ? WHERE id = ?", (job, now.tally, run))
        db.execute("COMMIT")
        db.execute(f"PRAGMA synchronous = {synchronous}")

    def to_replace(self) -> list[str]:
        """Files that the checkpoint vouches for and that are still to be put in their places."""
        row = self._db.execute("SELECT value FROM meta WHERE key = ?", (_REPLACE,)).fetchone()
        names: list[str] = orjson.loads(row[0]) if row else []
        return names

    def replaced(self) -> None:
        """They are there."""
        self._db.execute("DELETE FROM meta WHERE key = ?", (_REPLACE,))

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

    def number(self, run: str) -> int:
        """The number of a run; 0 where there is none."""
        if self._numbered[0] != run:
            row = self._db.execute("SELECT n FROM runs WHERE id = ?", (run,)).fetchone()
            self._numbered = run, row[0] if row else 0
        return self._numbered[1]

    def run_states(self) -> list[tuple[int, str, str]]:
        """Number, id and state of every run."""
        return self._db.execute("SELECT n, id, state FROM runs").fetchall()

    @property
    def group(self) -> int:
        """Number of the last committed group; 0 before the first."""
        return self._meta("group")

    def marks(self) -> dict[str, Mark]:
        """The committed state of every file of the run that is no body, by its path relative to the run's folder."""
        rows = self._db.execute("SELECT name, length, tail, closed FROM segments")
        return {name: Mark(length, tail, bool(closed)) for name, length, tail, closed in rows}

    def sink_states(self) -> dict[str, str]:
        """What each sink must know to go on, by its name."""
        return dict(self._db.execute("SELECT name, state FROM sinks"))

    def to_ship(self, after: int, limit: int) -> list[Parcel]:
        """Files of this run and of those before that wait for their upload, from behind a number."""
        return shippinglog.waiting(self._db, after, limit)

    def shipped(self, run: str) -> Counts:
        """How far the uploads of a run are; what waits is of all runs."""
        return shippinglog.counts(self._db, run)

    def partials(self) -> dict[str, str]:
        """Bodies that came in part, by URL."""
        return dict(self._db.execute("SELECT url, state FROM partials"))

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
        self._keep_outputs(group)
        self._keep_crawl(group)
        historylog.append(db, self.number(run), group.sightings)
        shippinglog.withdraw(db, run, group.withdrawn)
        shippinglog.add(db, run, group.things)
        shippinglog.settle(db, group.shipped)
        db.execute("INSERT OR REPLACE INTO meta VALUES ('group', ?)", (group.number,))
        db.execute("UPDATE runs SET tally = ?, elapsed = ? WHERE id = ?", (group.tally, group.elapsed, run))
        db.execute("COMMIT")

    def _keep_crawl(self, group: Group) -> None:
        if group.places or group.claims:
            self._db.executemany("INSERT OR IGNORE INTO places VALUES (?)", [(place,) for place in group.places])
            self._db.executemany("INSERT OR IGNORE INTO claims VALUES (?)", [(print_,) for print_ in group.claims])

    def _keep_outputs(self, group: Group) -> None:
        """What the outputs hold from now on; a segment that is forgotten has the mark of an empty one."""
        db = self._db
        marks = [(name, *mark) for name, mark in group.segments]
        db.executemany("INSERT OR REPLACE INTO segments VALUES (?, ?, ?, ?)", marks)
        db.executemany("INSERT OR REPLACE INTO sinks VALUES (?, ?)", group.states)
        kept = [(url, state) for url, state in group.partials if state is not None]
        db.executemany("DELETE FROM partials WHERE url = ?", [(url,) for url, state in group.partials if state is None])
        db.executemany("INSERT OR REPLACE INTO partials VALUES (?, ?)", kept)

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

    # -- what is known of URLs ----------------------------------------------------------------------------------------

    def fold(self) -> None:
        """Bring what runs saw of URLs to where it is looked up; nothing may be uncommitted."""
        for _ in historylog.fold(self._db):
            pass

    def forget_unseen(self, run: str) -> int:
        """Forget the URLs that a run, which is over, did not see; how many those are."""
        return historylog.forget_unseen(self._db, self.number(run))

    def forget_run(self, run: str) -> None:
        """Its folder is gone."""
        self._begin()
        self._db.execute("DELETE FROM runs WHERE id = ?", (run,))
        self._db.execute("COMMIT")

    @property
    def knows_any(self) -> bool:
        """Is anything known of any URL."""
        return not historylog.is_empty(self._db)

    def known(self, print_: int) -> Known | None:
        """What is known of a fingerprint, as it was when the run began."""
        return historylog.known_of(self._db, print_)

    def known_prints(self) -> Iterator[list[int]]:
        """The fingerprints of all that is known, some thousands at a time."""
        return historylog.prints(self._db)

    def holders(self) -> set[int]:
        """The numbers of the runs whose folders hold what was last fetched of some URL."""
        return historylog.holders(self._db)

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
        for number, url, more, print_ in rows:
            attempt, due = self._retries.get(number, (1, 0.0)) if self._retries else (1, 0.0)
            request = self._request(host, number, attempt, url, more)
            request.fingerprint = print_ if isinstance(print_, int) else 0
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
        """What failed in this run, and was not made again. Raises StorageError."""
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

    def places(self) -> list[str]:
        """What the seeds of a crawl allow, as they were committed."""
        return [place for (place,) in self._db.execute("SELECT place FROM places")]

    def claims(self) -> list[int]:
        """Fingerprints of the URLs that redirects led to."""
        return [print_ for (print_,) in self._db.execute("SELECT fingerprint FROM claims")]

    def pages_by_host(self, *, shared: bool = False) -> dict[str, int]:
        """Requests of this run by host, ended or not; reads all keys, or all URLs where hosts have `shared` keys."""
        if shared:
            return Counter(map(hostname, self._rows.urls()))
        return self._rows.counts({key: name for name, key in self._known_hosts().items()})

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
