"""Chains of pages under SIGKILL: the installed command goes on in the middle of each chain, no page is there twice."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
from collections import Counter
from hashlib import sha256
from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.jobs import records_of
from tests.servers import Asked, raw_site, reply

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

CHAINS, PAGES, KILLS = 8, 40, 4  # 79 requests at most before each kill: the last one is far from the end


def content(chain: int, page: int) -> bytes:
    return orjson.dumps({"chain": chain, "page": page, "rows": [page] if page <= PAGES else []})


def answer(asked: Asked) -> bytes:
    """Page `page` of `/CHAIN`, with where the next one is in a Link and in its JSON."""
    path, _, query = asked.path.partition("?")
    chain, page = int(path[1:]), int(query.partition("page=")[2] or 1)
    headers = {"Content-Type": "application/json"}
    if page < PAGES:
        headers["Link"] = f'<{path}?page={page + 1}>; rel="next"'
    return reply(body=content(chain, page), headers=headers)


async def start(job: Path) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(sys.executable, "-m", "crawler", "run", str(job), "--quiet")


@pytest.mark.parametrize(
    ("paging", "last"),
    [('next = "link"', PAGES), ('param = "page"\nitems = "jmespath:rows"', PAGES + 1)],
    ids=["link", "counter"],
)
async def test_killed_in_the_middle_each_page_is_fetched_once(tmp_path: Path, paging: str, last: int) -> None:
    """Kills while pages are found and committed: at the end each chain is whole, in its order, each page once."""
    rng = random.Random(int(os.environ.get("CRAWLER_SEED", "20261121")))
    async with raw_site(answer, latency=0.01) as site:
        (tmp_path / "rows.jsonl").write_bytes(
            b"\n".join(orjson.dumps({"url": site.url(f"/{chain}"), "chain": chain}) for chain in range(CHAINS))
        )
        job = tmp_path / "pages.toml"
        job.write_text(
            f'name = "pages"\n[input]\nfiles = ["rows.jsonl"]\n[paging]\n{paging}\n[limits]\nrate_per_host = "60/s"\n'
            f'[output]\ndir = "{tmp_path}/out"\n'
        )
        kills = 0
        while True:
            wanted = len(site.asked) + rng.randrange(10, 80) if kills < KILLS else sys.maxsize
            process = await start(job)
            while process.returncode is None and len(site.asked) < wanted:  # noqa: ASYNC110
                await asyncio.sleep(0.005)
            if process.returncode is not None:
                break
            process.send_signal(signal.SIGKILL)
            assert await process.wait() == -signal.SIGKILL
            kills += 1
        asked = Counter(site.paths())
    assert process.returncode == 0
    assert kills == KILLS
    assert_chains(records_of(tmp_path / "out/pages/latest"), tmp_path / "out/pages/latest", last)
    assert sum(asked.values()) - len(asked) <= kills * 70, "at most a second of work is uncommitted at a kill"
    assert len(asked) == CHAINS * last


def assert_chains(records: list[dict[str, Any]], run: Path, last: int) -> None:
    """Every page of every chain once, each led to by the one before, with its own body and the columns of its row."""
    found = {(record["input"]["chain"], record["page"]): record for record in records}
    assert len(records) == len(found) == CHAINS * last
    for (chain, page), record in found.items():
        assert record["outcome"] == "fetched"
        assert (run / record["body"]).read_bytes() == content(chain, page)
        assert record["sha256"] == sha256(content(chain, page)).hexdigest()
        assert record["referrer"] == (found[chain, page - 1]["url"] if page > 1 else None)
    assert len({record["id"] for record in records}) == len(records)
