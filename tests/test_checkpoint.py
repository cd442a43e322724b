"""The checkpoint: rows come back as they went in, a group is whole or absent, what cannot be trusted is refused."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from crawler import endlog, rowstore, schema
from crawler.checkpoint import Checkpoint, Failure, Group, Progress, Rejoined, Retry, Settled, SourceMark
from crawler.durable import Mark
from crawler.entry import Sync
from crawler.errors import StorageError
from crawler.model import Captured, Place, Promised, Request
from crawler.parcels import Thing
from crawler.rows import NewRow
from crawler.runrows import RunRow
from crawler.states import CHUNK, FAILED, FETCHED, SKIPPED


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state.db"


@pytest.fixture
def checkpoint(path: Path) -> Iterator[Checkpoint]:
    opened = Checkpoint(path)
    opened.begin_run("run-1", 1000.0, "{}")
    yield opened
    opened.close()


def rows(*ids: int, host: str = "h") -> list[NewRow]:
    return [NewRow(Request(id, f"http://{host}/{id}", host), id * 7) for id in ids]


def group(number: int = 1, **parts: Any) -> Group:
    whole: dict[str, Any] = {"settled": [], "retries": [], "paces": [], "robots": [], "segments": []}
    return Group(number, **(whole | {"tally": b"", "elapsed": 0.0} | parts))


def ids_of(checkpoint: Checkpoint, host: str = "h", after: int = 0, limit: int = 100) -> list[int]:
    return [row.id for row, _ in checkpoint.window(host, after, limit)]


def told(checkpoint: Checkpoint) -> list[Any]:
    """All that a checkpoint says."""
    windows = {
        host: [(row.id, row.url, row.attempt, due) for row, due in checkpoint.window(host, 0, 1000)]
        for host, _, _ in checkpoint.hosts()
    }
    prints = sorted(print_ for some in checkpoint.fingerprints() for print_ in some)
    outputs = (checkpoint.marks(), checkpoint.sink_states(), checkpoint.partials())
    of_run = (checkpoint.last_run(), checkpoint.group, outputs, checkpoint.sources())
    counts = (checkpoint.waiting(), checkpoint.last_id(), checkpoint.hosts(), checkpoint.robots())
    return [windows, prints, of_run, counts, list(checkpoint.failures()), sorted(checkpoint.waiting_rows())]


def copied(path: Path, to: Path) -> Path:
    """What a kill would leave at this instant."""
    to.mkdir()
    for name in ("state.db", "state.db-wal"):
        if (path.parent / name).exists():
            shutil.copy(path.parent / name, to / name)
    return to / "state.db"


def test_rows_come_back_as_the_same_requests(path: Path) -> None:
    """Everything a request says survives a restart."""
    plain = Request(1, "http://h/seed", "h")
    full = Request(
        2,
        "http://h/form",
        "h",
        method="POST",
        headers={"X-A": "ä"},
        body=b"\x00\xff",
        filename="a/b",
        promised=Promised("00", "11", "22", 3),
        mirrors=("http://m/1",),
        input={"n": 1},
        place=Place("urls.csv", 7),
        error="bad",
    )
    checkpoint = Checkpoint(path)
    checkpoint.begin_run("run-1", 0.0, "{}")
    checkpoint.insert([NewRow(request, 2**63 - 1) for request in (plain, full)], [])
    checkpoint.commit("run-1", group())
    checkpoint.close()
    plain.fingerprint = full.fingerprint = 2**63 - 1  # known to the row, not yet to a new request
    checkpoint = Checkpoint(path)
    back = [row for row, due in checkpoint.window("h", 0, 100)]
    checkpoint.close()
    assert [[getattr(row, name) for name in Request.__slots__] for row in back] == [
        [getattr(row, name) for name in Request.__slots__] for row in (plain, full)
    ]


def test_without_a_commit_nothing_happened(path: Path) -> None:
    """Rows, sources and hosts inserted but not committed are gone after a close."""
    checkpoint = Checkpoint(path)
    checkpoint.begin_run("run-1", 0.0, "{}")
    before = told(checkpoint)
    checkpoint.insert(rows(1, 2), [SourceMark(0, "urls.txt", "abc", 2, False)])
    assert (checkpoint.waiting(), checkpoint.last_id()) == (2, 2)
    checkpoint.close()
    checkpoint = Checkpoint(path)
    assert told(checkpoint) == before
    checkpoint.close()


def test_a_group_is_there_after_a_restart(path: Path) -> None:
    """Ends, retries, paces, robots, marks, tally and time of a committed group are all found again."""
    checkpoint = Checkpoint(path)
    checkpoint.begin_run("run-1", 10.0, '{"name": "x"}')
    source, mark = SourceMark(0, "urls.txt", "abc", 4, True), Mark(120, "ff")
    checkpoint.insert(rows(1, 2, 3) + rows(4, host="g"), [source])
    checkpoint.commit(
        "run-1",
        group(
            number=1,
            settled=[Settled("h", 1, FETCHED), Settled("h", 2, FAILED, "status-404", 77.5)],
            retries=[Retry(3, 4, 99.5)],
            paces=[("g", "slow"), ("elsewhere", "blocked")],
            robots=[("http://h", "none")],
            segments=[("records.jsonl", mark)],
            tally=b"counts",
            elapsed=2.5,
        ),
    )
    before = told(checkpoint)
    checkpoint.close()
    checkpoint = Checkpoint(path)
    assert told(checkpoint) == before
    assert (checkpoint.group, checkpoint.waiting(), checkpoint.last_id()) == (1, 2, 4)
    assert checkpoint.sources() == [source]
    assert checkpoint.marks() == {"records.jsonl": mark}
    assert checkpoint.hosts() == [("h", 1, None), ("g", 1, "slow"), ("elsewhere", 0, "blocked")]
    assert checkpoint.robots() == [("http://h", "none")]
    assert list(checkpoint.failures()) == [Failure(2, "h", "status-404", 77.5)]
    ((retried, due),) = checkpoint.window("h", 0, 10)
    assert (retried.id, retried.attempt, due) == (3, 4, 99.5)
    assert sorted(checkpoint.waiting_rows()) == [("g", 4, 28, "http://g/4"), ("h", 3, 21, "http://h/3")]
    last = checkpoint.last_run()
    assert last is not None
    assert last[:2] == ("run-1", 10.0)
    assert (last.ended, last.state, last.elapsed, last.tally, last.job) == (
        None,
        "running",
        2.5,
        b"counts",
        '{"name": "x"}',
    )
    checkpoint.close()


def test_all_fingerprints_come(checkpoint: Checkpoint) -> None:
    """Those of more rows and hosts than one step reads come each once."""
    for host in "abc":
        first = 10_000 * "abc".index(host)
        checkpoint.insert(rows(*range(first + 1, first + 4001), host=host), [])
    assert sorted(print_ for some in checkpoint.fingerprints() for print_ in some) == [
        7 * id for first in (0, 10_000, 20_000) for id in range(first + 1, first + 4001)
    ]


def test_a_window_passes_over_what_is_settled(checkpoint: Checkpoint) -> None:
    """Only waiting rows above the cursor come, in the order of their ids, no more than were asked for."""
    checkpoint.insert(rows(5, 1, 9, 3, 7, 11), [])
    checkpoint.commit("run-1", group(settled=[Settled("h", 5, FETCHED)]))
    assert ids_of(checkpoint) == [1, 3, 7, 9, 11]
    assert ids_of(checkpoint, after=3, limit=2) == [7, 9]
    assert ids_of(checkpoint, after=11) == []
    assert ids_of(checkpoint, host="unknown") == []
    assert checkpoint.last_id() == 11


def test_a_window_finds_its_rows_behind_thousands_that_ended(checkpoint: Checkpoint) -> None:
    """Also where a row of another host still waits before them, and where one of its own does."""
    checkpoint.insert(rows(1, host="g") + rows(*range(2, 10_001)), [])
    checkpoint.commit("run-1", group(settled=[Settled("h", id, FETCHED) for id in range(2, 9_990) if id != 17]))
    assert ids_of(checkpoint, limit=4) == [17, 9990, 9991, 9992]
    assert ids_of(checkpoint, after=9992) == list(range(9993, 10_001))
    assert ids_of(checkpoint, "g") == [1]


def test_the_highest_id_stays_the_highest(checkpoint: Checkpoint) -> None:
    """Rows may come in any order of their ids."""
    checkpoint.insert(rows(9), [])
    checkpoint.insert(rows(4), [])
    assert checkpoint.last_id() == 9


def test_what_was_retried_and_ended_has_ended(path: Path) -> None:
    """No attempt of it is left behind, in one group or two: made again, it begins with the first."""
    checkpoint = Checkpoint(path)
    checkpoint.begin_run("run-1", 0.0, "{}")
    checkpoint.insert(rows(1, 2), [])
    checkpoint.commit("run-1", group(retries=[Retry(2, 3, 50.0)]))
    checkpoint.commit(
        "run-1",
        group(2, settled=[Settled("h", id, FAILED, "stall", 60.0) for id in (1, 2)], retries=[Retry(1, 2, 9.0)]),
    )
    made_again(checkpoint, checkpoint.failures())
    for _ in range(2):
        assert [(row.id, row.attempt, due) for row, due in checkpoint.window("h", 0, 9)] == [(1, 1, 0.0), (2, 1, 0.0)]
        checkpoint.close()
        checkpoint = Checkpoint(path)
    checkpoint.close()


def test_an_end_counts_once(checkpoint: Checkpoint) -> None:
    """A request whose end is told twice does not make another one vanish from the count."""
    checkpoint.insert(rows(1, 2), [])
    checkpoint.commit("run-1", group(1, settled=[Settled("h", 1, FETCHED)]))
    checkpoint.commit("run-1", group(2, settled=[Settled("h", 1, FETCHED)]))
    assert (checkpoint.waiting(), ids_of(checkpoint)) == (1, [2])


def test_a_group_that_fails_leaves_nothing(checkpoint: Checkpoint) -> None:
    """After a fault in a group and a roll-back, the rows that came with it can be inserted and committed anew."""
    checkpoint.insert(rows(1), [])
    checkpoint.commit("run-1", group())
    with pytest.raises(sqlite3.Error):
        checkpoint.insert(rows(2, 1), [])
    checkpoint.roll_back()
    assert checkpoint.waiting() == 1
    checkpoint.insert(rows(2, 3, host="new"), [])
    checkpoint.roll_back()
    checkpoint.insert(rows(2, 3, host="new"), [])
    checkpoint.commit("run-1", group(number=2))
    assert checkpoint.hosts() == [("h", 1, None), ("new", 2, None)]


@pytest.mark.parametrize("by_itself", [False, True])
def test_a_roll_back_gives_back_states_and_retries(checkpoint: Checkpoint, by_itself: bool) -> None:
    """Also when SQLite rolled back by itself, as it does when the disk is full or fails."""
    checkpoint.insert(rows(1, 2), [])
    checkpoint.commit("run-1", group(retries=[Retry(1, 2, 5.0)]))
    before = told(checkpoint)
    checkpoint.insert(rows(3, host="new"), [])
    with pytest.raises(sqlite3.Error):
        checkpoint.commit(
            "run-1",
            group(
                2,
                settled=[Settled("h", 1, FETCHED)],
                retries=[Retry(2, 7, 9.0)],
                segments=[("records.jsonl", Mark(None, "x"))],  # type: ignore[arg-type]
            ),
        )
    if by_itself:
        checkpoint._db.execute("ROLLBACK")
    checkpoint.roll_back()
    assert told(checkpoint) == before
    checkpoint.insert(rows(3, host="new"), [])
    checkpoint.commit("run-1", group(2))
    assert checkpoint.hosts() == [("h", 2, None), ("new", 1, None)]


def test_a_full_disk_leaves_the_groups_before_it(path: Path, checkpoint: Checkpoint) -> None:
    """A group for which there is no room is told, and nothing of it is found after a restart."""
    checkpoint.insert(rows(1, 2), [])
    checkpoint.commit("run-1", group(settled=[Settled("h", 1, FETCHED)]))
    before = told(checkpoint)
    pages = checkpoint._db.execute("PRAGMA page_count").fetchone()[0]
    checkpoint._db.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(sqlite3.OperationalError, match="full"):
        checkpoint.commit("run-1", group(2, settled=[Settled("h", 2, FETCHED)], tally=b"x" * 100_000))
    checkpoint.roll_back()
    assert told(checkpoint) == before
    checkpoint.close()
    again = Checkpoint(path)
    assert told(again) == before
    again.close()


def test_a_new_run_begins_with_nothing_known(checkpoint: Checkpoint) -> None:
    """Everything of the run before is forgotten but that run itself, and ids begin anew."""
    checkpoint.insert(rows(1, 2, 3), [SourceMark(0, "urls.txt", "abc", 2, True)])
    ends = [Settled("h", 1, FETCHED), Settled("h", 2, FAILED, "stall", 5.0)]
    checkpoint.commit(
        "run-1", group(7, settled=ends, retries=[Retry(3, 4, 9.0)], segments=[("records.jsonl", Mark(5, "x"))])
    )
    checkpoint.begin_run("run-2", 2000.0, "{}")
    assert told(checkpoint)[0:2] == [{}, []]
    assert (checkpoint.group, checkpoint.waiting(), checkpoint.last_id(), checkpoint.sources()) == (0, 0, 0, [])
    assert (checkpoint.marks(), list(checkpoint.failures())) == ({}, [])
    checkpoint.insert(rows(1, 2, 3), [])
    assert [(row.id, row.attempt, due) for row, due in checkpoint.window("h", 0, 9)] == [
        (id, 1, 0.0) for id in (1, 2, 3)
    ]
    last = checkpoint.last_run()
    assert last is not None
    assert last.id == "run-2"


def test_a_new_run_may_begin_while_rows_are_read(checkpoint: Checkpoint) -> None:
    """A reading that was left in its middle locks nothing."""
    checkpoint.insert(rows(*range(1, 3000)), [])
    checkpoint.commit("run-1", group(settled=[Settled("h", id, FAILED, "stall") for id in range(1, 2000)]))
    left: list[Iterator[object]] = [checkpoint.failures(), checkpoint.waiting_rows(), checkpoint.fingerprints()]
    for reading in left:
        next(reading)
    checkpoint.begin_run("run-2", 2000.0, "{}")
    assert checkpoint.waiting() == 0


def test_what_was_learned_of_a_host_outlives_the_run(checkpoint: Checkpoint) -> None:
    """Paces and robots.txt stand in the next run; a host of which nothing is known is forgotten."""
    checkpoint.insert(rows(1) + rows(2, host="plain"), [])
    checkpoint.commit("run-1", group(paces=[("h", "slow"), ("g", "dead")], robots=[("http://h", "a")]))
    checkpoint.commit("run-1", group(2, paces=[("h", "slower")], robots=[("http://h", "b"), ("http://g", "c")]))
    checkpoint.begin_run("run-2", 2000.0, "{}")
    assert checkpoint.hosts() == [("h", 0, "slower"), ("g", 0, "dead")]
    assert sorted(checkpoint.robots()) == [("http://g", "c"), ("http://h", "b")]


def failed_run(checkpoint: Checkpoint) -> list[Failure]:
    """Six rows of two hosts: one fetched, one skipped, four failed."""
    checkpoint.insert(rows(1, 2, 3) + rows(4, 5, 6, host="g"), [SourceMark(0, "urls.txt", "abc", 6, True)])
    checkpoint.commit(
        "run-1",
        group(
            5,
            settled=[
                Settled("h", 1, FETCHED),
                Settled("h", 2, FAILED, "status-503", 20.0),
                Settled("h", 3, FAILED, "stall", 30.0),
                Settled("g", 4, FAILED, "host-dead", 40.0),
                Settled("g", 5, SKIPPED),
                Settled("g", 6, FAILED, "host-dead", 60.0),
            ],
            segments=[("records.jsonl", Mark(5, "x"))],
        ),
    )
    checkpoint.end_run("run-1", 1100.0, "finished", 1)
    return list(checkpoint.failures())


GOES_ON = RunRow("run-1", 0.0, None, "running", None, 0.0, b"less", "today")


def made_again(checkpoint: Checkpoint, failures: Iterable[Failure], things: Sequence[Thing] = ()) -> None:
    now = Rejoined({"records.csv": Mark(3, "y")}, {"parquet": "z"}, b"less", things)
    checkpoint.rejoin("run-1", "today", {failure.id: failure.host for failure in failures}, now)


def test_failures_are_made_again_alone(path: Path) -> None:
    """The run goes on with these rows and with other files; other failures stay, and ids go on behind the highest."""
    checkpoint = Checkpoint(path)
    checkpoint.begin_run("run-1", 0.0, "{}")
    failures = failed_run(checkpoint)
    assert [failure.id for failure in failures] == [2, 3, 4, 6]
    made_again(checkpoint, [failures[0], failures[3]])
    for _ in range(2):
        assert (ids_of(checkpoint), ids_of(checkpoint, "g"), checkpoint.waiting()) == ([2], [6], 2)
        assert list(checkpoint.failures()) == [failures[1], failures[2]]
        assert (checkpoint.group, checkpoint.last_id()) == (5, 6)
        assert checkpoint.marks() == {"records.jsonl": Mark(5, "x"), "records.csv": Mark(3, "y")}
        assert checkpoint.sink_states() == {"parquet": "z"}
        assert (checkpoint.to_replace(), checkpoint.last_run()) == (["records.csv"], GOES_ON)
        assert [mark.complete for mark in checkpoint.sources()] == [True]
        checkpoint.close()
        checkpoint = Checkpoint(path)
    checkpoint.replaced()
    assert checkpoint.to_replace() == []
    ends = [Settled("h", 2, FETCHED), Settled("g", 6, FAILED, "stall", 90.0)]
    checkpoint.commit("run-1", group(6, settled=ends))
    assert (checkpoint.waiting(), [(f.id, f.reason) for f in checkpoint.failures()]) == (
        0,
        [(3, "stall"), (4, "host-dead"), (6, "stall")],
    )
    checkpoint.close()


def test_files_that_changed_are_uploaded_anew(checkpoint: Checkpoint) -> None:
    """What waits of them as they were waits no longer."""
    failures = failed_run(checkpoint)
    old = [Thing("records.csv", 9, "ab"), Thing("a.tar", 8)]
    checkpoint.commit("run-1", group(6, things=old))
    made_again(checkpoint, failures, [Thing("records.csv", 3)])
    assert [(parcel.name, parcel.size) for parcel in checkpoint.to_ship(0, 9)] == [("a.tar", 8), ("records.csv", 3)]


@pytest.mark.parametrize(("sync", "kept"), [(Sync.COMMIT, 2), (Sync.CLOSE, 1)])
def test_what_moves_files_is_durable_whatever_the_job_says(path: Path, sync: Sync, kept: int) -> None:
    """And for what comes later its word holds again."""
    checkpoint = Checkpoint(path, sync)
    checkpoint.begin_run("run-1", 0.0, "{}")
    said: list[str] = []
    failures = failed_run(checkpoint)
    checkpoint._db.set_trace_callback(said.append)
    made_again(checkpoint, failures)
    checkpoint._db.set_trace_callback(None)
    assert said.index("PRAGMA synchronous = FULL") < said.index("COMMIT")
    assert checkpoint._db.execute("PRAGMA synchronous").fetchone() == (kept,)
    checkpoint.close()


def begin(checkpoint: Checkpoint) -> None:
    checkpoint.begin_run("run-2", 2000.0, "{}")


def retry(checkpoint: Checkpoint) -> None:
    made_again(checkpoint, checkpoint.failures())


def commit(checkpoint: Checkpoint) -> None:
    checkpoint.insert(rows(7, 8, host="new"), [SourceMark(0, "urls.txt", "abc", 8, True)])
    checkpoint.insert(rows(9), [])
    checkpoint.insert(rows(10), [])
    ends = [Settled("new", 7, FAILED, "stall", 5.0)]
    checkpoint.commit("run-1", group(6, settled=ends, retries=[Retry(8, 2, 9.0)], paces=[("new", "x"), ("y", "z")]))


def end(checkpoint: Checkpoint) -> None:
    checkpoint.end_run("run-1", 1200.0, "stopped", 3)


@pytest.mark.slow
@pytest.mark.parametrize("folded_at", [2, 1000])
@pytest.mark.parametrize("work", [begin, retry, commit, end])
def test_a_kill_before_any_statement_leaves_all_or_nothing(
    path: Path, monkeypatch: pytest.MonkeyPatch, work: Callable[[Checkpoint], None], folded_at: int
) -> None:
    """What is on disk before each statement is the state before the work; after the last it is the one behind it.

    Also in the middle of a merge or a fold.
    """
    monkeypatch.setattr(rowstore, "_FULL", 1)
    monkeypatch.setattr(endlog, "_FOLDED_AT", folded_at)
    checkpoint = Checkpoint(path)
    checkpoint.begin_run("run-1", 1000.0, "{}")
    failed_run(checkpoint)
    before = told(checkpoint)
    kills: list[Path] = []

    def killed(_: str) -> None:
        kills.append(copied(path, path.parent / str(len(kills))))

    checkpoint._db.set_trace_callback(killed)
    work(checkpoint)
    checkpoint._db.set_trace_callback(None)
    after = told(checkpoint)
    killed("")
    checkpoint.close()
    found = []
    for left in kills:
        again = Checkpoint(left)
        found.append(told(again))
        again.close()
    done = found.count(after)
    assert done >= 1
    assert len(found) - done >= 3
    assert found == [before] * (len(found) - done) + [after] * done


@pytest.mark.slow
def test_a_wal_cut_anywhere_leaves_whole_groups(path: Path) -> None:
    """However much of the last writes reached the disk, the state is that of one commit, and never goes back."""
    checkpoint = Checkpoint(path)
    checkpoint.begin_run("run-1", 0.0, "{}")
    whole = [told(checkpoint)]
    for number in range(1, 6):
        first = number * 10
        checkpoint.insert(rows(*range(first, first + 10), host=f"h{number}"), [])
        checkpoint.commit("run-1", group(number, settled=[Settled(f"h{number}", first, FETCHED)]))
        whole.append(told(checkpoint))
    size = (path.parent / "state.db-wal").stat().st_size
    reached = []
    for n, cut in enumerate([*range(0, size, 5000), size]):
        left = copied(path, path.parent / str(n))
        with left.with_name("state.db-wal").open("r+b") as wal:
            wal.truncate(cut)
        again = Checkpoint(left)
        state = told(again)
        again.close()
        if state[2][0] is not None:  # else not even the beginning of the run was there
            reached.append(whole.index(state))
    checkpoint.close()
    assert reached == sorted(reached)
    assert reached[-1] == 5
    assert len(set(reached)) > 2


def test_the_last_run_is_the_one_begun_last(checkpoint: Checkpoint) -> None:
    """A clock that was set back between two runs does not bring the older one back."""
    checkpoint.end_run("run-1", 1100.0, "finished", 0)
    checkpoint.begin_run("a-run-of-yesterday", 500.0, "{}")
    last = checkpoint.last_run()
    assert last is not None
    assert last.id == "a-run-of-yesterday"


def test_a_run_is_ended_and_taken_up_again(checkpoint: Checkpoint) -> None:
    """A stopped run that goes on is running again, by the job of today."""
    checkpoint.end_run("run-1", 1100.0, "stopped", 3)
    last = checkpoint.last_run()
    assert last is not None
    assert (last.state, last.ended, last.exit_code) == ("stopped", 1100.0, 3)
    checkpoint.resume_run("run-1", '{"new": 1}')
    last = checkpoint.last_run()
    assert last is not None
    assert (last.state, last.ended, last.job) == ("running", None, '{"new": 1}')


def test_forgotten_sources_are_forgotten_with_the_next_commit(path: Path) -> None:
    """Without a commit the sources stand as they stood."""
    checkpoint = Checkpoint(path)
    checkpoint.begin_run("run-1", 0.0, "{}")
    mark = SourceMark(0, "urls.txt", "abc", 2, True)
    checkpoint.insert([], [mark])
    checkpoint.commit("run-1", group())
    checkpoint.forget_sources()
    assert checkpoint.sources() == []
    checkpoint.close()
    checkpoint = Checkpoint(path)
    assert checkpoint.sources() == [mark]
    checkpoint.close()


def test_only_the_owner_may_read_it(path: Path, checkpoint: Checkpoint) -> None:
    """state.db and its WAL may hold headers of the input, so their mode is 0600."""
    checkpoint.insert(rows(1), [])
    checkpoint.commit("run-1", group())
    modes = {file.name: oct(file.stat().st_mode & 0o777) for file in path.parent.iterdir()}
    assert modes.keys() >= {"state.db", "state.db-wal"}
    assert set(modes.values()) == {"0o600"}


def test_a_database_of_others_is_refused_and_untouched(path: Path) -> None:
    """A foreign database is named, and not one byte of it changes."""
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE theirs (x)")
    db.close()
    before = path.read_bytes()
    with pytest.raises(StorageError, match=r"state\.db: is a database of another program"):
        Checkpoint(path)
    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir()] == ["state.db"]


def test_a_newer_format_is_refused(path: Path) -> None:
    """A state.db of a later version is named with both numbers."""
    Checkpoint(path).close()
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(StorageError, match=r"state\.db: its format is number 99, this version reads 3"):
        Checkpoint(path)


def test_a_text_file_in_its_place_is_refused(path: Path) -> None:
    """What is no database at all is named and untouched."""
    path.write_bytes(b"these are my notes\n" * 100)
    with pytest.raises(StorageError, match=r"state\.db: cannot be used as the checkpoint: file is not a database"):
        Checkpoint(path)
    assert path.read_bytes() == b"these are my notes\n" * 100


def filled(path: Path, ended: int = 2000) -> None:
    """A checkpoint of 3,000 rows of three hosts, closed."""
    checkpoint = Checkpoint(path)
    checkpoint.begin_run("run-1", 0.0, "{}")
    for host in range(3):
        checkpoint.insert(rows(*range(host + 1, 1501, 3), host=f"h{host}"), [])
    for first, count in ((1501, 600), (2101, 600), (2701, 300)):
        checkpoint.insert([row for id in range(first, first + count) for row in rows(id, host=f"h{(id - 1) % 3}")], [])
    ends = [Settled(f"h{(id - 1) % 3}", id, FETCHED) for id in range(1, ended + 1)]
    checkpoint.commit("run-1", group(settled=ends))
    checkpoint.close()


def taken(path: Path) -> list[int]:
    """All ids that a run would ask for, window by window, as the frontier does."""
    checkpoint = Checkpoint(path)
    found: list[int] = []
    try:
        for host, waiting, _ in checkpoint.hosts():
            after = 0
            while waiting:
                window = checkpoint.window(host, after, 64, waiting)
                found += [row.id for row, _ in window]
                after, waiting = window[-1][0].id, waiting - len(window)
    finally:
        checkpoint.close()
    return sorted(found)


@pytest.mark.parametrize("size", [0.3, 0.6, 0.9])
def test_a_cut_database_is_refused(path: Path, size: float) -> None:
    """A state.db that lost its end is named with the remedy."""
    filled(path)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * size)])
    with pytest.raises(StorageError, match=r"state\.db: .*move it away to start anew"):
        Checkpoint(path)


def test_a_damaged_page_is_refused(path: Path) -> None:
    """Garbage in the middle of state.db is found when it is opened, not in the middle of a run."""
    filled(path)
    data = bytearray(path.read_bytes())
    middle = len(data) // 2 // 4096 * 4096
    data[middle : middle + 4096] = b"\xa5" * 4096
    path.write_bytes(data)
    with pytest.raises(StorageError, match=r"state\.db: .*move it away to start anew"):
        Checkpoint(path)


@pytest.mark.slow
@pytest.mark.parametrize("folded", [False, True])
@pytest.mark.parametrize("kind", ["garbage", "zeros", "sector", "another page"])
def test_damage_in_a_large_database_never_loses_a_row_in_silence(
    path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, folded: bool
) -> None:
    """Whichever page is damaged and was not checked at the start: it is told when it is touched, or harms no row.

    Also where ends lie in their log and rows in both inboxes, one of which is merged in part.
    """
    if folded:
        monkeypatch.setattr(endlog, "_FOLDED_AT", 1)
    else:
        monkeypatch.setattr(rowstore, "_CLUSTERED", 10_000)
        monkeypatch.setattr(rowstore, "_FULL", 800)
    filled(path)
    with sqlite3.connect(path) as db:
        tables = ["requests", "inbox0", "inbox1", "states", "endlog"]
        sizes = [db.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in tables]
    db.close()
    assert [size > 0 for size in sizes] == [True, not folded, not folded, folded, not folded]
    monkeypatch.setattr(schema, "_CHECKED_AT_ONCE", 0)
    whole = path.read_bytes()
    outcomes = []
    for at in range(4096, len(whole), 4096):
        data = bytearray(whole)
        other = (at + 8192) % len(whole) or 4096
        match kind:
            case "garbage":
                data[at : at + 4096] = b"\xa5" * 4096
            case "zeros":
                data[at : at + 4096] = bytes(4096)
            case "sector":
                data[at + 2048 : at + 2560] = b"\xa5" * 512
            case "another page":
                data[at : at + 4096] = whole[other : other + 4096]
        path.write_bytes(data)
        try:
            outcomes.append(taken(path) == list(range(2001, 3001)))
        except (StorageError, sqlite3.DatabaseError):
            outcomes.append(True)
    path.write_bytes(whole)
    assert taken(path) == list(range(2001, 3001))
    assert all(outcomes)
    assert len(outcomes) > 30


@pytest.mark.parametrize("states", [b"\xa5" * CHUNK, bytes(CHUNK), b"\x01" * CHUNK, b"\x01" * 7])
def test_states_that_contradict_the_counts_are_refused(
    path: Path, monkeypatch: pytest.MonkeyPatch, states: bytes
) -> None:
    """SQLite checks no content: other bytes in place of the states are found by what waits and what was inserted."""
    monkeypatch.setattr(endlog, "_FOLDED_AT", 1)
    filled(path, ended=500)
    monkeypatch.setattr(schema, "_CHECKED_AT_ONCE", 0)
    with sqlite3.connect(path) as db:
        db.execute("UPDATE states SET bytes = ? WHERE chunk = 0", (states,))
    db.close()
    with pytest.raises(StorageError, match=r"state\.db: is damaged \(.*\); restore it from a copy or move it away"):
        Checkpoint(path)


def test_rows_that_are_gone_are_missed(path: Path) -> None:
    """A window that finds fewer rows than wait says so."""
    filled(path)
    with sqlite3.connect(path) as db:
        db.execute("DELETE FROM requests WHERE id > 2900 AND id % 3 = 1")
    db.close()
    with pytest.raises(StorageError, match=r"state\.db: is damaged \(of 77 requests of h0 only 44 are there\)"):
        taken(path)


@pytest.mark.parametrize("change", ["url = x'ff'", "more = '{'", "more = '[1]'", "more = '{\"b\": 1}'", "id = 'x'"])
def test_a_row_that_cannot_be_read_is_damage(path: Path, change: str) -> None:
    """What no row of ours says ends in a sentence, not in a traceback."""
    filled(path)
    with sqlite3.connect(path) as db:
        db.execute(f"UPDATE requests SET {change} WHERE id = 2500")
    db.close()
    with pytest.raises((StorageError, sqlite3.DatabaseError), match=r"damaged|not hold BLOB|UTF-8"):
        taken(path)


def test_a_place_without_rights_is_told(tmp_path: Path) -> None:
    """A folder in place of state.db, or no folder at all, is a StorageError that names the path."""
    (tmp_path / "state.db").mkdir()
    for path in (tmp_path / "state.db", tmp_path / "absent" / "state.db"):
        with pytest.raises(StorageError, match=r"state\.db: cannot be opened"):
            Checkpoint(path)


def test_an_empty_file_becomes_a_checkpoint(path: Path) -> None:
    """A kill between creation and the tables leaves an empty file, which is taken as new."""
    path.touch()
    checkpoint = Checkpoint(path)
    assert (checkpoint.last_run(), checkpoint.waiting()) == (None, 0)
    checkpoint.close()


def test_what_is_emptied_is_not_written_over(path: Path, checkpoint: Checkpoint) -> None:
    """A new run over a large old one costs no write of each old page, however SQLite was built."""
    checkpoint.insert(rows(*range(1, 10_001)), [])
    checkpoint.commit("run-1", group())
    checkpoint._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    checkpoint.begin_run("run-2", 2000.0, "{}")
    assert (path.parent / "state.db-wal").stat().st_size < path.stat().st_size / 3


def test_a_capture_goes_on_where_it_was(path: Path, checkpoint: Checkpoint) -> None:
    """The progress that was committed last is with the request when it is read again, until that has ended."""
    checkpoint.insert(rows(1, 2), [])
    checkpoint.commit("run-1", group(captures=[Progress(1, Captured(3, 30, 1.5)), Progress(2, Captured(1, 1, 1.0))]))
    checkpoint.commit("run-1", group(2, captures=[Progress(1, Captured(4, 40, 2.5, True))]))

    def known(one: Checkpoint) -> list[Captured | None]:
        return [request.captured for request, _ in one.window("h", 0, 10)]

    assert known(checkpoint) == [Captured(4, 40, 2.5, True), Captured(1, 1, 1.0)]
    checkpoint.close()
    again = Checkpoint(path)
    assert known(again) == [Captured(4, 40, 2.5, True), Captured(1, 1, 1.0)]
    again.commit("run-1", group(3, settled=[Settled("h", 1, FETCHED)], captures=[Progress(1, Captured(5, 50, 3.0))]))
    assert known(again) == [Captured(1, 1, 1.0)]
    assert again._db.execute("SELECT id FROM captures").fetchall() == [(2,)]
    again.begin_run("run-2", 1.0, "{}")
    again.insert(rows(2), [])
    assert known(again) == [None]
    again.close()


def test_a_checkpoint_from_before_some_tables_were_there(path: Path, checkpoint: Checkpoint) -> None:
    """What it lacks is added when it is opened, and what it knew is still known."""
    checkpoint.commit("run-1", group(segments=[("records.jsonl", Mark(5, "x"))]))
    for table in ("captures", "sinks", "partials"):
        checkpoint._db.execute(f"DROP TABLE {table}")
    checkpoint._db.execute("ALTER TABLE segments DROP COLUMN closed")
    checkpoint.close()
    again = Checkpoint(path)
    assert again.marks() == {"records.jsonl": Mark(5, "x")}
    said = {"captures": [Progress(1, Captured(1, 1, 1.0))], "states": [("csv", "a")], "partials": [("http://h/", "b")]}
    again.commit("run-1", group(2, segments=[("a.tar", Mark(9, "y", True))], **said))
    again.close()
    again = Checkpoint(path)
    assert again.marks()["a.tar"] == Mark(9, "y", True)
    assert (again.sink_states(), again.partials()) == ({"csv": "a"}, {"http://h/": "b"})
    again.close()


def test_bodies_that_came_in_part_are_kept_for_the_next_run(checkpoint: Checkpoint) -> None:
    """Whatever the next run is, until one is forgotten; what a sink must know ends with its run."""
    partials = [("http://h/a", "1"), ("http://h/b", "2")]
    checkpoint.commit("run-1", group(partials=partials, states=[("parquet", "x")]))
    checkpoint.begin_run("run-2", 1.0, "{}")
    assert (checkpoint.partials(), checkpoint.sink_states()) == (dict(partials), {})
    checkpoint.commit("run-2", group(partials=[("http://h/a", None), ("http://h/b", "3")]))
    made_again(checkpoint, [])
    assert checkpoint.partials() == {"http://h/b": "3"}
