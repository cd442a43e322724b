"""What orders do to a run at work in this process, asked at its socket as any other process would."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from crawler import steering
from crawler.control import NAME, ask_async
from crawler.errors import ExitCode
from crawler.jobfile import build
from crawler.opening import Options
from crawler.pipeline import Pipeline
from crawler.run import Ended, run_job
from tests.jobs import Unseen
from tests.servers import Asked, RawSite, raw_site, reply

pytestmark = pytest.mark.slow


class AtWork:
    """A run under way, and the server that it asks."""

    def __init__(self, site: RawSite, folder: Path, task: asyncio.Task[Ended], pipeline: Pipeline) -> None:
        self.site = site
        self.folder = folder
        self.task = task
        self.pipeline = pipeline

    async def tell(self, do: str, **more: object) -> dict[str, Any]:
        return await ask_async(self.folder, {"do": do, **more})

    async def set(self, key: str, value: object) -> dict[str, Any]:
        return await self.tell("set", key=key, value=value)


@asynccontextmanager
async def at_work(folder: Path, *, pages: int = 400, **sections: Any) -> AsyncIterator[AtWork]:
    """A run with some requests under way; it is stopped at the end where it has not ended."""
    held: list[Pipeline] = []
    asked = asyncio.Event()

    def answer(_: Asked) -> bytes:
        asked.set()
        return reply()

    async with raw_site(answer, latency=0.02) as site:
        data = {
            "name": "t",
            "input": {"urls": [site.url(f"/{number}") for number in range(pages)]},
            "output": {"dir": str(folder / "out")},
            **sections,
        }
        task = asyncio.create_task(run_job(build(data, folder), Options(held=held.append), lambda _: Unseen()))
        async with asyncio.timeout(20):
            await asked.wait()
        made = AtWork(site, folder / "out" / "t", task, held[0])
        try:
            yield made
        finally:
            for _ in range(2):
                if not task.done():
                    made.pipeline.stop()
            await task


async def test_a_run_that_was_paused_comes_to_its_end(tmp_path: Path) -> None:
    """Paused and resumed in its middle it fetches each page once, and its socket is gone."""
    async with at_work(tmp_path) as run:
        assert (await run.tell("pause"))["state"] == "paused"
        assert (await run.tell("pause"))["ok"]
        async with asyncio.timeout(20):
            while (await run.tell("state"))["snapshot"]["in_flight"]:
                pass
        seen = len(run.site.asked)
        assert seen < 400
        assert await run.tell("resume") == {"ok": True, "state": "running", "was_paused": True}
        ended = await run.task
        assert ended.exit_code == ExitCode.OK
        assert sorted(run.site.paths()) == sorted(f"/{number}" for number in range(400))
        assert not (run.folder / NAME).exists()


async def test_a_paused_run_with_nothing_left_ends(tmp_path: Path) -> None:
    """Where all is under way already a pause holds nothing back."""
    async with at_work(tmp_path, pages=3) as run:
        await run.tell("pause")
        async with asyncio.timeout(20):
            assert (await run.task).exit_code == ExitCode.OK


async def test_a_run_that_stops_takes_no_other_orders(tmp_path: Path) -> None:
    """It says so; another stop cuts nothing, that is what `now` is for."""
    async with at_work(tmp_path) as run:
        run.site.latency = 1.0
        await run.tell("stop")
        assert (await run.tell("pause"))["error"] == "it is stopping already"
        assert "run it again" in (await run.tell("resume"))["error"]
        assert (await run.tell("state"))["waits"].startswith("stopping: waits for ")
        assert (await run.task).exit_code == ExitCode.STOPPED


async def test_the_state_tells_what_a_monitor_shows(tmp_path: Path) -> None:
    """The moment's snapshot, its hosts and oldest requests, with secrets masked."""
    async with at_work(tmp_path, limits={"per_host": 2}) as run:
        run.site.latency = 0.3
        async with asyncio.timeout(20):
            phases: list[str] = []
            while phases != ["answer", "answer"]:
                state = await run.tell("state")
                phases = [old["phase"] for old in state["oldest"]]
        assert set(state) == {"ok", "snapshot", "hosts", "oldest", "waits"}
        [host] = state["hosts"]
        assert (host["host"], host["in_flight"], host["rate"]) == ("127.0.0.1", 2, None)
        assert "as many as it may have" in host["why"]
        assert host["waiting"] == state["snapshot"]["waiting"]
        assert state["waits"].startswith("waits for 127.0.0.1: ")


async def test_bandwidth_can_be_changed_where_there_is_one(tmp_path: Path) -> None:
    """A job that began without is told what to do; one that began with one is lifted."""
    async with at_work(tmp_path) as run:
        assert "only where the job began with one" in (await run.set("limits.bandwidth", "1MiB/s"))["error"]
    async with at_work(tmp_path / "other", pages=50, limits={"bandwidth": "10B/s"}) as run:
        assert (await run.set("limits.bandwidth", "none"))["value"] == "none"
        async with asyncio.timeout(20):
            assert (await run.task).exit_code == ExitCode.OK


async def test_hosts_set_apart_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """More belong into the job file; one that was set already can be set again."""
    monkeypatch.setattr(steering, "_MOST_SET", 2)
    async with at_work(tmp_path) as run:
        for host in ("a.example", "b.example", "a.example"):
            assert (await run.set(f'hosts."{host}".per_host', 3))["hosts"] == 0
        assert "set apart already" in (await run.set('hosts."c.example".per_host', 3))["error"]


async def test_what_is_set_is_logged_with_who_did_it(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """As a warning, with the value before where there is one."""
    async with at_work(tmp_path, limits={"rate": "50/s"}) as run:
        await run.set("limits.rate", "2/min")
    [record] = [record for record in caplog.records if "set to" in record.getMessage()]
    assert record.levelno == logging.WARNING
    assert record.getMessage().startswith("limits.rate set to 2/min (was 50/s) by pid ")


async def test_a_dump_never_raises(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Also of a run whose parts are at fault."""
    async with at_work(tmp_path) as run:
        held = steering.Limits(None, None, None, 1)  # type: ignore[arg-type]
        steering.Steering(run.pipeline, held).log_state()
        assert any(record.getMessage().startswith("state: running, ") for record in caplog.records)
    steering.Steering(None, held).log_state()  # type: ignore[arg-type]
    assert "the state could not be written" in caplog.text
