"""One body of a GiB from a server that misbehaves: what the whole command makes of it, asks for and keeps in memory."""

from __future__ import annotations

import asyncio
import copy
import hashlib
import json
import random
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from benchmarks.measure import Watched
from tests.ranged import MIB, Ranged, Seen, ranged

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

SIZE = 1024 * MIB
CUT = 10_000_000  # bytes after which the server ends the connection
MEMORY = 150 * MIB
PERIOD = MIB + 7


class Pattern:
    """A body that is made as it is sent: bytes that come again after so many that no boundary falls together with that.

    A slice is one as well; a short one is bytes.
    """

    def __init__(self, seed: int, size: int) -> None:
        self._twice = memoryview(2 * random.Random(seed).randbytes(PERIOD))
        self._span = range(size)

    def __len__(self) -> int:
        return len(self._span)

    def __getitem__(self, part: slice) -> Any:
        span = self._span[part]
        if len(span) <= MIB:
            at = span.start % PERIOD
            return self._twice[at : at + len(span)]
        found = copy.copy(self)
        found._span = span
        return found


class Large(NamedTuple):
    """A version of the body."""

    data: Any  # a Pattern
    sha256: str


@pytest.fixture(scope="module")
def versions() -> list[Large]:
    """Two of the same size."""
    made = []
    for seed in range(2):
        data, digest = Pattern(seed, SIZE), hashlib.sha256()
        for at in range(0, SIZE, MIB):
            digest.update(data[at : at + MIB])
        made.append(Large(data, digest.hexdigest()))
    return made


async def fetched(folder: Path, site: Ranged) -> int:
    """Run the command over the body, as it is by default; its peak memory."""
    job = folder / "job.toml"
    job.write_text(
        f'name = "large"\n[input]\nurls = ["{site.url}"]\n'
        f'[limits]\nmax_body = "2GiB"\n[retry]\nbackoff = {{ initial = "1ms", max = "5ms" }}\n'
        f'[output]\ndir = "{folder}/out"\n'
    )
    process = Watched([sys.executable, "-m", "crawler", "run", str(job), "--quiet"], log=str(folder / "log"))
    code = await asyncio.to_thread(process.wait, 60)
    assert code == 0, (folder / "log").read_text()
    return process.peak


def assert_is(folder: Path, body: Large) -> None:
    """There is one record, and the file that it names is this version from its first byte to its last."""
    run = folder / "out" / "large" / "latest"
    (line,) = (run / "records.jsonl").read_text().splitlines()
    record = json.loads(line)
    with (run / record["body"]).open("rb") as file:
        assert hashlib.file_digest(file, "sha256").hexdigest() == body.sha256
    assert (record["outcome"], record["status"], record["bytes"]) == ("fetched", 200, SIZE)
    assert record["sha256"] == body.sha256
    (run / record["body"]).unlink()


async def test_a_gib_that_is_cut_every_ten_megabytes_comes_whole(tmp_path: Path, versions: list[Large]) -> None:
    """A hundred connections bring it, hardly a byte twice."""
    async with ranged(versions[0].data) as site:
        site.cut = lambda seen: CUT
        peak = await fetched(tmp_path, site)
    print(f"\nbytes fetched / size: {site.sent / SIZE:.4f}, {len(site.seen)} requests, peak {peak / 1e6:.0f} MB")
    assert_is(tmp_path, versions[0])
    assert len(site.seen) > SIZE // CUT
    assert site.sent <= 1.1 * SIZE
    assert peak <= MEMORY


async def test_a_gib_that_changes_half_way_is_the_new_one(tmp_path: Path, versions: list[Large]) -> None:
    """The server cuts and has another version from the middle on: that is what comes, and all of it."""
    before, after = versions

    def change(seen: Seen) -> None:
        if site.sent >= SIZE // 2:
            site.data, site.headers["ETag"] = after.data, '"v2"'

    async with ranged(before.data) as site:
        site.answer = change
        site.cut = lambda seen: CUT
        peak = await fetched(tmp_path, site)
    print(f"\nbytes fetched / size: {site.sent / SIZE:.4f}, {len(site.seen)} requests, peak {peak / 1e6:.0f} MB")
    assert_is(tmp_path, after)
    assert SIZE * 1.5 <= site.sent <= SIZE * 1.6
    assert peak <= MEMORY
