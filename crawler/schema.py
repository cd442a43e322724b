"""The tables of state.db, and how it is opened.

Does: make a new database, refuse one that is damaged, of another version, or not ours. Must not know what the rows
mean. Invariant: WAL, with synchronous = FULL unless the job says otherwise; readable by its owner only; what is
refused is untouched.
"""

from __future__ import annotations

import os
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from crawler import historylog
from crawler.entry import Sync
from crawler.errors import StorageError

SCHEMA = 3
_OURS = 0x63726177  # application_id, which `file` and others show
# A whole check reads every page: 19 s a GB from a cold disk. In a larger database SQLite tells of a broken page when it
# is read, and counts tell of what SQLite takes for whole: see Checkpoint._load and .window.
_CHECKED_AT_ONCE = 256 * 1024 * 1024

# NORMAL lost acknowledged results at 59 of 60 simulated power cuts; FULL is one fdatasync a group.
_SYNCHRONOUS = {Sync.COMMIT: "FULL", Sync.CLOSE: "NORMAL", Sync.NEVER: "OFF"}

# What a disk that is full, fails or cannot be written leads to.
_OF_THE_DISK = {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN}

_TABLES = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE runs (
    n INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, started REAL NOT NULL, ended REAL, state TEXT NOT NULL,
    exit_code INTEGER, elapsed REAL NOT NULL DEFAULT 0, tally BLOB, job TEXT NOT NULL
);
CREATE TABLE hosts (
    id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, waiting INTEGER NOT NULL DEFAULT 0, pace TEXT
);
CREATE TABLE robots (origin TEXT PRIMARY KEY, entry TEXT NOT NULL) WITHOUT ROWID;
"""
_CAPTURES = """
CREATE TABLE captures (
    id INTEGER PRIMARY KEY, frames INTEGER NOT NULL, bytes INTEGER NOT NULL, seconds REAL NOT NULL,
    over INTEGER NOT NULL
);
"""
# What a sink must know to go on, by the name of the sink.
_SINKS = """
CREATE TABLE sinks (name TEXT PRIMARY KEY, state TEXT NOT NULL) WITHOUT ROWID;
"""
# Of a crawl: what its seeds allow, and the URLs that redirects led to, by fingerprint.
_CRAWL = """
CREATE TABLE places (place TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE claims (fingerprint INTEGER PRIMARY KEY);
"""
# Bodies that came in part, by URL; kept for the next run.
_PARTIALS = """
CREATE TABLE partials (url TEXT PRIMARY KEY, state TEXT NOT NULL) WITHOUT ROWID;
"""
# What a database made before lacks, as the table and what adds it.
_ADDED = (
    ("captures", None, _CAPTURES),
    ("sinks", None, _SINKS),
    ("partials", None, _PARTIALS),
    ("places", None, _CRAWL),
    ("history", None, historylog.TABLES),
    ("segments", "closed", "ALTER TABLE segments ADD COLUMN closed INTEGER NOT NULL DEFAULT 0"),
)
# Forgotten when a new run begins. A request's row lies in `requests` or in an inbox (see rowstore.py), its state in
# `states` or in the log of ends (see endlog.py).
OF_A_RUN = (
    _CAPTURES
    + """
CREATE TABLE requests (
    host INTEGER NOT NULL, id INTEGER NOT NULL, fingerprint INTEGER NOT NULL, url TEXT NOT NULL, more TEXT,
    PRIMARY KEY (host, id)
) WITHOUT ROWID;
CREATE TABLE inbox0 (
    id INTEGER PRIMARY KEY, host INTEGER NOT NULL, fingerprint INTEGER NOT NULL, url TEXT NOT NULL, more TEXT
);
CREATE TABLE inbox1 (
    id INTEGER PRIMARY KEY, host INTEGER NOT NULL, fingerprint INTEGER NOT NULL, url TEXT NOT NULL, more TEXT
);
CREATE TABLE states (chunk INTEGER PRIMARY KEY, bytes BLOB NOT NULL);
CREATE TABLE endlog (n INTEGER PRIMARY KEY, ends BLOB NOT NULL);
CREATE TABLE retries (id INTEGER PRIMARY KEY, attempt INTEGER NOT NULL, due REAL NOT NULL);
CREATE TABLE failures (id INTEGER PRIMARY KEY, host INTEGER NOT NULL, reason TEXT NOT NULL, at REAL NOT NULL);
CREATE TABLE sources (
    n INTEGER PRIMARY KEY, name TEXT NOT NULL, signature TEXT NOT NULL, taken INTEGER NOT NULL,
    complete INTEGER NOT NULL
);
CREATE TABLE segments (
    name TEXT PRIMARY KEY, length INTEGER NOT NULL, tail TEXT NOT NULL, closed INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;
"""
    + _SINKS
    + _CRAWL
)
# How many requests wait: `hosts` counts the rows of `requests` less the ends that were folded, `meta` the others.
COUNT_WAITING = (
    "SELECT (SELECT COALESCE(SUM(waiting), 0) FROM hosts) + COALESCE((SELECT value FROM meta WHERE key = 'staged'), 0)"
    " - COALESCE((SELECT value FROM meta WHERE key = 'logged'), 0)"
)


def begin_anew(db: sqlite3.Connection) -> None:
    """Empty the tables of a run, in the transaction that is open: 0.6 s for 10^7 rows."""
    for table in re.findall(r"CREATE TABLE (\w+)", OF_A_RUN):
        db.execute(f"DELETE FROM {table}")  # without a WHERE it frees whole pages


def damaged(path: Path, said: str) -> StorageError:
    """What to raise where the database contradicts itself."""
    return StorageError(
        f"{path}: is damaged ({' '.join(said.split())}); restore it from a copy or move it away to start anew"
    )


def reading_uri(path: Path, *, wal: bool) -> str:
    """What opens a database to be read alone; `wal`: its WAL is there.

    Without one nobody is at work: `immutable` then spares the files that SQLite makes beside it to read, which it would
    leave there, and which whoever may only read could not make.
    """
    return f"{path.absolute().as_uri()}?mode={'ro' if wal else 'ro&immutable=1'}"


@contextmanager
def reading(path: Path) -> Iterator[sqlite3.Connection]:
    """The database as it is now, to be read beside a run, which is not disturbed; nothing is made.

    Raises StorageError.
    """
    wal = path.with_name(f"{path.name}-wal").exists()
    try:
        with closing(sqlite3.connect(reading_uri(path, wal=wal), uri=True, timeout=10)) as db:
            yield db
    except sqlite3.Error as error:
        raise StorageError(f"{path}: cannot be read: {error}") from error


def open_db(path: Path, sync: Sync = Sync.COMMIT) -> sqlite3.Connection:
    """The open database, its tables made where it is new. Raises StorageError."""
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
        db.execute(f"PRAGMA synchronous = {_SYNCHRONOUS[sync]}")
        # Statement journals in memory: rows that come shuffled over 10^5 hosts wrote as much of them as of the WAL.
        db.execute("PRAGMA temp_store = MEMORY")
        db.execute("PRAGMA cache_size = -32000")
        # Distributions build SQLite with secure_delete on: to empty 10^7 rows then writes every page, 10 s.
        db.execute("PRAGMA secure_delete = FAST")
    except sqlite3.Error as error:
        db.close()
        if error.sqlite_errorcode & 0xFF in _OF_THE_DISK:  # there is nothing wrong with the database
            raise StorageError(f"{path}: cannot be used now: {error}; what was reported is safe") from error
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
            f"BEGIN IMMEDIATE; {_TABLES} {_PARTIALS} {historylog.TABLES} {OF_A_RUN} "
            f"PRAGMA application_id = {_OURS}; PRAGMA user_version = {SCHEMA}; COMMIT;"
        )
        return
    if owner != _OURS:
        raise StorageError(f"{path}: is a database of another program; move it away to start anew")
    if version != SCHEMA:
        cure = "update the crawler" if version > SCHEMA else "move it away to start anew"
        raise StorageError(f"{path}: its format is number {version}, this version reads {SCHEMA}; {cure}")
    if path.stat().st_size <= _CHECKED_AT_ONCE:
        verdict = db.execute("PRAGMA quick_check(1)").fetchone()[0]
        if verdict != "ok":
            raise damaged(path, verdict)
    lacking = [cure for table, column, cure in _ADDED if not _has(db, table, column)]
    if lacking:
        db.executescript(f"BEGIN IMMEDIATE; {';'.join(lacking)}; COMMIT;")


def _has(db: sqlite3.Connection, table: str, column: str | None) -> bool:
    """Is there such a table, and such a column where one is named."""
    columns = [name for _, name, *_ in db.execute(f"PRAGMA table_info({table})")]
    return bool(columns) if column is None else column in columns
