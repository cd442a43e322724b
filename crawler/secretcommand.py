"""A secret that a program prints: `pass show x`, `gcloud auth print-access-token`.

Does: run the program without a shell and read what it prints, within 10 seconds and some size. Must not know what the
output is for. Invariant: whatever happens, no process of the program's group goes on after a fault; what it printed
stands in no sentence, its stderr nowhere at all.
"""

from __future__ import annotations

import os
import selectors
import shlex
import signal
import subprocess
from contextlib import suppress
from pathlib import Path
from time import monotonic
from typing import IO

from crawler.secretrefs import Absent

LIMIT = 10.0  # seconds
_LOOK = 0.05  # seconds after which to see whether the program has ended while another one holds its output open


def output_of(command: str, folder: Path, most: int, limit: float = LIMIT) -> bytes:
    """What `command`, run in `folder`, prints to stdout, no more than `most` bytes. Raises Absent."""
    words = shlex.split(command)
    try:
        process = subprocess.Popen(
            words,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # so that its children can be ended with it
        )
    except OSError as error:
        raise Absent(f"the program cannot be started: {error.strerror}") from None
    try:
        assert process.stdout is not None
        return _read(process, process.stdout, most, limit)
    except BaseException:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        raise
    finally:
        if process.stdout is not None:
            process.stdout.close()
        process.wait()


def _read(process: subprocess.Popen[bytes], stdout: IO[bytes], most: int, limit: float) -> bytes:
    """All output of a program that ends well within `limit` seconds. Raises Absent."""
    late = Absent(f"the program has not ended after {limit:g} s")
    deadline = monotonic() + limit
    data = b""
    with selectors.DefaultSelector() as selector:
        selector.register(stdout, selectors.EVENT_READ)
        while True:
            over = process.poll() is not None
            if selector.select(0.0 if over else _LOOK):
                piece = os.read(stdout.fileno(), most)
                if not piece:
                    break
                data += piece
            elif over:  # what still holds the output open is another program, left behind
                break
            if len(data) > most:
                raise Absent("the program prints too much for a secret")
            if monotonic() > deadline:
                raise late
    try:
        status = process.wait(max(0.0, deadline - monotonic()))
    except subprocess.TimeoutExpired:
        raise late from None
    if status:
        how = f"was ended by signal {-status}" if status < 0 else f"ended with exit status {status}"
        raise Absent(f"the program {how}")
    if not data.strip():
        raise Absent("the program printed nothing")
    return data
