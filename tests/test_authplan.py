"""What `crawler plan` says of credentials."""

from __future__ import annotations

from pathlib import Path

import pytest

from crawler.errors import JobError
from crawler.jobfile import load
from crawler.plan import AuthSeen, render, to_json
from crawler.preview import preview
from tests.servers import RawSite, raw_site, reply

JOB = """
name = "p"
[input]
urls = ["{url}a", "{url}b", "http://far.example/1"]
[output]
dir = "{folder}/output"
[auth.near]
type = "oauth2"
token_url = "{url}token"
client_id = "me"
client_secret = "env:PLAN_SECRET"
hosts = ["127.0.0.1"]
[auth.far]
type = "basic"
user = "ada"
password = "env:PLAN_SECRET"
hosts = ["*.example"]
"""


async def seen(site: RawSite, folder: Path, *, offline: bool) -> list[AuthSeen]:
    path = folder / "job.toml"
    path.write_text(JOB.format(url=site.url(), folder=folder))
    plan = await preview(load(path), offline=offline)
    assert f"auth.near: OAuth 2 for 2 requests, {'ready' if not plan.auth[0].problem else 'NOT READY'}" in render(plan)
    assert '"name":"far"' in to_json(plan)
    return list(plan.auth)


async def test_each_section_is_told_with_what_stands_in_its_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A token is asked for once, and a credential that would go over plain http is named; no page is fetched."""
    monkeypatch.setenv("PLAN_SECRET", "planted-secret")
    async with raw_site(lambda asked: reply(200, b'{"access_token": "t", "expires_in": 60}')) as site:
        near, far = await seen(site, tmp_path, offline=False)
        assert site.paths() == ["/token"]
    assert near == AuthSeen("near", "OAuth 2", 2, None)
    assert (far.name, far.scheme, far.requests) == ("far", "Basic", 1)
    assert far.problem is not None
    assert "plain http" in far.problem
    assert "planted-secret" not in far.problem


async def test_a_token_that_is_not_given_is_a_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The endpoint's own word is shown."""
    monkeypatch.setenv("PLAN_SECRET", "planted-secret")
    async with raw_site(lambda asked: reply(401, b'{"error": "invalid_client"}')) as site:
        near, _ = await seen(site, tmp_path, offline=False)
    assert near.problem is not None
    assert "invalid_client" in near.problem


async def test_offline_asks_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Then only what needs no asking is known."""
    monkeypatch.setenv("PLAN_SECRET", "planted-secret")
    async with raw_site(lambda asked: reply(500)) as site:
        near, _ = await seen(site, tmp_path, offline=True)
        assert site.paths() == []
    assert near.problem is None


async def test_a_secret_that_is_absent_ends_the_plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All references are resolved, as a run would do."""
    monkeypatch.delenv("PLAN_SECRET", raising=False)
    async with raw_site(lambda asked: reply(200)) as site:
        with pytest.raises(JobError, match="PLAN_SECRET") as caught:
            await seen(site, tmp_path, offline=True)
    assert len(caught.value.problems) == 2
