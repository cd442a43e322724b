"""Commands that are run when a run is over."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from crawler.hook import run_hook

pytestmark = pytest.mark.slow


async def test_what_is_told_stands_in_the_environment_alone(tmp_path: Path) -> None:
    """A text goes to the shell, a list does not; no value is ever read as a command."""
    evil = f"$(touch {tmp_path}/hacked); `touch {tmp_path}/hacked`"
    told = {"CRAWLER_WHY": evil, "CRAWLER_RUN": "a\0b\nc"}
    assert await run_hook(f'printf "%s|%s" "$CRAWLER_WHY" "$CRAWLER_RUN" > {tmp_path}/said', told, tmp_path) is None
    assert (tmp_path / "said").read_text() == evil + "|a\\x00b\\nc"
    assert await run_hook(["touch", f"{tmp_path}/$CRAWLER_RUN"], told, tmp_path) is None
    assert sorted(path.name for path in tmp_path.iterdir()) == ["$CRAWLER_RUN", "said"]


async def test_it_is_run_in_its_folder(tmp_path: Path) -> None:
    """A program with a relative path is found there; a folder that is gone is told."""
    (tmp_path / "load").write_text("#!/bin/sh\npwd > told\n")
    (tmp_path / "load").chmod(0o755)
    assert await run_hook(["./load"], {}, tmp_path) is None
    assert (tmp_path / "told").read_text() == f"{tmp_path.resolve()}\n"
    assert await run_hook("true", {}, tmp_path / "gone") == "cannot be started: No such file or directory"


async def test_a_fault_is_one_printable_sentence(tmp_path: Path) -> None:
    """How it ended, and the last that it said."""
    assert (
        await run_hook("echo one; printf 'two\\033[2J\\n' >&2; exit 7", {}, tmp_path)
        == "ended with exit status 7: two\\x1b[2J"
    )
    assert await run_hook("kill -9 $$", {}, tmp_path) == "was ended by signal 9"
    assert await run_hook(["/nowhere/program"], {}, tmp_path) == "cannot be started: No such file or directory"


async def test_after_its_time_its_whole_group_is_ended(tmp_path: Path) -> None:
    """Also what it started."""
    fault = await run_hook(f"sleep 60 & echo $! > {tmp_path}/pid; wait", {}, tmp_path, 1.0)
    assert fault == "had not ended after 1 s, and was stopped"
    pid = int((tmp_path / "pid").read_text())
    async with asyncio.timeout(20):
        while _lives(pid):  # noqa: ASYNC110 - it tells nobody
            await asyncio.sleep(0.01)


async def test_what_it_leaves_in_the_background_is_not_waited_for(tmp_path: Path) -> None:
    """Though it holds the output open; it goes on."""
    async with asyncio.timeout(20):
        assert await run_hook(f"sleep 30 & echo $! > {tmp_path}/pid", {}, tmp_path) is None
    pid = int((tmp_path / "pid").read_text())
    assert _lives(pid)
    os.kill(pid, 9)


async def test_a_cancelled_wait_leaves_nothing_behind(tmp_path: Path) -> None:
    """As by Ctrl-C."""
    waiting = asyncio.create_task(run_hook(f"echo $$ > {tmp_path}/pid; exec sleep 60", {}, tmp_path))
    async with asyncio.timeout(20):
        while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert not _lives(int((tmp_path / "pid").read_text()))


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
