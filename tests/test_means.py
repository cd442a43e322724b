"""What a job needs from outside, and that all that is missing is told before anything begins."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from crawler import logs
from crawler.cookies import Jar
from crawler.errors import JobError
from crawler.hosts import Hosts
from crawler.jobfile import LoadedJob, build
from crawler.masking import Mask
from crawler.means import Given, given
from crawler.model import Request
from crawler.session import Session, SessionSettings
from crawler.watch import Watch


@pytest.fixture(autouse=True)
def mask_of_others() -> Iterator[None]:
    """The logs' mask is that of the process."""
    yield
    logs.mask_with(Mask([]))


def loaded(folder: Path, **sections: Any) -> LoadedJob:
    return build({"name": "t", "input": {"urls": ["http://a.test/"]}, **sections}, folder)


async def means_of(job: LoadedJob, found: Given, jar: Jar | None = None) -> Any:
    settings = SessionSettings(1, 1, 1, {})
    async with Session(settings) as session:
        return found.means(session, Watch(1), Hosts(job.job), jar)


async def test_a_plain_job_needs_nothing(tmp_path: Path) -> None:
    """No means at all, so that its requests take the shortest path; a jar alone is one."""
    job = loaded(tmp_path)
    found = given(job)
    assert (found.credentials, found.routed) == (None, False)
    assert await means_of(job, found) is None
    jar = Jar()
    means = await means_of(job, found, jar)
    assert (means.jar, means.auth, means.routing) == (jar, None, None)


@pytest.mark.parametrize(
    "sections",
    [
        {"connection": {"verify": False}},
        {"connection": {"family": "ipv4"}},
        {"connection": {"tls_min_version": "1.3"}},
        {"connection": {"trust_env": True}},
        {"connection": {"local_address": "127.0.0.1"}},
        {"connection": {"fingerprints": ["ab" * 32]}},
        {"hosts": {"b.test": {"connection": {"proxy": "http://p.test:1"}}}},
        {"hosts": {"b.test": {"connection": {"verify": False}}}},
    ],
)
async def test_a_way_of_its_own_needs_routing(tmp_path: Path, sections: dict[str, Any]) -> None:
    """Whoever says so, the job or a host."""
    job = loaded(tmp_path, **sections)
    means = await means_of(job, given(job))
    assert means is not None
    assert means.routing is not None


@pytest.mark.parametrize(
    "sections",
    [
        {"connection": {"keepalive": "5s", "resolve": {"a.test": "127.0.0.1"}, "allow_private": True}},
        {"hosts": {"b.test": {"per_host": 2}}},
        {"connection": {"verify": True, "proxy_rotate": "host"}},
    ],
)
def test_what_all_connections_share_needs_none(tmp_path: Path, sections: dict[str, Any]) -> None:
    """The pool, names and addresses."""
    assert not given(loaded(tmp_path, **sections)).routed


async def test_secrets_are_looked_up_once_and_masked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each reference stands for its value from then on; no log shows one."""
    monkeypatch.setenv("TOKEN_A", "value-of-a-4711")
    job = loaded(tmp_path, auth={"x": {"type": "bearer", "hosts": ["a.test"], "token": "env:TOKEN_A"}})
    found = given(job)
    monkeypatch.delenv("TOKEN_A")
    assert found.mask("it is value-of-a-4711.") == "it is ***."
    means = await means_of(job, found)
    section = means.auth.section(Request(1, "https://a.test/", "a.test"))
    assert section.name == "x"
    assert "4711" not in repr(found)


def test_all_that_is_missing_is_told_at_once(tmp_path: Path) -> None:
    """Files of TLS, netrc and cookies, each by its key, and the job does not begin."""
    (tmp_path / "bad.pem").write_text("no certificate")
    with pytest.raises(JobError) as caught:
        given(
            loaded(
                tmp_path,
                connection={"ca_bundle": "gone.pem"},
                hosts={"b.test": {"connection": {"ca_bundle": "bad.pem"}}},
                cookies={"jar": True, "load": "gone.txt"},
                auth={"n": {"type": "netrc", "hosts": ["a.test"], "file": "gone.netrc"}},
            )
        )
    told = caught.value.problems
    assert len(told) == 4
    for key in ("connection: ", 'hosts."b.test".connection: ', "cookies.load: ", "auth.n: "):
        assert any(problem.startswith(key) for problem in told), key


def test_every_missing_reference_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By its key and the reference, never by a value."""
    monkeypatch.setenv("THERE", "value-there")
    with pytest.raises(JobError) as caught:
        given(
            loaded(
                tmp_path,
                connection={"proxy": "env:NO_PROXY_THERE"},
                auth={
                    "a": {"type": "basic", "hosts": ["a.test"], "user": "u", "password": "env:NOT_A"},
                    "b": {"type": "bearer", "hosts": ["a.test"], "token": "file:gone-token"},
                    "c": {"type": "bearer", "hosts": ["a.test"], "token": "env:THERE"},
                },
            )
        )
    told = "\n".join(caught.value.problems)
    for part in (
        "connection.proxy",
        "env:NO_PROXY_THERE",
        "auth.a.password",
        "env:NOT_A",
        "auth.b.token",
        "gone-token",
    ):
        assert part in told
    assert "auth.c" not in told
    assert "value-there" not in told


def test_a_proxy_that_is_none_is_told_without_its_value(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reference whose value cannot be a proxy."""
    monkeypatch.setenv("PROXY_URL", "ftp://me:planted-pw@p.test")
    with pytest.raises(JobError) as caught:
        given(loaded(tmp_path, connection={"proxy": "env:PROXY_URL"}))
    assert "connection.proxy" in str(caught.value)
    assert "planted-pw" not in str(caught.value)


@pytest.mark.parametrize("apart", [True, False])
def test_a_proxy_and_a_socket_are_two_ways(tmp_path: Path, apart: bool) -> None:
    """Said at once or by job and host: one of them would be passed over in silence."""
    proxy, socket = {"proxy": "http://p.test:1"}, {"unix_socket": "/run/app.sock"}
    said = {"hosts": {"a.test": {"connection": proxy}}} if apart else {}
    with pytest.raises(JobError, match="has both proxy and unix_socket"):
        given(loaded(tmp_path, connection=socket if apart else {**proxy, **socket}, **said))


def test_what_is_not_verified_is_said_loudly(tmp_path: Path) -> None:
    """With the key that says so, each once; a host that only says other things is not blamed."""
    found = given(
        loaded(
            tmp_path,
            connection={"verify": False},
            hosts={"b.test": {"connection": {"family": "ipv4"}}, "c.test": {"connection": {"verify": False}}},
        )
    )
    warned = found.warnings
    assert len(warned) == 2
    assert warned[0].startswith("connection.verify = false: ")
    assert warned[1].startswith('hosts."c.test".connection.verify = false: ')
