"""Power cuts: whatever was given out before is on the disk, in every output, and the run goes on from there."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from random import Random
from tempfile import mkdtemp

import pytest

from tests.chaos import power, volumes
from tests.chaos.jobs import VARIANTS, Build
from tests.chaos.site import Site

SEED = 20261121


@pytest.fixture
def field(tmp_path: Path) -> Iterator[power.Field]:
    """A build, a site, and room for images."""
    folder = Path(mkdtemp(prefix="chaos-power-", dir=volumes.quick_folder(tmp_path)))
    with Site() as site:
        yield power.Field(Build.copy(folder / "build"), site, folder, VARIANTS)
    shutil.rmtree(folder)


def require(kind: str) -> None:
    """Skip where no such file system can be mounted."""
    if (why := volumes.missing(kind)) is not None:
        pytest.skip(why)
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed")


def tried(count: int, field: power.Field, seed: int = SEED) -> list[power.Verdict]:
    """Cut the power so often and say what came of it; all is right."""
    verdicts = list(power.cuts(count, seed, field))
    print(f"\n{field.kind}, sync = {field.sync}, seed {seed}: {power.summary(verdicts)}")
    faulty = [f"cut of run {verdict.seed}: {fault}" for verdict in verdicts for fault in verdict.faults[:5]]
    assert not faulty, "\n".join(faulty[:20])
    assert any(verdict.given for verdict in verdicts)
    assert any(verdict.blocks for verdict in verdicts)
    return verdicts


@pytest.mark.e2e
def test_power_cuts_lose_nothing_that_was_given_out(field: power.Field) -> None:
    """40 snapshots of an ext4, each in four states: all that was given out is there, and the run brings the rest."""
    require("ext4")
    tried(40, field)


@pytest.mark.chaos
@pytest.mark.parametrize(("kind", "count"), [("ext4", 200), ("xfs", 40), ("btrfs", 40)])
def test_many_power_cuts_lose_nothing_that_was_given_out(field: power.Field, kind: str, count: int) -> None:
    """200 snapshots of an ext4 and 40 of others, each in four states."""
    require(kind)
    tried(count, field._replace(kind=kind), Random(SEED + 1).getrandbits(32))


@pytest.mark.e2e
@pytest.mark.parametrize("sync", ["close", "never"])
def test_kills_are_survived_however_seldom_is_synced(field: power.Field, sync: str) -> None:
    """What a killed process wrote is the kernel's: outputs are exact after a SIGKILL without any sync."""
    hit, faulty = power.killed(4, SEED, field._replace(sync=sync))
    print(f"\nsync = {sync}: {hit} SIGKILLs, {len(faulty)} with faults")
    assert hit
    assert not faulty, faulty


@pytest.mark.chaos
@pytest.mark.parametrize("sync", ["close", "never"])
def test_what_power_cuts_cost_without_syncs(field: power.Field, sync: str) -> None:
    """No promise: this tells how much of what was given out a power cut takes."""
    require("ext4")
    verdicts = list(power.cuts(20, SEED, field._replace(sync=sync, tails=0)))
    print(f"\next4, sync = {sync}: {power.summary(verdicts)}")
    assert any(verdict.given for verdict in verdicts)
