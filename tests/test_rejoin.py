"""`crawler retry`: what failed joins its run: in the end the outputs are those of a run in which nothing did."""

from __future__ import annotations

import csv
import os
import shutil
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from time import time
from typing import Any

import orjson
import pytest

from crawler.checkpoint import Checkpoint
from crawler.durable import tail_of
from crawler.entry import Sync
from crawler.errors import ExitCode, JobError, NothingToDo, StorageError
from crawler.exportsource import find
from crawler.folders import JobFolder
from crawler.jobfile import LoadedJob, build
from crawler.opening import Options
from crawler.picking import Picked
from crawler.pipeline import Pipeline
from crawler.rejoin import ASIDE, mend
from crawler.resume import open_again
from crawler.run import Ended, run_job
from crawler.verify import Fault, Verifier
from tests.jobs import Unseen
from tests.servers import Asked, RawSite, raw_site, reply

pytestmark = pytest.mark.slow

PATHS = [f"/{n}" for n in range(40)]
BAD = {"/3": 503, "/17": 404, "/18": 500, "/39": 410}
CUT = "/25"
FORMS = [
    {"records": "jsonl"},
    {"records": "jsonl", "compress": True, "bodies": ["warc"]},
    {"records": "csv", "bodies": ["tar", "files"]},
    {"records": "parquet", "part_rows": 10, "bodies": ["files", "warc"], "share": True},
    {"records": ["jsonl", "csv"], "bodies": ["tar", "inline"]},
    {"records": ["csv", "parquet"], "part_rows": 10, "bodies": ["warc", "tar"], "segment_size": "64KiB"},
    {"records": ["jsonl", "csv", "parquet"], "compress": True, "bodies": ["files", "warc", "tar"]},
]
# What differs between two runs to which the same happened.
_OWN = {"run", "started_at", "elapsed_ms", "request_id", "warc", "tar"}


def body_of(path: str) -> bytes:
    return f'body "of" {path}\r\n'.encode() * 400


async def cut_short() -> AsyncIterator[bytes]:
    yield b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nabc"


def ill(asked: Asked) -> bytes | AsyncIterator[bytes]:
    return cut_short() if asked.path == CUT else reply(BAD.get(asked.path, 200), body_of(asked.path))


def well(asked: Asked) -> bytes:
    return reply(200, body_of(asked.path))


def job(folder: Path, site: RawSite, **output: Any) -> LoadedJob:
    data = {
        "name": "t",
        "input": {"urls": [site.url(path) for path in PATHS]},
        "output": {"dir": str(folder / "out"), "part_rows": 100_000, **output},
        "retry": {"attempts": 1},
        "breaker": {"failures": 100},
        "limits": {"per_host": 1},
    }
    if "parquet" not in data["output"].get("records", ()):
        del data["output"]["part_rows"]
    return build(data, folder)


async def start(loaded: LoadedJob, **options: Any) -> Ended:
    return await run_job(loaded, Options(**options), lambda _: Unseen())


async def again(loaded: LoadedJob, *reasons: str) -> Ended:
    return await start(loaded, again=Picked(reasons))


def faults(loaded: LoadedJob) -> list[Fault]:
    return list(Verifier(loaded.job).faults())


def folder_of(loaded: LoadedJob) -> JobFolder:
    return JobFolder(Path(loaded.job.output.dir), "t")


def records(loaded: LoadedJob) -> list[dict[str, Any]]:
    """What is in the outputs, by every form that the job has, which agree on which records there are."""
    folder = folder_of(loaded).path / "latest"
    found: list[list[dict[str, Any]]] = []
    if "csv" in loaded.job.output.records:
        with open(folder / "records.csv", newline="") as file:
            found.append([{**row, "id": int(row["id"])} for row in csv.DictReader(file)])
    if set(loaded.job.output.records) != {"csv"}:
        found.insert(0, list(find(folder_of(loaded), None).records()))
    if "parquet" in loaded.job.output.records:
        import pyarrow.dataset as ds

        ids = ds.dataset(folder / "records", format="parquet").to_table().column("id").to_pylist()
        assert sorted(ids) == sorted(record["id"] for record in found[0])
    [ids] = {tuple(sorted(record["id"] for record in form)) for form in found}
    assert len(set(ids)) == len(ids)
    return sorted(found[0], key=lambda record: record["id"])


def content(loaded: LoadedJob) -> list[dict[str, Any]]:
    """The records without what is of the moment."""
    return [
        {
            key: value
            for key, value in record.items()
            if not any(key == own or key.startswith(own + "_") for own in _OWN)
        }
        for record in records(loaded)
    ]


def adds_up(loaded: LoadedJob, ended: Ended) -> None:
    """The summary and the tally of the checkpoint count what the records say."""
    found = records(loaded)
    outcomes = [record["outcome"] for record in found]
    summary = orjson.loads((ended.run_folder / "summary.json").read_bytes())
    assert summary["outcomes"] == {key: outcomes.count(key) for key in ("fetched", "failed", "skipped")}
    assert summary["bytes"] == sum(int(record["bytes"] or 0) for record in found)
    for key, counted in (
        ("reason", summary["reasons"]),
        ("status", summary["statuses"]),
        ("change", ended.tally.changes),
    ):
        said = [str(record[key]) for record in found if record.get(key)]
        assert counted == {value: said.count(value) for value in said}
    assert sum(sum(counts[:3]) for counts in ended.tally.hosts.values()) == len(found)
    assert ended.tally.failed_seeds == outcomes.count("failed")
    assert ended.snapshot.known == ended.snapshot.done == len(found)


@pytest.mark.parametrize("output", FORMS, ids=str)
async def test_what_is_made_again_joins_its_run(tmp_path: Path, output: dict[str, Any]) -> None:
    """In two steps, the second of which finds a well server: the outputs are those of a run without a failure."""
    async with raw_site(ill) as site:
        loaded = job(tmp_path, site, **output)
        first = await start(loaded)
        assert (first.exit_code, first.tally.failed) == (ExitCode.FAILED, 5)
        site.asked.clear()
        second = await again(loaded, "status-404", "truncated")
        assert sorted(site.paths()) == ["/17", CUT]
        assert (second.exit_code, second.tally.failed, second.run_folder) == (ExitCode.FAILED, 5, first.run_folder)
        assert faults(loaded) == []
        adds_up(loaded, second)
        site.answer = well
        third = await again(loaded, "status-*")
        assert sorted(site.paths()[2:]) == sorted(BAD)
        assert {record["url"] for record in records(loaded) if record["outcome"] == "failed"} == {site.url(CUT)}
        fourth = await again(loaded)
        assert (third.tally.failed, fourth.exit_code, fourth.run_folder) == (1, ExitCode.OK, first.run_folder)
        assert fourth.started == first.started
        assert faults(loaded) == []
        adds_up(loaded, fourth)
        assert {record["run"] for record in records(loaded)} == {first.run_folder.name}
        with pytest.raises(NothingToDo):
            await again(loaded)
        other = job(tmp_path / "other", site, **output)
        assert (await start(other)).exit_code == ExitCode.OK
    assert content(loaded) == content(other)
    assert bodies(loaded) == bodies(other)
    assert not (first.run_folder / ASIDE).exists()
    with sqlite3.connect(folder_of(loaded).state) as db:
        assert db.execute("SELECT state, exit_code FROM runs").fetchall() == [("finished", 0)]
    db.close()


def bodies(loaded: LoadedJob) -> dict[str, bytes]:
    folder = folder_of(loaded).path / "latest" / "bodies"
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("forms", [["jsonl"], ["csv"], ["parquet"], ["csv", "parquet"]], ids=str)
async def test_one_that_is_interrupted_is_resumed_by_run(tmp_path: Path, forms: list[str]) -> None:
    """Meanwhile the run is an unfinished one, whole as far as it goes; `retry` wants it finished first."""

    def stop(pipeline: Pipeline) -> None:
        site.answer = lambda asked: pipeline.stop() or well(asked)

    async with raw_site(ill) as site:
        loaded = job(tmp_path, site, records=forms)
        first = await start(loaded)
        site.asked.clear()
        stopped = await start(loaded, again=Picked(), held=stop)
        assert (stopped.exit_code, stopped.tally.done) == (ExitCode.STOPPED, 36)
        while stopped.exit_code != ExitCode.OK:
            assert faults(loaded) == []
            with pytest.raises(JobError, match="crawler run"):
                await again(loaded)
            if forms == ["csv"]:
                with pytest.raises(JobError, match="CSV only"):
                    find(folder_of(loaded), None)
            else:
                assert len(list(find(folder_of(loaded), None).records())) == stopped.tally.done
            stopped = await start(loaded, held=stop)
        assert stopped.run_folder == first.run_folder
        assert sorted(site.paths()) == sorted([*BAD, CUT])
    assert len(records(loaded)) == 40
    adds_up(loaded, stopped)


async def test_what_earlier_runs_know_holds_for_what_is_made_again(tmp_path: Path) -> None:
    """A body that did not change is not sent again, and each record says what became of its URL."""

    def tagged(asked: Asked) -> bytes | AsyncIterator[bytes]:
        if day == 2 and (asked.path in BAD or asked.path == CUT):
            return reply(503)
        if "if-none-match" in asked.headers and asked.path != "/18":
            return reply(304, b"", {"ETag": '"e"'})
        return reply(200, body_of(asked.path if asked.path != "/18" else str(day)), {"ETag": '"e"'})

    async with raw_site(tagged) as site:
        loaded = job(tmp_path, site, bodies=["files", "warc"])
        day = 1
        await start(loaded)
        day = 2
        second = await start(loaded)
        assert second.tally.changes == {"unchanged": 35}
        day = 3
        ended = await again(loaded)
    assert (ended.exit_code, ended.run_folder, faults(loaded)) == (ExitCode.OK, second.run_folder, [])
    assert ended.tally.changes == {"unchanged": 39, "changed": 1}
    adds_up(loaded, ended)


async def test_the_cookies_of_the_run_go_along(tmp_path: Path) -> None:
    """It is the same run, so its jar is the one to go on with."""
    async with raw_site(lambda asked: reply(404, headers={"Set-Cookie": "a=b"})) as site:
        loaded = job(tmp_path, site)
        loaded = loaded._replace(job=build({**loaded.job.to_data(), "cookies": {"jar": True}}, tmp_path).job)
        await start(loaded)
        site.asked.clear()
        site.answer = well
        await again(loaded)
    assert {asked.headers.get("cookie") for asked in site.asked} == {"a=b"}
    assert len(site.asked) == 40


@pytest.mark.parametrize("forms", [["jsonl"], ["csv", "parquet"]], ids=str)
async def test_files_that_changed_are_uploaded_once_more(tmp_path: Path, forms: list[str]) -> None:
    """What stands at the target is what stands here."""
    (tmp_path / "target").mkdir()
    upload = {"to": f"file://{tmp_path}/target"}
    async with raw_site(ill) as site:
        loaded = job(tmp_path, site, records=forms, upload=upload, part_rows=10, bodies=["files", "warc"])
        await start(loaded)
        site.answer = well
        ended = await again(loaded)
    assert (ended.exit_code, faults(loaded)) == (ExitCode.OK, [])
    assert ended.uploads is not None
    assert ended.uploads.left == 0
    ours = {path.name: path.read_bytes() for path in ended.run_folder.rglob("*") if path.is_file()}
    theirs = {path.name: path.read_bytes() for path in (tmp_path / "target").rglob("*") if path.is_file()}
    assert {"records.jsonl"} & theirs.keys() or {"records.csv", "part-00000.parquet"} <= theirs.keys()
    assert len(theirs) > 40
    assert {name: ours[name] for name in theirs} == theirs


# -- kills ------------------------------------------------------------------------------------------------------------


@contextmanager
def cuts(monkeypatch: pytest.MonkeyPatch, job_folder: Path, kept: Path) -> Iterator[list[Path]]:
    """Copies of the job's folder as a kill would leave it: before each call that makes durable, moves or removes."""
    found: list[Path] = []
    busy = False

    def cut() -> None:
        nonlocal busy
        if not busy:
            busy = True
            found.append(kept / str(len(found)))
            shutil.copytree(job_folder, found[-1], symlinks=True)
            busy = False

    with monkeypatch.context() as patch:
        for name in ("fsync", "fdatasync", "replace", "unlink", "rmdir", "mkdir"):
            patch.setattr(os, name, before(cut, getattr(os, name)))
        opened = sqlite3.connect

        def connect(*args: Any, **more: Any) -> sqlite3.Connection:
            db = opened(*args, **more)
            db.set_trace_callback(
                lambda text: cut() if text == "COMMIT" or text.startswith(("DELETE", "PRAGMA sy")) else None
            )
            return db

        patch.setattr(sqlite3, "connect", connect)
        yield found


def before(cut: Any, call: Any) -> Any:
    def called(*args: Any, **more: Any) -> Any:
        cut()
        return call(*args, **more)

    return called


async def test_a_kill_leaves_the_old_or_the_new_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever it comes: nothing is wrong with what stands there, and the next start brings it to its end."""
    async with raw_site(ill) as site:
        output = {"records": ["jsonl", "csv", "parquet"], "part_rows": 10, "bodies": ["files"]}
        loaded = job(tmp_path, site, **output)
        first = await start(loaded)
        folder, out = folder_of(loaded), tmp_path / "out"
        with (
            cuts(monkeypatch, folder.path, tmp_path / "cuts") as left,
            closing(Checkpoint(folder.state)) as checkpoint,
        ):
            open_again(checkpoint, loaded.job, folder, Picked(), time())
        site.answer = well
        states: list[tuple[str, bool]] = []
        seen: set[object] = set()
        for cut in left:
            shutil.rmtree(out)
            out.mkdir()
            shutil.copytree(cut, folder.path, symlinks=True)
            assert faults(loaded) == []
            with closing(Checkpoint(folder.state)) as checkpoint:
                run = checkpoint.last_run()
                assert run is not None
                states.append((run.state, bool(checkpoint.to_replace())))
            aside = {str(path): path.stat().st_size for path in first.run_folder.glob(f"{ASIDE}/**/*")}
            if (states[-1], tuple(sorted(aside.items()))) in seen:
                continue  # the same came of one before
            seen.add((states[-1], tuple(sorted(aside.items()))))
            ended = await (again(loaded) if run.state == "finished" else start(loaded))
            assert (ended.exit_code, ended.run_folder, ended.tally.done) == (ExitCode.OK, first.run_folder, 40)
            assert faults(loaded) == []
            assert len(records(loaded)) == 40
            assert not (first.run_folder / ASIDE).exists()
    assert [state for n, state in enumerate(states) if state not in states[:n]] == [
        ("finished", False),
        ("running", True),
        ("running", False),
    ]
    assert len(seen) > 12


async def test_files_on_their_way_are_cleared_where_a_new_run_begins(tmp_path: Path) -> None:
    """What a kill left before the commit belongs to nobody."""
    async with raw_site(ill) as site:
        loaded = job(tmp_path, site)
        first = await start(loaded)
        (first.run_folder / ASIDE).mkdir()
        (first.run_folder / ASIDE / "records.jsonl").write_bytes(b"{}\n")
        second = await start(loaded)
    assert second.run_folder != first.run_folder
    assert not (first.run_folder / ASIDE).exists()


async def test_without_room_for_the_copies_nothing_has_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The run is finished as before, and what was copied so far is gone."""

    def full(fd: int) -> None:
        raise OSError(28, "No space left on device")

    async with raw_site(ill) as site:
        loaded = job(tmp_path, site)
        first = await start(loaded)
        folder = folder_of(loaded)
        with closing(Checkpoint(folder.state, Sync.NEVER)) as checkpoint:
            with monkeypatch.context() as patch:
                patch.setattr(os, "fdatasync", full)
                with pytest.raises(StorageError, match="No space"):
                    open_again(checkpoint, loaded.job, folder, Picked(), time())
            assert not (first.run_folder / ASIDE).exists()
            assert (checkpoint.last_run() or pytest.fail("none")).state == "finished"
        assert faults(loaded) == []
        site.answer = well
        assert (await again(loaded)).tally.fetched == 40


# -- what is refused, what is old -------------------------------------------------------------------------------------


async def test_a_file_that_somebody_edited_is_left_alone(tmp_path: Path) -> None:
    """A copy of it would be vouched for."""
    async with raw_site(ill) as site:
        loaded = job(tmp_path, site)
        first = await start(loaded)
        path = first.run_folder / "records.jsonl"
        text = path.read_bytes()
        path.write_bytes(text[:-20] + b"x" + text[-19:])
        with pytest.raises(StorageError, match="is not what was written"):
            await again(loaded)
        assert path.read_bytes() != text
        path.write_bytes(text)
        site.answer = well
        assert (await again(loaded)).exit_code == ExitCode.OK


async def test_another_kind_of_output_cannot_join(tmp_path: Path) -> None:
    """A job that was changed so since is refused, and the run stays finished."""
    async with raw_site(ill) as site:
        await start(job(tmp_path, site))
        other = job(tmp_path, site, records=["jsonl", "csv"])
        with pytest.raises(JobError, match=r"output\.records: changed since run .* crawler run"):
            await again(other)
        assert faults(other) == []


async def test_a_table_of_an_earlier_version_gets_the_columns_it_lacks(tmp_path: Path) -> None:
    """A run that ended before they were invented goes on."""
    async with raw_site(ill) as site:
        loaded = job(tmp_path, site, records="csv")
        first = await start(loaded)
        path = first.run_folder / "records.csv"
        without_column(path, "change")
        vouched_anew(folder_of(loaded), path)
        site.answer = well
        ended = await again(loaded)
        assert (ended.exit_code, faults(loaded)) == (ExitCode.OK, [])
    assert len(records(loaded)) == 40


def without_column(path: Path, name: str) -> None:
    with open(path, newline="") as file:
        rows = [{key: row[key] for key in row if key != name} for row in csv.DictReader(file)]
    with open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def vouched_anew(folder: JobFolder, path: Path) -> None:
    length = path.stat().st_size
    with sqlite3.connect(folder.state) as db:
        said = (length, tail_of(path, length), path.name)
        db.execute("UPDATE segments SET length = ?, tail = ? WHERE name = ?", said)
    db.close()


async def test_failures_that_have_no_record_in_the_run_join_it(tmp_path: Path) -> None:
    """Earlier versions made failures again in runs of their own, and kept the others for later."""
    async with raw_site(ill) as site:
        loaded = job(tmp_path, site)
        first = await start(loaded)
        with sqlite3.connect(folder_of(loaded).state) as db:  # a later run, of which nothing is left to be seen
            db.execute("DELETE FROM segments")
            db.execute(
                "INSERT INTO runs (id, started, ended, state, exit_code, job) "
                "SELECT 'x-1', started, ended, state, 0, job FROM runs"
            )
        db.close()
        (first.run_folder.parent / "x-1").mkdir()
        site.answer = well
        ended = await again(loaded)
    assert (ended.tally.fetched, ended.tally.failed, faults(loaded)) == (5, 0, [])
    assert len(records(loaded)) == 5


def test_there_is_nothing_to_mend_before_the_first_run(tmp_path: Path) -> None:
    """No folder, no run."""
    folder = JobFolder(tmp_path, "t")
    folder.path.mkdir()
    with closing(Checkpoint(folder.state)) as checkpoint:
        mend(checkpoint, folder)
    assert not (folder.path / "runs").exists()
