"""Vault over HTTP, by the real client, against a small server that speaks as Vault does."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from typing import Any

import pytest

from crawler.secretrefs import Absent
from crawler.vault import Vault
from tests.servers import free_port

TOKEN = "hvs.token-of-the-test"


class FakeVault:
    """KV v2 at secret/; `paths` maps a path to its fields, `seen` holds (method, path, token, namespace)."""

    def __init__(self) -> None:
        self.paths: dict[str, Any] = {"team/api": {"token": "s3cret", "number": 7, "other": "0ther"}}
        self.seen: list[tuple[str, str, str | None, str | None]] = []
        self.answer: tuple[int, dict[str, str], bytes] | None = None
        self.silent = Event()
        self.silent.set()
        self.port = 0

    def env(self, **more: str) -> dict[str, str]:
        """The variables that lead here."""
        return {"VAULT_ADDR": f"http://127.0.0.1:{self.port}", "VAULT_TOKEN": TOKEN, **more}

    def answered(self, method: str, path: str, token: str | None, body: bytes) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body."""
        if self.answer is not None:
            return self.answer
        if path == "/v1/auth/approle/login":
            if json.loads(body) == {"role_id": "role", "secret_id": "s3cret-id"}:
                return _json(200, {"auth": {"client_token": TOKEN}})
            return _json(400, {"errors": ["invalid role or secret ID s3cret-id"]})
        if token != TOKEN:
            return _json(403, {"errors": [f"permission denied for {token}"]})
        fields = self.paths.get(path.removeprefix("/v1/secret/data/"))
        if fields is None:
            return _json(404, {"errors": []})
        return _json(200, {"data": {"data": fields, "metadata": {"version": 3}}})


def _json(status: int, data: Any) -> tuple[int, dict[str, str], bytes]:
    return status, {"Content-Type": "application/json"}, json.dumps(data).encode()


@contextmanager
def serving(vault: FakeVault) -> Iterator[FakeVault]:
    class Handler(BaseHTTPRequestHandler):
        def _any(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            token = self.headers.get("X-Vault-Token")
            vault.seen.append((self.command, self.path, token, self.headers.get("X-Vault-Namespace")))
            vault.silent.wait(20)
            status, headers, data = vault.answered(self.command, self.path, token, body)
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = do_PUT = _any

        def log_message(self, *_: object) -> None:
            pass

        def handle(self) -> None:
            with suppress(OSError):  # whoever asked has gone
                super().handle()

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        vault.port = server.server_port
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        try:
            yield vault
        finally:
            vault.silent.set()
            server.shutdown()
            thread.join()


@pytest.fixture
def fake() -> Iterator[FakeVault]:
    """A Vault at work."""
    with serving(FakeVault()) as vault:
        yield vault


def why(vault: Vault, path: str = "secret/team/api", field: str = "token") -> str:
    """The sentence of a fault, which shows no secret."""
    with pytest.raises(Absent) as caught:
        vault.read(path, field)
    assert TOKEN not in str(caught.value)
    assert "s3cret" not in str(caught.value)
    assert caught.value.__cause__ is None
    return str(caught.value)


def test_a_path_is_read_once(fake: FakeVault) -> None:
    """Two fields and a missing one of the same path are one request, with token and namespace."""
    vault = Vault(fake.env(VAULT_NAMESPACE="team"))
    assert vault.read("secret/team/api", "token") == "s3cret"
    assert vault.read("secret/team/api", "other") == "0ther"
    assert why(vault, field="absent") == "Vault has the path, but no such field in it"
    assert why(vault, field="number") == "the field is not text"
    assert fake.seen == [("GET", "/v1/secret/data/team/api", TOKEN, "team")]
    assert TOKEN not in repr(vault)


def test_an_approle_logs_in_once(fake: FakeVault) -> None:
    """Role and secret id give a token, with which all paths are read."""
    env = fake.env(VAULT_ROLE_ID="role", VAULT_SECRET_ID="s3cret-id")
    del env["VAULT_TOKEN"]
    fake.paths["b"] = {"x": "of b"}
    vault = Vault(env)
    assert (vault.read("secret/team/api", "token"), vault.read("secret/b", "x")) == ("s3cret", "of b")
    assert [path for _, path, _, _ in fake.seen] == [
        "/v1/auth/approle/login",
        "/v1/secret/data/team/api",
        "/v1/secret/data/b",
    ]


def test_an_approle_that_is_refused_is_tried_once(fake: FakeVault) -> None:
    """The fault holds for every path, and says what was tried."""
    vault = Vault({**fake.env(), "VAULT_TOKEN": "", "VAULT_ROLE_ID": "role", "VAULT_SECRET_ID": "s3cret-no"})
    assert why(vault).startswith("no login by VAULT_ROLE_ID and VAULT_SECRET_ID: Vault does not understand")
    assert why(vault, "secret/b").startswith("no login by VAULT_ROLE_ID")
    assert len(fake.seen) == 1


def test_what_vault_refuses(fake: FakeVault) -> None:
    """A wrong token, a path that is not there, a sealed Vault: each has its sentence; what it says is not repeated."""
    assert "(403)" in why(Vault(fake.env(VAULT_TOKEN="hvs.s3cret-wrong")))
    vault = Vault(fake.env())
    assert "(404)" in why(vault, "secret/none")
    assert "(404)" in why(vault, "secret/none")
    assert [path for _, path, _, _ in fake.seen].count("/v1/secret/data/none") == 1
    fake.answer = _json(503, {"errors": ["Vault is sealed s3cret"]})
    assert "(503)" in why(vault, "secret/other")
    fake.answer = _json(500, {"errors": ["s3cret"]})
    assert "cannot be asked (InternalServerError)" in why(vault, "secret/more")


@pytest.mark.parametrize(
    "answer",
    [
        _json(200, {"data": {"token": "s3cret"}}),  # KV version 1
        _json(200, {"data": None}),
        _json(200, ["s3cret"]),
        (200, {"Content-Type": "text/html"}, b"<html>s3cret</html>"),
    ],
)
def test_what_is_no_vault(fake: FakeVault, answer: tuple[int, dict[str, str], bytes]) -> None:
    """A page, or another engine, is told as such."""
    fake.answer = answer
    assert why(Vault(fake.env())) == "what answers at VAULT_ADDR is no KV engine of version 2"


def test_a_token_follows_no_redirect(fake: FakeVault) -> None:
    """It was given for VAULT_ADDR alone."""
    with serving(FakeVault()) as other:
        fake.answer = 307, {"Location": f"http://127.0.0.2:{other.port}/v1/secret/data/team/api"}, b""
        assert "is no KV engine" in why(Vault(fake.env()))
        assert other.seen == []


def test_proxies_of_the_environment_see_no_token(fake: FakeVault, monkeypatch: pytest.MonkeyPatch) -> None:
    """The way to Vault is direct."""
    with serving(FakeVault()) as proxy:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        for name in ("no_proxy", "NO_PROXY"):
            monkeypatch.delenv(name, raising=False)
        assert Vault(fake.env()).read("secret/team/api", "token") == "s3cret"
        assert proxy.seen == []


def test_a_vault_that_is_silent_costs_its_time_once(fake: FakeVault) -> None:
    """No answer within the limit; the next path is not asked for any more."""
    fake.silent.clear()
    vault = Vault(fake.env(), limit=0.2)
    assert why(vault).endswith(": no answer within 0.2 s")
    assert why(vault, "secret/b").endswith(": no answer within 0.2 s")
    assert len(fake.seen) == 1


def test_a_vault_that_is_not_there() -> None:
    """Nobody listens; the address is shown without its password."""
    env = {"VAULT_ADDR": f"http://anna:s3cret@127.0.0.1:{free_port()}", "VAULT_TOKEN": TOKEN}
    told = why(Vault(env))
    assert "http://***@127.0.0.1:" in told
    assert told.endswith(": it cannot be reached")


@pytest.mark.parametrize(
    ("env", "told"),
    [
        ({}, "VAULT_ADDR is not set"),
        ({"VAULT_ADDR": "http://127.0.0.1:1"}, "neither VAULT_TOKEN nor both"),
        ({"VAULT_ADDR": "http://127.0.0.1:1", "VAULT_ROLE_ID": "x"}, "neither VAULT_TOKEN nor both"),
        ({"VAULT_ADDR": "no address", "VAULT_TOKEN": TOKEN}, "cannot be asked"),
        ({"VAULT_ADDR": "http://127.0.0.1:1", "VAULT_TOKEN": f"{TOKEN}\nx"}, "cannot be asked"),
        ({"VAULT_ADDR": "http://127.0.0.1:1", "VAULT_TOKEN": f"{TOKEN}\u2019"}, "cannot be asked"),
        ({"VAULT_ADDR": "https://127.0.0.1:1", "VAULT_TOKEN": TOKEN, "VAULT_CACERT": "/none"}, "cannot be asked"),
    ],
)
def test_an_environment_that_leads_nowhere(env: dict[str, str], told: str) -> None:
    """What is missing is named; nothing is asked, and no value is shown."""
    assert told in why(Vault(env))


def test_without_hvac(monkeypatch: pytest.MonkeyPatch) -> None:
    """The extra is named."""
    monkeypatch.setitem(__import__("sys").modules, "hvac", None)
    assert "pip install 'crawler[secrets]'" in why(Vault({}))
