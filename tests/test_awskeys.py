"""AWS keys by botocore's chain: each of its sources on loopback, and what is said where none has any."""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from time import monotonic

import pytest

from crawler.auth.sigv4 import Keys
from crawler.awskeys import KeysMissing, KeySource
from tests.servers import free_port

ENDS = datetime(2099, 1, 1, tzinfo=UTC)
GIVEN = {
    "Code": "Success",
    "AccessKeyId": "AKIAMETA",
    "SecretAccessKey": "hidden",
    "Token": "token",
    "Expiration": ENDS.isoformat().replace("+00:00", "Z"),
    "LastUpdated": "2020-01-01T00:00:00Z",
}
ROLE = "/latest/meta-data/iam/security-credentials/"


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """No AWS settings of whoever runs the tests, and no asking of a real instance."""
    for name in list(os.environ):
        if name.startswith("AWS_") or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("BOTO_CONFIG", str(tmp_path / "boto"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    return tmp_path


@contextmanager
def metadata(pages: Mapping[str, str]) -> Iterator[tuple[str, list[str]]]:
    """A metadata service: its URL and the lines it was asked with."""
    lines: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            lines.append(f"{self.command} {self.path} {self.headers.get('Authorization', '')}".strip())
            body = pages.get(self.path, "").encode()
            self.send_response(200 if body else 404)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_PUT = do_GET

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", lines
        finally:
            server.shutdown()
            thread.join(5)


def test_the_environment_gives_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without an end, and read anew each time."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAENV")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hidden")
    source = KeySource()
    assert source.load() == Keys("AKIAENV", "hidden")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "token")
    assert source.load() == Keys("AKIAENV", "hidden", "token")


def test_a_named_profile_goes_before_the_environment(monkeypatch: pytest.MonkeyPatch, bare: Path) -> None:
    """The default profile is for those who name none, behind the environment."""
    (bare / "credentials").write_text(
        "[default]\naws_access_key_id=AKIADEFAULT\naws_secret_access_key=x\n"
        "[other]\naws_access_key_id=AKIAOTHER\naws_secret_access_key=y\naws_session_token=z\n"
    )
    assert KeySource().load() == Keys("AKIADEFAULT", "x")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAENV")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hidden")
    assert KeySource().load() == Keys("AKIAENV", "hidden")
    assert KeySource("other").load() == Keys("AKIAOTHER", "y", "z")


def test_a_file_that_was_changed_is_read_anew(bare: Path) -> None:
    """Keys that were rotated on disk are there with the next load."""
    file, source = bare / "credentials", KeySource()
    file.write_text("[default]\naws_access_key_id=AKIAONE\naws_secret_access_key=x\n")
    assert source.load().access_key == "AKIAONE"
    file.write_text("[default]\naws_access_key_id=AKIATWO\naws_secret_access_key=x\n")
    assert source.load().access_key == "AKIATWO"


def test_a_container_gives_keys_with_their_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Asked with the token that the container was given for it."""
    with metadata({"/keys": json.dumps(GIVEN)}) as (url, lines):
        monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"{url}/keys")
        monkeypatch.setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN", "pass")
        assert KeySource().load() == Keys("AKIAMETA", "hidden", "token", ENDS.timestamp())
    assert lines == ["GET /keys pass"]


def test_an_instance_gives_keys_with_their_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """By IMDSv2: a token first, then the role, then its keys."""
    pages = {"/latest/api/token": "t", ROLE: "role", f"{ROLE}role": json.dumps(GIVEN)}
    with metadata(pages) as (url, lines):
        monkeypatch.delenv("AWS_EC2_METADATA_DISABLED")
        monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", url)
        assert KeySource().load() == Keys("AKIAMETA", "hidden", "token", ENDS.timestamp())
    assert lines == ["PUT /latest/api/token", f"GET {ROLE}", f"GET {ROLE}role"]


def test_an_instance_is_not_asked_where_that_is_switched_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """AWS_EC2_METADATA_DISABLED: not one request."""
    with metadata({}) as (url, lines):
        monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", url)
        with pytest.raises(KeysMissing, match="AWS_ACCESS_KEY_ID"):
            KeySource().load()
    assert lines == []


def test_where_there_is_no_instance_it_is_said_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody listens there: one try, and a sentence that names all places."""
    monkeypatch.delenv("AWS_EC2_METADATA_DISABLED")
    monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", f"http://127.0.0.1:{free_port()}")
    began = monotonic()
    with pytest.raises(KeysMissing, match=r"environment.*profiles.*container.*instance"):
        KeySource().load()
    assert monotonic() - began < 3


def test_a_missing_profile_is_named() -> None:
    """Its name is in the sentence; botocore's exception is not chained."""
    with pytest.raises(KeysMissing, match=r"'nobody'.*ProfileNotFound") as caught:
        KeySource("nobody").load()
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


@pytest.mark.slow
def test_what_a_credential_process_prints_is_not_shown(bare: Path) -> None:
    """Its keys are taken with their end; where it fails, its output (which may be a secret) is not in the sentence."""
    script = bare / "keys.py"
    (bare / "config").write_text(f"[profile run]\ncredential_process = {sys.executable} {script}\n")
    script.write_text(f"print({json.dumps({**GIVEN, 'Version': 1, 'SessionToken': 'token'})!r})")
    assert KeySource("run").load() == Keys("AKIAMETA", "hidden", "token", ENDS.timestamp())
    script.write_text("raise SystemExit('hidden-secret')")
    with pytest.raises(KeysMissing) as caught:
        KeySource("run").load()
    assert "CredentialRetrievalError" in str(caught.value)
    assert "hidden-secret" not in str(caught.value)


def test_half_a_pair_is_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """An access key without its secret is said by the kind of fault, and not by its value."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAHALF")
    with pytest.raises(KeysMissing, match="PartialCredentialsError") as caught:
        KeySource().load()
    assert "AKIAHALF" not in str(caught.value)
