"""Runs after a finished one: what is asked for again, what the records say of it, what is linked; whole runs."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import orjson
import pytest
from warcio.archiveiterator import ArchiveIterator

from crawler.errors import ExitCode
from crawler.jobfile import LoadedJob, build
from crawler.opening import Options
from crawler.run import Ended, run_job
from crawler.tally import Snapshot
from crawler.verify import Verifier
from tests.servers import Asked, RawSite, raw_site, reply


class Site:
    """Pages that a test changes; each has an ETag, and a 304 for who knows it."""

    def __init__(self, raw: RawSite, count: int) -> None:
        self.raw = raw
        self.pages = {f"/{n}": f"page {n}".encode() for n in range(count)}
        self.more: dict[str, object] = {}  # headers of every page
        self.sent: Counter[int] = Counter()
        self.kind = "text/plain"
        raw.answer = self.answer

    def answer(self, asked: Asked) -> bytes:
        body = self.pages.get(asked.path)
        if body is None:
            self.sent[404] += 1
            return reply(404, b"")
        tag = f'"{hashlib.md5(body).hexdigest()}"'
        status = 304 if asked.headers.get("if-none-match") == tag else 200
        self.sent[status] += 1
        headers = {"ETag": tag, "Content-Type": self.kind, **self.more}
        if status == 304:
            return (
                "HTTP/1.1 304 Not Modified\r\n" + "".join(f"{k}: {v}\r\n" for k, v in headers.items()) + "\r\n"
            ).encode()
        return reply(200, body, headers)

    def urls(self) -> list[str]:
        return [self.raw.url(path) for path in self.pages]


class Silent:
    def update(self, snapshot: Snapshot) -> None:
        """Nothing."""


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    async with raw_site() as raw:
        yield Site(raw, 12)


def job(folder: Path, urls: Sequence[str], **sections: dict[str, Any]) -> LoadedJob:
    data: dict[str, Any] = {
        "name": "t",
        "input": {"urls": list(urls)},
        "limits": {"robots": "ignore"},
        "retry": {"attempts": 1},
        "output": {"dir": str(folder / "out")},
    }
    for section, table in sections.items():
        data[section] = {**data.get(section, {}), **table}
    return build(data, folder)


async def run(loaded: LoadedJob, site: Site, **options: bool) -> tuple[Ended, dict[str, dict[str, Any]]]:
    """One run, and its records by path; what the site sent is counted anew."""
    site.sent.clear()
    ended = await run_job(loaded, Options(**options), lambda _: Silent())
    records = [orjson.loads(line) for line in (ended.run_folder / "records.jsonl").read_bytes().splitlines()]
    found = {"/" + record["url"].split("/", 3)[3]: record for record in records}
    assert len(found) == len(records)
    return ended, found


def changes(records: dict[str, dict[str, Any]]) -> dict[str, str | None]:
    return {path: record["change"] for path, record in records.items()}


def told(ended: Ended) -> dict[str, int]:
    said: dict[str, int] = orjson.loads((ended.run_folder / "summary.json").read_bytes())["changes"]
    return {change: count for change, count in said.items() if count}


async def test_a_refresh_transfers_what_changed_alone(tmp_path: Path, site: Site) -> None:
    """Changed pages come whole, the others as a 304; each record says so, and every body is in the run's folder."""
    loaded = job(tmp_path, site.urls())
    ended, records = await run(loaded, site)
    assert site.sent == {200: 12}
    assert set(changes(records).values()) == {"new"}
    assert told(ended) == {"new": 12}
    site.pages["/3"] = b"another"
    site.pages["/4"] = b"also another"
    del site.pages["/5"]
    ended, records = await run(loaded, site)
    assert site.sent == {200: 2, 304: 9, 404: 1}
    expected = dict.fromkeys(site.pages, "unchanged") | {"/3": "changed", "/4": "changed", "/5": "gone"}
    assert changes(records) == expected
    assert told(ended) == {"changed": 2, "unchanged": 9, "gone": 1}
    for path, body in site.pages.items():
        assert (ended.run_folder / records[path]["body"]).read_bytes() == body
        assert records[path]["sha256"] == hashlib.sha256(body).hexdigest()
        assert records[path]["bytes"] == len(body)
        assert records[path]["content_type"] == "text/plain"
    verifier = Verifier(loaded.job)
    assert list(verifier.faults()) == []


async def test_what_is_not_in_the_list_any_more_is_gone(tmp_path: Path, site: Site) -> None:
    """It is counted once, and when it comes back it is new."""
    urls = site.urls()
    await run(job(tmp_path, urls), site)
    ended, _ = await run(job(tmp_path, urls[2:]), site)
    assert told(ended) == {"unchanged": 10, "gone": 2}
    ended, records = await run(job(tmp_path, urls), site)
    assert told(ended) == {"new": 2, "unchanged": 10}
    assert site.sent == {200: 2, 304: 10}
    assert records["/0"]["change"] == "new"


async def test_a_fault_is_no_change(tmp_path: Path, site: Site) -> None:
    """What answers 503 once is unchanged afterwards, and nothing of it was forgotten."""
    loaded = job(tmp_path, site.urls())
    await run(loaded, site)
    whole = site.raw.answer
    site.raw.answer = lambda asked: reply(503, b"") if asked.path == "/7" else whole(asked)
    ended, records = await run(loaded, site)
    assert ended.exit_code is ExitCode.FAILED
    assert records["/7"]["change"] is None
    site.raw.answer = whole
    ended, records = await run(loaded, site)
    assert told(ended) == {"unchanged": 12}
    assert site.sent == {304: 12}


async def test_all_asks_for_all(tmp_path: Path, site: Site) -> None:
    """No validator goes out, and what is the same is told all the same."""
    await run(job(tmp_path, site.urls()), site)
    ended, _ = await run(job(tmp_path, site.urls(), run={"again": "all"}), site)
    assert site.sent == {200: 12}
    assert told(ended) == {"unchanged": 12}


async def test_new_asks_for_what_was_never_fetched(tmp_path: Path, site: Site) -> None:
    """Known inputs have no record; those that failed are tried again; nothing is called gone."""
    urls = site.urls()
    missing = site.pages.pop("/11")
    await run(job(tmp_path, urls[4:]), site)
    site.pages["/11"] = missing
    ended, records = await run(job(tmp_path, urls, run={"again": "new"}), site)
    assert sorted(records) == ["/0", "/1", "/11", "/2", "/3"]
    assert site.sent == {200: 5}
    assert told(ended) == {"new": 5}
    ended, _ = await run(job(tmp_path, urls), site)
    assert told(ended) == {"unchanged": 12}


async def test_adaptive_leaves_alone_what_is_not_due(tmp_path: Path, site: Site) -> None:
    """Within the least time nothing is asked for, and the records say why."""
    loaded = job(tmp_path, site.urls(), run={"again": "adaptive", "checks": {"least": "1h", "most": "2h"}})
    await run(loaded, site)
    ended, records = await run(loaded, site)
    assert site.sent == {}
    assert {(record["outcome"], record["reason"], record["attempts"]) for record in records.values()} == {
        ("skipped", "not-due", 0)
    }
    assert ended.exit_code is ExitCode.OK
    ended, _ = await run(job(tmp_path, site.urls()), site)
    assert told(ended) == {"unchanged": 12}


async def test_expires_is_honored_where_the_job_says_so(tmp_path: Path, site: Site) -> None:
    """What calls itself fresh is not asked for; without the key it is."""
    site.more = {"Cache-Control": "max-age=3600"}
    honoring = job(tmp_path, site.urls(), run={"honor_expires": True})
    await run(honoring, site)
    _, records = await run(honoring, site)
    assert site.sent == {}
    assert all(record["reason"] == "not-due" for record in records.values())
    await run(job(tmp_path, site.urls()), site)
    assert site.sent == {304: 12}


async def test_another_request_is_no_refresh(tmp_path: Path, site: Site) -> None:
    """Where the job asks otherwise than before, what is known does not hold: all is fetched whole."""
    await run(job(tmp_path, site.urls()), site)
    await run(job(tmp_path, site.urls(), request={"headers": {"Accept-Language": "de"}}), site)
    assert site.sent == {200: 12}


@pytest.mark.parametrize("form", ["tar", "inline", "none", "files"])
async def test_every_form_of_bodies_has_them_all(tmp_path: Path, site: Site, form: str) -> None:
    """Where a form needs a body that no file holds, it is fetched whole; where none is kept, its digest is enough."""
    loaded = job(tmp_path, site.urls(), output={"bodies": form})
    _, before = await run(loaded, site)
    ended, records = await run(loaded, site)
    assert site.sent == ({304: 12} if form in ("none", "files") else {200: 12})
    assert told(ended) == {"unchanged": 12}
    assert {path: record["sha256"] for path, record in records.items()} == {
        path: record["sha256"] for path, record in before.items()
    }
    if form == "inline":
        assert all(record["content"].encode() == site.pages[path] for path, record in records.items())
    if form == "files":
        one = records["/0"]["body"]
        assert os.path.samefile(ended.run_folder / one, ended.run_folder.parent / before["/0"]["run"] / one)


async def test_tar_and_inline_beside_files_take_the_copy(tmp_path: Path, site: Site) -> None:
    """A body that a file holds goes into the other forms from there."""
    loaded = job(tmp_path, site.urls(), output={"bodies": ["files", "tar", "inline"]})
    await run(loaded, site)
    _, records = await run(loaded, site)
    assert site.sent == {304: 12}
    assert all(record["content"].encode() == site.pages[path] for path, record in records.items())
    assert list(Verifier(loaded.job).faults()) == []


async def test_large_bodies_are_linked(tmp_path: Path, site: Site) -> None:
    """A body beyond memory is a link to the file that an earlier run made, also without a content store."""
    site.pages = {"/0": b"z" * 3_000_000}
    loaded = job(tmp_path, site.urls(), output={"share": False, "layout": "mirror"})
    first, before = await run(loaded, site)
    ended, records = await run(loaded, site)
    assert site.sent == {304: 1}
    assert os.path.samefile(first.run_folder / before["/0"]["body"], ended.run_folder / records["/0"]["body"])
    assert list((tmp_path / "out/t/parts").iterdir()) == []


async def test_a_copy_that_is_not_what_it_was_is_fetched_again(tmp_path: Path, site: Site) -> None:
    """Somebody edited a body of the earlier run, or removed it: the page is asked for whole, and right."""
    loaded = job(tmp_path, site.urls(), output={"share": False, "layout": "mirror"})
    ended, records = await run(loaded, site)
    (ended.run_folder / records["/1"]["body"]).write_bytes(b"PAGE 1")
    (ended.run_folder / records["/2"]["body"]).unlink()
    ended, records = await run(loaded, site)
    assert site.sent == {304: 11, 200: 2}
    for path, body in site.pages.items():
        assert (ended.run_folder / records[path]["body"]).read_bytes() == body
    assert told(ended) == {"unchanged": 12}


async def test_a_304_of_something_else_is_not_believed(tmp_path: Path, site: Site) -> None:
    """One that names another strong ETag stands for no body that is known (RFC 9111 4.3.4)."""
    loaded = job(tmp_path, site.urls()[:1])
    await run(loaded, site)
    whole = site.raw.answer

    def confused(asked: Asked) -> bytes:
        if "if-none-match" in asked.headers:
            return b'HTTP/1.1 304 Not Modified\r\nETag: "other"\r\n\r\n'
        return whole(asked)  # type: ignore[return-value]

    site.raw.answer = confused
    _, records = await run(loaded, site)
    assert records["/0"]["status"] == 200
    assert site.sent == {200: 1}


async def test_a_304_nobody_asked_for_is_a_failure(tmp_path: Path, site: Site) -> None:
    """Without validators of ours there is nothing that it could stand for."""
    site.raw.answer = lambda asked: b"HTTP/1.1 304 Not Modified\r\n\r\n"
    _, records = await run(job(tmp_path, site.urls()[:1]), site)
    assert (records["/0"]["outcome"], records["/0"]["reason"]) == ("failed", "status-304")


@pytest.mark.parametrize("forms", [["warc"], ["files", "warc"]])
async def test_a_warc_refers_to_what_it_has(tmp_path: Path, site: Site, forms: list[str]) -> None:
    """A 304 is a revisit that names the first record of the body, also in the third run (WARC 1.1, 6.7.2); the run that
    has it stays.
    """
    loaded = job(tmp_path, site.urls(), output={"bodies": forms}, run={"keep_runs": 1})
    first, _ = await run(loaded, site)
    await run(loaded, site)
    third, _ = await run(loaded, site)
    assert site.sent == {304: 12}
    dates = {
        record.rec_headers["WARC-Target-URI"]: record.rec_headers["WARC-Date"] for record in warc(first, "response")
    }
    revisits = list(warc(third, "revisit"))
    assert len(revisits) == 12
    for record in revisits:
        assert record.rec_headers["WARC-Refers-To-Date"] == dates[record.rec_headers["WARC-Refers-To-Target-URI"]]
        assert record.http_headers.get_statuscode() == "304"
        assert record.content_stream().read() == b""


def warc(ended: Ended, kind: str) -> list[Any]:
    found = []
    for path in sorted((ended.run_folder / "warc").glob("*.gz")):
        with path.open("rb") as file:
            found += [record for record in ArchiveIterator(file) if record.rec_type == kind]
    return found


async def test_a_crawl_follows_what_it_need_not_transfer(tmp_path: Path, site: Site) -> None:
    """The links of a page that answers 304 are those of its copy; pages that nothing leads to any more are gone."""
    site.kind = "text/html"
    links = [f'<a href="/{n}">x</a>' for n in range(1, 12)]
    site.pages["/0"] = "".join(links).encode()
    loaded = job(tmp_path, site.urls()[:1], crawl={})
    ended, _ = await run(loaded, site)
    assert told(ended) == {"new": 12}
    ended, records = await run(loaded, site)
    assert site.sent == {304: 12}
    assert len(records) == 12
    site.pages["/0"] = "".join(links[2:]).encode()
    ended, records = await run(loaded, site)
    assert told(ended) == {"changed": 1, "unchanged": 9, "gone": 2}


async def test_a_crawl_that_lost_pages_calls_nothing_gone(tmp_path: Path, site: Site) -> None:
    """Where a page could not be had, those that it led to may be there all the same."""
    site.kind = "text/html"
    site.pages["/0"] = b'<a href="/1">x</a>'
    site.pages["/1"] = b'<a href="/2">x</a>'
    loaded = job(tmp_path, site.urls()[:1], crawl={})
    await run(loaded, site)
    whole = site.raw.answer
    site.raw.answer = lambda asked: reply(503, b"") if asked.path == "/1" else whole(asked)
    ended, _ = await run(loaded, site)
    assert told(ended) == {"unchanged": 1}
    site.raw.answer = whole
    ended, _ = await run(loaded, site)
    assert told(ended) == {"unchanged": 3}


async def test_a_crawl_of_what_is_new_begins_at_its_seeds(tmp_path: Path, site: Site) -> None:
    """Its seeds are asked for, known pages are not."""
    site.kind = "text/html"
    site.pages["/0"] = b'<a href="/1">x</a>'
    loaded = job(tmp_path, site.urls()[:1], crawl={}, run={"again": "new"})
    await run(loaded, site)
    site.pages["/0"] += b'<a href="/2">x</a>'
    _, records = await run(loaded, site)
    assert changes(records) == {"/0": "changed", "/2": "new"}


async def test_a_crawl_goes_on_through_pages_that_are_not_due(tmp_path: Path, site: Site) -> None:
    """They are read for their links from their copies, and only what is not known is asked for."""
    site.kind = "text/html"
    site.pages["/0"] = b'<a href="/1">x</a><a href="/2">x</a>'
    missing = site.pages.pop("/2")
    loaded = job(tmp_path, site.urls()[:1], crawl={}, run={"again": "adaptive"})
    await run(loaded, site)
    site.pages["/2"] = missing
    _, records = await run(loaded, site)
    assert site.sent == {200: 1}
    assert {path: record["reason"] for path, record in records.items()} == {
        "/0": "not-due",
        "/1": "not-due",
        "/2": None,
    }
    assert list((tmp_path / "out/t/parts").iterdir()) == []


async def test_a_redirect_is_refreshed_where_it_leads(tmp_path: Path, site: Site) -> None:
    """The validators are of the page at its end, and go to no other URL."""
    whole = site.raw.answer
    seen: list[tuple[str, str | None]] = []

    def answer(asked: Asked) -> Any:
        seen.append((asked.path, asked.headers.get("if-none-match")))
        if asked.path == "/from":
            return reply(302, b"", {"Location": "/0"})
        return whole(asked)

    site.raw.answer = answer
    loaded = job(tmp_path, [site.raw.url("/from")])
    await run(loaded, site)
    ended, _ = await run(loaded, site)
    tag = f'"{hashlib.md5(site.pages["/0"]).hexdigest()}"'
    assert seen == [("/from", None), ("/0", None), ("/from", None), ("/0", tag)]
    assert told(ended) == {"unchanged": 1}


async def test_runs_beyond_keep_runs_go(tmp_path: Path, site: Site) -> None:
    """The oldest first, with what only they had; the bodies of those that stay are whole."""
    loaded = job(tmp_path, site.urls(), run={"keep_runs": 2})
    first, before = await run(loaded, site)
    old = before["/0"]["sha256"]
    site.pages["/0"] = b"changed"
    await run(loaded, site)
    ended, records = await run(loaded, site)
    runs = sorted(path.name for path in (tmp_path / "out/t/runs").iterdir())
    assert len(runs) == 2
    assert first.run_folder.name not in runs
    assert not (tmp_path / "out/t/store" / old[:2] / old).exists()
    for path, body in site.pages.items():
        assert (ended.run_folder / records[path]["body"]).read_bytes() == body
    assert list(Verifier(loaded.job).faults()) == []


async def test_a_run_that_holds_the_only_copy_stays(tmp_path: Path, site: Site) -> None:
    """With `new` each run holds what no other has; so none goes."""
    urls = site.urls()
    for count in (3, 6, 9, 12):
        await run(job(tmp_path, urls[:count], run={"again": "new", "keep_runs": 1}), site)
    assert len(list((tmp_path / "out/t/runs").iterdir())) == 4


async def test_csv_and_parquet_say_it_too(tmp_path: Path, site: Site) -> None:
    """The column `change` stands in every form of the records."""
    import csv

    import pyarrow.parquet as pq

    loaded = job(tmp_path, site.urls(), output={"records": ["jsonl", "csv", "parquet"], "compress": False})
    await run(loaded, site)
    ended, _ = await run(loaded, site)
    with (ended.run_folder / "records.csv").open(newline="") as file:
        assert {row["change"] for row in csv.DictReader(file)} == {"unchanged"}
    (part,) = (ended.run_folder / "records").glob("*.parquet")
    assert set(pq.read_table(part)["change"].to_pylist()) == {"unchanged"}


async def test_a_killed_refresh_goes_on(tmp_path: Path, site: Site) -> None:
    """Stopped in the middle and resumed: each URL is told of once, and the history is that of the whole run."""
    loaded = job(tmp_path, site.urls(), limits={"workers": 1})
    await run(loaded, site)
    site.pages["/2"] = b"changed before the stop"

    class Stopper:
        def __init__(self) -> None:
            self.pipeline: Any = None

        def update(self, snapshot: Snapshot) -> None:
            if snapshot.done and self.pipeline is not None:
                self.pipeline.stop()

    stopper = Stopper()
    site.raw.latency = 0.1
    site.sent.clear()
    ended = await run_job(
        loaded, Options(held=lambda pipeline: setattr(stopper, "pipeline", pipeline)), lambda _: stopper
    )
    assert ended.exit_code is ExitCode.STOPPED
    site.raw.latency = 0.0
    ended = await run_job(loaded, Options(), lambda _: Silent())
    assert told(ended) == {"changed": 1, "unchanged": 11}
    assert site.sent[200] == 1
    ended, _ = await run(loaded, site)
    assert told(ended) == {"unchanged": 12}


async def test_a_refresh_shows_its_credential(tmp_path: Path, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """A 304 is an answer to a credential as any other is."""
    monkeypatch.setenv("SITE_PASSWORD", "geheim")
    whole = site.raw.answer
    seen: list[str | None] = []

    def answer(asked: Asked) -> Any:
        seen.append(asked.headers.get("authorization"))
        return whole(asked) if seen[-1] else reply(401, b"", {"WWW-Authenticate": 'Basic realm="x"'})

    site.raw.answer = answer
    one = {"type": "basic", "hosts": ["127.0.0.1"], "user": "ada", "password": "env:SITE_PASSWORD"}
    loaded = job(tmp_path, site.urls(), auth={"one": {**one, "allow_insecure": True}})
    await run(loaded, site)
    ended, _ = await run(loaded, site)
    assert site.sent == {304: 12}
    assert None not in seen
    assert told(ended) == {"unchanged": 12}
