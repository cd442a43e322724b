"""The commands of a polite job: plan, retry, and what a run says of itself."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import NamedTuple

import orjson
import pytest

from crawler.jobfile import LoadedJob
from crawler.jobtext import dumps
from tests.servers import raw_site, reply
from tests.test_run_polite import CLOSED, OBEY, OTHER, half_dead, job, robots

pytestmark = pytest.mark.slow


class Said(NamedTuple):
    """How a command ended."""

    code: int | None
    out: str
    err: str


async def crawler(folder: Path, *arguments: str, stdin: str = "") -> Said:
    """A command as a person gives it, beside the site of this loop."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "crawler",
        *arguments,
        cwd=folder,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate(stdin.encode())
    assert b"Traceback" not in err
    return Said(process.returncode, out.decode(), err.decode())


def written(folder: Path, loaded: LoadedJob) -> str:
    """The job as a file."""
    (folder / "t.toml").write_text(dumps(loaded.job))
    return "t.toml"


def records_in(folder: Path) -> list[str]:
    """The URLs of the last run's records."""
    lines = (folder / "out/t/latest/records.jsonl").read_bytes().splitlines()
    return sorted(orjson.loads(line)["url"] for line in lines)


async def test_plan_asks_for_robots_alone_and_says_how_long(tmp_path: Path) -> None:
    """Exit 0, the plan on stdout and nothing on stderr; with --json one object that says the same."""
    async with raw_site(robots(CLOSED + b"\nCrawl-delay: 3")) as site:
        urls = [site.url(f"/{n}") for n in range(21)] + [site.url("/0"), site.url("/no"), "nonsense"]
        name = written(tmp_path, job(tmp_path, urls, limits=OBEY))
        told = await crawler(tmp_path, "plan", name)
        as_json = await crawler(tmp_path, "plan", name, "--json")
    assert set(site.paths()) == {"/robots.txt"}
    assert (told.code, told.err, as_json.code, as_json.err) == (0, "", 0, "")
    lines = told.out.splitlines()
    assert lines[0] == "t: 24 rows, 22 requests to 1 host"
    assert "  duplicates: 1, not fetched again" in lines
    assert "  bad rows: 1, which will end as bad-input" in lines
    assert "  robots.txt: 1 origin asked now; requests: 1 disallowed" in lines
    assert "  lower bound: 1m00s, set by 127.0.0.1 with 21 requests" in lines
    assert "  what would shorten it: limits.delay_per_host or its Crawl-delay is what holds it" in lines
    plan = orjson.loads(as_json.out)
    assert [plan[key] for key in ("rows", "requests", "duplicates", "bad", "hosts")] == [24, 22, 1, 1, 1]
    assert plan["robots"] == {"asked": 1, "disallowed": 1, "unreachable": 0, "unknown": 0}
    assert plan["lower_bound"] == {"seconds": 60.0, "set_by": "127.0.0.1", "held_by": "delay"}
    assert not (tmp_path / "out").exists()


async def test_plan_offline_asks_nothing(tmp_path: Path) -> None:
    """No connection is made; a list from stdin is counted too."""
    async with raw_site(robots(CLOSED)) as site:
        loaded = job(tmp_path, [], input={"urls": [], "files": ["-"]}, limits={**OBEY, "rate_per_host": "1/s"})
        urls = "".join(f"{site.url(f'/{n}')}\n" for n in range(11))
        told = await crawler(tmp_path, "plan", written(tmp_path, loaded), "--offline", "--json", stdin=urls)
    assert not site.connections
    assert told.code == 0
    assert orjson.loads(told.out)["lower_bound"]["seconds"] == 10.0


@pytest.mark.parametrize(
    ("text", "code", "said"),
    [
        ('name = "t"\n[input]\nurls = ["http://e.org/"]\n[limits]\nrobots = "obay"\n', 2, "robots"),
        ('name = "t"\n[input]\nfiles = ["nope.txt"]\n', 2, "nope.txt"),
        (None, 2, "t.toml"),
    ],
)
async def test_plan_of_a_wrong_job(tmp_path: Path, text: str | None, code: int, said: str) -> None:
    """Exit 2 with a sentence, as with run; nothing on stdout."""
    if text is not None:
        (tmp_path / "t.toml").write_text(text)
    told = await crawler(tmp_path, "plan", "t.toml")
    assert (told.code, told.out) == (code, "")
    assert said in told.err


async def test_plan_of_a_damaged_checkpoint(tmp_path: Path) -> None:
    """Exit 4, as a run would."""
    state = tmp_path / "out/t/state.db"
    state.parent.mkdir(parents=True)
    state.write_bytes(b"not a database at all" * 100)
    told = await crawler(tmp_path, "plan", written(tmp_path, job(tmp_path, ["http://a.example/"])))
    assert (told.code, told.out) == (4, "")
    assert "state.db" in told.err


async def test_retry_by_reason(tmp_path: Path) -> None:
    """Exactly those that ended so are made again; the exit code is that of the run that they join."""
    async with raw_site(half_dead, addresses=("127.0.0.1", OTHER)) as site:
        urls = [site.url(f"/{n}", OTHER) for n in range(50)] + [site.url("/gone"), site.url("/fine")]
        name = written(tmp_path, job(tmp_path, urls, retry={"attempts": 1}))
        assert (await crawler(tmp_path, "run", name, "-q")).code == 1
        first = (tmp_path / "out/t/latest").resolve()
        records = [orjson.loads(line) for line in (first / "records.jsonl").read_bytes().splitlines()]
        dead = sorted(record["url"] for record in records if record["reason"] == "host-dead")
        assert len(dead) > 10
        site.asked.clear()
        site.answer = lambda asked: reply(404 if asked.path == "/gone" else 200)
        retried = await crawler(tmp_path, "retry", name, "--reason", "host-dead")
        assert retried.code == 1
        assert f"{len(dead)} that failed are made again; their results join run {first.name}" in retried.err
        assert sorted(site.url(asked.path, asked.address) for asked in site.asked) == dead
        assert records_in(tmp_path) == sorted(urls)
        assert (tmp_path / "out/t/latest").resolve() == first
        site.asked.clear()
        gone = await crawler(tmp_path, "retry", name, "--status", "4xx", "--host", "127.0.0.1", "-q")
        assert (gone.code, site.paths(), records_in(tmp_path)) == (1, ["/gone"], sorted(urls))
        verified = await crawler(tmp_path, "verify", name)
        assert (verified.code, "all is there" in verified.out) == (0, True)
        assert (await crawler(tmp_path, "run", name, "-q")).code == 1
        assert records_in(tmp_path) == sorted(urls)


async def test_retry_with_nothing_to_do(tmp_path: Path) -> None:
    """Never run, or nothing failed so: said in a sentence, exit 0, and no run is begun."""
    async with raw_site() as site:
        name = written(tmp_path, job(tmp_path, [site.url("/")]))
        never = await crawler(tmp_path, "retry", name)
        assert (never.code, never.out) == (0, "")
        assert "never run" in never.err
        assert (await crawler(tmp_path, "run", name, "-q")).code == 0
        runs = sorted((tmp_path / "out/t").iterdir())
        nothing = await crawler(tmp_path, "retry", name, "--reason", "host-dead")
    assert (nothing.code, nothing.out) == (0, "")
    assert "nothing that failed is wanted again" in nothing.err
    assert len(site.asked) == 1
    assert sorted((tmp_path / "out/t").iterdir()) == runs


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--reason", "host-daed"], "did you mean 'host-dead'?"),
        (["--reason", ""], "no reason"),
        (["--status", "99"], "no status"),
        (["--older", "soon"], "soon"),
    ],
)
async def test_retry_of_what_cannot_be(tmp_path: Path, flags: list[str], said: str) -> None:
    """Exit 2, naming the nearest where there is one; whatever the job has done before."""
    async with raw_site() as site:
        name = written(tmp_path, job(tmp_path, [site.url("/")]))
        for _ in range(2):
            wrong = await crawler(tmp_path, "retry", name, *flags)
            assert (wrong.code, wrong.out) == (2, "")
            assert said in wrong.err
            await crawler(tmp_path, "run", name, "-q")


async def test_retry_of_a_run_that_is_not_finished(tmp_path: Path) -> None:
    """First things first: exit 2 and what to do."""
    async with raw_site() as site:
        loaded = job(tmp_path, [site.url(f"/{n}") for n in range(60)], limits={"rate_per_host": "100/s"})
        name = written(tmp_path, loaded)
        process = await asyncio.create_subprocess_exec(sys.executable, "-m", "crawler", "run", name, "-q", cwd=tmp_path)
        site.answer = lambda _: process.kill() or reply() if len(site.asked) == 10 else reply()
        await process.wait()
        told = await crawler(tmp_path, "retry", name)
    assert told.code == 2
    assert "crawler run" in told.err


@pytest.mark.parametrize(("contact", "warnings"), [(None, 1), ("bot@a.example", 0)])
async def test_run_log_warns_once_of_a_missing_contact(tmp_path: Path, contact: str | None, warnings: int) -> None:
    """In run.log, once a run; with a contact it stands in the User-Agent instead."""
    async with raw_site() as site:
        name = written(tmp_path, job(tmp_path, [site.url(f"/{n}") for n in range(5)], request={"contact": contact}))
        assert (await crawler(tmp_path, "run", name, "-q")).code == 0
    text = (tmp_path / "out/t/latest/run.log").read_text()
    assert text.count("request.contact is not set") == warnings
    assert {("(+bot@a.example)" in asked.headers["user-agent"]) for asked in site.asked} == {bool(contact)}


async def test_the_log_names_what_became_of_a_host(tmp_path: Path) -> None:
    """run.log: its robots.txt, that it is left alone, that it is given up."""
    async with raw_site(half_dead, addresses=("127.0.0.1", OTHER)) as site:
        urls = [site.url("/", OTHER)] + [site.url(f"/{n}", OTHER) for n in range(100)]
        name = written(tmp_path, job(tmp_path, urls, hosts={"127.0.0.1": OBEY}, request={"contact": "bot@a.example"}))
        await crawler(tmp_path, "run", name, "-q")
    text = (tmp_path / "out/t/latest/run.log").read_text()
    assert f"{OTHER} is left alone for " in text
    assert text.count(f"{OTHER} is given up") == 1
