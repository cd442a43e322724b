"""The checkpoint: rows come back as they went in, a group is whole or absent, what cannot be trusted is refused."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crawler.checkpoint import FAILED, FETCHED, Checkpoint, Group, NewRow, Retry, Settled, SourceMark
from crawler.durable import EMPTY, Mark
from crawler.errors import StorageError
from crawler.model import Place, Request

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
COLUMNS = st.dictionaries(TEXT, st.one_of(TEXT, st.integers(-(2**53), 2**53), st.booleans(), st.none()), max_size=3)
ADDRESS = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=20)  # URLs and hosts are printable
REQUESTS = st.builds(
    Request,
    st.integers(1, 2**62),
    ADDRESS,
    ADDRESS,
    method=st.sampled_from(["GET", "POST", "HEAD", "DELETE", "PROPFIND"]),
    headers=st.none() | st.dictionaries(TEXT, TEXT, max_size=3),
    body=st.none() | st.binary(max_size=300),
    filename=st.none() | TEXT,
    sha256=st.none() | TEXT,
    input=st.none() | COLUMNS,
    place=st.none() | st.builds(Place, TEXT, st.integers(1, 2**40)),
    error=st.none() | TEXT,
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state.db"


@pytest.fixture
def checkpoint(path: Path) -> Iterator[Checkpoint]:
    opened = Checkpoint(path)
    opened.begin_run("run-1", 1000.0, "{}")
    yield opened
    opened.close()


def said_by(request: Request) -> dict[str, Any]:
    return {name: getattr(request, name) for name in Request.__slots__}


def rows(*ids: int, host: str = "h") -> list[NewRow]:
    return [NewRow(Request(id, f"http://{host}/{id}", host), id * 7) for id in ids]


def group(number: int = 1, **parts: Any) -> Group:
    whole: dict[str, Any] = {"settled": [], "retries": [], "blocked": [], "segments": [], "tally": b"", "elapsed": 0.0}
    return Group(number, **(whole | parts))


def ids_of(checkpoint: Checkpoint, host: str = "h", after: int = 0, limit: int = 100) -> list[int]:
    return [row.id for row, _ in checkpoint.window(host, after, limit)]


@pytest.mark.slow
@settings(max_examples=40)
@given(st.lists(REQUESTS, max_size=8, unique_by=lambda row: row.id))
def test_rows_come_back_as_the_same_requests(tmp_path_factory: pytest.TempPathFactory, requests: list[Request]) -> None:
    """Everything a request says survives a restart, whatever bytes and characters it is made of."""
    path = tmp_path_factory.mktemp("checkpoint") / "state.db"
    checkpoint = Checkpoint(path)
    checkpoint.begin_run("run-1", 0.0, "{}")
    checkpoint.insert([NewRow(request, 1) for request in requests], [])
    checkpoint.commit("run-1", group())
    checkpoint.close()
    checkpoint = Checkpoint(path)
    back = [row for host in {request.home for request in requests} for row, due in checkpoint.window(host, 0, 100)]
    checkpoint.close()
    assert sorted(map(said_by, back), key=lambda row: row["id"]) == sorted(
        map(said_by, requests), key=lambda row: row["id"]
    )


def test_a_row_is_remembered_as_it_was_before_its_first_hop(checkpoint: Checkpoint) -> None:
    """A redirect that is faster than the commit does not change what the row asks for."""
    request = Request(1, "http://h/seed", "h", method="POST", body=b"form")
    row = NewRow(request, 1)
    request.url, request.host, request.method, request.body = "http://other/", "other", "GET", None
    request.attempt = 2
    checkpoint.insert([row], [])
    ((back, _),) = checkpoint.window("h", 0, 10)
    assert said_by(back) == said_by(Request(1, "http://h/seed", "h", method="POST", body=b"form"))


def test_without_a_commit_nothing_happened(path: Path) -> None:
    """Rows, sources and hosts inserted but not committed are gone after a close."""
    checkpoint = Checkpoint(path)
    checkpoint.begin_run("run-1", 0.0, "{}")
    checkpoint.insert(rows(1, 2), [SourceMark(0, "urls.txt", "abc", 2, False)])
    checkpoint.close()
    checkpoint = Checkpoint(path)
    assert (checkpoint.counts(), checkpoint.sources(), checkpoint.waiting_hosts(), checkpoint.last_id()) == (
        (0, 0),
        [],
        [],
        0,
    )
    checkpoint.close()


def test_a_group_is_there_after_a_restart(path: Path) -> None:
    """Ends, retries, blocks, marks, tally and time of a committed group are all found again."""
    checkpoint = Checkpoint(path)
    checkpoint.begin_run("run-1", 10.0, '{"name": "x"}')
    source, mark = SourceMark(0, "urls.txt", "abc", 4, True), Mark(120, "ff")
    checkpoint.insert(rows(1, 2, 3) + rows(4, host="g"), [source])
    checkpoint.commit(
        "run-1",
        group(
            number=1,
            settled=[Settled("h", 1, FETCHED, 1), Settled("h", 2, FAILED, 5)],
            retries=[Retry("h", 3, 4, 99.5)],
            blocked=[("g", 250.0), ("elsewhere", 300.0)],
            segments=[("records.jsonl", mark)],
            tally=b"counts",
            elapsed=2.5,
        ),
    )
    checkpoint.close()
    checkpoint = Checkpoint(path)
    assert checkpoint.group == 1
    assert checkpoint.counts() == (4, 2)
    assert checkpoint.last_id() == 4
    assert checkpoint.sources() == [source]
    assert checkpoint.segment("records.jsonl") == mark
    assert checkpoint.segment("other") == EMPTY
    assert checkpoint.waiting_hosts() == [("h", 1, 0.0), ("g", 1, 250.0), ("elsewhere", 0, 300.0)]
    ((retried, due),) = checkpoint.window("h", 0, 10)
    assert (retried.id, retried.attempt, due) == (3, 4, 99.5)
    assert sorted(checkpoint.fingerprints()) == [7, 14, 21, 28]
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


def test_a_window_passes_over_what_is_settled(checkpoint: Checkpoint) -> None:
    """Only waiting rows above the cursor come, in the order of their ids, no more than were asked for."""
    checkpoint.insert(rows(5, 1, 9, 3, 7, 11), [])
    checkpoint.commit("run-1", group(settled=[Settled("h", 5, FETCHED, 1)]))
    assert ids_of(checkpoint) == [1, 3, 7, 9, 11]
    assert ids_of(checkpoint, after=3, limit=2) == [7, 9]
    assert ids_of(checkpoint, after=11) == []
    assert ids_of(checkpoint, host="unknown") == []


@settings(max_examples=25, deadline=None)
@given(st.lists(st.lists(st.tuples(st.sampled_from("abc"), st.booleans()), max_size=6), max_size=5))
def test_counts_are_kept_by_host(
    tmp_path_factory: pytest.TempPathFactory, groups: list[list[tuple[str, bool]]]
) -> None:
    """Over any series of groups, known and settled, and what waits of each host, equal a count by hand."""
    checkpoint = Checkpoint(tmp_path_factory.mktemp("checkpoint") / "state.db")
    checkpoint.begin_run("run-1", 0.0, "{}")
    waits: dict[str, list[int]] = {host: [] for host in "abc"}
    number = 0
    for n, items in enumerate(groups):
        settled = []
        for host, ends in items:
            number += 1
            checkpoint.insert(rows(number, host=host), [])
            if ends:
                settled.append(Settled(host, number, FETCHED, 1))
            else:
                waits[host].append(number)
        checkpoint.commit("run-1", group(number=n + 1, settled=settled))
    assert {name: n for name, n, _ in checkpoint.waiting_hosts()} == {h: len(w) for h, w in waits.items() if w}
    assert {host: ids_of(checkpoint, host) for host in "abc"} == waits
    assert checkpoint.counts() == (number, number - sum(map(len, waits.values())))
    checkpoint.close()


def test_a_group_that_fails_leaves_nothing(checkpoint: Checkpoint) -> None:
    """After a fault in a group and a roll-back, the rows that came with it can be inserted and committed anew."""
    checkpoint.insert(rows(1), [])
    checkpoint.commit("run-1", group())
    with pytest.raises(sqlite3.Error):
        checkpoint.insert(rows(2, 1), [])
    checkpoint.roll_back()
    assert checkpoint.counts() == (1, 0)
    checkpoint.insert(rows(2, 3, host="new"), [])
    checkpoint.roll_back()
    checkpoint.insert(rows(2, 3, host="new"), [])
    checkpoint.commit("run-1", group(number=2))
    assert checkpoint.waiting_hosts() == [("h", 1, 0.0), ("new", 2, 0.0)]


def test_a_new_run_begins_with_nothing_known(checkpoint: Checkpoint) -> None:
    """Rows, sources, segments and the group number of the run before are forgotten, that run is kept as abandoned."""
    checkpoint.insert(rows(1, 2), [SourceMark(0, "urls.txt", "abc", 2, True)])
    checkpoint.commit("run-1", group(number=7, segments=[("records.jsonl", Mark(5, "x"))]))
    checkpoint.begin_run("run-2", 2000.0, "{}")
    assert (checkpoint.group, checkpoint.counts(), checkpoint.sources()) == (0, (0, 0), [])
    assert (checkpoint.segment("records.jsonl"), checkpoint.last_id()) == (EMPTY, 0)
    assert ids_of(checkpoint) == []
    last = checkpoint.last_run()
    assert last is not None
    assert last.id == "run-2"


def test_a_host_that_asked_to_be_left_alone_is_left_alone_by_the_next_run(checkpoint: Checkpoint) -> None:
    """Blocks outlive a run; those that are over are forgotten."""
    checkpoint.insert(rows(1), [])
    checkpoint.commit("run-1", group(blocked=[("h", 1900.0), ("g", 2500.0)]))
    checkpoint.begin_run("run-2", 2000.0, "{}")
    assert checkpoint.waiting_hosts() == [("g", 0, 2500.0)]


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
    with pytest.raises(StorageError, match=r"state\.db: its format is number 99, this version reads 1"):
        Checkpoint(path)


def test_a_text_file_in_its_place_is_refused(path: Path) -> None:
    """What is no database at all is named and untouched."""
    path.write_bytes(b"these are my notes\n" * 100)
    with pytest.raises(StorageError, match=r"state\.db: cannot be used as the checkpoint: file is not a database"):
        Checkpoint(path)
    assert path.read_bytes() == b"these are my notes\n" * 100


@pytest.mark.parametrize("size", [0.3, 0.6, 0.9])
def test_a_cut_database_is_refused(path: Path, size: float) -> None:
    """A state.db that lost its end is named with the remedy."""
    checkpoint = Checkpoint(path)
    checkpoint.begin_run("run-1", 0.0, "{}")
    checkpoint.insert(rows(*range(1, 3000)), [])
    checkpoint.commit("run-1", group())
    checkpoint.close()
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * size)])
    with pytest.raises(StorageError, match=r"state\.db: .*move it away to start anew"):
        Checkpoint(path)


def test_a_damaged_page_is_refused(path: Path) -> None:
    """Garbage in the middle of state.db is found when it is opened, not in the middle of a run."""
    checkpoint = Checkpoint(path)
    checkpoint.begin_run("run-1", 0.0, "{}")
    checkpoint.insert(rows(*range(1, 3000)), [])
    checkpoint.commit("run-1", group())
    checkpoint.close()
    data = bytearray(path.read_bytes())
    middle = len(data) // 2 // 4096 * 4096
    data[middle : middle + 4096] = b"\xa5" * 4096
    path.write_bytes(data)
    with pytest.raises(StorageError, match=r"state\.db: .*move it away to start anew"):
        Checkpoint(path)


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
    assert (checkpoint.last_run(), checkpoint.counts()) == (None, (0, 0))
    checkpoint.close()
