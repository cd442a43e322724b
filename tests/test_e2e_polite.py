"""Politeness at full speed, end to end: a simulated internet in real time, judged by its servers' logs."""

from __future__ import annotations

import collections
from pathlib import Path
from urllib.parse import urlsplit

import orjson
import pytest

from benchmarks.simnet import KILLS, ORDERS, QUICK, Ran, killed, ran, verdict
from tests.simnet import UNWRITTEN

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

# What a busy machine adds to a run: the start of the command, and wake-ups that come late.
START = 3.0
LATE = 0.15


def assert_each_once(run: Ran) -> None:
    """Every URL ended, once; only hosts that never answer have failures."""
    records = [orjson.loads(line) for line in run.records.read_bytes().splitlines()]
    ended = collections.Counter(urlsplit(record["url"]).hostname for record in records)
    assert ended == {host.address: host.requests for host in run.hosts}
    assert len({record["url"] for record in records}) == len(records)
    dead = {host.address for host in run.hosts if host.behaviour.kind in ("down", "stalling")}
    failed = {urlsplit(record["url"]).hostname for record in records if record["outcome"] == "failed"}
    assert failed == dead
    assert run.code == 1


def assert_polite(run: Ran) -> None:
    """No server saw more at once than allowed, a window too full, or a request before a Retry-After was over."""
    worst = verdict(run)
    assert worst.beyond <= 0
    assert worst.bunched <= LATE
    assert worst.early == 0


@pytest.mark.parametrize("order", ORDERS)
def test_a_polite_run_takes_hardly_longer_than_it_must(tmp_path: Path, order: str) -> None:
    """Shuffled, sorted, one host with half of all: within 5 % of the least possible time, and no host is hurt."""
    run = ran(tmp_path, QUICK, order)
    assert_each_once(run)
    assert_polite(run)
    assert run.seconds <= run.bound.seconds * 1.05 + START, f"{run.seconds:.2f} s, bound {run.bound}"


def test_a_kill_makes_no_host_see_more_than_allowed(tmp_path: Path) -> None:
    """SIGKILL again and again, waits pending: rates, concurrency and Retry-After hold over all starts."""
    run = ran(tmp_path, killed(QUICK), "shuffled", kills=KILLS)
    waits = [(seen.end, seen.end + seen.wait) for seen in run.log if seen.wait is not None]
    assert any(told + UNWRITTEN <= kill < until for told, until in waits for kill in run.killed_at)
    assert_each_once(run)
    assert_polite(run)
