"""Exactly once, whatever happens: kills by the hundred, the order of the calls, and builds that were sabotaged.

`make e2e` runs the short version, `make chaos` the long one as well. The seed is printed; CRAWLER_SEED sets another,
and CRAWLER_POINT=number:seed:kind, as a failure names it, makes one point again.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import NamedTuple

import pytest

from tests.chaos import kills, order, sabotage
from tests.chaos.jobs import ALL, FEW, PACKAGE, VARIANTS, Build, Sinks, accepts, write_job
from tests.chaos.shots import Shot, fire
from tests.chaos.site import Site

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace"),
]

SEED = int(os.environ.get("CRAWLER_SEED", "20261121"))
SHORT, LONG = 60, 520


class Bench(NamedTuple):
    """What all tests here share: the package as it was when they began, a site, a folder."""

    build: Build
    site: Site
    folder: Path


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    folder = tmp_path_factory.mktemp("chaos")
    with Site() as site:
        yield Bench(Build.copy(folder / "build"), site, folder)


@pytest.mark.e2e
@pytest.mark.parametrize("sinks", VARIANTS, ids=str)
def test_every_output_can_be_asked_for(bench: Bench, sinks: Sinks) -> None:
    """The jobs of the other tests say nothing that `crawler check` refuses."""
    assert accepts(bench.build, bench.folder / f"accepts {sinks}", sinks) is None


def shot_at(bench: Bench, count: int, seed: int, capsys: pytest.CaptureFixture[str]) -> list[kills.Verdict]:
    """The verdicts of so many points; those with faults are told at once."""
    field = kills.prepare(bench.build, bench.site, bench.folder / f"kills-{count}", VARIANTS)
    points = kills.points(count, seed)
    if "CRAWLER_POINT" in os.environ:
        number, of_point, kind = os.environ["CRAWLER_POINT"].split(":")
        points = [kills.Point(int(number), int(of_point), kind)]
    verdicts = []
    for verdict in kills.shoot(points, field):
        verdicts.append(verdict)
        if verdict.faults:
            point, shots = verdict.point, ", then ".join(map(str, verdict.shots))
            with capsys.disabled():
                print(f"\nCRAWLER_POINT={point.number}:{point.seed}:{point.kind} killed at {shots}:")
                print("\n".join(f"  {fault}" for fault in verdict.faults[:10]))
    with capsys.disabled():
        print(f"\nseed {seed}: {kills.summary(verdicts)}")
    return verdicts


@pytest.mark.e2e
def test_killed_at_sixty_points_every_output_has_each_url_once(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    """By time, by system call, in recovery: all bodies right, nothing left over, nothing that was reported again."""
    verdicts = shot_at(bench, SHORT, SEED, capsys)
    assert [verdict for verdict in verdicts if verdict.faults] == []
    assert sum(bool(verdict.shots) for verdict in verdicts) >= len(verdicts) * 0.95


@pytest.mark.chaos
def test_killed_at_five_hundred_points_every_output_has_each_url_once(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same at points of another seed."""
    verdicts = shot_at(bench, LONG, SEED + 1, capsys)
    assert [verdict for verdict in verdicts if verdict.faults] == []
    assert sum(bool(verdict.shots) for verdict in verdicts) >= 500


@pytest.mark.e2e
@pytest.mark.parametrize("sinks", [ALL, FEW], ids=str)
@pytest.mark.parametrize("resumed", [False, True], ids=["anew", "after a kill"])
def test_every_commit_vouches_for_synced_bytes_and_names_alone(
    bench: Bench, sinks: Sinks, resumed: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    """In the trace of a run nothing is committed that is not durable, and nobody is told before the commit."""
    space = f"order-{sinks}-{resumed}".replace(" ", "")
    work = write_job(bench.folder / space, bench.site.pages(space), sinks, Random(SEED), driven=True)
    if resumed:
        assert fire(bench.build, work, Shot(1.0, working=True), lambda: bool(bench.site.hits(space)))
    acknowledged = len(work.acked())
    checker = order.check(bench.build, work)
    with capsys.disabled():
        print(f"\n{sinks}: {checker.commits} commits, {checker.acks} records given out, {len(checker.faults)} faults")
    assert checker.faults == []
    assert checker.commits >= 3
    assert acknowledged + checker.acks == len(work.acked())
    assert work.acked() <= {page.url for page in work.pages}


@pytest.mark.e2e
@pytest.mark.parametrize("broken", sabotage.SABOTAGES, ids=lambda broken: broken.name)
def test_a_sabotaged_build_is_caught(
    bench: Bench, broken: sabotage.Sabotage, capsys: pytest.CaptureFixture[str]
) -> None:
    """A promise that is broken on purpose shows, in the order of the calls or after kills."""
    folder = bench.folder / f"sabotaged {broken.name}".replace(" ", "-")
    caught = sabotage.hunt(sabotage.sabotaged(bench.build, folder, broken), bench.site, broken, SEED)
    with capsys.disabled():
        print(f"\n{broken.name}: {caught}")
    assert (caught.order is not None) == broken.ordered
    assert (caught.kill is not None) == broken.killed


@pytest.mark.parametrize("broken", sabotage.SABOTAGES, ids=lambda broken: broken.name)
def test_every_sabotage_fits_the_code_as_it_is(broken: sabotage.Sabotage) -> None:
    """Each patch applies at one place, gives Python, and somebody is to catch it."""
    for text in sabotage.patched(PACKAGE, broken).values():
        compile(text, "patched", "exec")
    assert broken.ordered or broken.killed


def test_there_are_ten_sabotages() -> None:
    """Each promise of the crash protocol has one."""
    assert len({broken.name for broken in sabotage.SABOTAGES}) == 10
