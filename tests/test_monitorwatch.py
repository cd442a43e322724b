"""What is known of jobs, and what it costs to know it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson
import pytest

from crawler.control import NotRunning
from crawler.monitorfiles import Tree
from crawler.monitorrecords import Browser
from crawler.monitorwatch import PERIOD, Watch
from tests.monitored import RUN, Job, failed, record


class Process:
    """A running job as its control socket shows it: `answer`, or nobody."""

    def __init__(self) -> None:
        self.answer: dict[str, Any] | None = None
        self.asked = 0

    async def __call__(self, folder: Path, order: Mapping[str, Any], _: float) -> dict[str, Any]:
        self.asked += 1
        assert order == {"do": "state"}
        if self.answer is None:
            raise NotRunning("nobody listens")
        return self.answer


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def process() -> Process:
    return Process()


@pytest.fixture
def watch(tmp_path: Path, clock: Clock, process: Process) -> Watch:
    tree = Tree(tmp_path)
    return Watch(tree, Browser(tree), ask=process, clock=clock)


def state(**more: Any) -> dict[str, Any]:
    return {"ok": True, "snapshot": {"run": RUN, "state": "running", "rate": 5.0, "known": 100, **more}}


async def test_all_jobs_are_seen(watch: Watch, tmp_path: Path) -> None:
    """Run or not."""
    Job(tmp_path).run([record(1), failed(2)], code=1)
    Job(tmp_path, "never")
    [one, other] = await watch.overview()
    assert (one.job, one.state, one.failed) == ("almanac", "finished", 1)
    assert (other.job, other.state, other.run) == ("never", "never", None)


async def test_a_job_that_is_made_is_seen_in_time(watch: Watch, tmp_path: Path, clock: Clock) -> None:
    """After a period, not before."""
    assert await watch.overview() == []
    Job(tmp_path).run([record(1)])
    assert await watch.overview() == []
    clock.now += PERIOD
    assert [view.job for view in await watch.overview()] == ["almanac"]


async def test_a_running_job_is_asked_once_a_period(
    watch: Watch, tmp_path: Path, clock: Clock, process: Process
) -> None:
    """However many watch."""
    job = Job(tmp_path)
    job.run([record(1)], state="running", code=None)
    job.folder.lock(time.time())
    process.answer = state()
    for _ in range(5):
        [view] = await watch.overview()
        await watch.parts("almanac")
    assert (view.live, view.rate, view.known) == (True, 5.0, 100)
    assert process.asked == 1
    clock.now += PERIOD
    process.answer = state(rate=7.0)
    assert (await watch.overview())[0].rate == 7.0
    assert process.asked == 2
    job.folder.unlock()


async def test_a_finished_job_is_not_asked(watch: Watch, tmp_path: Path, clock: Clock, process: Process) -> None:
    """Nobody would answer."""
    Job(tmp_path).run([record(1)])
    for _ in range(3):
        await watch.overview()
        clock.now += PERIOD
    assert process.asked == 0


async def test_without_an_answer_the_files_tell(watch: Watch, tmp_path: Path) -> None:
    """The last line of progress.jsonl, of a run whose process is there."""
    job = Job(tmp_path)
    run = job.run([record(1)], state="running", code=None)
    job.folder.lock(time.time())
    said = {"event": "progress", "run": RUN, "rate": 3.5, "known": 70, "at": 1005.0}
    (run / "progress.jsonl").write_bytes(orjson.dumps(said) + b"\n")
    [view] = await watch.overview()
    assert (view.state, view.live, view.rate, view.known) == ("running", False, 3.5, 70)
    job.folder.unlock()


async def test_a_process_that_ends_is_seen(watch: Watch, tmp_path: Path, clock: Clock, process: Process) -> None:
    """As soon as it does not answer, the checkpoint is read."""
    job = Job(tmp_path)
    job.run([record(1)], state="running", code=None)
    job.folder.lock(time.time())
    process.answer = state()
    assert (await watch.overview())[0].state == "running"
    job.folder.unlock()
    process.answer = None
    clock.now += PERIOD
    assert (await watch.overview())[0].state == "killed"


async def test_parts_of_a_job(watch: Watch, tmp_path: Path) -> None:
    """Its run, hosts, failures, log, summary and runs."""
    run = Job(tmp_path).run([record(1), failed(2)], code=1)
    (run / "run.log").write_text("first\n<b>second</b>\n")
    (run / "summary.json").write_text('{"exit_code": 1}\n')
    (run / "report.html").write_text("x")
    parts = {name: orjson.loads(text) for name, text in (await watch.parts("almanac")).items()}
    assert parts["job"]["failed"] == 1
    assert [row["url"] for row in parts["failures"]] == ["http://a.example/2"]
    assert parts["log"] == ["first", "<b>second</b>"]
    assert parts["summary"] == {"exit_code": 1}
    assert [(row["run"], row["report"], row["there"]) for row in parts["runs"]] == [(RUN, True, True)]
    assert parts["hosts"][0]["host"] == "a.example"


async def test_an_earlier_run_has_its_own_parts(watch: Watch, tmp_path: Path) -> None:
    """And one that is gone from the disk says so in the list."""
    job = Job(tmp_path)
    job.run([failed(1)], id="r1", code=1)
    job.run([record(1)], id="r2")
    parts = await watch.parts("almanac", "r1")
    assert orjson.loads(parts["job"])["failed"] == 1
    with pytest.raises(KeyError):
        await watch.parts("almanac", "r3")
    with pytest.raises(KeyError):
        await watch.parts("nobody")
    with pytest.raises(KeyError):
        await watch.history("almanac", "../r1")


async def test_a_file_that_did_not_change_is_not_read_again(watch: Watch, tmp_path: Path, clock: Clock) -> None:
    """The text made of it is the same object; a log that grew is another."""
    run = Job(tmp_path).run([record(1)])
    (run / "run.log").write_text("first\n")
    before = await watch.parts("almanac")
    clock.now += PERIOD
    after = await watch.parts("almanac")
    assert all(after[name] is before[name] for name in ("log", "runs", "summary", "failures"))
    (run / "run.log").write_text("first\nsecond\n")
    assert orjson.loads((await watch.parts("almanac"))["log"]) == ["first", "second"]


async def test_a_log_that_is_a_link_is_not_shown(watch: Watch, tmp_path: Path) -> None:
    """Nor a summary or progress file."""
    run = Job(tmp_path).run([record(1)])
    (tmp_path / "secret").write_text('{"secret": 1}\n')
    for name in ("run.log", "summary.json", "progress.jsonl"):
        (run / name).symlink_to(tmp_path / "secret")
    parts = await watch.parts("almanac")
    assert (parts["log"], parts["summary"]) == (b"[]", b"null")
    assert await watch.history("almanac", RUN) == b"[]"
