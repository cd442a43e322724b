"""Whole runs that upload, against stores that work, that lie, that refuse, and that are not there."""

from __future__ import annotations

import asyncio
import hashlib
import sqlite3
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import closing
from pathlib import Path
from time import monotonic
from typing import Any

import pytest

from crawler.errors import ExitCode
from crawler.jobfile import build
from crawler.opening import Options
from crawler.pipeline import Pipeline
from crawler.run import Ended, run_job
from tests.fakestore import KEYS, Answer, Object, Seen, Store, error, fake_store
from tests.jobs import Unseen, records_of
from tests.servers import Asked, RawSite, free_port, raw_site, reply

PAGES = 40
EVERYTHING = {
    "records": ["jsonl", "csv", "parquet"],
    "bodies": ["files", "warc", "tar"],
    "segment_size": "4KB",
    "layout": "hash",
}


def content(asked: Asked) -> bytes:
    """Every tenth page has the same body."""
    n = int(asked.path[1:])
    return reply(200, (b"the same " if n % 10 == 7 else b"page %d " % n) * 40)


@pytest.fixture
async def site() -> AsyncIterator[RawSite]:
    async with raw_site(content) as one:
        yield one


@pytest.fixture
def store() -> Iterator[Store]:
    with fake_store() as one:
        yield one


class Work:
    """A job over PAGES pages, in a folder of its own; `output` and `upload` say more of these sections."""

    def __init__(self, folder: Path, site: RawSite) -> None:
        self.folder = folder
        self.site = site
        self.output: dict[str, Any] = {}
        self.upload: dict[str, Any] = {}
        self.pages = PAGES
        secret = folder / "secret"
        secret.write_text(KEYS.secret_key)
        secret.chmod(0o600)

    def to(self, store: Store | str, **more: Any) -> Work:
        """Upload to this store, or to the one that would be at a URL."""
        self.upload = {
            "to": "s3://files/pre",
            "endpoint": store if isinstance(store, str) else store.url,
            "access_key": KEYS.access_key,
            "secret_key": f"file:{self.folder}/secret",
            "backoff": {"initial": "1ms", "max": "10ms"},
            **more,
        }
        return self

    async def run(self, held: Callable[[Pipeline], None] | None = None) -> Ended:
        data = {
            "name": "t",
            "input": {"urls": [self.site.url(f"/{n}") for n in range(self.pages)]},
            "request": {"contact": "me@example.org"},
            "output": {"dir": str(self.folder / "out"), **self.output, "upload": self.upload},
        }
        return await run_job(build(data, self.folder), Options(held=held), lambda _: Unseen())

    def waiting(self) -> list[str]:
        """What waits by the checkpoint."""
        with closing(sqlite3.connect(self.folder / "out/t/state.db")) as db:
            return [name for (name,) in db.execute("SELECT name FROM uploads")]


@pytest.fixture
def work(tmp_path: Path, site: RawSite) -> Work:
    return Work(tmp_path, site)


def local(run: Path, prefix: str = "") -> dict[str, bytes]:
    """The files of a run that are to be uploaded: all but what is told of the run itself."""
    own = {"run.log", "progress.jsonl", "summary.json"}
    files = (path for path in run.rglob("*") if path.is_file() and path.name not in own)
    return {f"{prefix}t/{run.name}/{path.relative_to(run)}": path.read_bytes() for path in files}


def bodies(objects: dict[str, Object]) -> dict[str, bytes]:
    return {key: each.body for key, each in objects.items()}


def right(ended: Ended) -> bool:
    """Does every page have its record and its body here."""
    records = records_of(ended.run_folder)
    for record in records:
        assert hashlib.sha256((ended.run_folder / record["body"]).read_bytes()).hexdigest() == record["sha256"]
    return len(records) == len({record["url"] for record in records}) == PAGES


# -- what arrives -----------------------------------------------------------------------------------------------------


async def test_every_finished_file_arrives_once(work: Work, store: Store) -> None:
    """Bodies, segments with their indexes, parts, records: the bytes are those of the files, and none is sent twice."""
    work.output = EVERYTHING
    ended = await work.to(store).run()
    assert ended.exit_code == ExitCode.OK
    assert bodies(store.objects) == local(ended.run_folder, "pre/")
    names = [key.partition(ended.run_folder.name + "/")[2] for key in store.objects]
    assert Counter(Path(name).suffix for name in names if name.startswith("warc/"))[".cdxj"] > 3  # and one of all
    assert {"records.jsonl", "records.csv", "records/part-00000.parquet", "warc/index.cdxj"} < set(names)
    assert sum(name.startswith("bodies/") for name in names) == PAGES - PAGES // 10 + 1
    assert set(Counter(store.of("PUT")).values()) == {1}
    assert store.of("HEAD") == []
    sizes = sum(map(len, local(ended.run_folder).values()))
    assert ended.uploads is not None
    assert ended.uploads._asdict() == {"done": len(names), "waiting": 0, "failed": 0, "bytes": sizes}


async def test_a_job_may_ask_for_some_kinds_alone(work: Work, store: Store) -> None:
    """Records and no bodies."""
    ended = await work.to(store, what=["records"]).run()
    assert [key.rpartition("/")[2] for key in store.objects] == ["records.jsonl"]
    assert right(ended)


@pytest.mark.parametrize("scheme", ["file", "local"])
async def test_a_folder_gets_every_finished_file(work: Work, scheme: str, tmp_path: Path) -> None:
    """Through fsspec: the same bytes, and nothing else is left there."""
    work.output = EVERYTHING
    work.upload = {"to": f"{scheme}://{tmp_path}/target"}
    ended = await work.run()
    assert ended.exit_code == ExitCode.OK
    files = (path for path in (tmp_path / "target").rglob("*") if path.is_file())
    assert {str(path.relative_to(tmp_path / "target")): path.read_bytes() for path in files} == local(ended.run_folder)


async def test_a_records_file_that_is_made_on_the_way_is_not_uploaded(work: Work, store: Store) -> None:
    """The journal behind a CSV goes at the end."""
    work.output = {"records": ["csv"]}
    ended = await work.to(store).run()
    assert ended.exit_code == ExitCode.OK
    assert bodies(store.objects) == local(ended.run_folder, "pre/")


# -- targets in trouble -----------------------------------------------------------------------------------------------


async def test_the_crawl_does_not_wait_for_a_target_that_hangs(work: Work, store: Store) -> None:
    """No upload is answered before every page was asked for."""
    everything = threading.Event()
    early: list[str] = []

    def after_the_crawl(seen: Seen) -> Answer | None:
        if not everything.wait(20):
            early.append(seen.key)
        return None

    def answer(asked: Asked) -> bytes:
        if len(work.site.asked) >= PAGES:
            everything.set()
        return content(asked)

    store.rule, work.site.answer = after_the_crawl, answer
    ended = await work.to(store).run()
    assert ended.exit_code == ExitCode.OK
    assert not early


async def test_a_target_that_is_down_costs_no_file(work: Work, store: Store) -> None:
    """Exit 1 with a slug, counts and all files here; the next run sends the old ones first, then its own."""
    work.output = EVERYTHING
    before = await work.to(f"http://127.0.0.1:{free_port()}").run()
    assert before.exit_code == ExitCode.FAILED
    assert right(before)
    files = local(before.run_folder, "pre/")
    assert before.uploads is not None
    assert (before.uploads.done, before.uploads.left, before.uploads.bytes) == (0, len(files), 0)
    assert before.snapshot.state == "finished"
    [told] = before.warnings
    assert told.startswith(f"{len(files)} files wait for their upload")
    assert "upload-connection" in told
    after = await work.to(store).run()
    assert after.exit_code == ExitCode.OK
    assert after.run_folder != before.run_folder
    assert bodies(store.objects) == files | local(after.run_folder, "pre/")
    puts = store.of("PUT")
    assert set(Counter(puts).values()) == {1}
    runs = [key.split("/")[2] for key in puts]
    assert runs.index(after.run_folder.name) >= len(files) - 3  # four are sent side by side
    assert after.uploads is not None
    assert after.uploads.left == 0


def for_all(answer: Answer) -> Callable[[Seen], Answer | None]:
    return lambda seen: answer


@pytest.mark.parametrize(
    ("answer", "slug"),
    [
        (error(403, "AccessDenied"), "upload-auth"),
        (error(403, "SignatureDoesNotMatch"), "upload-auth"),
        (error(404, "NoSuchBucket"), "upload-no-target"),
        (error(503, "SlowDown"), "upload-busy"),
        (error(500, "InternalError"), "upload-failed"),
        (error(400, "EntityTooLarge"), "upload-refused"),
        (Answer(0), "upload-connection"),
        (Answer(200, b"", {"ETag": f'"{"0" * 32}"'}), "upload-mismatch"),
    ],
)
async def test_a_store_that_never_takes_anything_is_named(work: Work, store: Store, answer: Answer, slug: str) -> None:
    """Exit 1, the slug, nothing of the store's own words; few requests; the files are here, and all go later."""
    store.rule = for_all(answer)
    ended = await work.to(store, attempts=2).run()
    assert ended.exit_code == ExitCode.FAILED
    [told] = ended.warnings
    assert f"; {slug}: " in told
    assert "says no" not in told
    assert right(ended)
    assert len(work.waiting()) == len(local(ended.run_folder))
    assert len(store.seen) < 30
    store.rule = lambda seen: None
    again = await work.to(store).run()
    assert again.exit_code == ExitCode.OK
    assert bodies(store.objects) == local(ended.run_folder, "pre/") | local(again.run_folder, "pre/")


class SomeTimes:
    """Every third request meets this in place of the store."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.asked = self.met = 0

    def __call__(self, seen: Seen) -> Answer | None:
        self.asked += 1
        if self.asked % 3:
            return None
        self.met += 1
        return self.answer


@pytest.mark.parametrize(
    "answer",
    [error(503, "SlowDown"), error(500, "InternalError"), Answer(0), Answer(200, b"", {"ETag": f'"{"0" * 32}"'})],
)
async def test_trouble_that_passes_is_overcome(work: Work, store: Store, answer: Answer) -> None:
    """All arrive, right, and the run ends well."""
    rule = SomeTimes(answer)
    store.rule = rule
    ended = await work.to(store, attempts=10).run()
    assert rule.met > 5
    assert ended.exit_code == ExitCode.OK
    assert bodies(store.objects) == local(ended.run_folder, "pre/")


async def test_a_store_whose_answers_are_lost_is_looked_at(work: Work, store: Store) -> None:
    """What it took already is not sent again, where its answer never came."""
    lost = SomeTimes(Answer(0))
    store.alter = lambda seen, answer: (seen.method == "PUT" and lost(seen)) or answer
    ended = await work.to(store, attempts=10).run()
    assert lost.met > 5
    assert ended.exit_code == ExitCode.OK
    assert set(Counter(store.of("PUT")).values()) == {1}
    assert bodies(store.objects) == local(ended.run_folder, "pre/")


async def test_a_clock_that_is_off_is_corrected(work: Work, store: Store) -> None:
    """By an hour; the store accepts no signature of another time than its own."""
    store.ahead = 3600.0
    ended = await work.to(store).run()
    assert ended.exit_code == ExitCode.OK
    assert bodies(store.objects) == local(ended.run_folder, "pre/")


async def test_a_store_that_is_silent_is_given_up_in_time(work: Work, store: Store) -> None:
    """By the section's timeout; the files wait."""
    over = threading.Event()

    def silent(seen: Seen) -> None:
        over.wait(20)

    store.rule = silent
    try:
        ended = await work.to(store, timeout="0.1s", attempts=1).run()
    finally:
        over.set()
    assert ended.exit_code == ExitCode.FAILED
    assert "upload-timeout" in ended.warnings[0]
    assert right(ended)


# -- stopped ----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
async def test_a_stop_does_not_wait_for_a_target_that_hangs(work: Work, store: Store) -> None:
    """Exit 3 within seconds though all is fetched; the next start goes on with the uploads of the same run alone."""
    over = threading.Event()
    took = Counter[str]()

    def some(seen: Seen) -> Answer | None:
        took[seen.method] += 1
        if took["PUT"] > 10:
            over.wait(30)
        return None

    work.output = EVERYTHING
    store.rule = some
    stops: list[float] = []

    def held(pipeline: Pipeline) -> None:
        def stop() -> None:
            if took["PUT"] <= 10 or not work.waiting().count("records.jsonl"):
                loop.call_later(0.05, stop)
                return
            stops.append(monotonic())
            pipeline.stop()

        loop = asyncio.get_running_loop()
        loop.call_later(0.5, stop)

    try:
        stopped = await work.to(store).run(held)
        took_to_stop = monotonic() - stops[0]
    finally:
        over.set()
    assert stopped.exit_code == ExitCode.STOPPED
    assert took_to_stop < 9
    assert stopped.snapshot.state == "stopped"
    assert right(stopped)
    assert stopped.uploads is not None
    assert stopped.uploads.left == len(work.waiting()) > 20
    store.rule = lambda seen: None
    ended = await work.run()
    assert ended.exit_code == ExitCode.OK
    assert ended.run_folder == stopped.run_folder
    assert len(work.site.asked) == PAGES
    assert bodies(store.objects) == local(ended.run_folder, "pre/")
    assert ended.uploads is not None
    assert ended.uploads.done == len(store.objects)
    assert set(Counter(store.of("PUT")).values()) <= {1, 2}


@pytest.mark.slow
async def test_what_changed_before_it_was_sent_is_sent_as_it_is(work: Work, store: Store) -> None:
    """A run that is stopped while its records wait, and whose input grows, uploads the records that came of it all."""

    def held(pipeline: Pipeline) -> None:
        def stop() -> None:
            if not work.waiting().count("records.jsonl"):
                loop.call_later(0.02, stop)
                return
            pipeline.stop()

        loop = asyncio.get_running_loop()
        loop.call_later(0.2, stop)

    store.rule = lambda seen: error(503, "SlowDown")
    work.output = {"bodies": "none"}
    stopped = await work.to(store, attempts=1000, backoff={"initial": "1s", "max": "1s"}).run(held)
    assert stopped.exit_code == ExitCode.STOPPED
    records = stopped.run_folder / "records.jsonl"
    size = records.stat().st_size
    store.rule = lambda seen: None if records.stat().st_size > size else error(503, "SlowDown")
    work.pages = 2 * PAGES
    ended = await work.to(store, attempts=5).run()
    assert ended.run_folder == stopped.run_folder
    assert len(records_of(ended.run_folder)) == 2 * PAGES
    assert bodies(store.objects) == local(ended.run_folder, "pre/")
    assert work.waiting() == []
    assert ended.exit_code == ExitCode.OK


@pytest.mark.slow
async def test_what_arrived_before_a_stop_is_not_sent_again(work: Work, store: Store) -> None:
    """Records and indexes too, though the end of the run is made once more."""
    held_up: list[str] = []

    def one_never(seen: Seen) -> Answer | None:
        if "/bodies/" in seen.key and not held_up:
            held_up.append(seen.key)
        return error(503, "SlowDown") if seen.key in held_up else None

    def held(pipeline: Pipeline) -> None:
        def stop() -> None:
            if any(key.endswith("index.cdxj") for key in store.objects) and len(work.waiting()) == 1:
                pipeline.stop()
            else:
                loop.call_later(0.02, stop)

        loop = asyncio.get_running_loop()
        loop.call_later(0.2, stop)

    store.rule = one_never
    work.output = EVERYTHING
    stopped = await work.to(store, attempts=1000).run(held)
    assert stopped.exit_code == ExitCode.STOPPED
    store.rule = lambda seen: None
    ended = await work.run()
    assert ended.run_folder == stopped.run_folder
    assert ended.exit_code == ExitCode.OK
    assert bodies(store.objects) == local(ended.run_folder, "pre/")
    assert {key for key, times in Counter(store.of("PUT")).items() if times > 1} <= set(held_up)
