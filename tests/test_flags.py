"""The job that the flags of `crawler fetch` make."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
import pytest

from crawler.cli import fetch
from crawler.errors import JobError
from crawler.flags import job_from, unsaved
from crawler.job import Job
from crawler.jobtext import dumps

URL = "https://e.org:8443/a"


def flags(*arguments: str) -> Mapping[str, Any]:
    """What click makes of a command line."""
    return fetch.make_context("fetch", list(arguments)).params


def job(*arguments: str) -> Job:
    return job_from(flags(*arguments)).job


def problem(*arguments: str) -> str:
    with pytest.raises(JobError) as caught:
        job_from(flags(*arguments))
    return "\n".join(caught.value.problems)


def asked(*arguments: str) -> dict[str, Any]:
    """What [request] says beyond its defaults."""
    request = job(URL, *arguments).request
    return {name: getattr(request, name) for name in request.model_fields_set}


def test_bodies_are_put_where_their_keys_are() -> None:
    """One flag for each kind; fields that come again make a list."""
    assert asked("-d", "a=1&b") == {"body": "a=1&b"}
    assert asked("--json", '{"a": [1]}') == {"json_body": {"a": [1]}}
    assert asked("--form", "a=1", "--form", "b=x=y", "--form", "a=2") == {"form": {"a": ["1", "2"], "b": "x=y"}}
    fields = [{"name": "note", "value": "a@b"}, {"name": "doc", "file": str(Path("x.pdf").absolute())}]
    assert asked("-F", "note=a@b", "-F", "doc=@x.pdf") == {"multipart": fields}
    assert asked("-F", "a=", "-X", "PATCH") == {"multipart": [{"name": "a", "value": ""}], "method": "PATCH"}


def test_a_file_is_put() -> None:
    """As with curl -T; another method is used where it is said."""
    path = str(Path("x.bin").absolute())
    assert asked("-T", "x.bin") == {"body_file": path, "method": "PUT"}
    assert asked("-T", "x.bin", "-X", "POST") == {"body_file": path, "method": "POST"}


@pytest.mark.parametrize(
    ("arguments", "section"),
    [
        (("-u", "ada", "--password", "env:P"), {"type": "basic", "user": "ada", "password": "env:P"}),
        (("-u", "ada", "--password", "file:p", "--digest"), {"type": "digest", "user": "ada", "password": "file:p"}),
        (("--bearer", "cmd:pass show x"), {"type": "bearer", "token": "cmd:pass show x"}),
    ],
)
def test_a_credential_is_bound_to_the_hosts_of_the_urls(arguments: tuple[str, ...], section: dict[str, str]) -> None:
    """With their ports where they name one, and each once; --auth-host says it otherwise."""
    urls = (URL, "https://e.org:8443/b", "HTTPS://X.org:443/", "no url")
    said = job(*urls, *arguments).auth["fetch"].model_dump(exclude_unset=True)
    assert said == {**section, "hosts": ["e.org:8443", "x.org"]}
    said = job(*urls, *arguments, "--auth-host", "*.e.org").auth["fetch"].model_dump(exclude_unset=True)
    assert said == {**section, "hosts": ["*.e.org"]}


def test_ways_and_cookies() -> None:
    """Paths are made absolute, since a saved job may be moved; a cookie file means that there is a jar."""
    made = job(URL, "--proxy", "socks5h://u@p.org", "--cacert", "ca.pem", "--cert", "a.pem", "--key", "b.pem", "-k")
    way = made.connection
    assert (way.proxy, way.ca_bundle, way.verify) == ("socks5h://u@p.org", str(Path("ca.pem").absolute()), False)
    assert way.cert is not None
    assert (way.cert.cert, way.cert.key) == (str(Path("a.pem").absolute()), str(Path("b.pem").absolute()))
    assert job(URL, "--proxy", "env:PROXY").connection.proxy == "env:PROXY"
    assert job(URL).connection.model_fields_set == set()
    cookies = job(URL, "--cookie-jar", "out.txt", "--load-cookies", "/in.txt").cookies
    assert (cookies.jar, cookies.save, cookies.load) == (True, str(Path("out.txt").absolute()), "/in.txt")
    assert not job(URL).cookies.jar


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("-d", "x", "--json", "{}"), "has both json and body"),
        (("--json", "{"), "--json: is not JSON"),
        (("--form", "a"), "--form: write it like 'name=value'"),
        (("-F", "=x"), "--multipart: write it like 'name=value'"),
        (("-H", "hunter2"), "--header: write it like"),
        (("-u", "ada:hunter2"), "--user: takes the name alone"),
        (("-u", "ada"), "--user: needs --password"),
        (("-u", "ada", "--password", "hunter2"), "--password: is no reference"),
        (("--bearer", "hunter2"), "--bearer: is no reference"),
        (("--bearer", "env:X", "-u", "a", "--password", "env:P"), "one credential"),
        (("--password", "env:X"), "--password: is of no use without --user"),
        (("--digest", "--bearer", "env:X"), "--digest: is of no use without --user"),
        (("--auth-host", "e.org"), "--auth-host: is of no use without"),
        (("--proxy", "http://u:hunter2@p.org"), "--proxy: has a password"),
        (("--proxy", "ftp://p.org"), "--proxy: has a scheme"),
        (("--key", "k.pem"), "--key: is of no use without --cert"),
    ],
)
def test_what_does_not_fit_is_a_sentence(arguments: tuple[str, ...], said: str) -> None:
    """It names the flag, and shows nothing that may be a secret."""
    told = problem(URL, *arguments)
    assert said in told
    assert "hunter2" not in told


def test_a_credential_for_a_list_needs_a_host() -> None:
    """Nobody knows where a list leads."""
    assert "--auth-host: say to which hosts" in problem("-i", "-", "--bearer", "env:X")
    assert job("-i", "-", "--bearer", "env:X", "--auth-host", "e.org").auth["fetch"].hosts == ["e.org"]


def test_a_saved_job_is_the_same_job() -> None:
    """With its credential by reference."""
    made = job(URL, "--bearer", "env:X", "--json", "[1]", "--cookie-jar", "c.txt", "-H", "Accept: a/b")
    assert unsaved(made) == []
    assert Job.model_validate(tomllib.loads(dumps(made))) == made


@pytest.mark.parametrize(
    "arguments",
    [
        ("-H", "Authorization: Bearer hunter2"),
        ("-H", "Cookie: a=hunter2"),
        ("-H", "X-Api-Key: hunter2"),
        ("--form", "password=hunter2"),
        ("-F", "access_token=hunter2"),
        ("--set", 'hosts."e.org".headers.Private-Token=hunter2'),
        ("https://ada:hunter2@e.org/",),
    ],
)
def test_what_may_be_a_secret_is_not_saved(arguments: tuple[str, ...]) -> None:
    """A sentence that names it, without its value."""
    [told] = unsaved(job(URL, *arguments))
    assert "would stand in the file" in told
    assert "hunter2" not in told


def test_every_flag_has_an_effect() -> None:
    """None is parsed and then forgotten."""
    plain = dict(flags(URL))
    shown = {"fresh", "log_format", "quiet", "save_job", "sets"}
    together = {"password": ("--user", "a"), "digest": ("--user", "a", "--password", "env:P")}
    together |= {"user": ("--password", "env:P"), "key": ("--cert", "c.pem"), "auth_hosts": ("--bearer", "env:X")}
    values = {"json": "{}", "form": "a=b", "multipart": "a=b", "headers": "A: b", "password": "env:P"}
    values |= {"bearer": "env:P", "rate": "1/s", "rate_per_host": "1/s", "bandwidth": "1kB/s", "max_body": "1kB"}
    values |= {"timeout": "1s", "bodies": "none", "method": "PUT", "contact": "a@b.org", "proxy": "http://p.org"}
    values |= {"files": "-", "layout": "mirror", "records": "csv"}
    for option in (one for one in fetch.params if isinstance(one, click.Option) and one.name not in {*shown, "help"}):
        assert option.name in plain
        beside = together.get(option.name, ())
        without = () if option.name in ("user", "password") else beside  # one of these alone is refused
        value = () if option.is_flag else (values.get(option.name, "7"),)
        assert job(URL, *beside, option.opts[-1], *value) != job(URL, *without), option.name
