"""Scrapy over the same list, as lean as its users make it: no robots, no cookies, no retries, no log.

Usage: python -m benchmarks.spider URLS WORKERS
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import scrapy
from scrapy.crawler import CrawlerProcess


class ListSpider(scrapy.Spider):
    """Fetches every line of a file."""

    name = "list"

    async def start(self) -> AsyncIterator[Any]:
        """One request a line."""
        for line in Path(sys.argv[1]).read_text().splitlines():
            yield scrapy.Request(line, dont_filter=True)

    def parse(self, response: Any) -> Any:
        """One item a page, as a record of ours would be."""
        yield {"url": response.url, "status": response.status, "bytes": len(response.body)}


def settings(workers: int, feed: str) -> dict[str, object]:
    """Of all of Scrapy only what fetches; items go to `feed`."""
    return {
        "CONCURRENT_REQUESTS": workers,
        "CONCURRENT_REQUESTS_PER_DOMAIN": workers,
        "DOWNLOAD_DELAY": 0,
        "ROBOTSTXT_OBEY": False,
        "COOKIES_ENABLED": False,
        "RETRY_ENABLED": False,
        "TELNETCONSOLE_ENABLED": False,
        "LOG_ENABLED": False,
        "FEEDS": {feed: {"format": "jsonlines"}},
    }


if __name__ == "__main__":
    process = CrawlerProcess(settings(int(sys.argv[2]), sys.argv[1] + ".items.jsonl"))
    process.crawl(ListSpider)
    process.start()
