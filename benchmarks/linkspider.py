"""Scrapy over a whole site, as lean as its users make it: no robots, no cookies, no retries, no log.

Usage: python -m benchmarks.linkspider SEED WORKERS ITEMS
"""

from __future__ import annotations

import sys
from typing import Any
from urllib.parse import urlsplit

from scrapy.crawler import CrawlerProcess
from scrapy.linkextractors import LinkExtractor
from scrapy.spiders import CrawlSpider, Rule

from benchmarks.spider import settings


class SiteSpider(CrawlSpider):
    """Follows every link of a host."""

    name = "site"
    start_urls = (sys.argv[1],)
    rules = (Rule(LinkExtractor(allow_domains=[urlsplit(sys.argv[1]).netloc]), callback="page", follow=True),)

    def page(self, response: Any) -> Any:
        """One item a page, as a record of ours would be."""
        yield {"url": response.url, "status": response.status, "bytes": len(response.body)}


if __name__ == "__main__":
    process = CrawlerProcess(settings(int(sys.argv[2]), sys.argv[3]))
    process.crawl(SiteSpider)
    process.start()
