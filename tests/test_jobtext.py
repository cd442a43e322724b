"""What of a job holds for one URL, as text."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest

from crawler.auth.bearer import Bearer
from crawler.authenticate import Authenticator, Fault, Section
from crawler.job import Job
from crawler.jobtext import dumps, effective
from crawler.model import Request
from crawler.urls import parse

JOB = Job.model_validate(
    {
        "name": "t",
        "input": {"urls": ["https://e.org/"]},
        "request": {"headers": {"Accept": "x/y", "X-Key": "secret", "X-Gone": "secret"}},
        "retry": {"backoff": {"max": "1m"}},
        "hosts": {
            "*.e.org": {"per_host": 3, "rate_per_host": "2/s", "headers": {"x-key": "secret", "Accept": "z/z"}},
            "a.e.org:8080": {"retry": {"attempts": 2, "backoff": {"initial": "1s"}}, "headers": {"X.y": "secret"}},
        },
    }
)


def test_each_value_is_told_with_where_it_comes_from() -> None:
    """A pattern, a section of the job, or the default."""
    told = {line.split(" ")[0]: line for line in effective(JOB, parse("http://A.e.org:8080/x"), "a.e.org").splitlines()}
    for key, said in {
        "per_host": '= 3 # hosts."*.e.org"',
        "rate_per_host": '= "2/s" # hosts."*.e.org"',
        "attempts": '= 2 # hosts."a.e.org:8080"',
        "backoff.initial": '= "1s" # hosts."a.e.org:8080"',
        "backoff.max": '= "1m" # retry',
        "read": '= "15s" # default',
        "give_up": '= "15m" # default',
        "Accept": '= "z/z" # hosts."*.e.org"',
        "X-Gone": '= "***" # request',
    }.items():
        assert " ".join(told[key].split()) == f"{key} {said}"


def test_what_may_be_a_secret_is_not_shown() -> None:
    """Only the names of headers that could be credentials are printed; what is printed is TOML."""
    text = effective(JOB, parse("http://a.e.org:8080/x"), "a.e.org")
    assert "secret" not in text
    assert tomllib.loads(text)["headers"] == {"Accept": "z/z", "x-key": "***", "X-Gone": "***", "X.y": "***"}


def test_without_a_limit_the_text_says_so() -> None:
    """TOML has no null: a comment stands in its place."""
    assert "# rate_per_host: no limit" in effective(JOB, parse("https://other.example/"), "other.example")


def test_the_pace_of_a_domain_is_told_by_its_own_pattern() -> None:
    """Where hosts of a domain share a pace, the pattern that matches the domain gives it."""
    tables = {"e.org": {"per_host": 2}, "a.e.org": {"per_host": 3, "max_body": "1kB"}}
    job = Job.model_validate({"name": "t", "input": {"urls": ["http://a.e.org/"]}, "hosts": tables})
    told = effective(job, parse("http://a.e.org/x"), "e.org")
    assert "# its pace is that of e.org" in told
    assert any(line.startswith("per_host = 2") and line.endswith('# hosts."e.org"') for line in told.splitlines())
    assert any(line.endswith('# hosts."a.e.org"') for line in told.splitlines() if line.startswith("max_body"))


ASKED = Job.model_validate(
    {
        "name": "t",
        "input": {"urls": ["https://e.org/"]},
        "request": {
            "form": {"user": "ada", "password": "hunter2"},
            "params": {"lang": "hunter2", "key": "hunter2"},
            "cookies": {"session": "hunter2"},
        },
        "connection": {"proxy": ["socks5h://p.org", {"url": "env:PROXY", "password": "env:P"}], "trust_env": True},
        "expect": {"json": True},
        "auth": {
            "api": {"type": "bearer", "token": "env:TOKEN", "hosts": ["*.e.org"]},
            "own": {
                "type": "plugin",
                "callable": "signers:Stamp",
                "options": {"key": "env:KEY", "salt": ["hunter2"]},
                "hosts": ["own.example", "a.e.org:8443"],
            },
            "open": {"type": "bearer", "token": "env:TOKEN", "hosts": ["open.example"], "allow_insecure": True},
            "here": {"type": "bearer", "token": "env:TOKEN", "hosts": ["127.0.0.1", "[::1]:81"]},
        },
        "hosts": {
            "*.e.org": {
                "request": {"json": {"a": ["hunter2"]}, "params": {"lang": "de"}, "accept_status": ["2xx", "404"]},
                "connection": {"proxy": "direct", "verify": False, "client_cert": "me.pem"},
                "expect": {"contains": "</html>"},
            },
            "a.e.org": {"request": {"body_file": "a.bin", "method": "PUT"}},
        },
    }
)


def told(job: Job, url: str) -> dict[str, str]:
    """The lines of a URL by what stands before "=", spaces made one; a line without one by itself."""
    lines = effective(job, parse(url), parse(url).host).splitlines()
    return {line.split(" = ")[0]: " ".join(line.partition(" = ")[2].split()) for line in lines}


@pytest.mark.parametrize(
    ("url", "said"),
    [
        (
            "https://e.org/",
            {
                "method": '"POST" # since there is a body',
                "params.lang": '"***" # request',
                "form": '{ user = "***", password = "***" } # request',
                "accept_status": '["2xx"] # default',
                "trust_env": "true # connection",
                "proxy": '["socks5h://p.org", { url = "env:PROXY", password = "env:P" }] # connection',
                "verify": "true # default",
                "json": "true # expect",
            },
        ),
        (
            "https://b.e.org/",
            {
                "params.lang": '"***" # hosts."*.e.org"',
                "params.key": '"***" # request',
                "cookies.session": '"***" # request',
                "accept_status": '["2xx", "404"] # hosts."*.e.org"',
                "proxy": '"direct" # hosts."*.e.org"',
                "verify": 'false # hosts."*.e.org": certificates are not checked',
                "client_cert": '"me.pem" # hosts."*.e.org"',
                "contains": '"</html>" # hosts."*.e.org"',
            },
        ),
        (
            "https://a.e.org/",
            {
                "method": '"PUT" # hosts."a.e.org"',
                "body_file": '"a.bin" # hosts."a.e.org"',
                "accept_status": '["2xx", "404"] # hosts."*.e.org"',
            },
        ),
    ],
)
def test_requests_ways_and_expectations_are_told(url: str, said: dict[str, str]) -> None:
    """Row for row what holds, a host's own over the job's; one body, and the method that follows from it."""
    found = told(ASKED, url)
    assert {key: found[key] for key in said} == said
    assert len({"form", "body_file"} & set(found)) == (0 if url == "https://b.e.org/" else 1)


def test_the_body_of_a_host_takes_the_place_of_the_job_s() -> None:
    """Whatever kind either is of; its values are masked, its names are not."""
    text = effective(ASKED, parse("https://b.e.org/"), "b.e.org")
    assert 'json = { a = ["***"] }' in text
    assert "form" not in text


def test_without_a_way_of_its_own_there_is_no_proxy() -> None:
    """It says so; where the environment is trusted, that it may name one. A plain job asks with GET."""
    data: dict[str, Any] = {"name": "t", "input": {"urls": ["https://e.org/"]}}
    found = told(Job.model_validate(data), "https://e.org/")
    assert any(line.startswith("# proxy: none ") for line in found)
    assert found["method"] == '"GET" # default'
    assert "[expect]" not in found
    found = told(Job.model_validate({**data, "connection": {"trust_env": True}}), "https://e.org/")
    assert any(line.startswith("# proxy: that of the environment") for line in found)


@pytest.mark.parametrize("url", ["https://e.org/", "https://a.e.org/", "https://b.e.org:8443/", "https://own.example/"])
def test_no_value_of_a_request_is_shown(url: str) -> None:
    """Parameters, cookies, bodies and a plugin's options may all be secrets; references are not. It stays TOML."""
    text = effective(ASKED, parse(url), parse(url).host)
    assert "hunter2" not in text
    assert tomllib.loads(text)["connection"]


def test_the_credential_is_told_with_its_reference() -> None:
    """Its section, the pattern that binds it, and what it says."""
    text = effective(ASKED, parse("https://b.e.org/"), "b.e.org")
    assert text.splitlines()[-3].split() == ["[auth.api]", "#", "bound", "to", '"*.e.org"']
    assert tomllib.loads(text)["auth"]["api"] == {"type": "bearer", "token": "env:TOKEN"}
    text = effective(ASKED, parse("https://own.example/"), "own.example")
    assert tomllib.loads(text)["auth"]["own"]["options"] == {"key": "env:KEY", "salt": ["***"]}


@pytest.mark.parametrize(
    "url",
    [
        "https://e.org/",
        "https://b.e.org/",
        "http://b.e.org/",
        "https://a.e.org:8443/",
        "http://a.e.org:8443/",
        "http://open.example/",
        "http://127.0.0.1:8080/",
        "http://[::1]:81/",
        "http://[::1]/",
    ],
)
def test_what_is_told_of_credentials_is_what_is_done(url: str) -> None:
    """The same section as the authenticator takes, or none where it takes none."""
    sections = [
        Section(name, Bearer("t" * 8), tuple(said.hosts), said.allow_insecure) for name, said in ASKED.auth.items()
    ]
    asked = parse(url)
    taken = Authenticator(sections).section(Request(1, asked.href, asked.host))
    text = effective(ASKED, asked, asked.host)
    assert list(tomllib.loads(text).get("auth", {})) == ([taken.name] if isinstance(taken, Section) else [])
    assert ("plain http" in text) == isinstance(taken, Fault)
    assert ("no [auth] section is bound" in text) == (taken is None)


def test_check_prints_references_as_they_stand() -> None:
    """They are no secrets, and the effective job loads back with them."""
    text = dumps(ASKED)
    assert 'token = "env:TOKEN"' in text
    assert Job.model_validate(tomllib.loads(text)) == ASKED
