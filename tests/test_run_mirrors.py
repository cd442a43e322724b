"""Whole runs whose rows name mirrors and say what their bodies are, against servers that keep their word or do not."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import os
import signal
import sys
from base64 import b64encode
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from crawler.errors import ExitCode
from crawler.jobfile import LoadedJob, build
from crawler.jobtext import dumps
from crawler.run import Ended
from tests.servers import Answer, Asked, RawSite, free_port, raw_site, reply
from tests.test_run import run

pytestmark = pytest.mark.slow

BODY = b"the right body, whatever it costs"
DIGEST = hashlib.sha256(BODY).hexdigest()
ADDRESSES = ("127.0.0.1", "127.0.0.2", "127.0.0.3")
FIRST, SECOND, THIRD = ADDRESSES


def job(folder: Path, rows: list[dict[str, Any]], **sections: dict[str, Any]) -> LoadedJob:
    (folder / "rows.jsonl").write_bytes(b"\n".join(map(orjson.dumps, rows)))
    data: dict[str, Any] = {
        "name": "t",
        "input": {"files": ["rows.jsonl"]},
        "output": {"dir": str(folder / "out")},
        "retry": {"attempts": 2, "backoff": {"initial": "5ms", "max": "10ms"}},
        **sections,
    }
    return build(data, folder)


def by(**answers: bytes) -> Answer:
    """Each address, as a0, a1 and a2, with its own answer."""
    given = {address: answers[f"a{n}"] for n, address in enumerate(ADDRESSES) if f"a{n}" in answers}
    return lambda asked: given[asked.address]


def record_of(ended: Ended) -> dict[str, Any]:
    (line,) = (ended.run_folder / "records.jsonl").read_bytes().splitlines()
    record: dict[str, Any] = orjson.loads(line)
    return record


def body_of(ended: Ended) -> bytes:
    return (ended.run_folder / record_of(ended)["body"]).read_bytes()


def addresses(site: RawSite) -> list[str]:
    return [asked.address for asked in site.asked]


async def test_a_mirror_serves_what_its_url_does_not(tmp_path: Path) -> None:
    """A 404 is not tried again, a 503 is; the second mirror has it, and the record says all that."""
    async with raw_site(by(a0=reply(404), a1=reply(503), a2=reply(200, BODY)), addresses=ADDRESSES) as site:
        mirrors = [site.url("/m1", SECOND), site.url("/m2", THIRD), site.url("/never", FIRST)]
        ended = await run(job(tmp_path, [{"url": site.url("/f"), "mirrors": mirrors}]))
    record = record_of(ended)
    assert ended.exit_code == ExitCode.OK
    assert site.paths() == ["/f", "/m1", "/m1", "/m2"]
    assert (record["outcome"], record["url"], record["final_url"]) == ("fetched", site.url("/f"), mirrors[1])
    assert record["warning"] == (
        f"served by mirror 2 of 3 after: status-404 at {site.url('/f')}, status-503 at {mirrors[0]}"
    )
    assert record["attempts"] == 4
    assert body_of(ended) == BODY
    assert len({asked.headers["x-request-id"] for asked in site.asked}) == 4
    assert (ended.tally.fetched, ended.tally.failed) == (1, 0)


async def test_a_wrong_body_leads_to_a_mirror(tmp_path: Path) -> None:
    """Right by its length, wrong by its digest: asked once more, then the mirror; nothing of the wrong one is left."""
    async with raw_site(by(a0=reply(200, BODY[::-1]), a1=reply(200, BODY)), addresses=ADDRESSES) as site:
        row = {"url": site.url(), "sha256": DIGEST, "mirrors": [site.url("/", SECOND)]}
        ended = await run(job(tmp_path, [row]))
    assert addresses(site) == [FIRST, FIRST, SECOND]
    assert "after: digest-mismatch at " in record_of(ended)["warning"]
    assert [file.read_bytes() for file in (ended.run_folder / "bodies").rglob("*") if file.is_file()] == [BODY]


async def test_of_many_faults_the_last_is_told_and_all_are_named(tmp_path: Path) -> None:
    """The reason and the status are of the last mirror; the error names where it failed before."""
    async with raw_site(by(a0=reply(404), a1=reply(410)), addresses=ADDRESSES) as site:
        refused = f"http://127.0.0.1:{free_port()}/"
        mirrors = [refused, site.url("/m", SECOND)]
        ended = await run(job(tmp_path, [{"url": site.url("/f"), "mirrors": mirrors}]))
    record = record_of(ended)
    assert ended.exit_code == ExitCode.FAILED
    assert (record["outcome"], record["reason"], record["status"]) == ("failed", "status-410", 410)
    assert record["error"] == (
        f"the server answered 410; before that: status-404 at {site.url('/f')}, connect-refused at {refused}"
    )
    assert (record["final_url"], record["attempts"], record["body"]) == (mirrors[1], 4, None)


async def test_a_row_that_needs_no_mirror_asks_none(tmp_path: Path) -> None:
    """And its record says nothing of them."""
    async with raw_site(by(a0=reply(200, BODY)), addresses=ADDRESSES) as site:
        ended = await run(job(tmp_path, [{"url": site.url(), "mirrors": site.url("/", SECOND)}]))
    assert addresses(site) == [FIRST]
    assert record_of(ended)["warning"] is None


async def test_a_bad_row_asks_no_mirror(tmp_path: Path) -> None:
    """It is told, and nothing is sent, whether it is the URL that is bad or a mirror."""
    async with raw_site() as site:
        for row in (
            {"url": "ftp://a.example/", "mirrors": [site.url()]},
            {"url": site.url(), "mirrors": ["ftp://a.example/"]},
            {"url": site.url(), "size": "large", "mirrors": [site.url("/m")]},
        ):
            ended = await run(job(tmp_path, [row]))
            assert record_of(ended)["reason"] == "bad-input"
    assert site.asked == []


SECRETS = {"X-Api-Key": "row-key", "Cookie": "row=cookie", "Authorization": "Bearer row-token"}


async def test_a_mirror_learns_no_credential(tmp_path: Path) -> None:
    """What the row and the job send stays with the URL's own origin; what is harmless goes along."""
    async with raw_site(by(a0=reply(404), a1=reply(200, BODY)), addresses=ADDRESSES) as site:
        row = {"url": site.url(), "headers": {**SECRETS, "Accept": "x/y"}, "mirrors": [site.url("/m", SECOND)]}
        request = {"headers": {"X-Job": "job-key"}, "params": {"key": "param-key"}}
        ended = await run(job(tmp_path, [row], request=request))
    first, second = site.asked
    assert first.headers["x-api-key"] == "row-key"
    assert first.path == "/?key=param-key"
    assert second.headers["accept"] == "x/y"
    assert second.path == "/m"
    for secret in ("row-key", "cookie", "token", "job-key", "param-key"):
        assert secret not in str(second)
    assert ended.exit_code == ExitCode.OK


async def test_a_mirror_at_the_same_origin_is_asked_as_the_url_is(tmp_path: Path) -> None:
    """Its credentials were meant for it."""
    answer: Answer = lambda asked: reply(200, BODY) if asked.path == "/m" else reply(404)  # noqa: E731
    async with raw_site(answer) as site:
        await run(job(tmp_path, [{"url": site.url(), "headers": SECRETS, "mirrors": [site.url("/m")]}]))
    assert [asked.headers.get("x-api-key") for asked in site.asked] == ["row-key", "row-key"]


async def test_redirects_of_a_mirror_are_its_own(tmp_path: Path) -> None:
    """Two redirects are allowed, and each URL takes two, through one that both lead to: no circle, none too many."""

    def answer(asked: Asked) -> bytes:
        if asked.path == "/shared":
            return reply(302, b"", {"Location": "/end"})
        if asked.path == "/end":
            return reply(404) if asked.address == FIRST else reply(200, BODY)
        return reply(302, b"", {"Location": "/shared"})

    async with raw_site(answer, addresses=ADDRESSES) as site:
        row = {"url": site.url("/a"), "mirrors": [site.url("/b"), site.url("/c", SECOND)]}
        ended = await run(job(tmp_path, [row], limits={"max_redirects": 2}))
    assert site.paths() == ["/a", "/shared", "/end", "/b", "/shared", "/end", "/c", "/shared", "/end"]
    assert body_of(ended) == BODY


async def test_a_mirror_that_answers_where_robots_forbids_the_url(tmp_path: Path) -> None:
    """What is disallowed is not asked; its mirror's robots.txt is, and then the mirror."""

    def answer(asked: Asked) -> bytes:
        if asked.path == "/robots.txt":
            return reply(200, b"User-agent: *\nDisallow: /" if asked.address == FIRST else b"")
        return reply(200, BODY)

    async with raw_site(answer, addresses=ADDRESSES) as site:
        row = {"url": site.url("/f"), "mirrors": [site.url("/m", SECOND)]}
        ended = await run(job(tmp_path, [row], limits={"robots": "obey"}))
        assert [(asked.address, asked.path) for asked in site.asked] == [
            (FIRST, "/robots.txt"),
            (SECOND, "/robots.txt"),
            (SECOND, "/m"),
        ]
    record = record_of(ended)
    assert record["warning"] == f"served by mirror 1 of 1 after: robots at {site.url('/f')}"
    assert (record["outcome"], record["attempts"]) == ("fetched", 1)


async def test_a_last_mirror_that_may_not_be_asked_leaves_a_failure(tmp_path: Path) -> None:
    """A URL that failed is no omission; one that was never asked is."""

    def answer(asked: Asked) -> bytes:
        if asked.path == "/robots.txt":
            return reply(200, b"User-agent: *\nDisallow: /no")
        return reply(404)

    async with raw_site(answer, addresses=ADDRESSES) as site:
        limits = {"robots": "obey"}
        found = {}
        for first in ("/f", "/no"):
            row = {"url": site.url(first), "mirrors": [site.url("/no", SECOND)]}
            record = record_of(await run(job(tmp_path, [row], limits=limits)))
            found[first] = (record["outcome"], record["reason"])
    assert found == {"/f": ("failed", "robots"), "/no": ("skipped", "robots")}


async def test_a_dead_host_leads_to_its_mirrors(tmp_path: Path) -> None:
    """Rows of a host that was given up go on at their mirrors, and none is lost."""
    refused = f"http://127.0.0.1:{free_port()}"
    async with raw_site(lambda _: reply(200, BODY), addresses=(SECOND,)) as site:
        rows = [{"url": f"{refused}/{n}", "mirrors": [site.url(f"/{n}", SECOND)]} for n in range(30)]
        sections: dict[str, dict[str, Any]] = {"limits": {"per_host": 2}, "breaker": {"failures": 2, "give_up": "50ms"}}
        ended = await run(job(tmp_path, rows, **sections))
    records = [orjson.loads(line) for line in (ended.run_folder / "records.jsonl").read_bytes().splitlines()]
    assert Counter(record["outcome"] for record in records) == {"fetched": 30}
    assert sorted(site.paths()) == sorted(f"/{n}" for n in range(30))
    assert any("host-dead" in record["warning"] for record in records)


async def test_mirrors_are_paced_by_their_address(tmp_path: Path) -> None:
    """Where the politeness key is the address, that of each mirror is known before it is queued."""

    async def late() -> AsyncIterator[bytes]:
        await asyncio.sleep(0.02)
        yield reply(200, BODY)

    answer: Answer = lambda asked: reply(404) if asked.address == FIRST else late()  # noqa: E731
    async with raw_site(answer, addresses=ADDRESSES) as site:
        rows = [{"url": site.url(f"/{n}"), "mirrors": [f"http://m{n}.example:{site.port}/"]} for n in range(8)]
        pins = {f"m{n}.example": SECOND for n in range(8)}
        limits = {"politeness": "ip", "per_host": 1}
        ended = await run(job(tmp_path, rows, limits=limits, connection={"resolve": pins}))
    assert ended.tally.fetched == 8
    assert site.peak(SECOND) == 1


async def test_a_kill_begins_at_the_url_again(tmp_path: Path) -> None:
    """What is killed at a mirror is asked for anew from its own URL, and ends once."""
    killed: list[int] = []

    def answer(asked: Asked) -> bytes:
        if asked.address == FIRST:
            return reply(404)
        if len(site.paths(SECOND)) == 2 and not killed:
            killed.append(process.pid)
            os.kill(process.pid, signal.SIGKILL)
        return reply(200, BODY) if killed else reply(503)

    async with raw_site(answer, addresses=ADDRESSES) as site:
        row = {"url": site.url("/f"), "mirrors": [site.url("/m", SECOND)]}
        loaded = job(tmp_path, [row], retry={"attempts": 5, "backoff": {"initial": "900ms", "jitter": "none"}})
        (tmp_path / "t.toml").write_text(dumps(loaded.job))
        command = [sys.executable, "-m", "crawler", "run", "t.toml", "-q"]
        process = await asyncio.create_subprocess_exec(*command, cwd=tmp_path)
        assert await process.wait() == -signal.SIGKILL
        ended = await run(loaded)
    assert site.paths() == ["/f", "/m", "/m", "/f", "/m"]
    record = record_of(ended)
    assert (record["outcome"], record["attempts"]) == ("fetched", 2)
    assert record["warning"] == f"served by mirror 1 of 1 after: status-404 at {site.url('/f')}"


# -- what a body must be ----------------------------------------------------------------------------------------------


def said(data: bytes) -> dict[str, dict[str, str]]:
    """Header fields that say what a body is, one set for each field."""
    md5, sha = (b64encode(hashlib.new(name, data).digest()).decode() for name in ("md5", "sha256"))
    return {
        "Content-MD5": {"Content-MD5": md5},
        "Digest": {"Digest": f"sha-256={sha}"},
        "Repr-Digest": {"Repr-Digest": f"sha-256=:{sha}:, md5=:{md5}:"},
        "Content-Digest": {"Content-Digest": f"md5=:{md5}:"},
    }


@pytest.mark.parametrize("name", said(b""))
@pytest.mark.parametrize("coded", [False, True])
@pytest.mark.parametrize("large", [False, True])
async def test_a_header_that_the_body_belies(tmp_path: Path, name: str, *, coded: bool, large: bool) -> None:
    """Each field, over a plain and a coded body, small and larger than what is kept in memory."""
    data = BODY * (20_000 if large else 1)
    sent = gzip.compress(data) if coded else data
    coding = {"Content-Encoding": "gzip"} if coded else {}
    async with raw_site(lambda asked: reply(200, sent, {**said(right[asked.path])[name], **coding})) as site:
        right = {"/good": sent, "/bad": sent[:-1]}
        rows = [{"url": site.url(path)} for path in right]
        ended = await run(job(tmp_path, rows))
    records = [orjson.loads(line) for line in (ended.run_folder / "records.jsonl").read_bytes().splitlines()]
    assert {record["url"]: record["reason"] for record in records} == {
        site.url("/good"): None,
        site.url("/bad"): "digest-mismatch",
    }
    assert Counter(site.paths()) == {"/good": 1, "/bad": 2}
    assert [file.read_bytes() for file in (ended.run_folder / "bodies").rglob("*") if file.is_file()] == [data]


async def test_columns_that_the_body_belies(tmp_path: Path) -> None:
    """Each column has its reason, and a size that the head belies is told before the body is read."""
    promises: dict[str, dict[str, Any]] = {
        "/sha256": {"sha256": "0" * 64},
        "/sha512": {"sha512": "0" * 128},
        "/md5": {"md5": "0" * 32},
        "/size": {"size": len(BODY) - 1},
        "/coded": {"size": len(BODY) - 1},
        "/all": {"sha256": DIGEST, "md5": hashlib.md5(BODY).hexdigest(), "size": str(len(BODY))},
    }

    def answer(asked: Asked) -> bytes:
        if asked.path == "/coded":
            return reply(200, gzip.compress(BODY), {"Content-Encoding": "gzip"})
        return reply(200, BODY)

    async with raw_site(answer) as site:
        rows = [{"url": site.url(path), **promised} for path, promised in promises.items()]
        ended = await run(job(tmp_path, rows))
    records = [orjson.loads(line) for line in (ended.run_folder / "records.jsonl").read_bytes().splitlines()]
    found = {record["url"].removeprefix(site.url("")): record["reason"] for record in records}
    digest, size = "digest-mismatch", "size-mismatch"
    wanted = {"/sha256": digest, "/sha512": digest, "/md5": digest, "/size": size, "/coded": size, "/all": None}
    assert found == wanted
    assert Counter(site.paths()) == {path: 1 if reason is None else 2 for path, reason in wanted.items()}
    errors = {record["url"].removeprefix(site.url("")): record["error"] for record in records}
    assert errors["/size"] == f"the body has {len(BODY)} bytes by its head, its row says {len(BODY) - 1} (size)"
    assert errors["/coded"] == f"the body has {len(BODY)} bytes, its row says {len(BODY) - 1} (size)"


async def test_a_malformed_field_is_a_warning(tmp_path: Path) -> None:
    """The body is kept, and its record says what could not be checked."""
    async with raw_site(lambda _: reply(200, BODY, {"Repr-Digest": "sha-256=abc"})) as site:
        ended = await run(job(tmp_path, [{"url": site.url()}]))
    assert record_of(ended)["warning"] == "Repr-Digest is malformed and was passed over: sha-256=abc"
    assert body_of(ended) == BODY
