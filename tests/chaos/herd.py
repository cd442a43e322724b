"""Runs jobs one after another, each in a child of this process, which has loaded the package once: that saves most of
the time of a short run, and what a tracer counts begins with the run.

Called as `python herd.py`; reads lines of JSON: the words of a command, the folder for it, the file that takes what it
says, and whether to wait for a tracer. The words are those of `crawler`, or `driver` with those of driver.py. Answers
with a line that names the child's process, and a line with its exit code, negative where a signal ended it.
"""

from __future__ import annotations

import asyncio
import faulthandler
import json
import os
import signal
import sys
import traceback

import aiohttp  # noqa: F401
import driver
import fastwarc.warc  # noqa: F401
import pyarrow.parquet  # noqa: F401
from backports import zstd  # noqa: F401

import crawler
import crawler.cli
import crawler.library
import crawler.run
import crawler.shell

_GIVE_UP = 60  # seconds


def run(words: list[str], said: str, *, traced: bool) -> int:
    """One job to its end, in this process."""
    fd = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(fd, 1)
    os.dup2(fd, 2)
    if traced:
        os.kill(os.getpid(), signal.SIGSTOP)
    faulthandler.dump_traceback_later(_GIVE_UP - 5)  # one that hangs says where
    signal.alarm(_GIVE_UP)
    try:
        if words[0] == "driver":
            return asyncio.run(driver.main(*words[1:]))
        crawler.cli.main(words)
    except SystemExit as done:
        return int(done.code or 0)
    except crawler.StorageError as error:
        print(error, file=sys.stderr, flush=True)
        return 4
    except BaseException:
        traceback.print_exc()
        return 70
    return 0


def main() -> None:
    """Until the end of the input."""
    for line in sys.stdin:
        words, folder, said, traced = json.loads(line)
        child = os.fork()
        if child == 0:
            os.chdir(folder)
            code = run(words, said, traced=traced)
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
        print(child, flush=True)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


if __name__ == "__main__":
    main()
