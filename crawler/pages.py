"""What a page leads to and holds: the reader of its format is found, and given the body.

Does: say how much of a body is needed, read large pages in a thread, ask the user's functions, hand out a sitemap piece
by piece. Must not know scope, what was seen, or where bodies are kept. Invariant: whatever a page holds, it costs
bounded memory, and what could not be read is told in its warning; only a field that must be there, or a function of the
user's, makes a page a failure.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, NamedTuple

from crawler.callables import Failure, PageFunction
from crawler.canon import Canon
from crawler.charsets import media_type
from crawler.csslinks import css_leads
from crawler.errors import Reason
from crawler.exchange import Refused
from crawler.extraction import Extraction
from crawler.htmllinks import html_leads
from crawler.htmlpage import parse
from crawler.likeness import likeness
from crawler.links import Kind, Leads
from crawler.model import Body, Fetched, Heading, Place, Request, Row
from crawler.page import Follow, Head, Page
from crawler.pageformat import Format, format_of
from crawler.readable import images, readable
from crawler.urls import printable

if TYPE_CHECKING:
    from selectolax.lexbor import LexborHTMLParser

log = logging.getLogger("crawler")

LARGEST = 16 * 1024**2  # bytes of a page that are read for its links
LARGEST_SITEMAP = 64 * 1024**2  # of one that is kept nowhere; they have at most 50 MB (sitemaps.org)
_APART = 512 * 1024  # pages above are read in a thread
_PIECE = 256 * 1024
_TOGETHER = 2000  # links of a sitemap that are handed out in one go
_NO_TEXT = ("image/", "audio/", "video/", "font/")
_NO_PAGES = frozenset({"application/pdf", "application/zip", "application/wasm", "application/x-tar"})


class Pages(NamedTuple):
    """How pages are read: `follow` are the kinds of links that are wanted, `token` names us to X-Robots-Tag, `json` is
    where links stand in JSON. `follows` says whether any link of a request's page is wanted, `compares` whether its
    page is to be told from others; `function` is given each page; `kept`: bodies are, and can be read once more.
    """

    follow: frozenset[Kind]
    token: str
    canon: Canon
    follows: Callable[[Request], bool]
    compares: Callable[[Request], bool]
    json: str | None = None
    extraction: Extraction | None = None
    function: PageFunction | None = None
    kept: bool = False

    @property
    def extracts(self) -> bool:
        """Do records have fields."""
        return self.extraction is not None or self.function is not None

    def wanted(self, answer: Heading) -> int:
        """How much of the body is to be looked at, in bytes."""
        media = media_type(answer.headers.get("Content-Type"))
        if (media.startswith(_NO_TEXT) or media in _NO_PAGES) and self.function is None:
            return 0
        if media.endswith("xml") and not media.endswith("xhtml+xml"):
            return LARGEST if self.kept else LARGEST_SITEMAP
        return LARGEST

    async def read(self, outcome: Fetched, answer: Heading, start: bytes) -> None:
        """Read the page that begins so into the outcome. Raises Refused."""
        kind = format_of(answer.headers.get("Content-Type"), start, outcome.request.url)
        if kind is Format.SITEMAP and Kind.SITEMAP in self.follow:
            outcome.sitemap = _leads_of(outcome.body, start)
            return
        if len(start) > LARGEST:
            start = start[:LARGEST]
        if len(start) == LARGEST < outcome.body.size:
            _warn(outcome, f"only the first {LARGEST // 1024**2} MiB of the page were read for what it holds")
        if len(start) > _APART:
            page = await asyncio.to_thread(self._look, outcome, answer, kind, start)
        else:
            page = self._look(outcome, answer, kind, start)
        if self.function is not None and not outcome.request.requisite:
            await self._ask(self.function, outcome, page)

    def _look(self, outcome: Fetched, answer: Heading, kind: Format | None, start: bytes) -> Page:
        """Its links, and its fields. Raises Refused."""
        request = outcome.request
        if self.follow and self.follows(request):
            outcome.leads = self._leads(outcome, answer, kind, start)
            if outcome.leads.warning is not None:
                _warn(outcome, outcome.leads.warning)
        head = Head(request.seed, request.url, outcome.status, outcome.headers, request.depth, request.input)
        page = Page(
            head,
            start,
            lambda: self._tree(outcome, start),
            charset=outcome.charset,
            links=lambda: self._joined(outcome, answer, kind, start),  # not the page: it is to go with its last user
        )
        if self.extraction is not None and not request.requisite:
            self._extract(self.extraction, outcome, page)
        if kind is Format.HTML and not request.requisite and self.compares(request):
            outcome.likeness = _likeness(page)
        return page

    def _tree(self, outcome: Fetched, start: bytes) -> LexborHTMLParser:
        """The page as a tree, as far as it can be made one."""
        page = parse(start, outcome.charset)
        if page.warning is not None:
            _warn(outcome, page.warning)
        return page.tree

    def _leads(self, outcome: Fetched, answer: Heading, kind: Format | None, start: bytes) -> Leads:
        """The links of a page, those of its head first."""
        charset, media = outcome.charset, answer.headers.get("Content-Type")
        if kind is Format.HTML:
            found = html_leads(start, charset, self.follow, self.token)
        elif kind is Format.FEED and Kind.FEED in self.follow:
            from crawler.feedlinks import feed_leads  # XML and others are loaded when they are first met

            found = feed_leads(start, charset)
        elif kind is Format.CSS and Kind.REQUISITE in self.follow:
            found = css_leads(start, charset)
        elif kind is Format.JSON and self.json is not None:
            from crawler.jsonlinks import json_leads

            found = json_leads(start, media, self.json)
        else:
            found = Leads()
        headers = answer.headers
        if not ("Link" in headers or "Refresh" in headers or "X-Robots-Tag" in headers):
            return found
        from crawler.headerlinks import header_leads

        told = header_leads(answer.all("Link"), headers.get("Refresh"), headers, self.token)
        links = tuple(link for link in told.links if link.kind in self.follow)
        return found._replace(links=(*links, *found.links), nofollow=found.nofollow or told.nofollow)

    def _joined(self, outcome: Fetched, answer: Heading, kind: Format | None, start: bytes) -> list[str]:
        """Where a page leads, as canonical URLs."""
        leads = outcome.leads
        if leads is None:
            leads = self._leads(outcome, answer, kind, start)
        joiner = self.canon.joiner(outcome.request.url, leads.base)
        hrefs = (joiner.join(link.href) for link in leads.links if link.kind is not Kind.REQUISITE)
        return list(dict.fromkeys(href for href in hrefs if href is not None))

    def _extract(self, extraction: Extraction, outcome: Fetched, page: Page) -> None:
        """The fields of a page. Raises Refused."""
        extracted = extraction.fields(page)
        for warning in extracted.warnings:
            _warn(outcome, warning)
        if (problem := extracted.problem) is not None:
            if problem.trace is not None:
                more = {"url": outcome.request.url, "request_id": outcome.request_id}
                log.error("%s: %s\n%s", page.final_url, problem.error, problem.trace, extra=more)
            reason = Reason.MISSING_FIELD if problem.missing else Reason.EXTRACT_FAILED
            raise Refused(reason, problem.error, outcome.status)
        outcome.fields = extracted.fields

    async def _ask(self, function: PageFunction, outcome: Fetched, page: Page) -> None:
        """What the user's function gives for a page. Raises Refused."""
        given = await function.of(page)
        if isinstance(given, Failure):
            if given.trace is not None:
                more = {"url": outcome.request.url, "request_id": outcome.request_id}
                log.error("%s: %s\n%s", page.final_url, given.error, given.trace, extra=more)
            raise Refused(Reason.EXTRACT_FAILED, given.error, outcome.status)
        if given.warning is not None:
            _warn(outcome, given.warning)
        if given.chosen:
            outcome.leads = None
        if given.fields or outcome.fields is not None:
            outcome.fields = {**(outcome.fields or {}), **given.fields}
        outcome.items = given.items
        outcome.follows = [_row(follow, page, number) for number, follow in enumerate(given.follows, 1)]


def _likeness(page: Page) -> int:
    """By what can be read, and by its images."""
    return likeness(readable(page.body), page.final_url, images(page.body))


def _row(follow: Follow, page: Page, number: int) -> Row:
    try:
        url = page.join(follow.url)
    except ValueError:  # told in the record of the request
        url = follow.url
    return Row(
        Place(f"a function, for {printable(page.final_url)}", number),
        url,
        follow.method,
        follow.headers,
        json=follow.json,
        form=follow.form,
        body=follow.body,
        input=follow.input,
    )


def _warn(outcome: Fetched, said: str) -> None:
    outcome.warning = "; ".join(filter(None, [outcome.warning, said]))


def _leads_of(body: Body, start: bytes) -> Iterator[Leads]:
    """What a sitemap names, some thousand at a time; each step blocks. Raises nothing: what is wrong is a warning."""
    from crawler.sitemap import SitemapReader

    reader, held = SitemapReader(), []
    cut = body.data is None and body.part is None and len(start) < body.size
    try:
        for piece in _pieces(body, start):
            held += reader.feed(piece)
            while len(held) >= _TOGETHER:
                yield Leads(tuple(held[:_TOGETHER]))
                del held[:_TOGETHER]
        held += reader.finish()
    except OSError as error:
        yield Leads(tuple(held), warning=f"the sitemap could not be read again: {error}")
        return
    warning = reader.warning
    if cut:
        warning = f"only the first {LARGEST_SITEMAP // 1024**2} MiB of the sitemap were read, since no body is kept"
    yield Leads(tuple(held), warning=warning)


def _pieces(body: Body, start: bytes) -> Iterable[bytes]:
    if body.part is None:
        data = body.data if body.data is not None else start
        yield from (data[at : at + _PIECE] for at in range(0, len(data), _PIECE))
        return
    with open(body.part, "rb") as file:
        while piece := file.read(_PIECE):
            yield piece
