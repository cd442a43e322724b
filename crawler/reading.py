"""The body of a success: is it what the job expects, in which charset is it, and which page comes next.

Does: read it through the receiver, with a copy of as much as these questions need. Must not know retries or where
bodies are kept. Invariant: a body that is not what the job expects never leaves as a success.
"""

from __future__ import annotations

from typing import NamedTuple

from crawler.charsets import LOOKED_AT, charset_of
from crawler.errors import Reason
from crawler.exchange import Refused
from crawler.expect import LARGEST
from crawler.hosts import HostRules
from crawler.model import Fetched, Page, Request
from crawler.paging import LARGEST as PAGE
from crawler.paging import End, Fault, Next, PageSeen, Paging, next_page
from crawler.patterns import Patterns
from crawler.receive import Receiver
from crawler.redirect import exposed
from crawler.session import Answer
from crawler.urls import hostname, netloc
from crawler.watch import Transfer


class Reader(NamedTuple):
    """What is asked of every success. `paged` holds the patterns of hosts whose answers are pages."""

    paging: Paging | None = None
    paged: Patterns[bool] = Patterns([("*", True)])

    async def read(
        self, receiver: Receiver, outcome: Fetched, answer: Answer, transfer: Transfer, host: HostRules
    ) -> None:
        """Put the body into the outcome. Raises Refused, TransportError, CodingError, OSError."""
        expect, content_type = host.expect, answer.headers.get("Content-Type")
        if expect is not None and (why := expect.unmet_by_head(content_type)):
            raise Refused(Reason.UNEXPECTED_CONTENT, why, answer.status)
        pages = self.paging is not None and bool(self.paged.matching(netloc(outcome.request.url)))
        most, start = self._wanted(host, pages=pages), b""
        if outcome.request.method != "HEAD":
            start = await receiver.body(outcome, answer, transfer, host, most)
            outcome.charset = charset_of(content_type, start)
        if expect is not None and outcome.request.method != "HEAD":
            data = start if len(start) == outcome.body.size else None
            if why := expect.unmet_by_body(data, outcome.body.size, content_type):
                raise Refused(Reason.UNEXPECTED_CONTENT, why, answer.status)
        if pages:
            self._turn(outcome, answer, start)

    def _wanted(self, host: HostRules, *, pages: bool) -> int:
        """How much of a body is looked at, in bytes; one more than is read tells that it is too large."""
        if host.expect is not None and host.expect.needs_body:
            return LARGEST + 1
        return PAGE + 1 if pages and self.paging is not None and self.paging.needs_body else LOOKED_AT

    def _turn(self, outcome: Fetched, answer: Answer, start: bytes) -> None:
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


def _astray(request: Request, url: str) -> str | None:
    """Why a page is not followed: a server must not lead us to hosts that the job's input never named."""
    if hostname(url) != hostname(request.seed):
        return f"the next page is at another host, {hostname(url)}, and not followed"
    if url.startswith("http:") and request.seed.startswith("https:"):
        return "the next page is to be had over plain http only, and not followed"
    if exposed(url, request.seed):  # the row's headers and body are for the origin that it names
        return f"the next page is at another port, {netloc(url)}, and not followed"
    return None
