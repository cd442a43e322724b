"""Whole runs against hosts that want to be treated with care, judged by what these hosts saw."""

from __future__ import annotations

import asyncio
import gzip
import logging
import os
import signal
import sqlite3
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from email.utils import formatdate
from itertools import pairwise
from pathlib import Path
from time import monotonic, time
from typing import Any

import orjson
import pytest

import crawler.memory
from crawler.errors import ExitCode, NothingToDo
from crawler.jobfile import LoadedJob, build
from crawler.jobtext import dumps
from crawler.opening import Options
from crawler.paces import state_of
from crawler.picking import Picked
from crawler.run import Ended, run_job
from tests.servers import Answer, Asked, RawSite, raw_site, reply
from tests.test_run import Watcher, run

pytestmark = pytest.mark.slow

SECTIONS: dict[str, dict[str, Any]] = {
    "limits": {"workers": 8, "per_host": 4, "adaptive": False},
    "retry": {"attempts": 2, "backoff": {"initial": "5ms", "max": "20ms"}},
    "breaker": {"failures": 3, "give_up": "100ms"},
}
OBEY = {"robots": "obey"}
CLOSED = b"User-agent: *\nDisallow: /no"
OTHER = "127.0.0.2"
LATE = 0.02  # seconds by which the way to a server may be shorter for one request than for the one before it


def job(folder: Path, urls: list[str], **sections: dict[str, Any]) -> LoadedJob:
    data: dict[str, Any] = {"name": "t", "input": {"urls": urls}, "output": {"dir": str(folder / "out")}}
    for section in {**SECTIONS, **sections}:
        data[section] = {**data.get(section, {}), **SECTIONS.get(section, {}), **sections.get(section, {})}
    return build(data, folder)


def records_of(ended: Ended) -> list[dict[str, Any]]:
    return [orjson.loads(line) for line in (ended.run_folder / "records.jsonl").read_bytes().splitlines()]


def reasons_of(ended: Ended) -> dict[str, str | None]:
    """Reason by URL; a URL that stands twice is a failure."""
    records = records_of(ended)
    found = {record["url"]: record["reason"] for record in records}
    assert len(found) == len(records)
    return found


def robots(text: bytes, **headers: object) -> Answer:
    """A site whose robots.txt is this."""
    return lambda asked: reply(200, text, headers) if asked.path == "/robots.txt" else reply()


def gaps(times: list[float]) -> list[float]:
    return [later - earlier for earlier, later in pairwise(times)]


def stopping(answer: Answer, over: Callable[[], bool]) -> Answer:
    """As SIGTERM from outside, once, as soon as the server has seen enough: the run drains and ends."""
    orders = iter([signal.SIGTERM])

    def answering(asked: Asked) -> bytes | AsyncIterator[bytes]:
        if over() and (order := next(orders, None)):
            os.kill(os.getpid(), order)
        return answer(asked)

    return answering


async def run_to_be_stopped(loaded: LoadedJob) -> Ended:
    ended = await run_job(loaded, Options(signals=True), lambda _: Watcher())
    assert ended.exit_code == ExitCode.STOPPED
    return ended


async def start(loaded: LoadedJob, folder: Path) -> asyncio.subprocess.Process:
    """The same job by the command line, so that it can be killed."""
    (folder / "t.toml").write_text(dumps(loaded.job))
    return await asyncio.create_subprocess_exec(sys.executable, "-m", "crawler", "run", "t.toml", "-q", cwd=folder)


async def killed_when(site: RawSite, folder: Path, loaded: LoadedJob, over: Callable[[], bool]) -> int:
    """SIGKILL as soon as the server has seen enough; how many requests it saw until then."""
    process = await start(loaded, folder)
    answer = site.answer

    def answering(asked: Asked) -> bytes | AsyncIterator[bytes]:
        if over() and process.returncode is None:
            process.kill()
        return answer(asked)

    site.answer = answering
    assert await process.wait() == -signal.SIGKILL
    site.answer = answer
    return len(site.asked)


# -- robots.txt -------------------------------------------------------------------------------------------------------


async def test_robots_is_asked_for_once_and_first(tmp_path: Path) -> None:
    """Eight workers, forty URLs of one host: one request for robots.txt, and no other before its answer."""
    async with raw_site(robots(CLOSED), latency=0.01) as site:
        ended = await run(job(tmp_path, [site.url(f"/{n}") for n in range(40)], limits=OBEY))
    assert ended.exit_code == ExitCode.OK
    assert site.paths()[0] == "/robots.txt"
    assert site.paths().count("/robots.txt") == 1
    assert site.asked[1].at >= site.asked[0].at + site.latency
    assert sorted(reasons_of(ended)) == sorted(site.url(path) for path in site.paths()[1:])


async def test_each_origin_has_its_own_robots(tmp_path: Path) -> None:
    """Two hosts, forty URLs each, in turn: each is asked once, and its rules hold for it alone."""
    rules = {"127.0.0.1": b"User-agent: *\nDisallow: /a", OTHER: b"User-agent: *\nDisallow: /b"}
    async with raw_site(addresses=list(rules)) as site:
        site.answer = lambda asked: reply(200, rules[asked.address] if asked.path == "/robots.txt" else b"")
        urls = [site.url(f"/{name}{n}", address) for n in range(20) for name in "ab" for address in rules]
        ended = await run(job(tmp_path, urls, limits=OBEY))
    for address, forbidden in (("127.0.0.1", "/a"), (OTHER, "/b")):
        assert site.paths(address)[0] == "/robots.txt"
        assert site.paths(address).count("/robots.txt") == 1
        assert len(site.paths(address)) == 21
        assert not [path for path in site.paths(address) if path.startswith(forbidden)]
    assert sum(reason == "robots" for reason in reasons_of(ended).values()) == 40


async def test_what_robots_disallows_is_a_skipped_record(tmp_path: Path) -> None:
    """Such a URL is never asked for; its record names robots.txt, with no attempts; robots.txt itself has no record."""
    async with raw_site(robots(CLOSED)) as site:
        ended = await run(job(tmp_path, [site.url("/no/1"), site.url("/yes")], limits=OBEY))
    assert ended.exit_code == ExitCode.OK
    assert site.paths() == ["/robots.txt", "/yes"]
    skipped, fetched = sorted(records_of(ended), key=lambda record: record["id"])
    assert (skipped["outcome"], skipped["reason"], skipped["attempts"]) == ("skipped", "robots", 0)
    assert site.url("/robots.txt") in skipped["error"]
    assert (fetched["outcome"], fetched["attempts"]) == ("fetched", 1)


async def test_a_redirect_is_followed_only_where_robots_allows(tmp_path: Path) -> None:
    """What leads to a disallowed page ends as robots; what leads to another host asks for the robots.txt of that."""

    def answer(asked: Asked) -> bytes:
        if asked.path == "/robots.txt":
            return reply(200, CLOSED)
        to = {"/in": "/no/1", "/out": site.url("/no/2", OTHER), "/fine": site.url("/yes", OTHER)}.get(asked.path)
        return reply(302, headers={"Location": to}) if to else reply()

    async with raw_site(answer, addresses=("127.0.0.1", OTHER)) as site:
        urls = [site.url(path) for path in ("/in", "/out", "/fine")]
        ended = await run(job(tmp_path, urls, limits=OBEY, connection={"allow_private": True}))
    assert list(reasons_of(ended).values()).count("robots") == 2
    assert site.paths(OTHER) == ["/robots.txt", "/yes"]
    assert "/no/1" not in site.paths()


@pytest.mark.parametrize(("asked_for", "longest", "kept"), [("0.06", "60s", 0.06), ("86400", "60ms", 0.06)])
async def test_a_crawl_delay_is_kept(tmp_path: Path, asked_for: str, longest: str, kept: float) -> None:
    """One at a time, with the delay between two, the first after robots.txt as well; at most crawl_delay_max."""
    async with raw_site(robots(f"User-agent: *\nCrawl-delay: {asked_for}\n".encode())) as site:
        urls = [site.url(f"/{n}") for n in range(6)]
        ended = await run(job(tmp_path, urls, limits={**OBEY, "crawl_delay_max": longest}))
    assert ended.exit_code == ExitCode.OK
    between = gaps([asked.at for asked in site.asked])
    assert min(between) >= kept - LATE
    assert sum(between) >= 6 * kept - LATE
    assert site.peak() == 1


@pytest.mark.parametrize("status", [401, 403, 404, 410])
async def test_without_robots_all_is_allowed(tmp_path: Path, status: int) -> None:
    """RFC 9309 2.3.1.3: a 4xx means that there are no rules; it is asked for once."""
    async with raw_site(lambda asked: reply(status if asked.path == "/robots.txt" else 200)) as site:
        ended = await run(job(tmp_path, [site.url("/1"), site.url("/2")], limits=OBEY))
    assert ended.exit_code == ExitCode.OK
    assert site.paths().count("/robots.txt") == 1


@pytest.mark.parametrize("status", [500, 503, 429])
async def test_while_robots_is_unreachable_nothing_is_allowed(tmp_path: Path, status: int) -> None:
    """RFC 9309 2.3.1.4: asked for as often as retry.attempts says, with back-off; then all its URLs fail, unsent."""
    backoff = {"initial": "60ms", "max": "60ms", "jitter": "none"}
    async with raw_site(lambda asked: reply(status), addresses=("127.0.0.1", OTHER)) as site:
        urls = [site.url(f"/{n}") for n in range(20)]
        policy = {"attempts": 3, "backoff": backoff}
        ended = await run(job(tmp_path, urls, limits=OBEY, retry=policy, breaker={"failures": 100}))
    assert site.paths() == ["/robots.txt"] * 3
    assert min(gaps([asked.at for asked in site.asked])) >= 0.06 - LATE
    assert {(record["reason"], record["attempts"]) for record in records_of(ended)} == {("robots-unreachable", 0)}
    assert len(reasons_of(ended)) == 20
    assert ended.exit_code == ExitCode.FAILED


async def test_a_robots_that_comes_at_the_second_attempt_holds(tmp_path: Path) -> None:
    """A 500 that passes is forgotten."""
    tries = iter([reply(500)])

    def answer(asked: Asked) -> bytes:
        return next(tries, reply(200, CLOSED)) if asked.path == "/robots.txt" else reply()

    async with raw_site(answer) as site:
        ended = await run(job(tmp_path, [site.url("/no"), site.url("/yes")], limits=OBEY))
    assert site.paths() == ["/robots.txt", "/robots.txt", "/yes"]
    assert reasons_of(ended) == {site.url("/no"): "robots", site.url("/yes"): None}


@pytest.mark.parametrize(("hops", "reason"), [(1, "robots"), (5, "robots"), (6, None)])
async def test_five_redirects_of_robots_are_followed(tmp_path: Path, hops: int, reason: str | None) -> None:
    """RFC 9309 2.3.1.2: the rules at the end count; behind a sixth hop there are none."""

    def answer(asked: Asked) -> bytes:
        if asked.path == "/no":
            return reply()
        done = int(asked.path[2:]) if asked.path != "/robots.txt" else 0
        return reply(301, headers={"Location": f"/r{done + 1}"}) if done < hops else reply(200, CLOSED)

    async with raw_site(answer) as site:
        ended = await run(job(tmp_path, [site.url("/no")], limits=OBEY))
    assert reasons_of(ended) == {site.url("/no"): reason}
    assert site.paths()[:6] == ["/robots.txt", *(f"/r{n}" for n in range(1, min(hops, 5) + 1))][:6]


async def test_a_robots_that_leads_in_a_circle_is_none(tmp_path: Path) -> None:
    """It is followed until it comes round, and the run goes on."""
    where = {"/robots.txt": "/a", "/a": "/b", "/b": "/robots.txt"}
    async with raw_site() as site:
        site.answer = lambda asked: (
            reply(302, headers={"Location": where[asked.path]}) if asked.path in where else reply()
        )
        ended = await run(job(tmp_path, [site.url("/no")], limits=OBEY))
    assert site.paths() == ["/robots.txt", "/a", "/b", "/no"]
    assert ended.exit_code == ExitCode.OK


async def test_two_hosts_whose_robots_lead_to_each_other_do_not_wait_for_each_other(tmp_path: Path) -> None:
    """Each is asked on behalf of the other while it is held itself; per_host = 1 leaves no slot to spare."""

    def answer(asked: Asked) -> bytes:
        if not asked.path.startswith("/robots.txt"):
            return reply()
        other = OTHER if asked.address == "127.0.0.1" else "127.0.0.1"
        if asked.path == "/robots.txt":
            return reply(302, headers={"Location": site.url("/robots.txt?for=you", other)})
        return reply(200, CLOSED)

    async with raw_site(answer, addresses=("127.0.0.1", OTHER), latency=0.005) as site:
        urls = [site.url(f"/{kind}/{n}", at) for n in range(5) for kind in ("no", "yes") for at in ("127.0.0.1", OTHER)]
        limits = {**OBEY, "workers": 2, "per_host": 1}
        async with asyncio.timeout(20):
            ended = await run(job(tmp_path, urls, limits=limits))
    assert sum(reason == "robots" for reason in reasons_of(ended).values()) == 10
    for address in ("127.0.0.1", OTHER):
        assert sorted(site.paths(address)[:2]) == ["/robots.txt", "/robots.txt?for=you"]
        assert len(site.paths(address)) == 7
        assert site.peak(address) == 1


async def test_a_robots_that_leads_elsewhere_holds_for_where_it_was_asked_for(tmp_path: Path) -> None:
    """The rules of the host at the end count for the first; that other host, if asked for pages, has its own."""

    def answer(asked: Asked) -> bytes:
        if asked.path != "/robots.txt":
            return reply(200, CLOSED if asked.path == "/rules" else b"")
        if asked.address == "127.0.0.1":
            return reply(301, headers={"Location": site.url("/rules", OTHER)})
        return reply(200, b"User-agent: *\nDisallow: /yes")

    async with raw_site(answer, addresses=("127.0.0.1", OTHER)) as site:
        urls = [site.url(path, address) for path in ("/no", "/yes") for address in ("127.0.0.1", OTHER)]
        ended = await run(job(tmp_path, urls, limits=OBEY))
    assert {url for url, reason in reasons_of(ended).items() if reason} == {site.url("/no"), site.url("/yes", OTHER)}


async def endless(sent: list[int]) -> AsyncIterator[bytes]:
    """Rules without an end, as fast as they are read."""
    yield b"HTTP/1.1 200 OK\r\n\r\n" + CLOSED
    while True:
        sent.append(64 * 1024)
        yield b"\nDisallow: /x" * 5041


async def announced(sent: list[int]) -> AsyncIterator[bytes]:
    """A hundred megabytes by its own word."""
    yield b"HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n" + CLOSED
    for _ in range(1525):
        sent.append(64 * 1024)
        yield b"\nDisallow: /x" * 5041


@pytest.mark.parametrize("stream", [endless, announced])
async def test_a_robots_that_does_not_end_is_cut(
    tmp_path: Path, stream: Callable[[list[int]], AsyncIterator[bytes]]
) -> None:
    """The first 500 KiB count, no more than some megabytes are taken, and other hosts are not held up."""
    sent: list[int] = []
    async with raw_site(addresses=("127.0.0.1", OTHER)) as site:
        site.answer = lambda asked: (
            stream(sent) if (asked.address, asked.path) == ("127.0.0.1", "/robots.txt") else reply(404)
        )
        urls = [site.url("/no"), site.url("/yes"), site.url("/", OTHER)]
        ended = await run(job(tmp_path, urls, limits=OBEY, request={"accept_status": ["404"]}))
    assert sum(sent) < 32 << 20
    assert reasons_of(ended) == {site.url("/no"): "robots", site.url("/yes"): None, site.url("/", OTHER): None}


async def silent() -> AsyncIterator[bytes]:
    """A robots.txt that stops in the middle, and stays."""
    yield b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n" + CLOSED
    await asyncio.Event().wait()


async def test_a_robots_that_stalls_is_unreachable(tmp_path: Path) -> None:
    """The read timeout ends it; half a robots.txt is none."""
    async with raw_site(lambda _: silent()) as site:
        loaded = job(tmp_path, [site.url("/")], limits=OBEY, timeouts={"read": "40ms"}, breaker={"failures": 100})
        ended = await run(loaded)
    assert reasons_of(ended) == {site.url("/"): "robots-unreachable"}
    assert site.paths() == ["/robots.txt"] * 2


async def test_a_robots_that_leads_to_a_dead_host_is_unreachable(tmp_path: Path) -> None:
    """Nobody listens where it leads; the host itself is well, and the run ends."""
    async with raw_site() as site:
        site.answer = lambda _: reply(301, headers={"Location": site.url("/robots.txt", OTHER)})
        loaded = job(tmp_path, [site.url(f"/{n}") for n in range(20)], limits=OBEY, connection={"allow_private": True})
        async with asyncio.timeout(20):
            ended = await run(loaded)
    assert set(reasons_of(ended).values()) == {"robots-unreachable"}
    assert site.paths() == ["/robots.txt"] * 2


async def test_a_stop_while_robots_is_awaited_loses_nothing(tmp_path: Path) -> None:
    """The requests that wait for it are fetched by the next start."""
    async with raw_site(robots(CLOSED), latency=0.02) as site:
        loaded = job(tmp_path, [site.url(f"/{n}") for n in range(40)], limits=OBEY)
        answer = site.answer
        site.answer = stopping(answer, lambda: True)
        await run_to_be_stopped(loaded)
        assert site.paths() == ["/robots.txt"]
        site.answer = answer
        ended = await run(loaded)
    assert ended.tally.fetched == 40
    assert len(site.asked) == 41


@pytest.mark.parametrize(
    ("body", "headers", "reason"),
    [
        (bytes(range(256)) * 400, {"Content-Type": "image/png"}, None),
        (gzip.compress(CLOSED), {"Content-Encoding": "gzip"}, "robots"),
        (gzip.compress(CLOSED + b"\n" + bytes(64 << 20), 1), {"Content-Encoding": "gzip"}, "robots"),
        (b"<!doctype html><p>Disallow: /", {"Content-Type": "text/html"}, None),
        (b"", {}, None),
    ],
    ids=["binary", "gzip", "bomb", "html", "empty"],
)
async def test_any_bytes_as_robots_are_borne(
    tmp_path: Path, body: bytes, headers: dict[str, object], reason: str | None
) -> None:
    """What is no robots.txt asks for nothing; one that grows when decoded is cut; the run goes on."""
    async with raw_site(robots(body, **headers)) as site:
        ended = await run(job(tmp_path, [site.url("/no"), site.url("/yes")], limits=OBEY))
    assert reasons_of(ended) == {site.url("/no"): reason, site.url("/yes"): None}


async def test_robots_is_not_asked_for_again_after_a_stop(tmp_path: Path) -> None:
    """What was known holds for the next start too, its Crawl-delay with it."""
    async with raw_site(robots(CLOSED + b"\nCrawl-delay: 0.05")) as site:
        loaded = job(tmp_path, [site.url(f"/{n}") for n in range(8)] + [site.url("/no")], limits=OBEY)
        answer = site.answer
        site.answer = stopping(answer, lambda: len(site.asked) == 4)
        await run_to_be_stopped(loaded)
        before = len(site.asked)
        site.answer = answer
        ended = await run(loaded)
    assert site.paths().count("/robots.txt") == 1
    assert min(gaps([asked.at for asked in site.asked[before:]])) >= 0.05 - LATE
    assert reasons_of(ended)[site.url("/no")] == "robots"
    assert len(site.asked) == 9


async def test_a_robots_that_expired_meanwhile_is_asked_for_again(tmp_path: Path) -> None:
    """Older than its lifetime at the next start: its new rules count."""
    async with raw_site(robots(b"")) as site:
        loaded = job(tmp_path, [site.url(f"/no/{n}") for n in range(40)], limits={**OBEY, "rate_per_host": "100/s"})
        site.answer = stopping(site.answer, lambda: len(site.asked) == 4)
        await run_to_be_stopped(loaded)
        with closing(sqlite3.connect(tmp_path / "out/t/state.db")) as db:
            entry = orjson.loads(db.execute("SELECT entry FROM robots").fetchone()[0])
            entry = {**entry, **{key: entry[key] - 90_000 for key in ("fetched_at", "expires_at", "stale_until")}}
            db.execute("UPDATE robots SET entry = ?", (orjson.dumps(entry).decode(),))
            db.commit()
        site.answer = robots(CLOSED)
        before = len(site.asked)
        ended = await run(loaded)
    assert site.paths()[before:] == ["/robots.txt"]
    assert {"robots", None} == set(reasons_of(ended).values())


async def test_robots_is_not_asked_for_again_after_a_kill(tmp_path: Path) -> None:
    """SIGKILL two seconds after it was read: it is in the checkpoint."""
    async with raw_site(robots(CLOSED)) as site:
        limits = {**OBEY, "rate_per_host": "40/s"}
        loaded = job(tmp_path, [site.url(f"/{n}") for n in range(85)] + [site.url("/no")], limits=limits)
        await killed_when(site, tmp_path, loaded, lambda: len(site.asked) > 80)
        ended = await run(loaded)
    assert site.paths().count("/robots.txt") == 1
    assert reasons_of(ended)[site.url("/no")] == "robots"


async def test_the_robots_of_one_host_may_be_ignored(tmp_path: Path) -> None:
    """[hosts] says which host is not asked for it; the other is obeyed."""
    async with raw_site(robots(CLOSED), addresses=("127.0.0.1", OTHER)) as site:
        urls = [site.url("/no"), site.url("/no", OTHER)]
        ended = await run(job(tmp_path, urls, limits=OBEY, hosts={OTHER: {"robots": "ignore"}}))
    assert reasons_of(ended) == {site.url("/no"): "robots", site.url("/no", OTHER): None}
    assert site.paths(OTHER) == ["/no"]


async def test_the_headers_of_the_user_do_not_go_with_robots(tmp_path: Path) -> None:
    """A key meant for the pages is not shown to whoever serves robots.txt; the User-Agent is."""
    async with raw_site(robots(b"")) as site:
        headers = {"X-Api-Key": "secret", "User-Agent": "mybot/2 (+https://a.example/bot)"}
        await run(job(tmp_path, [site.url("/")], limits=OBEY, request={"headers": headers}))
    asked = {asked.path: asked.headers for asked in site.asked}
    assert "x-api-key" not in asked["/robots.txt"]
    assert asked["/"]["x-api-key"] == "secret"
    assert asked["/robots.txt"]["user-agent"] == asked["/"]["user-agent"] == "mybot/2 (+https://a.example/bot)"


@pytest.mark.parametrize("limits", [{"rate_per_host": "5/s"}, {"delay_per_host": "200ms"}, {"rate": "5/s"}])
async def test_what_is_not_sent_costs_no_time(tmp_path: Path, limits: dict[str, str]) -> None:
    """Two hundred disallowed URLs end at once, however slow the pace; what is sent keeps it."""
    async with raw_site(robots(CLOSED)) as site:
        urls = [site.url(f"/no/{n}") for n in range(200)] + [site.url("/yes")]
        ended = await run(job(tmp_path, urls, limits={**OBEY, **limits}))
    assert list(reasons_of(ended).values()).count("robots") == 200
    assert gaps([asked.at for asked in site.asked])[0] >= 0.2 - LATE
    assert ended.snapshot.elapsed < 2.0


# -- hosts that ask to be left alone ----------------------------------------------------------------------------------


def complaint(asked: Asked) -> bytes:
    """What each address answers first: all want a second of silence."""
    now = int(time())
    date, later = {"Date": formatdate(now, usegmt=True)}, formatdate(now + 1, usegmt=True)
    return {
        "127.0.0.1": reply(429, headers={"Retry-After": "1"}),
        "127.0.0.2": reply(503, headers={"Retry-After": "1"}),
        "127.0.0.3": reply(301, headers={"Retry-After": "1", "Location": "/moved"}),
        "127.0.0.4": reply(429, headers={"Retry-After": later} | date),
        "127.0.0.5": reply(200, headers={"RateLimit": '"default";r=0;t=1'}),
        "127.0.0.6": reply(200, headers={"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "1"}),
        "127.0.0.7": reply(404, headers={"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": str(now + 1)} | date),
    }.get(asked.address, reply())


async def test_after_a_complaint_not_one_request_comes_early(tmp_path: Path) -> None:
    """429, 503 and 301 with Retry-After in seconds or as a date, quotas that are used up: each host has its second of
    silence, on its own clock, while the one that has nothing against us is not held up.
    """
    addresses = [f"127.0.0.{n}" for n in range(1, 9)]
    complained: set[str] = set()

    def answer(asked: Asked) -> bytes:
        if asked.address in complained:
            return reply()
        complained.add(asked.address)
        return complaint(asked)

    async with raw_site(answer, addresses=addresses) as site:
        urls = [site.url(f"/{n}", address) for n in range(3) for address in addresses]
        limits = {"workers": 16, "per_host": 1}
        ended = await run(job(tmp_path, urls, limits=limits, breaker={"give_up": "5s"}))
    assert {reason for reason in reasons_of(ended).values()} == {None, "status-404"}
    for address in addresses[:-1]:
        first, second, *_ = site.times(address)
        assert second - first >= 1.0, address
        assert len(site.times(address)) == 4 if address < "127.0.0.5" else 3
    assert site.times(addresses[-1])[-1] < min(site.times(address)[1] for address in addresses[:-1])


async def test_a_retry_after_that_makes_no_sense_does_no_harm(tmp_path: Path) -> None:
    """Negative, garbage, empty, past: as if there were none. Absurdly long: retry_after_max."""
    said = {
        "127.0.0.1": ("-5", 0.0),
        "127.0.0.2": ("soon", 0.0),
        "127.0.0.3": ("", 0.0),
        "127.0.0.4": ("Sun, 06 Nov 1994 08:49:37 GMT", 0.0),
        "127.0.0.5": ("1000000000000", 0.1),
        "127.0.0.6": ("9" * 5000, 0.0),
        "127.0.0.7": ("Fri, 31 Dec 9999 23:59:59 GMT", 0.1),
        "127.0.0.8": ("nan, inf", 0.0),
    }
    complained: set[tuple[str, int]] = set()

    def answer(asked: Asked) -> bytes:
        for status in (429, 503, 301):
            if (asked.address, status) not in complained:
                complained.add((asked.address, status))
                return reply(status, headers={"Retry-After": said[asked.address][0], "Location": "/moved"})
        return reply()

    async with raw_site(answer, addresses=list(said)) as site:
        urls = [site.url("/", address) for address in said]
        policy = {"attempts": 5, "retry_after_max": "100ms"}
        loaded = job(tmp_path, urls, retry=policy, breaker={"failures": 100})
        ended = await run(loaded)
    assert ended.exit_code == ExitCode.OK
    assert ended.snapshot.elapsed < 2.0
    for address, (_, least) in said.items():
        assert len(site.times(address)) == 4
        assert min(gaps(site.times(address))) >= least


async def test_a_quota_of_more_than_none_is_not_exceeded(tmp_path: Path) -> None:
    """Two requests more until the reset: two go, the third waits for it."""

    def answer(asked: Asked) -> bytes:
        remaining = max(0, 3 - len(site.asked))
        return reply(headers={"RateLimit": f'"d";r={remaining};t=1'} if len(site.asked) <= 3 else None)

    async with raw_site(answer) as site:
        ended = await run(job(tmp_path, [site.url(f"/{n}") for n in range(5)], limits={"per_host": 1}))
    assert ended.exit_code == ExitCode.OK
    between = gaps(site.times())
    assert between[2] >= 1.0
    assert max(between[:2] + between[3:]) < 0.5


def once_busy(site: RawSite, wait: int) -> Answer:
    """One address asks for silence at its first request."""
    return lambda asked: (
        reply(429, headers={"Retry-After": wait}) if asked.address == OTHER and len(site.times(OTHER)) == 1 else reply()
    )


async def test_a_retry_after_survives_a_stop(tmp_path: Path) -> None:
    """Stopped and started anew within the wait: not one request early; the other host goes on at once."""
    async with raw_site(addresses=("127.0.0.1", OTHER)) as site:
        urls = [site.url(f"/{n}", OTHER) for n in range(3)] + [site.url(f"/{n}") for n in range(40)]
        loaded = job(tmp_path, urls, limits={"rate_per_host": "50/s", "per_host": 1})
        site.answer = stopping(once_busy(site, 1), lambda: len(site.times()) == 3)
        await run_to_be_stopped(loaded)
        assert len(site.times(OTHER)) == 1
        ended = await run(loaded)
    assert ended.exit_code == ExitCode.OK
    assert site.times(OTHER)[1] - site.times(OTHER)[0] >= 1.0
    assert len(site.times(OTHER)) == 4
    assert site.times()[4] < site.times(OTHER)[1]


async def test_a_retry_after_survives_a_kill(tmp_path: Path) -> None:
    """SIGKILL a moment after it was heard: the wait holds for the process that follows."""
    async with raw_site(addresses=("127.0.0.1", OTHER)) as site:
        urls = [site.url(f"/{n}", OTHER) for n in range(3)] + [site.url(f"/{n}") for n in range(30)]
        loaded = job(tmp_path, urls, limits={"rate_per_host": "50/s", "per_host": 1})
        site.answer = once_busy(site, 1)
        heard = lambda: bool(site.times(OTHER)) and len(site.times()) > 10  # noqa: E731
        await killed_when(site, tmp_path, loaded, heard)
        assert len(site.times(OTHER)) == 1
        ended = await run(loaded)
    assert ended.exit_code == ExitCode.OK
    assert site.times(OTHER)[1] - site.times(OTHER)[0] >= 1.0


async def test_a_refusal_without_a_word_blocks_the_host(tmp_path: Path) -> None:
    """A bare 429: the whole host has its back-off, not the one page alone."""
    async with raw_site(addresses=("127.0.0.1", OTHER), latency=0.005) as site:
        site.answer = lambda asked: reply(429 if asked.address == OTHER and len(site.times(OTHER)) <= 4 else 200)
        urls = [site.url(f"/{n}", address) for n in range(20) for address in ("127.0.0.1", OTHER)]
        backoff = {"initial": "200ms", "max": "200ms", "jitter": "none"}
        ended = await run(job(tmp_path, urls, retry={"attempts": 3, "backoff": backoff}))
    assert ended.exit_code == ExitCode.OK
    assert ended.tally.retries == 4
    assert gaps(site.times(OTHER))[3] >= 0.1 - LATE  # half of it at least, whatever the jitter
    assert site.times()[-1] < site.times(OTHER)[4]


# -- hosts that fall over ---------------------------------------------------------------------------------------------


def unwell(asked: Asked) -> bytes:
    return reply(503 if asked.address == OTHER else 200)


async def test_a_dead_host_is_given_up(tmp_path: Path) -> None:
    """Of five hundred URLs a few are probes, the rest end at once as host-dead, unsent; other hosts are not held up."""
    async with raw_site(unwell, addresses=("127.0.0.1", OTHER)) as site:
        urls = [site.url(f"/{n}", OTHER) for n in range(500)] + [site.url(f"/{n}") for n in range(100)]
        ended = await run(job(tmp_path, urls, retry={"attempts": 5}))
    dead = [record for record in records_of(ended) if f"//{OTHER}:" in record["url"]]
    assert len(dead) == 500
    assert {record["outcome"] for record in dead} == {"failed"}
    assert {record["reason"] for record in dead} <= {"host-dead", "status-503"}
    assert sum(record["reason"] == "host-dead" for record in dead) > 450
    assert sum(record["attempts"] for record in dead) == len(site.times(OTHER)) < 50
    assert all((record["attempts"] == 0) == (record["started_at"] is None) for record in dead if not record["attempts"])
    assert site.times()[50] < site.times(OTHER)[-1]  # half of them: a busy machine is slow with both
    assert ended.exit_code == ExitCode.FAILED


async def test_a_host_that_refuses_connections_is_given_up(tmp_path: Path) -> None:
    """Nobody listens: the same, and what was attempted is told right."""
    async with raw_site() as site:
        urls = [site.url(f"/{n}", OTHER) for n in range(500)] + [site.url(f"/{n}") for n in range(20)]
        ended = await run(job(tmp_path, urls))
    dead = [record for record in records_of(ended) if f"//{OTHER}:" in record["url"]]
    counts = {reason: sum(record["reason"] == reason for record in dead) for reason in ("host-dead", "connect-refused")}
    assert sum(counts.values()) == 500
    assert counts["host-dead"] > 450
    refused = [record for record in dead if record["reason"] == "connect-refused"]
    assert {record["attempts"] for record in refused} <= {2}
    assert 3 <= sum(record["attempts"] for record in dead) < 50
    assert ended.tally.fetched == 20


async def test_a_broken_host_is_probed_by_single_requests(tmp_path: Path) -> None:
    """After three failures it sees one request at a time, with pauses, until it answers; then all is fetched."""
    async with raw_site(latency=0.005) as site:
        site.answer = lambda asked: reply(503 if len(site.asked) <= 10 else 200)
        urls = [site.url(f"/{n}") for n in range(60)]
        policy = {"attempts": 20, "backoff": {"initial": "20ms", "max": "20ms"}}
        loaded = job(tmp_path, urls, retry=policy, breaker={"give_up": "10s"})
        ended = await run(loaded)
    assert ended.exit_code == ExitCode.OK
    assert ended.tally.fetched == 60
    assert {asked.at_once for asked in site.asked[4:11]} == {1}
    assert min(gaps(site.times())[4:10]) >= 0.01
    assert site.peak() == 4
    assert len(site.asked) == 70


# -- made again -------------------------------------------------------------------------------------------------------


async def test_a_host_that_is_well_again_is_asked_as_much_at_once_as_before(tmp_path: Path) -> None:
    """One worker probes it and goes on with it; the others, who wait for work, hear that there is some."""
    async with raw_site(lambda _: reply(500 if len(site.asked) <= 8 else 200), latency=0.02) as site:
        urls = [site.url(f"/{number}") for number in range(60)]
        policy = {"attempts": 9, "statuses": [500]}
        ended = await run(job(tmp_path, urls, retry=policy, breaker={"give_up": "10s"}))
        assert ended.exit_code == ExitCode.OK
        assert max(asked.at_once for asked in site.asked[20:]) == 4


async def made_again(loaded: LoadedJob, *reasons: str, signals: bool = False) -> Ended:
    return await run_job(loaded, Options(again=Picked(reasons), signals=signals), lambda _: Watcher())


def half_dead(asked: Asked) -> bytes:
    return reply(503 if asked.address == OTHER else 404 if asked.path == "/gone" else 200)


async def test_retry_makes_again_exactly_what_was_asked_for(tmp_path: Path) -> None:
    """Of a run with host-dead and 404: the dead ones alone, as the host has come back; their results join the run."""
    async with raw_site(half_dead, addresses=("127.0.0.1", OTHER)) as site:
        urls = [site.url(f"/{n}", OTHER) for n in range(60)] + [site.url("/gone"), site.url("/fine")]
        loaded = job(tmp_path, urls, retry={"attempts": 1})
        first = await run(loaded)
        dead = {url for url, reason in reasons_of(first).items() if reason == "host-dead"}
        assert len(dead) > 20
        before = len(site.asked)
        site.answer = lambda asked: reply()
        second = await made_again(loaded, "host-dead")
        assert second.run_folder == first.run_folder
        assert {site.url(asked.path, asked.address) for asked in site.asked[before:]} == dead
        assert {url for url, reason in reasons_of(second).items() if reason == "host-dead"} == set()
        assert {record["attempts"] for record in records_of(second) if record["url"] in dead} == {1}
        assert second.exit_code == ExitCode.FAILED
        assert second.tally.done == second.snapshot.known == len(records_of(second)) == 62
        third = await made_again(loaded, "status-*")
        assert reasons_of(third) == dict.fromkeys(urls)
        assert third.exit_code == ExitCode.OK
        with pytest.raises(NothingToDo):
            await made_again(loaded, "host-dead")


async def test_a_run_after_a_retry_is_whole_again(tmp_path: Path) -> None:
    """What was made again is over and done with: the next start fetches everything."""
    async with raw_site(lambda _: reply(404)) as site:
        loaded = job(tmp_path, [site.url(f"/{n}") for n in range(5)])
        await run(loaded)
        site.answer = lambda asked: reply(404 if asked.path == "/0" else 200)
        retried = await made_again(loaded)
        assert (retried.tally.fetched, retried.tally.failed) == (4, 1)
        site.answer = lambda _: reply()
        whole = await run(loaded)
    assert whole.tally.fetched == 5
    assert len(site.asked) == 15


async def test_a_stopped_retry_is_resumed_by_run(tmp_path: Path) -> None:
    """The next run goes on with what was to be made again, and with nothing else."""
    async with raw_site(lambda asked: reply(404 if asked.path < "/no/3" else 200)) as site:
        urls = [site.url(f"/no/{n}") for n in range(10, 50)]
        loaded = job(tmp_path, urls, limits={"rate_per_host": "400/s"})
        first = await run(loaded)
        failed = {url for url, reason in reasons_of(first).items() if reason}
        assert len(failed) == 20
        site.asked.clear()
        site.answer = stopping(lambda _: reply(), lambda: len(site.asked) == 5)
        stopped = await made_again(loaded, signals=True)
        assert stopped.exit_code == ExitCode.STOPPED
        assert 5 <= len(site.asked) < 20
        resumed = await run(loaded)
    assert resumed.run_folder == stopped.run_folder == first.run_folder
    assert reasons_of(resumed) == dict.fromkeys(urls)
    assert sorted(site.url(path) for path in site.paths()) == sorted(failed)


# -- memory, bandwidth ------------------------------------------------------------------------------------------------


async def test_above_its_memory_a_run_goes_on_by_single_requests(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """limits.memory is exceeded for ever: the log says so, one request at a time goes, and the run ends."""
    full_at: list[float] = []

    def resident() -> int:
        if not full_at and len(site.asked) > 8:
            full_at.append(monotonic())
        return 100 << 20 if full_at else 1 << 20

    monkeypatch.setattr(crawler.memory, "resident", resident)
    async with raw_site(latency=0.005) as site:
        urls = [site.url(f"/{n}") for n in range(120)]
        with caplog.at_level(logging.INFO, "crawler"):
            ended = await run(job(tmp_path, urls, limits={"memory": "50MiB", "per_host": 8}, timeouts={"read": "80ms"}))
    assert ended.exit_code == ExitCode.OK
    assert ended.tally.fetched == 120
    assert caplog.text.count("nothing new is begun") == 1
    assert "100 MB held, limits.memory is 50 MB" in caplog.text
    assert site.peak() == 8
    alone = [asked.at_once for asked in site.asked if asked.at > full_at[0] + 0.05]
    assert len(alone) > 50
    assert set(alone) == {1}


async def test_with_memory_free_again_a_run_goes_on_as_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Below nine tenths of the limit everything is begun again."""
    levels = iter([100 << 20, 100 << 20])
    monkeypatch.setattr(crawler.memory, "resident", lambda: next(levels, 1 << 20))
    async with raw_site(latency=0.005) as site:
        urls = [site.url(f"/{n}") for n in range(250)]
        ended = await run(job(tmp_path, urls, limits={"memory": "50MiB", "per_host": 8}, timeouts={"read": "80ms"}))
    assert ended.tally.fetched == 250
    assert "MB held, going on" in caplog.text
    assert max(asked.at_once for asked in site.asked[-100:]) == 8


async def test_the_bandwidth_of_a_host_is_kept(tmp_path: Path) -> None:
    """40 KiB at 100 KiB/s take at least three tenths of a second, however many go at once; others do not wait."""
    async with raw_site(lambda _: reply(200, bytes(10 * 1024)), addresses=("127.0.0.1", OTHER)) as site:
        urls = [site.url(f"/{n}", address) for n in range(4) for address in (OTHER, "127.0.0.1")]
        ended = await run(job(tmp_path, urls, hosts={OTHER: {"bandwidth_per_host": "100KiB/s"}}))
    assert ended.exit_code == ExitCode.OK
    took = {address: 0.0 for address in ("127.0.0.1", OTHER)}
    for record in records_of(ended):
        address = record["url"].split("/")[2].partition(":")[0]
        took[address] = max(took[address], record["elapsed_ms"]["total"])
    assert took[OTHER] >= 290
    assert took["127.0.0.1"] < took[OTHER] / 2


# -- what shares a pace -----------------------------------------------------------------------------------------------

A, B, C = "a.example.org", "b.example.org", "c.example.com"


def pinned(
    site: RawSite, folder: Path, names: dict[str, str], paths: int = 10, **sections: dict[str, Any]
) -> LoadedJob:
    """A job that asks some names for pages, pinned to addresses of the site."""
    urls = [f"http://{name}/{n}" for n in range(paths) for name in names]
    pins = {name: f"{address}:{site.port}" for name, address in names.items()}
    return job(folder, urls, connection={"resolve": pins}, **sections)


@pytest.mark.parametrize(
    ("politeness", "names", "peak"),
    [
        ("host", (A, B), 2),
        ("domain", (A, B), 1),
        ("domain", (A, C), 2),
        ("ip", (A, C), 1),
    ],
)
async def test_what_shares_a_pace(tmp_path: Path, politeness: str, names: tuple[str, ...], peak: int) -> None:
    """Names of one domain, or of one address, share per_host = 1 where politeness says so."""
    async with raw_site(latency=0.005) as site:
        limits = {"politeness": politeness, "per_host": 1}
        ended = await run(pinned(site, tmp_path, dict.fromkeys(names, "127.0.0.1"), limits=limits))
    assert ended.exit_code == ExitCode.OK
    assert ended.tally.fetched == 20
    assert site.peak() == peak


@pytest.mark.parametrize("politeness", ["domain", "ip"])
async def test_a_rate_is_shared_as_well(tmp_path: Path, politeness: str) -> None:
    """Twelve requests to two names at 25/s take as long as twelve to one, over a stop too."""
    async with raw_site() as site:
        limits = {"politeness": politeness, "rate_per_host": "25/s"}
        loaded = pinned(site, tmp_path, dict.fromkeys((A, B), "127.0.0.1"), 6, limits=limits)
        site.answer = stopping(site.answer, lambda: len(site.asked) == 4)
        await run_to_be_stopped(loaded)
        ended = await run(loaded)
    assert ended.tally.fetched == 12
    assert len(site.asked) == 12
    assert min(gaps(site.times())) >= 0.04 - LATE
    assert site.times()[-1] - site.times()[0] >= 11 * 0.04 - LATE


@pytest.mark.parametrize("politeness", ["domain", "ip"])
async def test_a_redirect_within_one_pace_comes_to_its_end(tmp_path: Path, politeness: str) -> None:
    """With a single slot for all: the hop to the other name waits for no slot that it holds itself."""

    def answer(asked: Asked) -> bytes:
        return reply(302, headers={"Location": f"http://{B}{asked.path}"}) if asked.host == A else reply()

    async with raw_site(answer) as site:
        limits = {"politeness": politeness, "per_host": 1}
        loaded = pinned(site, tmp_path, dict.fromkeys((A, B), "127.0.0.1"), 3, limits=limits)
        async with asyncio.timeout(20):
            ended = await run(loaded)
    assert ended.exit_code == ExitCode.OK
    assert ended.tally.fetched == 6
    assert len(site.asked) == 9


async def test_pages_share_a_pace_by_address_over_a_stop(tmp_path: Path) -> None:
    """A run that goes on knows no address of the rows it takes up; their next pages stand in the same line anyway."""

    def answer(asked: Asked) -> bytes:
        page = int(asked.path.rpartition("/")[2])
        return reply(headers={"Link": f'</{page + 1}>; rel="next"'} if page < 8 else {})

    async with raw_site(answer, latency=0.01) as site:
        limits = {"politeness": "ip", "per_host": 1}
        pages = {"next": "link"}
        loaded = pinned(site, tmp_path, dict.fromkeys((A, C), "127.0.0.1"), 1, limits=limits, paging=pages)
        site.answer = stopping(answer, lambda: len(site.asked) == 3)
        await run_to_be_stopped(loaded)
        ended = await run(loaded)
    assert ended.tally.fetched == 18
    assert len(site.asked) == 18
    assert site.peak() == 1


@pytest.mark.parametrize("politeness", ["domain", "ip"])
async def test_robots_is_asked_of_each_name_that_shares_a_pace(tmp_path: Path, politeness: str) -> None:
    """Each name has rules of its own, and the longest Crawl-delay of them holds for all."""
    rules = {A: b"User-agent: *\nDisallow: /1\nCrawl-delay: 0.05", B: b"User-agent: *\nDisallow: /2"}
    async with raw_site(lambda asked: reply(200, rules[asked.host] if asked.path == "/robots.txt" else b"")) as site:
        limits = {**OBEY, "politeness": politeness}
        ended = await run(pinned(site, tmp_path, dict.fromkeys((A, B), "127.0.0.1"), 3, limits=limits))
    disallowed = {url for url, reason in reasons_of(ended).items() if reason == "robots"}
    assert disallowed == {f"http://{A}/1", f"http://{B}/2"}
    assert site.paths().count("/robots.txt") == 2
    assert site.peak() == 1
    both = max(n for n, asked in enumerate(site.asked) if asked.host == A and asked.path == "/robots.txt")
    assert min(gaps([asked.at for asked in site.asked[both:]])) >= 0.05 - LATE


# -- addresses that nobody named --------------------------------------------------------------------------------------


def leading(site: RawSite, path: str = "/secret") -> Answer:
    """The first address leads to the second."""
    return lambda asked: (
        reply(302, headers={"Location": site.url(path, OTHER)}) if asked.address == "127.0.0.1" else reply()
    )


async def test_a_redirect_to_a_private_address_is_blocked(tmp_path: Path) -> None:
    """It ends as blocked-address at its first attempt, and no connection is made."""
    async with raw_site(addresses=("127.0.0.1", OTHER)) as site:
        site.answer = leading(site)
        ended = await run(job(tmp_path, [site.url("/")], retry={"attempts": 3}))
    (record,) = records_of(ended)
    assert (record["outcome"], record["reason"], record["attempts"]) == ("failed", "blocked-address", 1)
    assert record["final_url"] == site.url("/secret", OTHER)
    assert "loopback" in record["error"]
    assert site.connections == {"127.0.0.1": 1}


@pytest.mark.parametrize(
    "location", ["http://127.1:{port}/", "http://0x7f000002:{port}/", "http://[::ffff:127.0.0.2]:{port}/"]
)
async def test_other_spellings_of_a_private_address_are_blocked(tmp_path: Path, location: str) -> None:
    """What the system reads as 127.0.0.x is one."""
    async with raw_site(addresses=("127.0.0.1", OTHER)) as site:
        site.answer = lambda asked: reply(302, headers={"Location": location.format(port=site.port)})
        ended = await run(job(tmp_path, [f"http://{A}/"], connection={"resolve": {A: f"127.0.0.1:{site.port}"}}))
    assert [record["reason"] for record in records_of(ended)] == ["blocked-address"]
    assert len(site.asked) == 1


async def test_allow_private_lets_a_redirect_go(tmp_path: Path) -> None:
    """Who says so gets there."""
    async with raw_site(addresses=("127.0.0.1", OTHER)) as site:
        site.answer = leading(site)
        ended = await run(job(tmp_path, [site.url("/")], connection={"allow_private": True}))
    assert ended.exit_code == ExitCode.OK
    assert site.paths(OTHER) == ["/secret"]


async def test_a_private_address_that_the_input_names_goes(tmp_path: Path) -> None:
    """As an input of its own, and so also by a redirect."""
    async with raw_site(addresses=("127.0.0.1", OTHER)) as site:
        site.answer = leading(site)
        ended = await run(job(tmp_path, [site.url("/mine", OTHER), site.url("/")]))
    assert ended.exit_code == ExitCode.OK
    assert sorted(site.paths(OTHER)) == ["/mine", "/secret"]


async def test_a_redirect_to_a_private_address_is_blocked_before_its_robots_is_asked(tmp_path: Path) -> None:
    """The record says why nothing was sent, not that robots.txt was silent."""
    async with raw_site(addresses=("127.0.0.1", OTHER)) as site:
        site.answer = lambda asked: reply(404) if asked.path == "/robots.txt" else leading(site)(asked)
        ended = await run(job(tmp_path, [site.url("/")], limits=OBEY))
    assert [record["reason"] for record in records_of(ended)] == ["blocked-address"]
    assert site.connections == {"127.0.0.1": 1}


async def test_a_robots_that_leads_to_a_private_address_is_unreachable(tmp_path: Path) -> None:
    """No connection is made for it either; it is not tried again."""
    async with raw_site(addresses=("127.0.0.1", OTHER)) as site:
        site.answer = leading(site)
        ended = await run(job(tmp_path, [site.url("/")], limits=OBEY, retry={"attempts": 3}))
    assert [record["reason"] for record in records_of(ended)] == ["robots-unreachable"]
    assert site.connections == {"127.0.0.1": 1}


@pytest.mark.parametrize("politeness", ["host", "domain", "ip"])
async def test_a_name_nobody_gave_is_blocked_whatever_shares_its_pace(tmp_path: Path, politeness: str) -> None:
    """localhost, in whatever company, is not what the input named."""
    async with raw_site(addresses=("127.0.0.1", OTHER)) as site:
        site.answer = lambda asked: reply(302, headers={"Location": f"http://localhost:{site.port}/secret"})
        loaded = pinned(site, tmp_path, {A: OTHER}, 1, limits={"politeness": politeness})
        ended = await run(loaded)
    assert [record["reason"] for record in records_of(ended)] == ["blocked-address"]
    assert "127.0.0.1" not in site.connections


# -- who we are -------------------------------------------------------------------------------------------------------


async def test_the_contact_stands_in_the_user_agent(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """With it nobody is warned."""
    async with raw_site() as site:
        await run(job(tmp_path, [site.url("/")], request={"contact": "https://a.example/bot"}))
    assert site.asked[0].headers["user-agent"].startswith("crawler/")
    assert site.asked[0].headers["user-agent"].endswith(" (+https://a.example/bot)")
    assert "request.contact" not in caplog.text


@pytest.mark.parametrize(("headers", "warned"), [({}, 1), ({"user-agent": "mybot"}, 0)])
async def test_without_a_contact_there_is_one_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, headers: dict[str, str], warned: int
) -> None:
    """One a run, unless the User-Agent is the job's own."""
    async with raw_site() as site:
        await run(job(tmp_path, [site.url(f"/{n}") for n in range(5)], request={"headers": headers}))
    assert caplog.text.count("request.contact is not set") == warned


# -- over a kill ------------------------------------------------------------------------------------------------------


def pace_of(folder: Path, host: str) -> Any:
    """What the checkpoint knows of a host."""
    with closing(sqlite3.connect(folder / "out/t/state.db")) as db:
        (text,) = db.execute("SELECT pace FROM hosts WHERE name = ?", (host,)).fetchone()
    return state_of(text, time(), 1e9)


async def test_a_learned_rate_survives_a_kill(tmp_path: Path) -> None:
    """A host complained: the process that follows a SIGKILL begins at the rate that was learned, not with a burst."""
    async with raw_site() as site:
        site.answer = lambda _: reply(429, headers={"Retry-After": "0"}) if len(site.asked) == 20 else reply()
        loaded = job(tmp_path, [site.url(f"/{n}") for n in range(40)], limits={"adaptive": True})
        await killed_when(site, tmp_path, loaded, lambda: len(site.asked) >= 28)
        learned = pace_of(tmp_path, "127.0.0.1").rate
        assert learned is not None
        before = len(site.asked)
        ended = await run(loaded)
    assert ended.exit_code == ExitCode.OK
    assert 10 < learned < 30
    assert min(gaps(site.times()[before : before + 8])) >= 0.5 / learned


async def test_a_broken_circuit_survives_a_kill(tmp_path: Path) -> None:
    """The process that follows a SIGKILL probes the broken host with single requests from the first."""
    async with raw_site(lambda _: reply(503, headers={"Retry-After": "0"}), latency=0.02) as site:
        policy = {"attempts": 50, "backoff": {"initial": "10ms", "max": "10ms"}}
        urls = [site.url(f"/{n}") for n in range(40)]
        loaded = job(tmp_path, urls, retry=policy, breaker={"give_up": "10s"})
        await killed_when(site, tmp_path, loaded, lambda: len(site.asked) >= 14)
        state = pace_of(tmp_path, "127.0.0.1")
        assert state.failures >= 3
        assert state.opened_at is not None
        before = len(site.asked)
        site.answer = lambda _: reply(503 if len(site.asked) < before + 5 else 200)
        ended = await run(loaded)
    assert ended.exit_code == ExitCode.OK
    assert {asked.at_once for asked in site.asked[before : before + 5]} == {1}
    assert site.peak() == 4
