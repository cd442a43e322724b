"""Sites to be crawled, as a table of pages on loopback, and crawls of them in this process."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from html import escape
from pathlib import Path
from typing import Any

import orjson

from crawler.errors import ExitCode
from crawler.jobfile import LoadedJob, build
from crawler.opening import Options
from crawler.picking import Picked
from crawler.run import Ended, run_job
from tests.jobs import Record, Unseen, records_of
from tests.servers import Asked, RawSite, raw_site, reply

Pages = Mapping[str, bytes]
PLAIN: Mapping[str, Any] = {}


def html(*links: str, head: str = "", text: str = "A page", **headers: object) -> bytes:
    """A page that leads there; `headers` with `_` for `-`."""
    anchors = "".join(f'<a href="{escape(link)}">x</a>\n' for link in links)
    return page(f"<title>{escape(text)}</title>{head}<p>{escape(text)}</p>{anchors}", **headers)


def page(source: str, kind: str = "text/html; charset=utf-8", **headers: object) -> bytes:
    """What has that source."""
    said = {name.replace("_", "-"): value for name, value in headers.items()}
    return reply(200, source.encode(), {"Content-Type": kind, **said})


def moved(to: str, status: int = 302) -> bytes:
    """A redirect."""
    return reply(status, b"", {"Location": to})


def xml(source: str) -> bytes:
    """A sitemap or a feed."""
    return page(f'<?xml version="1.0"?>{source}', "application/xml")


def urlset(*urls: str, tail: str = "") -> bytes:
    """A sitemap of these."""
    return xml(f"<urlset>{''.join(f'<url><loc>{url}</loc>{tail}</url>' for url in urls)}</urlset>")


@asynccontextmanager
async def site_of(pages: Pages, **more: Any) -> AsyncIterator[RawSite]:
    """A site that has these pages by path, or by host and path ("b.example.org/x"); all else is not there."""

    def answer(asked: Asked) -> bytes:
        return pages.get(f"{asked.host}{asked.path}") or pages.get(asked.path) or reply(404)

    async with raw_site(answer, **more) as site:
        yield site


class Crawled:
    """What a run left behind: `ends` are "fetched" or a reason, by path with query, of a name by name and path."""

    def __init__(self, ended: Ended) -> None:
        self.ended = ended
        self.folder = ended.run_folder
        self.records: list[Record] = records_of(ended.run_folder)
        self.of = {place(record["url"]): record for record in self.records}
        assert len(self.of) == len(self.records), Counter(record["url"] for record in self.records).most_common(3)
        self.ends = {path: record["reason"] or record["outcome"] for path, record in self.of.items()}

    @property
    def exit_code(self) -> ExitCode:
        return self.ended.exit_code

    @property
    def fetched(self) -> set[str]:
        """The paths of what was fetched."""
        return {path for path, end in self.ends.items() if end == "fetched"}

    @property
    def summary(self) -> dict[str, Any]:
        """Of summary.json."""
        return dict(orjson.loads((self.folder / "summary.json").read_bytes()))


def place(url: str) -> str:
    """What a test calls a URL: its path and query, after the name of a host that is no address."""
    host, slash, path = url.partition("//")[2].partition("/")
    return f"{'' if host.startswith('127.') else host}{slash}{path}"


def job(folder: Path, seeds: list[str], said: Mapping[str, Any] | None = PLAIN, **sections: Any) -> LoadedJob:
    """A crawl from these seeds, a list where nothing is `said`; robots.txt is obeyed only where `limits` says so."""
    data: dict[str, Any] = {
        "name": "t",
        "input": {"urls": seeds},
        "crawl": said,
        "output": {"dir": str(folder / "out")},
        "limits": {"robots": "ignore"},
        "retry": {"attempts": 1},
    }
    for section, said in sections.items():
        data[section] = {**data.get(section, {}), **said} if said is not None else None
    return build({key: value for key, value in data.items() if value is not None}, folder)


async def crawl(
    folder: Path,
    seeds: list[str],
    said: Mapping[str, Any] | None = PLAIN,
    again: Picked | None = None,
    **sections: Any,
) -> Crawled:
    """Run it to its end."""
    return await ran(job(folder, seeds, said, **sections), again)


async def ran(loaded: LoadedJob, again: Picked | None = None, *, signals: bool = False) -> Crawled:
    """The same of a job that was built."""
    return Crawled(await run_job(loaded, Options(again=again, signals=signals), lambda _: Unseen()))


def pins(site: RawSite, *names: str) -> dict[str, Any]:
    """[connection] by which names lead to the site."""
    return {"resolve": {name: f"127.0.0.1:{site.port}" for name in names}}
