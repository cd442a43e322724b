"""The tests themselves: two processes share them, so both must find the same ones."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import pytest

from tests.test_e2e_cron import FAKETIME

pytestmark = pytest.mark.e2e

ROOT = Path(__file__).parent.parent


async def collected(**environment: str) -> list[str]:
    """The ids of all tests as a process with this environment finds them."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "pytest", "--collect-only", "-m", "", "-p", "no:xdist", "-p", "no:cacheprovider"),
        cwd=ROOT,
        env={**os.environ, **environment},
        stdout=asyncio.subprocess.PIPE,
    )
    lines = (await process.communicate())[0].decode().splitlines()
    assert process.returncode == 0, lines[-20:]
    return [line for line in lines if "::" in line]


@pytest.mark.skipif(not FAKETIME.exists(), reason="there is no libfaketime here")
async def test_every_process_finds_the_same_tests() -> None:
    """No id holds a clock, an order of a set or a number of a process: pytest-xdist refuses to run such tests."""
    day = {"LD_PRELOAD": str(FAKETIME), "FAKETIME": "+400d", "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
    here, there = await asyncio.gather(collected(PYTHONHASHSEED="1"), collected(PYTHONHASHSEED="2", **day))
    assert here == there
    assert len(here) > 1000
