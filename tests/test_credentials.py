"""From [auth] sections to schemes."""

from __future__ import annotations

import asyncio
import hashlib
import sys
from pathlib import Path
from random import Random
from typing import Any

import pytest

from crawler.auth.scheme import Draft
from crawler.authenticate import Fault, Section
from crawler.credentials import Credentials
from crawler.errors import JobError, Reason
from crawler.grants import TokenAnswer, TokenRequest
from crawler.jobfile import build
from crawler.masking import Mask

SECRETS = {"env:A": "secret-a", "env:B": "secret-b", "env:NL": "two\nlines", "env:HEX": "zz"}


async def nobody(asked: TokenRequest) -> TokenAnswer:
    raise AssertionError("no token endpoint is asked")


def made(folder: Path, mask: Mask | None = None, **auth: dict[str, Any]) -> Credentials:
    sections = {name: {"hosts": ["a.test"], **said} for name, said in auth.items()}
    job = build({"name": "t", "input": {"urls": ["http://a.test/"]}, "auth": sections}, folder).job
    return Credentials(job, folder, SECRETS.__getitem__, mask or Mask([]))


def signed(section: Section, url: str = "https://a.test/x") -> dict[str, str]:
    digests = {name: hashlib.new(name).digest() for name in section.scheme.wants}
    return dict(section.scheme.sign(Draft("GET", url, {}, digests), 1.7e9, Random(1)).headers)


@pytest.mark.parametrize(
    ("said", "holds"),
    [
        ({"type": "basic", "user": "me", "password": "env:A"}, "Basic "),
        ({"type": "basic", "user": "env:B", "password": "env:A"}, "c2VjcmV0LWI6"),
        ({"type": "bearer", "token": "env:A"}, "Bearer secret-a"),
        ({"type": "key", "headers": {"X-K": "env:A"}, "prefix": "Key "}, "Key secret-a"),
        ({"type": "hmac", "key": "env:A", "string": "{method}", "headers": {"S": "{signature}"}}, ""),
        (
            {"type": "sigv4", "access_key": "AK", "secret_key": "env:A", "session_token": "env:B"},
            "AK/",
        ),
    ],
)
def test_each_kind_signs_with_its_secrets(tmp_path: Path, said: dict[str, Any], holds: str) -> None:
    """References are values by now, a user among them where it is one."""
    [section] = made(tmp_path, x=said).sections(nobody)
    assert (section.name, section.hosts, section.allow_insecure) == ("x", ("a.test",), False)
    headers = signed(section)
    assert headers
    assert any(holds in text for text in headers.values())
    assert "secret-a" not in repr(section) + repr(section.scheme)


def test_a_secret_does_not_go_to_its_endpoint_in_the_open(tmp_path: Path) -> None:
    """Over plain http only to this machine, or where the section says so."""
    said = {"type": "oauth2", "client_id": "me", "client_secret": "env:A"}
    with pytest.raises(JobError, match=r"auth\.x: token_url is plain http, .*allow_insecure"):
        made(tmp_path, x={**said, "token_url": "http://login.example/token"})
    made(tmp_path, x={**said, "token_url": "http://login.example/token", "allow_insecure": True})
    made(tmp_path, x={**said, "token_url": "http://127.0.0.1:8080/token"})


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ({"form": "query", "payload": "streaming"}, 'needs form = "header"'),
        ({"service": "execute-api", "payload": "streaming"}, "taken by S3 alone"),
        ({"access_key": None, "secret_key": None, "session_token": "env:B"}, "session_token without"),
    ],
)
def test_settings_that_cannot_work_are_told(tmp_path: Path, said: dict[str, Any], told: str) -> None:
    """Before AWS would refuse each request."""
    keys = {"type": "sigv4", "access_key": "AK", "secret_key": "env:A", **said}
    with pytest.raises(JobError, match=told):
        made(tmp_path, x={key: value for key, value in keys.items() if value is not None})


def test_all_that_is_wrong_is_told_at_once(tmp_path: Path) -> None:
    """A sentence for each section, by its key, without any value."""
    with pytest.raises(JobError) as caught:
        made(
            tmp_path,
            one={"type": "bearer", "token": "env:NL"},
            two={
                "type": "hmac",
                "key": "env:HEX",
                "key_encoding": "hex",
                "string": "",
                "headers": {"S": "{signature}"},
            },
            three={"type": "netrc", "file": "gone"},
            four={"type": "plugin", "callable": "not_there_at_all:sign"},
            five={"type": "plugin", "callable": "json:not_there"},
            good={"type": "bearer", "token": "env:A"},
        )
    told = caught.value.problems
    assert [problem.partition(":")[0] for problem in told] == [
        f"auth.{name}" for name in ("one", "two", "three", "four", "five")
    ]
    assert "lines" not in told[0].replace("line end", "")
    assert "zz" not in told[1]


def test_netrc_is_read_once_and_its_passwords_are_masked(tmp_path: Path) -> None:
    """By host; what is no netrc file is told by its line, without the line."""
    (tmp_path / "n").write_text("machine a.test login me password pw-of-netrc\ndefault login you password pw-default\n")
    mask = Mask([])
    [section] = made(tmp_path, mask, x={"type": "netrc", "file": "n", "hosts": ["*"]}).sections(nobody)
    assert signed(section) != signed(section, "https://b.test/")
    assert mask("pw-of-netrc pw-default") == "*** ***"
    (tmp_path / "n").write_text("machine a.test\nlogin me pasword pw-of-netrc\n")
    with pytest.raises(JobError) as caught:
        made(tmp_path, x={"type": "netrc", "file": "n"})
    assert "is not netrc" in str(caught.value)
    assert "pw-of" not in str(caught.value)


def test_a_plugin_may_stand_beside_its_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is imported from there, with its options; the path is as before."""
    (tmp_path / "signer_beside_job.py").write_text(
        "class Sign:\n"
        "    def __init__(self, options):\n        self.text = options['key'] + options['plain']\n"
        "    def sign(self, draft, now):\n        return {'X-Signed': self.text}\n"
    )
    monkeypatch.delitem(sys.modules, "signer_beside_job", raising=False)
    before = list(sys.path)
    said = {"type": "plugin", "callable": "signer_beside_job:Sign", "options": {"key": "env:A", "plain": "-"}}
    [section] = made(tmp_path, x=said).sections(nobody)
    assert sys.path == before
    assert signed(section) == {"X-Signed": "secret-a-"}


async def test_a_token_is_got_by_the_call_and_masked(tmp_path: Path) -> None:
    """OAuth 2 begins stale, asks once for all who wait, and the mask knows the token from then on."""
    asked: list[TokenRequest] = []

    async def ask(one: TokenRequest) -> TokenAnswer:
        asked.append(one)
        await asyncio.sleep(0)
        return TokenAnswer(200, {}, b'{"access_token": "token-4711", "token_type": "Bearer", "expires_in": 3600}')

    mask = Mask([])
    [section] = made(
        tmp_path,
        mask,
        x={"type": "oauth2", "token_url": "https://t.test/token", "client_id": "c", "client_secret": "env:A"},
    ).sections(ask)
    assert section.scheme.stale(1.7e9)
    assert section.renew is not None
    assert await asyncio.gather(*(section.renew() for _ in range(50))) == [None] * 50
    assert len(asked) == 1
    assert any("token-4711" in text for text in signed(section).values())
    assert mask("token-4711") == "***"


async def test_a_token_that_is_not_to_be_had_is_a_fault(tmp_path: Path) -> None:
    """With its reason and the section's name."""

    async def ask(one: TokenRequest) -> TokenAnswer:
        return TokenAnswer(400, {}, b'{"error": "invalid_client"}')

    said = {"type": "oauth2", "token_url": "https://t.test/token", "client_id": "c", "client_secret": "env:A"}
    [section] = made(tmp_path, x=said).sections(ask)
    assert section.renew is not None
    fault = await section.renew()
    assert isinstance(fault, Fault)
    assert fault.reason is Reason.AUTH_REJECTED
    assert "[auth.x]" in fault.error
    assert "secret-a" not in fault.error


async def test_keys_of_the_chain_are_loaded_once_for_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SigV4 without keys: AWS's own chain, asked when the first request needs it; none there is auth-unavailable."""
    program, asked = tmp_path / "keys.sh", tmp_path / "asked"
    keys = '{"Version": 1, "AccessKeyId": "AKCHAIN", "SecretAccessKey": "chain-secret"}'
    program.write_text(f"echo once >> {asked}\necho '{keys}'\n")
    (tmp_path / "config").write_text(f"[default]\ncredential_process = sh {program}\n")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_SHARED_CREDENTIALS_FILE": "/nowhere",
        "AWS_CONFIG_FILE": str(tmp_path / "config"),
        "HOME": str(tmp_path),
    }.items():
        monkeypatch.setenv(name, value)
    mask = Mask([])
    [section] = made(tmp_path, mask, x={"type": "sigv4"}).sections(nobody)
    assert section.scheme.stale(1.7e9)
    assert section.renew is not None
    assert await asyncio.gather(*(section.renew() for _ in range(10))) == [None] * 10
    assert asked.read_text() == "once\n"
    assert "AKCHAIN/" in signed(section)["Authorization"]
    assert mask("chain-secret") == "***"
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nowhere")
    [section] = made(tmp_path, x={"type": "sigv4"}).sections(nobody)
    assert section.renew is not None
    fault = await section.renew()
    assert fault is not None
    assert fault.reason is Reason.AUTH_UNAVAILABLE
    assert fault.error.startswith("[auth.x] ")
