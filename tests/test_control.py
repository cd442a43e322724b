"""How another process speaks to a running job: what comes back, and what is told when nothing does."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from typing import Any

import orjson
import pytest

from crawler.control import ANSWER, NAME, NoAnswer, NotRunning, ask, ask_async, reached
from crawler.errors import ExitCode

Ask = Callable[..., dict[str, Any]]


def asked_async(folder: Path, order: dict[str, Any], timeout: float = 5.0) -> dict[str, Any]:
    return asyncio.run(ask_async(folder, order, timeout))


both = pytest.mark.parametrize("asking", [ask, asked_async], ids=["blocking", "async"])


@contextmanager
def job(folder: Path, answer: Callable[[socket.socket], None]) -> Iterator[None]:
    """A socket in the folder, at which one connection is answered."""
    with socket.socket(socket.AF_UNIX) as listener:
        with reached(folder) as path:
            listener.bind(path)
        listener.listen()

        def serve() -> None:
            peer, _ = listener.accept()
            with peer:
                answer(peer)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield
        finally:
            thread.join(10)


def echo(peer: socket.socket) -> None:
    """Send back what came, in two pieces."""
    answer = orjson.dumps({"ok": True, "got": orjson.loads(peer.makefile("rb").readline())}) + b"\n"
    peer.sendall(answer[:3])
    peer.sendall(answer[3:])


@both
def test_an_order_is_answered(tmp_path: Path, asking: Ask) -> None:
    """One line there, one line back, in however many pieces it comes."""
    with job(tmp_path, echo):
        assert asking(tmp_path, {"do": "state"}) == {"ok": True, "got": {"do": "state"}}


@both
def test_a_path_of_any_length_will_do(tmp_path: Path, asking: Ask) -> None:
    """The folder of the job may lie deeper than a socket's name may be long."""
    deep = tmp_path / ("d" * 100) / ("e" * 100)
    deep.mkdir(parents=True)
    with job(deep, echo):
        assert asking(deep, {"do": "pause"})["got"] == {"do": "pause"}
    assert (deep / NAME).is_socket()


@both
def test_a_job_that_is_not_running_is_told(tmp_path: Path, asking: Ask) -> None:
    """Without a folder, without a socket, and with one that a killed process left behind."""
    with pytest.raises(NotRunning, match="is not running") as caught:
        asking(tmp_path / "absent", {"do": "state"})
    assert caught.value.code == ExitCode.USAGE
    with pytest.raises(NotRunning):
        asking(tmp_path, {"do": "state"})
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(tmp_path / NAME))
    with pytest.raises(NotRunning):
        asking(tmp_path, {"do": "state"})


@both
def test_silence_is_no_answer(tmp_path: Path, asking: Ask) -> None:
    """A job that takes an order and says nothing holds nobody up for longer than was allowed."""
    done, began = threading.Event(), monotonic()

    def silent(peer: socket.socket) -> None:
        peer.recv(100)
        done.wait(10)

    with job(tmp_path, silent):
        with pytest.raises(NoAnswer, match="in time"):
            asking(tmp_path, {"do": "state"}, 0.2)
        assert monotonic() - began < 5
        done.set()


@both
@pytest.mark.parametrize("said", [b"", b'{"ok":tr', b"[1]\n", b"nonsense\n"])
def test_half_an_answer_or_nonsense_is_none(tmp_path: Path, asking: Ask, said: bytes) -> None:
    """A job that dies while it answers, and something else that listens there."""

    def answer(peer: socket.socket) -> None:
        peer.recv(100)
        peer.sendall(said)

    with job(tmp_path, answer), pytest.raises(NoAnswer):
        asking(tmp_path, {"do": "state"})


@both
def test_an_endless_answer_is_cut(tmp_path: Path, asking: Ask) -> None:
    """Whatever listens there costs bounded memory."""

    def flood(peer: socket.socket) -> None:
        peer.recv(100)
        sent = 0
        try:
            while sent < 16 * ANSWER:
                sent += peer.send(b"x" * 65536)
        except OSError:
            pass
        assert sent < 16 * ANSWER

    with job(tmp_path, flood), pytest.raises(NoAnswer):
        asking(tmp_path, {"do": "state"})


@both
def test_a_folder_of_somebody_else_is_told(tmp_path: Path, asking: Ask) -> None:
    """No right to reach the socket is not the same as a job that does not run."""
    if os.geteuid() != 0:
        pytest.skip("only root can become another user")
    with job(tmp_path, lambda peer: None):
        (tmp_path / NAME).chmod(0o600)
        os.seteuid(65534)
        try:
            with pytest.raises(NoAnswer, match="cannot be reached: Permission denied"):
                asking(tmp_path, {"do": "state"})
        finally:
            os.seteuid(0)
            ask_nothing(tmp_path)


def ask_nothing(folder: Path) -> None:
    """Let the one connection of `job` be."""
    with socket.socket(socket.AF_UNIX) as peer:
        peer.connect(str(folder / NAME))
