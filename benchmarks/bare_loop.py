"""The yardstick: nothing but aiohttp and uvloop, N coroutines that fetch a list and throw it away.

Usage: python -m benchmarks.bare_loop URLS WORKERS
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import aiohttp
import uvloop


async def main(urls: Path, workers: int) -> None:
    """Fetch every line of `urls`."""
    waiting = iter(urls.read_text().splitlines())
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=workers)) as session:

        async def work() -> None:
            for url in waiting:
                async with session.get(url) as response:
                    await response.read()

        await asyncio.gather(*(work() for _ in range(workers)))


if __name__ == "__main__":
    uvloop.run(main(Path(sys.argv[1]), int(sys.argv[2])))
