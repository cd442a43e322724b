"""A command of the job's own, run when a run is over: on_success, on_failure.

Does: start it, wait for its end within some time. Must not know what it is for. Invariant: what comes from the web gets
to it in its environment alone; whatever it does, no more comes of it than a sentence; after its time none of its group
is left.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO

from crawler.urls import printable

LIMIT = 60.0  # seconds
_LONGEST_VALUE = 8000  # characters; the kernel takes 128 KiB
_SHOWN = 300  # characters of what it said last


async def run_hook(
    command: str | Sequence[str], told: Mapping[str, str], folder: Path, limit: float = LIMIT
) -> str | None:
    """Run a command in a folder, a text by the shell, with `told` in its environment. Returns a fault, or None."""
    environment = {**os.environ, **{name: printable(value, _LONGEST_VALUE) for name, value in told.items()}}
    words = ["/bin/sh", "-c", command] if isinstance(command, str) else list(command)
    with TemporaryFile() as said:  # no pipe: what it leaves in the background may hold that open
        try:
            process = await asyncio.create_subprocess_exec(
                *words,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                env=environment,
                cwd=folder,
                start_new_session=True,  # so that its children can be ended with it
            )
        except OSError as error:
            return f"cannot be started: {error.strerror}"
        try:
            status = await asyncio.wait_for(process.wait(), limit)
        except TimeoutError:
            await _end(process)
            return f"had not ended after {limit:g} s, and was stopped{_last(said)}"
        except BaseException:
            await _end(process)
            raise
        if status == 0:
            return None
        how = f"was ended by signal {-status}" if status < 0 else f"ended with exit status {status}"
        return how + _last(said)


async def _end(process: asyncio.subprocess.Process) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    await process.wait()


def _last(said: IO[bytes]) -> str:
    """The last line that it printed, as the end of a sentence."""
    size = said.seek(0, os.SEEK_END)
    said.seek(max(0, size - 4096))
    lines = said.read().decode("utf-8", "replace").strip().splitlines()
    return f": {printable(lines[-1].strip(), _SHOWN)}" if lines else ""
