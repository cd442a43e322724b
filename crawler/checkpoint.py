"""state.db: what the job knows across kills. One connection, one writer thread, one transaction per group.

Does: keep requests (clustered by host), hosts, sources, segments and runs in SQLite. Must not know sockets, output
formats or pace. Invariant: a request's row says `done` only in the transaction that vouches for the length of the
outputs that hold its record; rows, source positions and hosts they came with are committed together.

A lease lives in memory alone: a row that is not settled is waiting, so a kill gives every lease back by itself.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from crawler.durable import EMPTY, Mark
from crawler.errors import StorageError
from crawler.model import Place, Request

SCHEMA = 1
_OURS = 0x63726177  # application_id, which `file` and others show
WAITING, FETCHED, FAILED, SKIPPED = 0, 1, 2, 3

_TABLES = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE runs (
    n INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, started REAL NOT NULL, ended REAL, state TEXT NOT NULL,
    exit_code INTEGER, elapsed REAL NOT NULL DEFAULT 0, tally BLOB, job TEXT NOT NULL
);
CREATE TABLE hosts (
    id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, added INTEGER NOT NULL DEFAULT 0,
    settled INTEGER NOT NULL DEFAULT 0, blocked_until REAL NOT NULL DEFAULT 0
);
CREATE TABLE requests (
    host INTEGER NOT NULL, id INTEGER NOT NULL, state INTEGER NOT NULL, attempt INTEGER NOT NULL, due REAL NOT NULL,
    fingerprint INTEGER NOT NULL, url TEXT NOT NULL, more TEXT, PRIMARY KEY (host, id)
) WITHOUT ROWID;
CREATE TABLE sources (
    n INTEGER PRIMARY KEY, name TEXT NOT NULL, signature TEXT NOT NULL, taken INTEGER NOT NULL,
    complete INTEGER NOT NULL
);
CREATE TABLE segments (name TEXT PRIMARY KEY, length INTEGER NOT NULL, tail TEXT NOT NULL) WITHOUT ROWID;
"""


# Rows go in and out as one JSON text: Python's sqlite3 gives the interpreter lock away at every step of a statement,
# and a thread that asks for it back a thousand times a group waits for the event loop each time. Here one does all.
_INSERT = (
    "INSERT INTO requests SELECT value->>0, value->>1, value->>2, value->>3, value->>4, value->>5, value->>6, "
    "value->>7 FROM json_each(?)"
)
_SETTLE = (
    "UPDATE requests SET state = new.value->>0, attempt = new.value->>1 FROM json_each(?) AS new "
    "WHERE requests.host = new.value->>2 AND requests.id = new.value->>3"
)
_WINDOW = (
    "SELECT json_group_array(json_array(id, attempt, due, url, more)) FROM (SELECT * FROM requests "
    "WHERE host = ? AND id > ? AND state = 0 ORDER BY id LIMIT ?)"
)
_FINGERPRINTS = (
    "SELECT json_group_array(json_array(host, id, fingerprint)) FROM (SELECT * FROM requests "
    "WHERE (host, id) > (?, ?) ORDER BY host, id LIMIT 10000)"
)


class NewRow:
    """A request to remember as it is now (a redirect moves it on before the row is written), and its fingerprint."""

    __slots__ = ("fingerprint", "home", "id", "more", "url")

    def __init__(self, request: Request, fingerprint: int) -> None:
        self.id = request.id
        self.home = request.home
        self.url = request.url
        self.more = _more(request)
        self.fingerprint = fingerprint  # below 2**63, as SQLite's integers are


class SourceMark(NamedTuple):
    """How far a source was read: `taken` items of the content that `signature` names."""

    n: int
    name: str
    signature: str
    taken: int
    complete: bool


class Settled(NamedTuple):
    """A request that came to its end in this group."""

    home: str
    id: int
    state: int
    attempt: int


class Retry(NamedTuple):
    """A request that waits for another attempt, due at a wall-clock second."""

    home: str
    id: int
    attempt: int
    due: float


class Group(NamedTuple):
    """All that one transaction vouches for."""

    number: int
    settled: Sequence[Settled]
    retries: Sequence[Retry]
    blocked: Sequence[tuple[str, float]]
    segments: Sequence[tuple[str, Mark]]
    tally: bytes
    elapsed: float


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
        self._db = _open(path)
        self._hosts: dict[str, int] = {}
        self._hosts_known = False

    def last_run(self) -> RunRow | None:
        """The run begun last, finished or not; the clock may have been set back since."""
        row = self._db.execute(
            "SELECT id, started, ended, state, exit_code, elapsed, tally, job FROM runs ORDER BY n DESC LIMIT 1"
        ).fetchone()
        return RunRow(*row) if row else None

    def begin_run(self, run: str, started: float, job: str) -> None:
        """Start a new run with nothing known: requests, sources and segments of the run before are forgotten."""
        self._begin()
        for table in ("requests", "sources", "segments"):
            self._db.execute(f"DELETE FROM {table}")
        self._db.execute("UPDATE hosts SET added = 0, settled = 0")
        self._db.execute("UPDATE hosts SET blocked_until = 0 WHERE blocked_until <= ?", (started,))
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
        row = self._db.execute("SELECT value FROM meta WHERE key = 'group'").fetchone()
        return int(row[0]) if row else 0

    def segment(self, name: str) -> Mark:
        """The committed state of an append-only output."""
        row = self._db.execute("SELECT length, tail FROM segments WHERE name = ?", (name,)).fetchone()
        return Mark(*row) if row else EMPTY

    def insert(self, rows: Sequence[NewRow], sources: Sequence[SourceMark]) -> None:
        """New requests and how far their sources were read; durable with the next commit."""
        self._begin()
        ids = self._host_ids(dict.fromkeys(row.home for row in rows))  # in the order of the input
        added: dict[int, int] = {}
        values = []
        for row in rows:
            host = ids[row.home]
            added[host] = added.get(host, 0) + 1
            values.append((host, row.id, WAITING, 1, 0.0, row.fingerprint, row.url, row.more))
        self._db.execute(_INSERT, (_json(values),))
        self._db.executemany(
            "UPDATE hosts SET added = added + ? WHERE id = ?", [(n, host) for host, n in added.items()]
        )
        self._db.executemany("INSERT OR REPLACE INTO sources VALUES (?, ?, ?, ?, ?)", sources)

    def commit(self, run: str, group: Group) -> None:
        """One transaction for all of a group, durable when this returns. Raises sqlite3.Error."""
        db = self._db
        self._begin()
        ids = self._host_ids({item.home for item in group.settled} | {name for name, _ in group.blocked})
        ended: dict[int, int] = {}
        values = []
        for home, number, state, attempt in group.settled:
            host = ids[home]
            ended[host] = ended.get(host, 0) + 1
            values.append((state, attempt, host, number))
        db.execute(_SETTLE, (_json(values),))
        db.executemany("UPDATE hosts SET settled = settled + ? WHERE id = ?", [(n, host) for host, n in ended.items()])
        db.executemany(
            "UPDATE requests SET attempt = ?, due = ? WHERE host = ? AND id = ?",
            [(retry.attempt, retry.due, self._hosts[retry.home], retry.id) for retry in group.retries],
        )
        db.executemany(
            "UPDATE hosts SET blocked_until = ? WHERE id = ?", [(at, ids[name]) for name, at in group.blocked]
        )
        db.executemany(
            "INSERT OR REPLACE INTO segments VALUES (?, ?, ?)", [(name, *mark) for name, mark in group.segments]
        )
        db.execute("INSERT OR REPLACE INTO meta VALUES ('group', ?)", (group.number,))
        db.execute("UPDATE runs SET tally = ?, elapsed = ? WHERE id = ?", (group.tally, group.elapsed, run))
        db.execute("COMMIT")

    def roll_back(self) -> None:
        """Forget what is not committed (a group failed)."""
        if self._db.in_transaction:
            self._db.execute("ROLLBACK")
        self._hosts_known = False  # hosts made in that transaction are gone

    def waiting_hosts(self) -> list[tuple[str, int, float]]:
        """Hosts with rows that wait, or that asked to be left alone (redirects and the next run may lead there).

        As name, rows waiting, wall-clock second until which the host is blocked.
        """
        return self._db.execute(
            "SELECT name, added - settled, blocked_until FROM hosts "
            "WHERE added > settled OR blocked_until > 0 ORDER BY id"
        ).fetchall()

    def window(self, host: str, after: int, limit: int) -> list[tuple[Request, float]]:
        """Waiting requests of a host with an id above `after`, by id, each with the wall second it is due."""
        text = self._db.execute(_WINDOW, (self._host_ids({host})[host], after, limit)).fetchone()[0]
        return [
            (_request(host, number, attempt, url, more), due) for number, attempt, due, url, more in orjson.loads(text)
        ]

    def counts(self) -> tuple[int, int]:
        """Requests known and settled in this run."""
        known, settled = self._db.execute(
            "SELECT COALESCE(SUM(added), 0), COALESCE(SUM(settled), 0) FROM hosts"
        ).fetchone()
        return known, settled

    def last_id(self) -> int:
        """The highest request id given so far; 0 when there is none."""
        row = self._db.execute(
            "SELECT MAX(last) FROM (SELECT (SELECT MAX(id) FROM requests WHERE host = hosts.id) AS last FROM hosts)"
        ).fetchone()
        return row[0] or 0

    def sources(self) -> list[SourceMark]:
        """How far each source was read."""
        rows = self._db.execute("SELECT n, name, signature, taken, complete FROM sources ORDER BY n").fetchall()
        return [SourceMark(n, name, signature, taken, bool(complete)) for n, name, signature, taken, complete in rows]

    def fingerprints(self) -> Iterator[int]:
        """The fingerprints of every request of this run."""
        at = (0, 0)
        while rows := orjson.loads(self._db.execute(_FINGERPRINTS, at).fetchone()[0]):
            for _, _, print_ in rows:
                yield print_
            at = rows[-1][:2]

    def forget_sources(self) -> None:
        """The inputs changed: they will be read again from their start."""
        self._begin()
        self._db.execute("DELETE FROM sources")

    def waiting_rows(self) -> Iterator[tuple[str, int, int, str]]:
        """Waiting rows as (host, id, fingerprint, url)."""
        yield from self._db.execute(
            "SELECT hosts.name, requests.id, fingerprint, url FROM requests JOIN hosts ON hosts.id = requests.host "
            "WHERE state = 0"
        )

    def close(self) -> None:
        """Close; a clean end folds the WAL into the database. What was not committed is gone."""
        self.roll_back()
        try:
            self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        except sqlite3.Error:
            pass  # no room to fold it now: the WAL is as good, and the next start folds it
        finally:
            self._db.close()

    def _begin(self) -> None:
        if not self._db.in_transaction:
            self._db.execute("BEGIN IMMEDIATE")

    def _host_ids(self, names: Iterable[str]) -> dict[str, int]:
        """Row ids of hosts, made where they are new. Kept in memory: a join per row costs more than the row."""
        if not self._hosts_known:
            self._hosts = dict(self._db.execute("SELECT name, id FROM hosts"))
            self._hosts_known = True
        for name in names:
            if name not in self._hosts:
                self._begin()
                cursor = self._db.execute("INSERT INTO hosts (name) VALUES (?)", (name,))
                assert cursor.lastrowid is not None
                self._hosts[name] = cursor.lastrowid
        return self._hosts


def _open(path: Path) -> sqlite3.Connection:
    try:
        # SQLite gives its WAL the rights of the database: rows may hold what only the owner may read.
        # (Only a new file is opened by us: to close one would drop the locks of others in this process.)
        with suppress(FileExistsError):
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=60.0, cached_statements=64)
    except (OSError, sqlite3.Error) as error:
        raise StorageError(f"{path}: cannot be opened: {error}") from error
    try:
        _trust(db, path)
        db.execute("PRAGMA journal_mode = WAL")
        # NORMAL lost acknowledged results at 59 of 60 simulated power cuts; FULL is one fdatasync a group.
        db.execute("PRAGMA synchronous = FULL")
        db.execute("PRAGMA cache_size = -32000")
    except sqlite3.Error as error:
        db.close()
        raise StorageError(f"{path}: cannot be used as the checkpoint: {error}; move it away to start anew") from error
    except BaseException:
        db.close()
        raise
    return db


def _trust(db: sqlite3.Connection, path: Path) -> None:
    """Make the tables of a new database; refuse, untouched, one that is damaged, newer than us, or not ours."""
    version = db.execute("PRAGMA user_version").fetchone()[0]
    owner = db.execute("PRAGMA application_id").fetchone()[0]
    if version == 0 and owner == 0 and not db.execute("SELECT 1 FROM sqlite_master").fetchone():
        db.executescript(
            f"BEGIN IMMEDIATE; {_TABLES} PRAGMA application_id = {_OURS}; PRAGMA user_version = {SCHEMA}; COMMIT;"
        )
        return
    if owner != _OURS:
        raise StorageError(f"{path}: is a database of another program; move it away to start anew")
    if version != SCHEMA:
        raise StorageError(f"{path}: its format is number {version}, this version reads {SCHEMA}; update the crawler")
    verdict = db.execute("PRAGMA quick_check(1)").fetchone()[0]
    if verdict != "ok":
        said = " ".join(verdict.split())
        raise StorageError(f"{path}: is damaged ({said}); restore it from a copy or move it away to start anew")


def _json(rows: Sequence[Sequence[Any]]) -> str:
    return orjson.dumps(rows).decode()


def _more(request: Request) -> str | None:
    """What a request says beyond its URL, as JSON; None for the plain GET that most are."""
    more: dict[str, Any] = {}
    if request.method != "GET":
        more["m"] = request.method
    if request.body is not None:
        more["b"] = request.body.decode("latin-1")
    for key, value in (("h", request.headers), ("f", request.filename), ("s", request.sha256), ("i", request.input)):
        if value is not None:
            more[key] = value
    if request.error is not None:
        more["e"] = request.error
    if request.place is not None:
        more["p"] = tuple(request.place)  # orjson knows no named tuples
    return orjson.dumps(more).decode() if more else None


def _request(home: str, number: int, attempt: int, url: str, more: str | None) -> Request:
    if more is None:
        return Request(number, url, home, attempt=attempt)
    said = orjson.loads(more)
    body = said.get("b")
    return Request(
        number,
        url,
        home,
        method=said.get("m", "GET"),
        headers=said.get("h"),
        body=body.encode("latin-1") if body is not None else None,
        filename=said.get("f"),
        sha256=said.get("s"),
        input=said.get("i"),
        place=Place(*said["p"]) if "p" in said else None,
        attempt=attempt,
        error=said.get("e"),
    )
