"""OAuth 2 in whole runs: tokens that end in mid-run, shared by workers and by processes, and endpoints that fail."""

from __future__ import annotations

import asyncio
import os
import sys
from base64 import b64encode
from itertools import pairwise
from pathlib import Path
from time import monotonic
from typing import Any
from urllib.parse import quote_plus

import orjson
import pytest

from tests.oauthserver import CLIENT, SECRET, Endpoint, Resource, mock_server, site
from tests.peers import LOOPBACK

pytestmark = [pytest.mark.e2e, pytest.mark.slow]


def write_job(folder: Path, urls: list[tuple[str, int]], token_url: str, *, workers: int = 200, **auth: object) -> Path:
    """A job of so many pages of each site, with the token of [auth.api] for all; its secrets are in the environment."""
    folder.mkdir(exist_ok=True)
    (folder / "urls.txt").write_text("".join(f"{url}{page}\n" for url, pages in urls for page in range(pages)))
    said = {
        "type": "oauth2",
        "hosts": [LOOPBACK],
        "token_url": token_url,
        "client_id": CLIENT,
        "client_secret": "env:OAUTH_SECRET",
        "skew": "200ms",
        **auth,
    }
    lines = "".join(f"{key} = {orjson.dumps(value).decode()}\n" for key, value in said.items())
    job = folder / "api.toml"
    job.write_text(
        f'name = "api"\n[input]\nfiles = ["urls.txt"]\n[limits]\nworkers = {workers}\nper_host = {workers}\n'
        f'[output]\ndir = "{folder}/out"\nbodies = "none"\n[auth.api]\n{lines}'
    )
    return job


async def start(job: Path, secret: str = SECRET) -> asyncio.subprocess.Process:
    """`crawler run`; the loop goes on, since the servers are in it."""
    command = [sys.executable, "-m", "crawler", "run", str(job), "--quiet"]
    environment = {**os.environ, "OAUTH_SECRET": secret, "OAUTH_REFRESH": "r0"}
    return await asyncio.create_subprocess_exec(*command, env=environment, stderr=asyncio.subprocess.PIPE)


async def run(job: Path, secret: str = SECRET) -> int | None:
    """Its exit code."""
    return await ended(await start(job, secret))


async def ended(process: asyncio.subprocess.Process) -> int | None:
    await asyncio.wait_for(process.communicate(), 60)
    return process.returncode


def records_of(folder: Path) -> list[dict[str, Any]]:
    return [orjson.loads(line) for line in (folder / "out/api/latest/records.jsonl").read_bytes().splitlines()]


def assert_all_there(folder: Path, pages: int) -> None:
    """Each row ended as fetched, once, and by its first attempt: credentials that are renewed cost none."""
    records = records_of(folder)
    assert len({record["url"] for record in records}) == len(records) == pages
    assert {(record["outcome"], record["status"], record["attempts"]) for record in records} == {("fetched", 200, 1)}


def assert_sent_again_once_at_most(resource: Resource, pages: int) -> None:
    """Every page was let in once, and refused at most once before."""
    assert len(resource.statuses) == pages
    assert {tuple(statuses) for statuses in resource.statuses.values()} <= {(200,), (401, 200)}


def assert_one_for_each_life(given: list[float], life: float) -> None:
    """Tokens were asked for one after another, none of them before the one before it was due."""
    gaps = [later - earlier for earlier, later in pairwise(given)]
    assert len(given) >= 3, "the run was too short for a token to end in it"
    assert all(gap >= life for gap in gaps), gaps


async def test_a_token_that_ends_in_mid_run_is_asked_for_once(tmp_path: Path) -> None:
    """Tokens of 2 s, 200 workers, 4,000 pages: one request for each life of a token, and no page is lost."""
    endpoint = Endpoint(life=2.0)
    resource = Resource(endpoint.knows, latency=0.35)
    async with site(endpoint) as tokens, site(resource) as pages:
        assert await run(write_job(tmp_path, [(pages.url(), 4000)], tokens.url())) == 0
    assert_all_there(tmp_path, 4000)
    assert_sent_again_once_at_most(resource, 4000)
    assert_one_for_each_life([call.at for call in endpoint.calls], 1.79)
    elapsed = max(resource.times) - endpoint.calls[0].at
    assert len(endpoint.calls) <= elapsed / 1.8 + 1
    assert [call.status for call in endpoint.calls] == [200] * len(endpoint.calls)


async def test_the_tokens_of_a_foreign_server_are_renewed_in_time(tmp_path: Path) -> None:
    """npm's oauth2-mock-server with tokens of 1 s: the pages check its signature; its own log counts the requests."""
    with mock_server(tmp_path, life=1.0) as foreign:
        resource = Resource(foreign.knows, latency=0.25)
        async with site(resource) as pages:
            assert await run(write_job(tmp_path, [(pages.url(), 2000)], foreign.token_url)) == 0
        given = foreign.given
    assert_all_there(tmp_path, 2000)
    assert_sent_again_once_at_most(resource, 2000)
    assert_one_for_each_life(given, 0.79)


async def test_an_end_that_only_a_401_tells_is_met_by_one_refresh(tmp_path: Path) -> None:
    """Tokens say that they live an hour and end after a second: a whole wave of 401s costs one token request."""
    endpoint = Endpoint(life=1.0, says=3600.0)
    resource = Resource(endpoint.knows, latency=0.2)
    async with site(endpoint) as tokens, site(resource) as pages:
        assert await run(write_job(tmp_path, [(pages.url(), 3000)], tokens.url())) == 0
    assert_all_there(tmp_path, 3000)
    assert_sent_again_once_at_most(resource, 3000)
    assert_one_for_each_life([call.at for call in endpoint.calls], 1.0)
    assert len(resource.refused) >= 100  # else no wave was there to be met


async def test_a_token_revoked_in_mid_run_is_replaced_by_one_refresh(tmp_path: Path) -> None:
    """All of 200 workers meet 401 at once: two token requests in all."""
    endpoint = Endpoint(life=3600.0)
    resource = Resource(endpoint.knows, latency=0.1)
    async with site(endpoint) as tokens, site(resource) as pages:
        process = await start(write_job(tmp_path, [(pages.url(), 1500)], tokens.url()))
        await resource.reached(700)
        endpoint.revoke()
        assert await ended(process) == 0
    assert_all_there(tmp_path, 1500)
    assert_sent_again_once_at_most(resource, 1500)
    assert len(endpoint.calls) == 2
    assert len(resource.refused) >= 50


@pytest.mark.parametrize("grant", ["client_credentials", "refresh_token"])
async def test_two_jobs_with_one_cache_ask_as_one(tmp_path: Path, grant: str) -> None:
    """Two processes: each life of a token costs one request in all; no rotating refresh token is used twice."""
    endpoint = Endpoint(life=1.0)
    resource = Resource(endpoint.knows, latency=0.3)
    said: dict[str, object] = {"grant": grant, "cache": str(tmp_path / "cache.json")}
    if grant == "refresh_token":
        said["refresh_token"] = "env:OAUTH_REFRESH"
    async with site(endpoint) as tokens, site(resource) as pages:
        jobs = [
            write_job(tmp_path / name, [(pages.url(f"/{name}/"), 500)], tokens.url(), workers=50, **said)
            for name in ("one", "two")
        ]
        processes = [await start(job) for job in jobs]
        assert [await ended(process) for process in processes] == [0, 0]
    for name in ("one", "two"):
        assert_all_there(tmp_path / name, 500)
    assert_sent_again_once_at_most(resource, 1000)
    assert_one_for_each_life([call.at for call in endpoint.calls], 0.79)
    assert {call.grant for call in endpoint.calls} == {grant}
    assert [call.status for call in endpoint.calls] == [200] * len(endpoint.calls)
    used = [call.refresh for call in endpoint.calls if call.refresh]
    assert len(set(used)) == len(used) == (len(endpoint.calls) if grant == "refresh_token" else 0)
    assert (tmp_path / "cache.json").stat().st_mode & 0o777 == 0o600


async def test_while_the_token_endpoint_is_down_rows_wait_and_other_hosts_go_on(tmp_path: Path) -> None:
    """Three seconds of refused connections while a token ends: all rows arrive in the end, the others meanwhile."""
    endpoint = Endpoint(life=1.0)
    resource, free = Resource(endpoint.knows, latency=0.1), Resource(None, latency=0.1)
    async with site(endpoint) as tokens, site(resource) as pages, site(free, "127.0.0.2") as others:
        urls = [(pages.url(), 300), (others.url(), 600)]
        process = await start(write_job(tmp_path, urls, tokens.url(), workers=20, skew="0s"))
        await resource.reached(50)
        await tokens.stop()
        stopped_at = monotonic()
        await asyncio.sleep(3.0)  # the outage itself
        back_at = monotonic()
        await tokens.start()
        assert await ended(process) == 0
    assert {record["outcome"] for record in records_of(tmp_path)} == {"fetched"}
    assert len(records_of(tmp_path)) == 900
    assert max(record["attempts"] for record in records_of(tmp_path)) <= 3
    # The endpoint is asked after 1, 3 and 7 s; then all workers are there again at once.
    assert back_at < max(resource.times) < back_at + 7.0
    assert not [at for at in resource.times if stopped_at + 1.1 < at < back_at], "without a token"
    meanwhile = [at for at in free.times if stopped_at + 1.1 < at < back_at]
    assert len(meanwhile) >= 100
    assert free.secrets == ""


async def test_a_wrong_client_secret_is_named_at_once_and_asked_for_once(tmp_path: Path) -> None:
    """2,000 rows end as auth-rejected within 5 s, after one token request; the secret is in no file and no log."""
    endpoint, secret = Endpoint(life=3600.0), "wr0ng/client+secret"
    resource = Resource(endpoint.knows)
    async with site(endpoint) as tokens, site(resource) as pages:
        job = write_job(tmp_path, [(pages.url(), 2000)], tokens.url())
        began = monotonic()
        process = await start(job, secret)
        _, said = await asyncio.wait_for(process.communicate(), 60)
        assert monotonic() - began < 5
    assert process.returncode == 1
    assert (len(endpoint.calls), resource.statuses) == (1, {})
    records = records_of(tmp_path)
    assert len(records) == 2000
    assert {(record["reason"], record["status"]) for record in records} == {("auth-rejected", None)}
    assert all("[auth.api]" in record["error"] for record in records)
    assert "invalid_client" in records[0]["error"]
    written = said + b"".join(file.read_bytes() for file in (tmp_path / "out").rglob("*") if file.is_file())
    forms = [secret, quote_plus(secret), b64encode(f"{CLIENT}:{quote_plus(secret)}".encode()).decode()]
    assert not [form for form in forms if form.encode() in written]
