"""`crawler monitor` as it is typed."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
from contextlib import ExitStack, suppress
from pathlib import Path
from time import monotonic

import pytest

from crawler.errors import JobError
from crawler.monitorcommand import keys_of
from tests.monitored import Job, record

ENOUGH = "0123456789abcdef"


@pytest.mark.parametrize("host", ["0.0.0.0", "10.1.2.3", "::"])
def test_others_are_let_in_only_with_a_token(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Then for reading too."""
    with pytest.raises(JobError, match="--token"):
        keys_of([host], host, None, control=True)
    monkeypatch.setenv("MONITOR_TOKEN", ENOUGH)
    keys, made = keys_of([host], host, "env:MONITOR_TOKEN", control=False)
    assert keys.reading
    assert not keys.control
    assert made is None


def test_control_has_a_token_of_its_own() -> None:
    """Made anew each time; reading stays free on loopback."""
    keys, made = keys_of(["127.0.0.1"], "127.0.0.1", None, control=True)
    assert made is not None
    assert keys.may_order(f"Bearer {made}")
    assert keys.may_read(None, None)
    assert keys_of(["127.0.0.1"], "127.0.0.1", None, control=True)[1] != made
    assert keys_of(["127.0.0.1"], "127.0.0.1", None, control=False)[1] is None


@pytest.mark.parametrize("reference", ["env:NOT_SET_ANYWHERE", "a-token-as-it-is-which-is-no-reference"])
def test_a_token_is_a_reference(reference: str) -> None:
    """The token itself does not stand on the command line, where every user of the machine sees it."""
    with pytest.raises(JobError, match="--token") as caught:
        keys_of(["127.0.0.1"], "127.0.0.1", reference, control=False)
    assert "which-is-no-reference" not in str(caught.value)


def test_a_short_token_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """It could be guessed; it is not told."""
    monkeypatch.setenv("MONITOR_TOKEN", "short-secret")
    with pytest.raises(JobError, match="fewer than 16") as caught:
        keys_of(["127.0.0.1"], "127.0.0.1", "env:MONITOR_TOKEN", control=False)
    assert "short-secret" not in str(caught.value)


def crawler(*arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "crawler", "monitor", *arguments]
    return subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


@pytest.mark.slow
def test_it_serves_until_it_is_told_to_end(tmp_path: Path) -> None:
    """It says where, and the token once; SIGTERM ends it well."""
    with crawler("-o", str(tmp_path), "--port", "0", "--control") as process:
        assert process.stderr is not None
        first, second = process.stderr.readline(), process.stderr.readline()
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
    assert re.search(r"http://127\.0\.0\.1:[0-9]+/", first)
    assert re.fullmatch(r"token for control: [A-Za-z0-9_-]{43}\n", second)


def listening(port: int) -> list[str]:
    """The addresses, as the kernel spells them, at which anybody waits for connections to a port."""
    rows = [line.split() for name in ("tcp", "tcp6") for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]]
    return [row[1].split(":")[0] for row in rows if row[3] == "0A" and int(row[1].split(":")[1], 16) == port]


def asked(port: int, path: str) -> bytes:
    """The first line of an answer; nothing where the connection is closed instead."""
    with socket.create_connection(("127.0.0.1", port), 10) as connection, suppress(ConnectionResetError):
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n".encode())
        return connection.makefile("rb").readline()
    return b""


@pytest.mark.slow
@pytest.mark.parametrize("files", [24, 64])
def test_with_few_files_it_serves_a_few_and_goes_on(files: int, tmp_path: Path) -> None:
    """Connections beyond are closed at once, no message is printed for them, and whoever is served is answered with
    what must be read; only loopback is bound.
    """
    Job(tmp_path).run([record(1)])
    limit = ["prlimit", f"--nofile={files}:{files}", sys.executable, "-m", "crawler", "monitor"]
    with subprocess.Popen([*limit, "-o", str(tmp_path), "--port", "0"], stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        port = int(re.findall(r":([0-9]+)/", process.stderr.readline())[0])
        assert listening(port) == ["0100007F"]
        with ExitStack() as held:
            first = held.enter_context(socket.create_connection(("127.0.0.1", port), 10))
            for _ in range(100):
                held.enter_context(socket.create_connection(("127.0.0.1", port), 10))
            assert asked(port, "/style.css") == b""
            first.sendall(f"GET /api/overview HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode())
            answer = first.makefile("rb").readline()
        assert answer == b"HTTP/1.1 200 OK\r\n"
        until = monotonic() + 10
        while (again := asked(port, "/api/overview")) == b"" and monotonic() < until:
            pass  # the others are being closed
        assert again == b"HTTP/1.1 200 OK\r\n"
        process.send_signal(signal.SIGTERM)
        said = process.stderr.read()
        assert process.wait(10) == 0
    assert said == ""


@pytest.mark.slow
def test_it_says_why_it_does_not(tmp_path: Path) -> None:
    """An address for others without a token: exit 2, one sentence."""
    with crawler("-o", str(tmp_path), "--host", "0.0.0.0", "--port", "0") as process:
        _, said = process.communicate(timeout=10)
    assert process.returncode == 2
    assert said.count("\n") == 1
    assert "--token" in said
