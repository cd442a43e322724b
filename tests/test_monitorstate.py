"""Runs as the checkpoint tells of them."""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path

import orjson

from crawler.monitorfiles import Tree
from crawler.monitorstate import JobState
from crawler.schema import open_db
from tests.monitored import Job, failed, record


def test_runs_come_the_last_first(tmp_path: Path) -> None:
    """With their counts, and when one went well last."""
    job = Job(tmp_path)
    job.run([record(1)], id="r1")
    job.run([record(1), failed(2)], id="r2", code=1)
    known = JobState(Tree(tmp_path), "almanac").read()
    assert [(row.id, row.exit_code, row.tally.fetched, row.tally.failed) for row in known.runs] == [
        ("r2", 1, 1, 1),
        ("r1", 0, 1, 0),
    ]
    assert known.last_success == 1010
    assert known.run(None) is known.runs[0]
    assert known.run("r1") is known.runs[1]
    assert known.run("r3") is None


def test_a_new_run_is_seen(tmp_path: Path) -> None:
    """What was read before is not read again, what is new is."""
    job, state = Job(tmp_path), JobState(Tree(tmp_path), "almanac")
    assert state.read().runs == ()
    job.run([record(1)], id="r1")
    first = state.read()
    assert state.read() is first
    job.run([record(1)], id="r2")
    assert [row.id for row in state.read().runs] == ["r2", "r1"]
    assert state.read().runs[1] is first.runs[0]


def test_a_run_without_its_process_was_killed(tmp_path: Path) -> None:
    """By its process id where that is of this machine, else by its lock."""
    job, state = Job(tmp_path), JobState(Tree(tmp_path), "almanac")
    job.run(state="running", code=None)
    assert state.read().runs[0].state == "killed"
    job.folder.lock(time.time())
    assert state.read().runs[0].state == "running"
    job.folder.unlock()
    assert state.read().runs[0].state == "killed"


def test_a_dead_owner_is_believed_without_the_lock(tmp_path: Path) -> None:
    """The lock of a job that is about to start is not touched: here it is held, and the owner is gone."""
    job, state = Job(tmp_path), JobState(Tree(tmp_path), "almanac")
    job.run(state="running", code=None)
    job.folder.lock(time.time())
    gone = {"pid": 2**22 + 1, "host": socket.gethostname(), "started": "x"}
    (job.folder.path / "lock").write_bytes(orjson.dumps(gone))
    assert state.read().runs[0].state == "killed"
    (job.folder.path / "lock").write_bytes(orjson.dumps({**gone, "host": "elsewhere"}))
    assert state.read().runs[0].state == "running"
    job.folder.unlock()


def test_a_damaged_state_is_told(tmp_path: Path) -> None:
    """And one that is mended is read."""
    job, state = Job(tmp_path), JobState(Tree(tmp_path), "almanac")
    whole = job.folder.state.read_bytes()
    job.folder.state.write_bytes(b"no database at all" * 100)
    known = state.read()
    assert known.runs == ()
    assert "cannot be read" in (known.error or "")
    job.folder.state.write_bytes(whole)
    assert state.read().error is None


def test_a_percent_sign_leads_nowhere_else(tmp_path: Path) -> None:
    """A folder that is called what in a URI is a step up is no job."""
    Job(tmp_path, "other").run([record(1)])
    Job(tmp_path, "x%2F..%2Fother")
    assert Tree(tmp_path).jobs() == ["other"]


def test_reading_writes_nothing(tmp_path: Path) -> None:
    """Not even the files that SQLite makes beside a database to read it."""
    job = Job(tmp_path)
    job.run([record(1)])
    before = job.folder.state.read_bytes(), sorted(os.listdir(job.folder.path))
    assert len(JobState(Tree(tmp_path), "almanac").read().runs) == 1
    assert (job.folder.state.read_bytes(), sorted(os.listdir(job.folder.path))) == before


def test_an_open_run_does_not_wait_for_us(tmp_path: Path) -> None:
    """A writer commits while we have read, and what it wrote is seen."""
    job, state = Job(tmp_path), JobState(Tree(tmp_path), "almanac")
    job.run([record(1)])
    db = open_db(job.folder.state)
    state.read()
    db.execute("UPDATE runs SET exit_code = 3")
    assert state.read().runs[0].exit_code in (0, 3)  # a run that is over is read once
    db.execute("INSERT INTO runs (id, started, state, job) VALUES ('r2', 0, 'stopped', '{}')")
    assert state.read().runs[0].id == "r2"
    db.close()
