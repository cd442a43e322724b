"""The crash protocol in one process: whatever is killed when, each group is in all outputs or in none."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from errno import EIO
from hashlib import sha256
from os import strerror
from pathlib import Path
from typing import NamedTuple

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crawler.checkpoint import Checkpoint, Retry, Settled, SourceMark
from crawler.commit import Batch, Ending, Outputs, Sinks
from crawler.durable import EMPTY, Mark
from crawler.errors import StorageError
from crawler.folders import JobFolder
from crawler.job import Job
from crawler.masking import NOTHING
from crawler.model import Body, Request, Visit
from crawler.outlets import open_sinks
from crawler.rows import NewRow
from crawler.sinks.jsonl import NAME
from crawler.states import FETCHED
from tests.fakes import record_of

RUN = "run-1"


class Item(NamedTuple):
    """One request's end, made anew for each attempt at its group."""

    id: int
    data: bytes | None  # None: it failed
    filename: str | None
    large: bool

    def ending(self, parts: Path) -> Ending:
        settled = Settled("h", self.id, FETCHED)
        record = record_of(self.id, self.data, url=f"http://h/{self.id % 3}")
        if self.data is None:
            return Ending(settled, record, None, None)
        digest = sha256(self.data).hexdigest()
        if not self.large:
            return Ending(settled, record, Body(len(self.data), digest, data=self.data), self.filename)
        part = parts / f"{RUN}-{self.id}-1-0.part"
        part.write_bytes(self.data)
        return Ending(settled, record, Body(len(self.data), digest, part=str(part)), self.filename)


class Crash(NamedTuple):
    """How far the writing of a group gets before the kill; each number is cut down to what there is."""

    rows: bool
    announced: bool
    files: int
    records: int  # bytes, in the middle of a line too


def batch_of(items: list[Item], parts: Path) -> Batch:
    batch = Batch()
    for item in items:
        batch.end(item.ending(parts))
    return batch


def rows_of(items: list[Item]) -> list[NewRow]:
    return [NewRow(Request(item.id, f"http://h/{item.id % 3}", "h"), item.id) for item in items]


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def job_of(layout: str, **output: object) -> Job:
    return Job.model_validate({"name": "job", "input": {"urls": ["http://h/"]}, "output": {"layout": layout, **output}})


class Process:
    """One life of a crawler: the checkpoint and the outputs, opened and recovered."""

    def __init__(self, root: Path, layout: str) -> None:
        self.home = JobFolder(root, "job")
        self.job = job_of(layout)
        self.home.path.mkdir(exist_ok=True)
        self.checkpoint = Checkpoint(self.home.state)
        if self.checkpoint.last_run() is None:
            self.checkpoint.begin_run(RUN, 0.0, "{}")
        self.folder = self.home.make_run(RUN)
        self.outputs = Outputs(self.checkpoint, RUN, self.folder, self.sinks())

    def sinks(self) -> Sinks:
        return open_sinks(self.job, self.checkpoint, RUN, self.home, NOTHING)

    def counts(self) -> tuple[int, int]:
        """Requests known, and those that came to their end."""
        known = sum(1 for chunk in self.checkpoint.fingerprints() for _ in chunk)
        return known, known - self.checkpoint.waiting()

    def commit(self, items: list[Item]) -> list[str | None]:
        batch = batch_of(items, self.home.parts)
        self.outputs.add_rows(rows_of(items), [SourceMark(0, "s", "x", items[-1].id, False)])
        self.outputs.write(batch, b"tally", 1.0)
        return [end.entry.file for end in batch.endings]

    def die(self, items: list[Item], crash: Crash) -> list[str | None]:
        """Do what `commit` does up to a point, then go without a word."""
        if crash.rows:
            self.outputs.add_rows(rows_of(items), [SourceMark(0, "s", "x", items[-1].id, False)])
        before = tree(self.folder)
        sinks = self.sinks()
        endings = batch_of(items, self.home.parts).endings
        if crash.announced:
            sinks.bodies["files"].store(self.checkpoint.group + 1, [end.entry for end in endings])
            for name in sorted(tree(self.folder / "bodies").keys() - tree_names(before))[crash.files :]:
                os.rename(self.folder / "bodies" / name, self.home.parts / name.replace("/", "_"))
        sinks.journal.append([end.line for end in endings])
        for sink in sinks.named().values():
            sink.close()
        committed = self.checkpoint.marks().get(NAME, EMPTY).length
        os.truncate(self.folder / NAME, min(committed + crash.records, os.path.getsize(self.folder / NAME)))
        self.close()
        return [end.entry.file for end in endings]

    def finish(self) -> None:
        self.outputs.finish(b"tally", 1.0)
        self.close()

    def close(self) -> None:
        self.outputs.close()
        self.checkpoint.close()


def tree_names(files: dict[str, bytes]) -> set[str]:
    return {name.removeprefix("bodies/") for name in files if name.startswith("bodies/")}


CONTENT = st.none() | st.sampled_from([b"", b"same", b"other", b"third" * 100])
WISHES = st.none() | st.sampled_from(["a", "a/b", "same", "A"])
ENDS = st.lists(st.tuples(CONTENT, WISHES, st.booleans()), min_size=1, max_size=5)
CRASHES = st.builds(Crash, st.booleans(), st.booleans(), st.integers(0, 4), st.integers(0, 1500))


@pytest.mark.slow
@settings(max_examples=60)
@given(
    layout=st.sampled_from(["hash", "mirror", "{id}{ext}"]),
    groups=st.lists(st.tuples(ENDS, st.lists(CRASHES, max_size=2)), min_size=1, max_size=4),
)
def test_each_group_is_whole_or_absent(
    tmp_path_factory: pytest.TempPathFactory,
    layout: str,
    groups: list[tuple[list[tuple[bytes | None, str | None, bool]], list[Crash]]],
) -> None:
    """Over any kills, recovery leaves what was committed and nothing else, and the end is as without a kill."""
    root = tmp_path_factory.mktemp("crash")
    process = Process(root, layout)
    folder, ids, names, expected = process.folder, 0, [], []
    for ends, crashes in groups:
        items = [Item(ids + n, *end) for n, end in enumerate(ends)]
        committed = tree(folder / "bodies"), (folder / NAME).read_bytes(), process.counts()
        attempts = []
        for crash in crashes:
            attempts.append(process.die(items, crash) if crash.announced else None)
            process = Process(root, layout)
            found = tree(folder / "bodies"), (folder / NAME).read_bytes(), process.counts()
            assert found == committed
            assert os.listdir(process.home.parts) == []
        stored = process.commit(items)
        assert all(attempt in (None, stored) for attempt in attempts)
        names += stored
        expected += items
        ids += len(items)
    assert process.counts() == (ids, ids)
    assert process.checkpoint.group == len(groups)  # each group has a number of its own
    process.finish()
    lines = [orjson.loads(line) for line in (folder / NAME).read_bytes().splitlines()]
    assert [(line["id"], line["body"]) for line in lines] == [
        (item.id, name) for item, name in zip(expected, names, strict=True)
    ]
    for item, name in zip(expected, names, strict=True):
        assert (name is None) == (item.data is None)
        assert item.data is None or (folder / str(name)).read_bytes() == item.data
    assert tree_names(tree(folder)) == {str(name).removeprefix("bodies/") for name in names if name}
    assert set(os.listdir(folder)) == {"bodies", NAME}


@pytest.fixture
def process(tmp_path: Path) -> Iterator[Process]:
    opened = Process(tmp_path, "hash")
    yield opened
    opened.close()


def item(id: int, data: bytes = b"body") -> Item:
    return Item(id, data, None, False)


def spoil(process: Process, data: bytes) -> None:
    """Make the storing of this body fail: what stands under its name is not it."""
    digest = sha256(data).hexdigest()
    path = process.folder / "bodies" / digest[:2] / digest[2:4] / f"{digest}.html"
    path.parent.mkdir(parents=True)
    path.write_bytes(data + b"!")


def test_recovery_says_what_it_removed(tmp_path: Path) -> None:
    """Bytes of records and files that no commit vouched for are counted."""
    process = Process(tmp_path, "hash")
    process.commit([item(1, b"one")])
    process.die([item(2, b"two")], Crash(True, True, 9, 10))
    process = Process(tmp_path, "hash")
    assert process.outputs.recovered == (10, 2)  # its name, and its content in the store
    process.finish()


def test_after_a_fault_nothing_more_is_taken(tmp_path: Path) -> None:
    """Rows that were to be committed with a failed group are gone, so none that follow them may be committed."""
    process = Process(tmp_path, "hash")
    process.commit([item(1)])
    process.outputs.add_rows(rows_of([item(2), item(3)]), [SourceMark(0, "s", "x", 3, False)])
    spoil(process, b"two")
    with pytest.raises(StorageError, match="is not the body its name promises"):
        process.outputs.write(batch_of([item(2, b"two")], process.home.parts), b"", 0.0)
    with pytest.raises(StorageError, match="nothing more is taken"):
        process.outputs.add_rows(rows_of([item(4)]), [SourceMark(0, "s", "x", 4, False)])
    with pytest.raises(StorageError, match="nothing more is taken"):
        process.outputs.write(batch_of([item(5)], process.home.parts), b"", 0.0)
    process.checkpoint.end_run(RUN, 9.0, "stopped", 4)
    process.close()
    process = Process(tmp_path, "hash")
    assert process.counts() == (1, 1)
    assert [mark.taken for mark in process.checkpoint.sources()] == [1]
    assert len((process.folder / NAME).read_bytes().splitlines()) == 1
    process.close()


def test_trouble_with_the_disk_is_one_sentence(process: Process, tmp_path: Path) -> None:
    """An OSError in a group becomes a StorageError with the folder and the system's words."""
    (process.folder / "pending").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StorageError, match=r"run-1: could not be written: .*symbolic links.*the next run goes on"):
        process.outputs.write(batch_of([item(1)], process.home.parts), b"", 0.0)
    (process.folder / "pending").unlink()


def test_a_row_that_comes_twice_is_trouble_not_a_bug(process: Process) -> None:
    """An error of SQLite becomes a StorageError too."""
    process.outputs.add_rows(rows_of([item(1)]), [])
    with pytest.raises(StorageError, match="UNIQUE"):
        process.outputs.add_rows(rows_of([item(1)]), [])


def test_outputs_that_cannot_be_opened_are_told(tmp_path: Path) -> None:
    """A file in place of a folder of ours is a StorageError that names the run."""
    process = Process(tmp_path, "hash")
    process.close()
    (process.folder / "bodies").rmdir()
    (process.folder / "bodies").write_text("a file")
    with pytest.raises(StorageError, match="run-1: cannot be written"):
        Process(tmp_path, "hash")


def test_without_bodies_only_records_are_written(tmp_path: Path) -> None:
    """There is no folder for bodies, and records name none."""
    home = JobFolder(tmp_path, "job")
    folder = home.make_run(RUN)
    checkpoint = Checkpoint(home.state)
    outputs = Outputs(
        checkpoint, RUN, folder, open_sinks(job_of("hash", bodies="none"), checkpoint, RUN, home, NOTHING)
    )
    batch = Batch()
    batch.end(Ending(Settled("h", 1, FETCHED), record_of(1, b"x"), Body(1, "ff"), None))
    outputs.write(batch, b"", 0.0)
    outputs.close()
    checkpoint.close()
    assert os.listdir(folder) == [NAME]
    assert orjson.loads((folder / NAME).read_bytes())["body"] is None


def test_a_batch_counts_ends_retries_and_bytes_in_memory(process: Process) -> None:
    """Large bodies are on disk already and weigh nothing; retries count as much as ends."""
    batch = batch_of(
        [Item(1, b"12345", None, False), Item(2, b"123", None, True), Item(3, None, None, False)], process.home.parts
    )
    batch.retries.append(Retry(4, 2, 5.0))
    assert (len(batch), batch.weight) == (4, 5)


def test_a_batch_counts_what_archives_and_lines_hold(process: Process) -> None:
    """Bodies of redirects and errors wait in memory for the archive; large ones are read into their lines."""
    redirect = Visit("http://h/", "GET", (), b"abc", 301, "", (), 0.0, Body(4, "ff", b"body"))
    batch = Batch()
    batch.end(Ending(Settled("h", 1, FETCHED), record_of(1, None), None, None, (redirect, redirect)))
    assert batch.weight == 14
    inline = Batch(inline=True)
    inline.end(Item(2, b"123", None, True).ending(process.home.parts))
    assert inline.weight == 3


class Unclosable:
    """An output whose file system tells of a lost write only when the file is closed."""

    dropped = 0

    def append(self, lines: Sequence[bytes]) -> None:
        """Take all."""

    def marks(self) -> list[tuple[str, Mark]]:
        return []

    def state(self) -> str | None:
        return None

    def finish(self) -> None:
        """Nothing is left."""

    def close(self) -> None:
        raise OSError(EIO, strerror(EIO))


def test_a_file_that_cannot_be_closed_is_told(process: Process) -> None:
    """It is a StorageError that names the run, as any trouble with the disk."""
    outputs = Outputs(process.checkpoint, RUN, process.folder, process.sinks()._replace(csv=Unclosable()))
    with pytest.raises(StorageError, match=r"run-1: could not be closed: .*Input/output error"):
        outputs.close()
