"""How another process speaks to a running job: the socket in the job's folder, one order, one answer.

Does: find the socket, send an order as a line of JSON, read the answer. Must not know what an order does. Invariant: an
answer is one line of at most ANSWER bytes and comes before the timeout, or an error is raised that says what to do.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from errno import ECONNREFUSED, ENOENT, ENOTDIR
from pathlib import Path
from time import monotonic
from typing import Any

import orjson

from crawler.errors import CrawlerError, ExitCode

NAME = "control"  # of the socket, in the job's folder
LINE = 64 * 1024  # bytes of an order, its newline among them
ANSWER = 4 * 1024 * 1024
_LONGEST = 107  # bytes of a socket's path: sun_path of unix(7), without its last zero
_NOBODY = (ENOENT, ECONNREFUSED, ENOTDIR)


class NotRunning(CrawlerError):
    """Nobody listens: the job is not running."""

    code = ExitCode.USAGE


class NoAnswer(CrawlerError):
    """Somebody listens, but no answer came: out of time, no right, or cut off."""

    code = ExitCode.BUSY


def ask(job_folder: Path, order: Mapping[str, Any], timeout: float = 5.0) -> dict[str, Any]:
    """The answer to one order, {"ok": true, ...} or {"ok": false, "error": sentence}; `timeout` in seconds, for all.

    Raises NotRunning, NoAnswer.
    """
    until = monotonic() + timeout
    with _told(job_folder), socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as peer:
        peer.settimeout(timeout)
        with reached(job_folder) as path:
            peer.connect(path)
        peer.sendall(orjson.dumps(order) + b"\n")
        said = bytearray()
        while not said.endswith(b"\n"):
            if (left := until - monotonic()) <= 0 or len(said) > ANSWER:
                raise TimeoutError
            peer.settimeout(left)
            piece = peer.recv(65536)
            if not piece:
                raise EOFError
            said += piece
        return _answer(said)


async def ask_async(
    job_folder: Path,
    order: Mapping[str, Any],
    timeout: float = 5.0,  # noqa: ASYNC109 - as `ask` has it
) -> dict[str, Any]:
    """As `ask`, for a program with an event loop. Raises NotRunning, NoAnswer."""
    with _told(job_folder):
        async with asyncio.timeout(timeout):
            return await _asked(job_folder, order)


async def _asked(job_folder: Path, order: Mapping[str, Any]) -> dict[str, Any]:
    peer = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        peer.setblocking(False)
        with reached(job_folder) as path:
            peer.connect(path)  # of a unix socket it never waits: there is room among those who wait, or there is none
        reader, writer = await asyncio.open_unix_connection(sock=peer, limit=ANSWER)
    except BaseException:
        peer.close()
        raise
    try:
        writer.write(orjson.dumps(order) + b"\n")
        return _answer(await reader.readuntil(b"\n"))
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()


@contextmanager
def reached(job_folder: Path) -> Iterator[str]:
    """A path of the job's socket that fits into an address, good within the block; a long one goes through
    /proc/self/fd. Raises OSError.
    """
    path = str(job_folder / NAME)
    if len(os.fsencode(path)) <= _LONGEST:
        yield path
        return
    folder = os.open(job_folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{NAME}"
    finally:
        os.close(folder)


def _answer(line: bytes | bytearray) -> dict[str, Any]:
    said = orjson.loads(line)
    if not isinstance(said, dict):
        raise ValueError("an answer is an object")
    return said


@contextmanager
def _told(job_folder: Path) -> Iterator[None]:
    """Faults of an exchange as our own."""
    job = job_folder.name
    try:
        yield
    except TimeoutError:
        raise NoAnswer(f"{job} is running, but did not answer in time; try again") from None
    except (EOFError, ConnectionError, ValueError, asyncio.LimitOverrunError) as error:
        if isinstance(error, ConnectionRefusedError):
            raise NotRunning(f"{job} is not running") from None
        raise NoAnswer(f"{job} ended before it answered, or did not understand") from None
    except OSError as error:
        if error.errno in _NOBODY:
            raise NotRunning(f"{job} is not running") from None
        raise NoAnswer(f"{job} cannot be reached: {error.strerror}") from None
