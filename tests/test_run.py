"""Whole runs in this process, against the demo site on loopback."""

from __future__ import annotations

import asyncio
import hashlib
import shutil
from collections import Counter
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import orjson
import pytest

from crawler.demo import DemoSite, serve
from crawler.demoapp import TOKEN
from crawler.errors import BusyError, ExitCode, JobError, StorageError
from crawler.jobfile import LoadedJob, build, load
from crawler.opening import Options
from crawler.run import Ended, run_job
from crawler.tally import Snapshot

pytestmark = pytest.mark.slow


class Watcher:
    """Sees every snapshot; calls `act` with the first one that has something committed."""

    def __init__(self, act: Callable[[], None] | None = None) -> None:
        self.act = act
        self.snapshots: list[Snapshot] = []

    def update(self, snapshot: Snapshot) -> None:
        self.snapshots.append(snapshot)
        if snapshot.done and self.act:
            self.act()
            self.act = None


@pytest.fixture
async def site() -> AsyncIterator[DemoSite]:
    async with serve() as demo:
        yield demo


def job(folder: Path, site: DemoSite, urls: list[str] | None = None, **sections: dict[str, Any]) -> LoadedJob:
    data: dict[str, Any] = {
        "name": "t",
        "input": {"urls": urls} if urls else {},
        "request": {"base_url": site.url + "/"},
        "retry": {"backoff": {"initial": "10ms", "max": "50ms"}},
        "output": {"dir": str(folder / "out")},
    }
    for section, table in sections.items():
        data[section] = {**data.get(section, {}), **table}
    return build(data, folder)


async def run(loaded: LoadedJob, **options: bool) -> Ended:
    return await run_job(loaded, Options(**options), lambda _: Watcher())


def records_of(ended: Ended) -> dict[str, dict[str, Any]]:
    """Records by the path of their URL; a URL that stands twice is a failure."""
    found: dict[str, dict[str, Any]] = {}
    for line in (ended.run_folder / "records.jsonl").read_bytes().splitlines():
        record = orjson.loads(line)
        path = "/" + record["url"].split("/", 3)[3] if "://" in record["url"] else record["url"]
        assert path not in found
        found[path] = record
    return found


async def test_bodies_and_records_agree_with_the_server(tmp_path: Path, site: DemoSite) -> None:
    """Plain, compressed and redirected pages arrive as the bytes that the site means."""
    paths = [
        "/articles/1",
        "/compressed/gzip/2",
        "/compressed/br/3",
        "/compressed/zstd/4",
        "/redirect/2",
        "/large/1.bin",
    ]
    ended = await run(job(tmp_path, site, paths))
    assert ended.exit_code == ExitCode.OK
    records = records_of(ended)
    for path in paths:
        body = (ended.run_folder / records[path]["body"]).read_bytes()
        assert body == site.expected(path)
        assert records[path]["sha256"] == hashlib.sha256(body).hexdigest()
        assert records[path]["bytes"] == len(body)
    assert records["/redirect/2"]["final_url"] == site.at("/articles/1")


async def test_final_statuses_are_not_retried(tmp_path: Path, site: DemoSite) -> None:
    """A 404 costs one request, is named status-404, and makes the exit code 1."""
    ended = await run(job(tmp_path, site, ["/status/404", "/articles/1"]))
    assert ended.exit_code == ExitCode.FAILED
    record = records_of(ended)["/status/404"]
    assert (record["outcome"], record["reason"], record["attempts"], record["body"]) == (
        "failed",
        "status-404",
        1,
        None,
    )
    assert site.stats.hits["/status/404"] == 1


async def test_passing_faults_are_retried(tmp_path: Path, site: DemoSite) -> None:
    """503 twice, then 200: fetched at the third attempt."""
    ended = await run(job(tmp_path, site, ["/flaky/2/tea"]))
    assert ended.exit_code == ExitCode.OK
    assert records_of(ended)["/flaky/2/tea"]["attempts"] == 3
    assert ended.tally.retries == 2


async def test_faults_that_stay_end_with_their_reason(tmp_path: Path, site: DemoSite) -> None:
    """Each kind of fault has its own slug, and no body is left of any."""
    cases = {
        "/status/500": "status-500",
        "/truncated": "truncated",
        "/compressed/cut/gzip/1": "bad-encoding",
        "/redirect-loop/a": "redirect-loop",
        "/redirect-to?url=file:///etc/passwd": "blocked-scheme",
        "/large/2.bin": "too-large",
    }
    ended = await run(job(tmp_path, site, list(cases), retry={"attempts": 2}, limits={"max_body": "1MiB"}))
    assert {path: record["reason"] for path, record in records_of(ended).items()} == cases
    assert not [file for file in (ended.run_folder / "bodies").rglob("*") if file.is_file()]


async def test_a_row_says_how_it_is_asked(tmp_path: Path, site: DemoSite) -> None:
    """Method, headers, params, json and body of a row reach the server; its other columns come back in the record."""
    rows = [
        {"url": "/api/echo?a=1", "method": "POST", "json": {"x": [1]}, "headers": {"X-Mine": "yes"}, "note": "first"},
        {
            "url": "/api/echo",
            "method": "PUT",
            "body": "plain",
            "params": {"q": ["1", "2"]},
            "filename": "mine/echo.json",
        },
    ]
    (tmp_path / "rows.jsonl").write_bytes(b"\n".join(map(orjson.dumps, rows)))
    ended = await run(job(tmp_path, site, input={"files": ["rows.jsonl"]}))
    records = records_of(ended)
    first = orjson.loads((ended.run_folder / records["/api/echo?a=1"]["body"]).read_bytes())
    second = orjson.loads((ended.run_folder / "bodies/mine/echo.json").read_bytes())
    assert first["method"] == "POST"
    assert orjson.loads(first["body"]) == {"x": [1]}
    assert {name.lower(): value for name, value in first["headers"].items()}["x-mine"] == "yes"
    assert (second["method"], second["body"]) == ("PUT", "plain")
    assert records["/api/echo?q=1&q=2"]["body"] == "bodies/mine/echo.json"
    assert records["/api/echo?a=1"]["input"] == {"note": "first"}


async def test_bad_rows_are_records_with_their_place(tmp_path: Path, site: DemoSite) -> None:
    """What is no URL fails as bad-input with file and line, and the good rows are fetched."""
    lines = [
        b"/articles/1",
        b"ftp://example.org/x",
        b"http://",
        b"/a\x00b",
        b"\xff\xfe\xfa",
        b"/" + b"x" * 100_000,
        b"/articles/2",
    ]
    (tmp_path / "urls.txt").write_bytes(b"\n".join(lines))
    ended = await run(job(tmp_path, site, input={"files": ["urls.txt"]}))
    lines_back = [orjson.loads(line) for line in (ended.run_folder / "records.jsonl").read_bytes().splitlines()]
    bad = {record["place"]: record for record in lines_back if record["outcome"] == "failed"}
    assert sorted(bad) == [f"urls.txt:{number}" for number in (2, 3, 4, 5, 6)]
    assert {record["reason"] for record in bad.values()} == {"bad-input"}
    assert sum(record["outcome"] == "fetched" for record in lines_back) == 2


async def test_duplicates_are_fetched_once(tmp_path: Path, site: DemoSite) -> None:
    """The same URL in other spellings is one input; without dedupe it is as many as there are rows."""
    urls = ["/articles/1", "/articles/../articles/1", site.at("/articles/1#top")]
    assert len(records_of(await run(job(tmp_path, site, urls)))) == 1
    loaded = job(tmp_path, site, urls, input={"urls": urls, "dedupe": False})
    ended = await run(loaded)
    assert ended.tally.fetched == 3


async def test_a_host_is_asked_as_it_allows(tmp_path: Path, site: DemoSite) -> None:
    """The server never sees more requests at once than per_host."""
    loaded = job(tmp_path, site, [f"/slow/{20 + number}" for number in range(30)], limits={"per_host": 3})
    assert (await run(loaded)).exit_code == ExitCode.OK
    assert site.stats.peak == 3


async def test_a_rate_is_kept(tmp_path: Path, site: DemoSite) -> None:
    """Twenty requests at 50/s take at least nineteen intervals."""
    loaded = job(tmp_path, site, [f"/articles/{number}" for number in range(1, 21)], limits={"rate_per_host": "50/s"})
    ended = await run(loaded)
    assert ended.exit_code == ExitCode.OK
    assert ended.snapshot.elapsed >= 19 / 50


async def test_a_stopped_run_goes_on(tmp_path: Path, site: DemoSite) -> None:
    """Stopped in the middle it says so; the next start fetches the rest, and each input stands once in the records."""
    loaded = job(tmp_path, site, [f"/articles/{number}" for number in range(1, 201)], limits={"rate_per_host": "150/s"})
    task = asyncio.current_task()
    assert task is not None

    def stop() -> None:
        import os
        import signal

        os.kill(os.getpid(), signal.SIGTERM)

    first = await run_job(loaded, Options(signals=True), lambda _: Watcher(stop))
    assert first.exit_code == ExitCode.STOPPED
    assert 0 < first.tally.fetched < 200
    second = await run(loaded)
    assert second.exit_code == ExitCode.OK
    assert second.run_folder == first.run_folder
    assert len(records_of(second)) == 200
    assert max(Counter(site.stats.hits).values()) == 1


async def test_a_slow_rate_does_not_hold_up_a_stop(tmp_path: Path, site: DemoSite) -> None:
    """At one request a minute of the whole job, SIGTERM ends the run at once."""
    async with asyncio.timeout(20):
        ended = await stopped_half_way(tmp_path, site, ["/articles/1", "/articles/2"], limits={"rate": "1/min"})
    assert ended.tally.fetched == 1
    assert ended.snapshot.elapsed < 5


async def test_a_finished_run_is_followed_by_a_new_one(tmp_path: Path, site: DemoSite) -> None:
    """Run again after the end: everything is fetched anew, into a folder of its own."""
    loaded = job(tmp_path, site, ["/articles/1"])
    first, second = await run(loaded), await run(loaded)
    assert first.run_folder != second.run_folder
    assert len(records_of(second)) == 1
    assert (tmp_path / "out/t/latest").resolve() == second.run_folder.resolve()


async def stopped_half_way(folder: Path, site: DemoSite, paths: list[str], **sections: dict[str, Any]) -> Ended:
    """A run over a list file that is stopped when something of it is committed."""
    import os
    import signal

    (folder / "urls.txt").write_text("\n".join(paths))
    sections = {"input": {"files": ["urls.txt"]}, "limits": {"rate_per_host": "100/s"}} | sections
    loaded = job(folder, site, **sections)
    watcher = Watcher(lambda: os.kill(os.getpid(), signal.SIGTERM))
    ended = await run_job(loaded, Options(signals=True), lambda _: watcher)
    assert ended.exit_code == ExitCode.STOPPED
    return ended


async def test_a_changed_list_is_matched(tmp_path: Path, site: DemoSite) -> None:
    """Rows added since join the run, rows that left are recorded as skipped, none is fetched twice."""
    paths = [f"/articles/{number}" for number in range(1, 151)]
    await stopped_half_way(tmp_path, site, paths)
    (tmp_path / "urls.txt").write_text("\n".join([*paths[:140], "/articles/299"]))
    ended = await run(job(tmp_path, site, input={"files": ["urls.txt"]}))
    records = records_of(ended)
    assert records["/articles/299"]["outcome"] == "fetched"
    gone = [records[path] for path in paths[140:]]
    assert {(record["outcome"], record["reason"]) for record in gone} == {("skipped", "removed")}
    assert all(records[path]["outcome"] == "fetched" for path in paths[:140])
    assert max(Counter(site.stats.hits).values()) == 1


async def test_a_changed_layout_is_refused(tmp_path: Path, site: DemoSite) -> None:
    """An unfinished run is not gone on with under another layout; --fresh begins anew."""
    await stopped_half_way(tmp_path, site, [f"/articles/{number}" for number in range(1, 151)])
    changed = job(tmp_path, site, input={"files": ["urls.txt"]}, output={"layout": "mirror"})
    with pytest.raises(JobError, match=r"output\.layout"):
        await run(changed)
    assert (await run(changed, fresh=True)).exit_code == ExitCode.OK


async def test_one_run_at_a_time(tmp_path: Path, site: DemoSite) -> None:
    """A second start is told who holds the lock, at once, and disturbs nothing."""
    loaded = job(tmp_path, site, ["/slow/400"])
    first = asyncio.create_task(run(loaded))
    while not site.stats.in_flight:  # noqa: ASYNC110
        await asyncio.sleep(0)
    with pytest.raises(BusyError, match="pid"):
        await run(loaded)
    assert (await first).exit_code == ExitCode.OK


async def test_no_room_is_a_sentence(tmp_path: Path, site: DemoSite) -> None:
    """Where the output folder cannot be made the run does not begin."""
    (tmp_path / "out").write_text("a file")
    with pytest.raises(StorageError, match="is not a folder"):
        await run(job(tmp_path, site, ["/articles/1"]))


@pytest.mark.parametrize("damage", [b"not a database at all" * 100, b""])
async def test_a_damaged_checkpoint_is_named(tmp_path: Path, site: DemoSite, damage: bytes) -> None:
    """A state.db that is not one stops the start and stays as it is; an empty one is a new one."""
    state = tmp_path / "out/t/state.db"
    state.parent.mkdir(parents=True)
    state.write_bytes(damage)
    loaded = job(tmp_path, site, ["/articles/1"])
    if damage:
        with pytest.raises(StorageError, match=r"state\.db"):
            await run(loaded)
        assert state.read_bytes() == damage
    else:
        assert (await run(loaded)).exit_code == ExitCode.OK


JOBS = Path(__file__).parent.parent / "jobs"


def records(ended: Ended) -> list[dict[str, Any]]:
    return [orjson.loads(line) for line in (ended.run_folder / "records.jsonl").read_bytes().splitlines()]


def example(tmp_path: Path, site: DemoSite, name: str, **changes: str) -> LoadedJob:
    """A job of jobs/ against this site, with parts of its text changed."""
    copy = shutil.copytree(JOBS, tmp_path / "jobs") / f"{name}.toml"
    text = copy.read_text()
    assert "127.0.0.1:8089" in text, "where `crawler demo --serve` answers"
    text = text.replace("127.0.0.1:8089", site.url.removeprefix("http://"))
    for old, new in changes.items():
        assert old in text
        text = text.replace(old, new)
    copy.write_text(text)
    sets = [f"output.dir={tmp_path}", "limits.rate_per_host=400/s", "limits.rate=400/s"]
    if name == "polite":
        sets += ['hosts."*.almanac.test".rate_per_host=400/s', 'hosts."old.almanac.test".delay_per_host=1ms']
    return load(copy, sets)


@pytest.mark.parametrize("name", sorted(path.stem for path in JOBS.glob("*.toml")))
async def test_example_jobs_run(tmp_path: Path, site: DemoSite, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every job in jobs/ fetches all it names from the demo site, but for the one row that robots.txt closes."""
    monkeypatch.setenv("DEMO_TOKEN", TOKEN)
    ended = await run(example(tmp_path, site, name))
    assert ended.exit_code == ExitCode.OK
    assert ended.tally.reasons == ({"robots": 1} if name == "polite" else {})
    assert ended.tally.done == ended.snapshot.known > 0


async def test_the_example_of_paging_finds_every_page(tmp_path: Path, site: DemoSite) -> None:
    """From the first page alone: 500 items, fifty a page, each with the page before it."""
    ended = await run(example(tmp_path, site, "paging"))
    pages = sorted(records(ended), key=lambda record: record["page"])
    assert [record["page"] for record in pages] == list(range(1, 11))
    assert [record["referrer"] for record in pages] == [None, *(record["url"] for record in pages[:-1])]


async def test_the_example_of_uploads_sends_whole_files(tmp_path: Path, site: DemoSite) -> None:
    """What the site took is what lies in the folder of the job."""
    ended = await run(example(tmp_path, site, "api-upload"))
    taken = {}
    for record in records(ended):
        answer = orjson.loads((ended.run_folder / record["body"]).read_bytes())
        taken[answer.get("name")] = answer.get("sha256")
    for name, file in (("urls.csv", "demo-urls.csv"), ("rows.bin", "mirror-rows.jsonl")):
        assert taken[name] == hashlib.sha256((JOBS / file).read_bytes()).hexdigest()


@pytest.mark.parametrize(
    ("token", "bound", "slug"), [("wrong", True, "auth-rejected"), (TOKEN, False, "unexpected-content")]
)
async def test_the_example_of_a_login_needs_it(
    tmp_path: Path, site: DemoSite, monkeypatch: pytest.MonkeyPatch, token: str, bound: bool, slug: str
) -> None:
    """A wrong token is told as such; one that is bound to another host leads to the login page, which is no success."""
    monkeypatch.setenv("DEMO_TOKEN", token)
    loaded = example(tmp_path, site, "login", **({} if bound else {"hosts = [": 'hosts = ["other.test"] # ['}))
    ended = await run(loaded)
    assert ended.exit_code == ExitCode.FAILED
    assert ended.tally.reasons == {slug: 40}
