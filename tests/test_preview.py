"""What `crawler plan` finds out: from lists, from robots.txt, from what a run has learned."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from crawler.errors import JobError, StorageError
from crawler.plan import Plan
from crawler.preview import preview
from tests.servers import Asked, raw_site, reply
from tests.test_run_polite import (
    CLOSED,
    OBEY,
    OTHER,
    A,
    B,
    job,
    once_busy,
    pinned,
    robots,
    run,
    run_to_be_stopped,
    stopping,
)

pytestmark = pytest.mark.slow


def shares_of(plan: Plan) -> dict[str, tuple[int, float | None, float, float]]:
    """Requests, rate, delay and whole seconds blocked, by host."""
    return {
        share.key: (share.requests, share.rate, share.delay, round(share.blocked)) for share, _ in plan.bound.longest
    }


async def test_the_host_that_sets_the_bound_is_found(tmp_path: Path) -> None:
    """Rows, duplicates, bad ones; of three hosts with limits of their own the slowest sets the time."""
    lines = [f"http://{host}/{n}" for n in range(101) for host in ("a.example", "b.example", "c.example")]
    (tmp_path / "urls.txt").write_text("\n".join([*lines, lines[0], "http://A.example:80/0", "nonsense"]))
    hosts = {"b.example": {"rate_per_host": "2/s"}, "c.example": {"delay_per_host": "400ms"}}
    limits = {"rate_per_host": "10/s"}
    loaded = job(tmp_path, [], input={"urls": [], "files": ["urls.txt"]}, limits=limits, hosts=hosts)
    plan = await preview(loaded, offline=False)
    assert plan.counts[:4] == (306, 303, 2, 1)
    assert (plan.bound.seconds, plan.bound.key) == (50.0, "b.example")
    assert [(timed.share.key, timed.seconds) for timed in plan.bound.longest] == [
        ("b.example", 50.0),
        ("c.example", 40.0),
        ("a.example", 10.0),
    ]
    assert plan.robots is None
    assert not (tmp_path / "out").exists()


async def test_hosts_that_share_a_pace_are_one(tmp_path: Path) -> None:
    """By domain the requests of both names count together."""
    urls = [f"http://{name}/{n}" for name in (A, B) for n in range(11)]
    plan = await preview(job(tmp_path, urls, limits={"politeness": "domain", "rate_per_host": "1/s"}), offline=True)
    assert shares_of(plan) == {"example.org": (22, 1.0, 0.0, 0.0)}
    assert plan.bound.seconds == 21.0


async def test_a_crawl_delay_raises_the_bound(tmp_path: Path) -> None:
    """Each origin is asked for robots.txt and for nothing else; its delay, bounded, holds its host to one at a time."""
    async with raw_site(addresses=("127.0.0.1", OTHER)) as site:
        site.answer = lambda asked: reply(
            200, b"User-agent: *\nCrawl-delay: " + (b"2" if asked.address == OTHER else b"9")
        )
        urls = [site.url(f"/{n}", address) for n in range(11) for address in ("127.0.0.1", OTHER)]
        limits = {**OBEY, "crawl_delay_max": "5s"}
        plan = await preview(job(tmp_path, urls, limits=limits), offline=False)
    assert sorted((asked.address, asked.path) for asked in site.asked) == [
        ("127.0.0.1", "/robots.txt"),
        (OTHER, "/robots.txt"),
    ]
    assert shares_of(plan) == {"127.0.0.1": (11, None, 5.0, 0.0), OTHER: (11, None, 2.0, 0.0)}
    assert (plan.bound.seconds, plan.bound.key) == (50.0, "127.0.0.1")
    assert {timed.share.concurrency for timed in plan.bound.longest} == {1}
    assert plan.robots == (2, 0, 0, 0)
    assert not (tmp_path / "out").exists()


async def test_what_robots_disallows_is_counted_and_takes_no_time(tmp_path: Path) -> None:
    """Nine of twenty are disallowed: the bound is that of the rest, and duplicates are not counted twice."""
    async with raw_site(robots(b"User-agent: *\nDisallow: /no")) as site:
        urls = [site.url(f"/no/{n}") for n in range(9)] + [site.url(f"/{n}") for n in range(11)] + [site.url("/no/0")]
        plan = await preview(job(tmp_path, urls, limits={**OBEY, "rate_per_host": "1/s"}), offline=False)
    assert plan.robots == (1, 9, 0, 0)
    assert plan.counts.requests == 20
    assert shares_of(plan) == {"127.0.0.1": (11, 1.0, 0.0, 0.0)}
    assert plan.bound.seconds == 10.0


async def test_offline_asks_nobody(tmp_path: Path) -> None:
    """What robots.txt would say is told as unknown."""
    async with raw_site(robots(CLOSED)) as site:
        urls = [site.url("/no"), site.url("/yes")]
        plan = await preview(job(tmp_path, urls, limits=OBEY), offline=True)
    assert not site.connections
    assert plan.robots == (0, 0, 0, 2)
    assert shares_of(plan)["127.0.0.1"][0] == 2


async def test_a_host_whose_robots_is_ignored_is_not_asked(tmp_path: Path) -> None:
    """Only those of whom the job obeys it."""
    async with raw_site(robots(CLOSED), addresses=("127.0.0.1", OTHER)) as site:
        urls = [site.url("/no"), site.url("/no", OTHER)]
        plan = await preview(job(tmp_path, urls, limits=OBEY, hosts={OTHER: {"robots": "ignore"}}), offline=False)
    assert list(site.connections) == ["127.0.0.1"]
    assert plan.robots == (1, 1, 0, 0)


@pytest.mark.parametrize("status", [500, 429, None])
async def test_an_unreachable_robots_is_told(tmp_path: Path, status: int | None) -> None:
    """An error, or nobody who listens: asked once, and its rows are not to be fetched for now."""
    async with raw_site(lambda _: reply(status or 200)) as site:
        urls = [site.url("/1", OTHER if status is None else "127.0.0.1")]
        plan = await preview(job(tmp_path, urls, limits=OBEY), offline=False)
    assert site.paths() == ([] if status is None else ["/robots.txt"])
    assert plan.robots == (1, 0, 1, 0)


async def test_a_robots_that_is_never_answered_does_not_hold_the_plan_up(tmp_path: Path) -> None:
    """The host's own timeouts end it."""
    async with raw_site(latency=30) as site:
        loaded = job(tmp_path, [site.url("/1")], limits=OBEY, timeouts={"connect": "50ms", "read": "50ms"})
        async with asyncio.timeout(20):
            plan = await preview(loaded, offline=False)
    assert plan.robots == (1, 0, 1, 0)


async def test_redirects_of_robots_are_followed(tmp_path: Path) -> None:
    """To the rules at the end; but not to a private address that no input names."""

    def answer(asked: Asked) -> bytes:
        if asked.path == "/robots.txt":
            to = "/rules" if asked.address == "127.0.0.1" else site.url("/", "127.0.0.3")
            return reply(301, headers={"Location": to})
        return reply(200, CLOSED)

    async with raw_site(answer, addresses=("127.0.0.1", OTHER, "127.0.0.3")) as site:
        urls = [site.url("/no"), site.url("/no", OTHER)]
        plan = await preview(job(tmp_path, urls, limits=OBEY), offline=False)
    assert plan.robots == (2, 1, 1, 0)
    assert "127.0.0.3" not in site.connections


async def test_what_a_run_knows_of_robots_is_not_asked_again(tmp_path: Path) -> None:
    """The checkpoint's robots.txt serves the plan too, offline as well; the plan changes nothing there."""
    async with raw_site(robots(CLOSED + b"\nCrawl-delay: 0.02")) as site:
        urls = [site.url(f"/{kind}/{n}") for kind in ("no", "yes") for n in range(3)]
        loaded = job(tmp_path, urls, limits=OBEY)
        await run(loaded)
        before = (tmp_path / "out/t/state.db").read_bytes()
        site.asked.clear()
        plans = [await preview(loaded, offline=offline) for offline in (True, False)]
    assert not site.asked
    assert [plan.robots for plan in plans] == [(0, 3, 0, 0)] * 2
    assert {plan.bound.seconds for plan in plans} == {0.04}
    assert (tmp_path / "out/t/state.db").read_bytes() == before


@pytest.mark.parametrize("finished", [False, True])
async def test_what_a_run_learned_is_used(tmp_path: Path, finished: bool) -> None:
    """Stopped or finished: the rate it learned, and how long a host is still to be left alone."""
    async with raw_site(addresses=("127.0.0.1", OTHER)) as site:
        busy = once_busy(site, 100)
        many = 20 if finished else 60

        def answer(asked: Asked) -> bytes:
            if asked.address != OTHER and len(site.times()) == 16:
                return reply(429, headers={"Retry-After": "0"})
            return busy(asked)

        site.answer = answer if finished else stopping(answer, lambda: len(site.times()) == 19)
        # Given up at its first attempt, a host that asks for silence does not keep the run from its end.
        policy = {"attempts": 1 if finished else 2}
        loaded = job(
            tmp_path,
            [site.url("/", OTHER)] + [site.url(f"/{n}") for n in range(many)],
            limits={"adaptive": True, "per_host": 2},
            retry=policy,
        )
        await (run(loaded) if finished else run_to_be_stopped(loaded))
        plan = await preview(loaded, offline=False)
    shares = shares_of(plan)
    assert plan.bound.key == OTHER
    assert 95 <= shares[OTHER][3] <= 110
    rate = shares["127.0.0.1"][1]
    assert rate is not None
    assert 5 < rate < 40
    assert shares["127.0.0.1"][0] == many


async def test_a_plan_beside_a_running_job(tmp_path: Path) -> None:
    """It reads what is committed, and disturbs nothing."""
    async with raw_site() as site:
        loaded = job(tmp_path, [site.url(f"/{n}") for n in range(30)], limits={"rate_per_host": "100/s"})
        running = asyncio.create_task(run(loaded))
        while not site.asked:  # noqa: ASYNC110
            await asyncio.sleep(0)
        plan = await preview(loaded, offline=False)
        assert not running.done()
        ended = await running
    assert plan.bound.seconds == pytest.approx(0.29)
    assert ended.tally.fetched == 30
    assert len(site.asked) == 30


async def test_names_that_are_pinned_are_asked_where_the_pin_leads(tmp_path: Path) -> None:
    """[connection].resolve holds for robots.txt of a plan as for a run."""
    async with raw_site(robots(CLOSED)) as site:
        plan = await preview(pinned(site, tmp_path, {A: "127.0.0.1"}, 2, limits=OBEY), offline=False)
    assert [(asked.host, asked.path) for asked in site.asked] == [(A, "/robots.txt")]
    assert plan.robots == (1, 0, 0, 0)


@pytest.mark.parametrize("given", [{"files": ["empty.txt"]}, {"files": ["nope.csv"]}])
async def test_a_job_without_input_has_no_plan(tmp_path: Path, given: dict[str, Any]) -> None:
    """The same sentence as a run would give, and nothing is made."""
    (tmp_path / "empty.txt").write_text("# nothing\n")
    with pytest.raises(JobError):
        await preview(job(tmp_path, [], input={"urls": [], **given}), offline=True)
    assert not (tmp_path / "out").exists()


async def test_a_damaged_checkpoint_is_named(tmp_path: Path) -> None:
    """A state.db that is none is no reason for a traceback."""
    state = tmp_path / "out/t/state.db"
    state.parent.mkdir(parents=True)
    state.write_bytes(b"not a database at all" * 100)
    with pytest.raises(StorageError, match=r"state\.db"):
        await preview(job(tmp_path, ["http://a.example/"]), offline=True)
