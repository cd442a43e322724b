"""The body of a success: is it what the job expects, in which charset is it, and which page comes next.

Does: say how much of it these questions need, and answer them. Must not know retries, how it is read or where bodies
are kept. Invariant: a body that is not what the job expects never leaves as a success.
"""

from __future__ import annotations

import asyncio
import os
from typing import NamedTuple

from crawler.charsets import LOOKED_AT, charset_of
from crawler.errors import Reason
from crawler.exchange import Refused
from crawler.expect import LARGEST
from crawler.formats import fault_of
from crawler.hosts import HostRules
from crawler.model import Body, Fetched, Heading, Page, Request
from crawler.pages import Pages
from crawler.paging import LARGEST as PAGE
from crawler.paging import End, Fault, Next, PageSeen, Paging, next_page
from crawler.patterns import Patterns
from crawler.redirect import exposed
from crawler.session import TransportError
from crawler.urls import hostname, netloc


class Reader(NamedTuple):
    """What is asked of every success. `paged` holds the patterns of hosts whose answers are pages; `pages` looks for
    links and fields.
    """

    paging: Paging | None = None
    paged: Patterns[bool] = Patterns([("*", True)])
    pages: Pages | None = None

    def wanted(self, outcome: Fetched, answer: Heading, host: HostRules) -> int:
        """How much of the body is to be looked at, in bytes; one more than is read tells that it is too large.

        Raises Refused where the head says already that it is not what was expected.
        """
        expect, pages = host.expect, self.pages.wanted(answer) if self.pages is not None else 0
        if expect is not None:
            if why := expect.unmet_by_head(answer.headers.get("Content-Type")):
                raise Refused(Reason.UNEXPECTED_CONTENT, why, answer.status)
            if expect.needs_body:
                return max(LARGEST + 1, pages)
        if self.paging is not None and self.paging.needs_body and self._pages(outcome.request):
            return max(PAGE + 1, pages)
        return max(LOOKED_AT, pages)

    def look(self, outcome: Fetched, answer: Heading, host: HostRules, start: bytes | None) -> None:
        """Look at the body that the outcome has by now, by as much of it as was wanted; None: there was none to read.

        Raises Refused.
        """
        if start is not None:
            content_type = answer.headers.get("Content-Type")
            outcome.charset = charset_of(content_type, start)
            if host.expect is not None:
                data = start if len(start) == outcome.body.size else None
                if why := host.expect.unmet_by_body(data, outcome.body.size, content_type):
                    raise Refused(Reason.UNEXPECTED_CONTENT, why, answer.status)
        if self.paging is not None and self._pages(outcome.request):
            self._turn(outcome, answer, start or b"")

    async def verify(self, outcome: Fetched) -> None:
        """Look for the end that its format wants, where the body is of one that is known. Raises TransportError."""
        fault = await asyncio.to_thread(_misformed, outcome.body)  # a small gzip may unpack to very much
        if fault is not None:
            raise TransportError(Reason.BAD_CONTENT, f"the body {fault}")

    def _pages(self, request: Request) -> bool:
        return bool(self.paged.matching(netloc(request.url)))

    def _turn(self, outcome: Fetched, answer: Heading, start: bytes) -> None:
        """Find the next page. Raises Refused where nobody can say whether there is one."""
        assert self.paging is not None
        request, body = outcome.request, outcome.body
        page = request.page or Page(1)
        seen = PageSeen(
            request.url,
            page.number,
            answer.all("Link"),
            start if len(start) == body.size else None,
            answer.headers.get("Content-Type"),
            body.sha256,
            page.before,
            [request.seed, *request.hops, *filter(None, [request.referrer])],
        )
        step = next_page(self.paging, seen)
        if isinstance(step, Next) and (why := _astray(request, step.url)):
            step = End(why, warning=True)
        if isinstance(step, Fault):
            raise Refused(Reason.BAD_PAGE, step.error, answer.status)
        if isinstance(step, Next):
            outcome.next_url = step.url
        elif step.warning:
            outcome.warning = "; ".join(filter(None, [outcome.warning, step.why]))
        if request.page is None:
            request.page = page


def _misformed(body: Body) -> str | None:
    data = body.data
    if data is not None:
        return fault_of(lambda offset, length: data[offset : offset + length], body.size)
    if body.part is None:
        return None
    fd = os.open(body.part, os.O_RDONLY | os.O_NOFOLLOW)
    try:
        return fault_of(lambda offset, length: os.pread(fd, length, offset), body.size)
    finally:
        os.close(fd)


def _astray(request: Request, url: str) -> str | None:
    """Why a page is not followed: a server must not lead us to hosts that the job's input never named."""
    if hostname(url) != hostname(request.seed):
        return f"the next page is at another host, {hostname(url)}, and not followed"
    if url.startswith("http:") and request.seed.startswith("https:"):
        return "the next page is to be had over plain http only, and not followed"
    if exposed(url, request.seed):  # the row's headers and body are for the origin that it names
        return f"the next page is at another port, {netloc(url)}, and not followed"
    return None
