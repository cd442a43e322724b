"""Secrets from where references lead: each fault in a sentence, all at once, and never a value in it."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path

import keyring
import pytest
from hypothesis import given
from hypothesis import strategies as st
from keyring.backend import KeyringBackend
from keyring.backends.fail import Keyring as NoBackend
from keyring.errors import KeyringLocked

from crawler.errors import ExitCode, JobError
from crawler.references import LARGEST, Resolver, Unresolved, is_open_to_others


class InMemory(KeyringBackend):
    """A keyring that a test fills; `asked` counts, `trouble` is raised."""

    priority = 1.0

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.known: dict[tuple[str, str], str] = {}
        self.asked = 0
        self.trouble: Exception | None = None

    def set_password(self, service: str, username: str, password: str) -> None:
        self.known[service, username] = password

    def get_password(self, service: str, username: str) -> str | None:
        self.asked += 1
        if self.trouble is not None:
            raise self.trouble
        return self.known.get((service, username))


@pytest.fixture
def ring() -> Iterator[InMemory]:
    """The keyring of this process, as long as a test runs."""
    before, ring = keyring.get_keyring(), InMemory()
    keyring.set_keyring(ring)
    yield ring
    keyring.set_keyring(before)


def secret_file(folder: Path, data: bytes, name: str = "secret", mode: int = 0o600) -> str:
    """A reference to a file beside the job."""
    (folder / name).write_bytes(data)
    (folder / name).chmod(mode)
    return f"file:{name}"


def why(resolver: Resolver, reference: str) -> str:
    """The sentence of a fault: names the reference, ends with exit code 2, chains nothing."""
    with pytest.raises(Unresolved) as caught:
        resolver.resolve(reference)
    assert caught.value.code == ExitCode.USAGE
    assert str(caught.value) == f"{reference}: {caught.value.why}"
    assert "hunter2" not in caught.value.why
    return caught.value.why


def test_variables(tmp_path: Path) -> None:
    """A value as it is; absent and empty are faults of their own."""
    resolver = Resolver(tmp_path, {"TOKEN": " hunter2 ä", "EMPTY": ""})
    assert resolver.resolve("env:TOKEN") == " hunter2 ä"
    assert why(resolver, "env:ABSENT") == "the environment has no such variable"
    assert why(resolver, "env:EMPTY") == "the variable is set, but empty"


def test_the_environment_is_that_of_the_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Unless another one is given."""
    monkeypatch.setenv("CRAWLER_TEST_TOKEN", "hunter2")
    assert Resolver(tmp_path).resolve("env:CRAWLER_TEST_TOKEN") == "hunter2"


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("hunter2\nx", "line break"),
        ("hunter2\r", "line break"),
        ("hunter2\n", "line break"),
        ("hunter2\x00", "control character"),
        ("hunter2\x1b[2J", "control character"),
        ("\thunter2", "control character"),
        ("hunter2\x7f", "control character"),
        ("hunter2\udcff", "not UTF-8"),
    ],
)
def test_what_no_header_can_carry_is_refused(tmp_path: Path, value: str, told: str) -> None:
    """A break would end the header and begin another."""
    assert told in why(Resolver(tmp_path, {"A": value}), "env:A")


@given(st.text(max_size=20))
def test_every_value_that_passes_can_stand_in_a_header(value: str) -> None:
    """Whatever a variable holds: it comes back as it is, or not at all."""
    resolver = Resolver(Path(), {"A": value})
    try:
        assert resolver.resolve("env:A") == value
    except Unresolved:
        assert not value or not value.isprintable()
    else:
        assert not any(ord(char) < 32 or ord(char) == 127 for char in value)


def test_files(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Relative to the job file or absolute, by a link, without one line end behind it; nothing is said of 0600."""
    resolver = Resolver(tmp_path, {})
    assert resolver.resolve(secret_file(tmp_path, b"hunter2\n", "a")) == "hunter2"
    assert resolver.resolve(secret_file(tmp_path, b"hunter2\r\n", "b")) == "hunter2"
    assert resolver.resolve(secret_file(tmp_path, b"hunter2", "c", 0o400)) == "hunter2"
    (tmp_path / "link").symlink_to("a")
    assert resolver.resolve("file:link") == "hunter2"
    assert resolver.resolve(f"file:{tmp_path}/a") == "hunter2"
    assert resolver.resolve(secret_file(tmp_path, b"x" * LARGEST, "most")) == "x" * LARGEST
    assert caplog.records == []


def test_files_that_are_none(tmp_path: Path) -> None:
    """Absent, dangling, a folder, a pipe that nobody writes to, a device without end: each told, none waited for."""
    resolver = Resolver(tmp_path, {})
    (tmp_path / "dangling").symlink_to("nowhere")
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    assert why(resolver, "file:absent") == "it cannot be opened: No such file or directory"
    assert why(resolver, "file:dangling") == "it is a link that leads nowhere"
    assert why(resolver, "file:folder") == "it is not a regular file"
    assert why(resolver, "file:pipe") == "it is not a regular file"
    assert why(resolver, "file:/dev/zero") == "it is not a regular file"


def test_what_files_hold(tmp_path: Path) -> None:
    """Nothing, too much, two lines, two line ends, no text."""
    resolver = Resolver(tmp_path, {})
    assert why(resolver, secret_file(tmp_path, b"", "a")) == "the value is empty"
    assert why(resolver, secret_file(tmp_path, b"\n", "b")) == "the value is empty"
    assert "line break" in why(resolver, secret_file(tmp_path, b"hunter2\nhunter2\n", "c"))
    assert "line break" in why(resolver, secret_file(tmp_path, b"hunter2\n\n", "d"))
    assert why(resolver, secret_file(tmp_path, b"hunter2\xff", "e")) == "it is not UTF-8"
    sparse = tmp_path / "f"
    sparse.write_bytes(b"")
    os.truncate(sparse, 1 << 30)
    assert why(resolver, "file:f") == "it is larger than 64 KiB, which no secret is"


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o620, 0o604])
def test_a_file_that_others_can_use_is_told_of(tmp_path: Path, caplog: pytest.LogCaptureFixture, mode: int) -> None:
    """A warning with the path and the mode; the value is taken all the same, and is not shown."""
    assert Resolver(tmp_path, {}).resolve(secret_file(tmp_path, b"hunter2", mode=mode)) == "hunter2"
    [record] = caplog.records
    assert record.levelno == logging.WARNING
    assert f"{tmp_path}/secret" in record.getMessage()
    assert f"mode {mode:04o}" in record.getMessage()
    assert "hunter2" not in record.getMessage()


def test_mounted_secrets_are_as_they_are() -> None:
    """Docker, Swarm and Kubernetes mount them 0444, and nobody can change that."""
    assert not is_open_to_others(Path("/run/secrets/token"), 0o100444)
    assert not is_open_to_others(Path("/var/run/secrets/kubernetes.io/serviceaccount/token"), 0o100644)
    assert is_open_to_others(Path("/etc/secrets/token"), 0o100444)
    assert is_open_to_others(Path("/run/secrets-of-mine/token"), 0o100444)
    assert not is_open_to_others(Path("/etc/secrets/token"), 0o100600)


def test_programs(tmp_path: Path) -> None:
    """The output without its line end; two lines, an exit status and a missing program are told."""
    resolver = Resolver(tmp_path, {})
    assert resolver.resolve("cmd:echo 'hunter2 x'") == "hunter2 x"
    assert "line break" in why(resolver, "cmd:printf 'a\\nb\\n'")
    assert why(resolver, "cmd:false") == "the program ended with exit status 1"
    assert "cannot be started" in why(resolver, "cmd:./absent")


def test_keyrings(tmp_path: Path, ring: InMemory) -> None:
    """By service and user, of which the service may have slashes; what is absent or locked is told."""
    ring.known = {("https://api.example/v1", "anna"): "hunter2"}
    resolver = Resolver(tmp_path, {})
    assert resolver.resolve("keyring:https://api.example/v1/anna") == "hunter2"
    assert "no password of this service and user" in why(resolver, "keyring:other/anna")
    ring.trouble = KeyringLocked("hunter2")
    assert why(resolver, "keyring:a/b") == "the keyring is locked"
    ring.trouble = OSError("hunter2")
    assert why(resolver, "keyring:a/c") == "the keyring cannot be read (OSError)"


def test_a_machine_without_a_keyring(tmp_path: Path, ring: InMemory, monkeypatch: pytest.MonkeyPatch) -> None:
    """No backend, and no package: the extra is named."""
    keyring.set_keyring(NoBackend())  # type: ignore[no-untyped-call]
    assert why(Resolver(tmp_path, {}), "keyring:a/b") == "this machine has no keyring that could be asked"
    monkeypatch.setitem(__import__("sys").modules, "keyring", None)
    assert "pip install 'crawler[secrets]'" in why(Resolver(tmp_path, {}), "keyring:a/b")


def test_vaults(tmp_path: Path) -> None:
    """The environment that was given says where Vault is."""
    assert why(Resolver(tmp_path, {}), "vault:secret/a#b") == "VAULT_ADDR is not set"


def test_each_is_asked_for_once(tmp_path: Path, ring: InMemory) -> None:
    """However often a reference stands in a job; of one that fails as well."""
    ring.known = {("a", "b"): "hunter2"}
    resolver = Resolver(tmp_path, {})
    values = resolver.resolve_all({"auth.x.password": "keyring:a/b", "auth.y.password": "keyring:a/b"})
    assert values == {"auth.x.password": "hunter2", "auth.y.password": "hunter2"}
    assert ring.asked == 1
    counted = "cmd:sh -c 'echo x >> runs; exit 3'"
    assert why(resolver, counted) == why(resolver, counted)
    assert (tmp_path / "runs").read_text() == "x\n"


def test_all_that_are_absent_are_told_together(tmp_path: Path) -> None:
    """Each with its place, its reference and the reason; no value of those that were found."""
    named = {
        "auth.a.token": "env:ABSENT",
        "auth.b.token": "env:GOOD",
        "auth.c.password": "file:absent",
        "connection.proxy.password": "env:BAD",
        "auth.d.token": "hunter2",
    }
    with pytest.raises(JobError) as caught:
        Resolver(tmp_path, {"GOOD": "hunter2", "BAD": "hunter2\n"}).resolve_all(named)
    assert [problem.split(": ")[0] for problem in caught.value.problems] == [
        "auth.a.token",
        "auth.c.password",
        "connection.proxy.password",
        "auth.d.token",
    ]
    assert caught.value.problems[3].startswith("auth.d.token: is no reference; write env:NAME")
    assert caught.value.problems[0] == "auth.a.token: env:ABSENT: the environment has no such variable"
    assert caught.value.code == ExitCode.USAGE
    assert "hunter2" not in str(caught.value)


def test_no_repr_shows_a_value(tmp_path: Path) -> None:
    """Neither of the resolver nor of what it found."""
    resolver = Resolver(tmp_path, {"A": "hunter2"})
    resolver.resolve("env:A")
    assert repr(resolver) == "<Resolver of 1 references>"
