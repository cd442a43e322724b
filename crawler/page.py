"""A page as the user's own functions see it, and what they may give back: fields, items, requests to follow.

Decides what of a body is text, and of which format it is. Must not know how pages are fetched, who reads them, or what
becomes of what is given back. Invariant: nothing is parsed before it is asked for, and nothing twice; HTML and links
come from the one parse that the crawl makes of a page anyway.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from crawler.charsets import LOOKED_AT, charset_of, decode, media_type, parsed_json
from crawler.htmlpage import as_utf8
from crawler.urls import BadURL, join

if TYPE_CHECKING:
    from selectolax.lexbor import LexborHTMLParser, LexborNode

Format = Literal["html", "json", "text", "binary"]

_HTML = ("text/html", "application/xhtml+xml")
_TEXTS = ("application/xml", "application/javascript", "application/ecmascript", "application/x-ndjson")


class Follow(NamedTuple):
    """A request that a page's function asks for. `url` may be relative to the page; what it leads to is held to the
    scope, the limits and the robots.txt of the crawl as every link is.

    At most one of json, form and body is given. `input` are columns for the record of that request, `priority` from 0
    to 1 is as in a sitemap.
    """

    url: str
    method: str | None = None
    headers: Mapping[str, str] | None = None
    json: Any = None
    form: Mapping[str, str | list[str]] | None = None
    body: str | None = None
    input: Mapping[str, Any] | None = None
    priority: float | None = None


class Fields(dict[str, Any]):
    """What a function yields to put it beside the fields of [extract]; a dict that it returns is as good."""


class Head(NamedTuple):
    """What is known of a page without its body. `url` was asked for, `final_url` answered; both are canonical.

    The names of `headers` compare without case; a seed has depth 0; `input` are the row's own columns.
    """

    url: str
    final_url: str
    status: int
    headers: Mapping[str, str]
    depth: int = 0
    input: Mapping[str, Any] | None = None


class Page:
    """What a function of the user's is given:

        def page(page):                                   # [extract] function = "shop:page"
            for row in page.css("table.prices tr"):
                yield {"name": row.css_first("th").text(), "price": row.css_first("td").text()}     # an item
            for href in page.css("a.next"):
                yield page.follow(href.attributes["href"])                                          # a request
            yield Fields(rows=len(page.css("tr")))        # beside the fields of [extract]

    It may as well return a dict (the page's fields), a list of what it would yield, or None; and be `async`.
    """

    def __init__(
        self,
        head: Head,
        body: bytes,
        tree: Callable[[], LexborHTMLParser],
        *,
        charset: str | None = None,
        links: Callable[[], Sequence[str]] = list,
    ) -> None:
        """`tree` and `links` are asked once, when they are needed; `charset` is one that `charsets` tells."""
        self.url = head.url
        self.final_url = head.final_url
        self.status = head.status
        self.headers = head.headers
        self.depth = head.depth
        self.input: Mapping[str, Any] = head.input or {}
        self.content_type = head.headers.get("Content-Type")
        self.body = body
        self.charset = charset or charset_of(self.content_type, body[:LOOKED_AT])
        self._tree = tree
        self._links = links

    def __repr__(self) -> str:
        return f"<Page {self.status} {self.final_url} {len(self.body)} bytes>"

    @cached_property
    def format(self) -> Format:
        """What it is by its Content-Type, or by its beginning where there is none."""
        essence = media_type(self.content_type)
        if not essence:
            return _sniffed(self.body[:LOOKED_AT])
        if essence in _HTML:
            return "html"
        if essence.endswith(("/json", "+json")):
            return "json"
        return "text" if essence.startswith("text/") or essence.endswith("+xml") or essence in _TEXTS else "binary"

    @cached_property
    def text(self) -> str:
        """The body as text: its source, with its tags; what cannot be decoded is U+FFFD."""
        return self.beginning(len(self.body))

    def beginning(self, size: int) -> str:
        """The text of the first `size` bytes."""
        data = self.body[:size]
        if self.format == "html":  # as the tree is read
            return as_utf8(data, self.charset).decode("utf-8", "replace")
        return decode(data, self.charset)

    @cached_property
    def html(self) -> LexborHTMLParser:
        """The parsed page: https://selectolax.readthedocs.io/en/latest/lexbor.html."""
        return self._tree()

    @cached_property
    def json(self) -> Any:
        """The body as JSON. Raises ValueError where it is none."""
        return parsed_json(self.body, self.content_type)

    @cached_property
    def links(self) -> list[str]:
        """Where it leads by what `crawl.follow` names: canonical URLs, each once, in the order of the page."""
        return list(self._links())

    @cached_property
    def base(self) -> str:
        """What relative URLs are relative to: its <base href>, or else its own URL (HTML standard, 2.4.3)."""
        node = self.html.css_first("base[href]") if self.format == "html" else None
        try:
            return join(self.final_url, node.attributes["href"] or "").href if node is not None else self.final_url
        except BadURL:
            return self.final_url

    def css(self, selector: str) -> list[LexborNode]:
        """All elements that match. Raises selectolax.lexbor.SelectolaxError where it is no selector."""
        return self.html.css(selector)

    def css_first(self, selector: str) -> LexborNode | None:
        """The first element that matches, or None."""
        return self.html.css_first(selector)

    def join(self, href: str) -> str:
        """Where an href leads to from this page, as a canonical URL. Raises BadURL, a ValueError."""
        return join(self.base, href).href

    def follow(self, href: str, **more: Any) -> Follow:
        """A request for what an href leads to; `more` as in Follow. One that leads nowhere is told by the crawl."""
        try:
            return Follow(self.join(href), **more)
        except BadURL:
            return Follow(href, **more)


def _sniffed(start: bytes) -> Format:
    first = start.removeprefix(b"\xef\xbb\xbf").lstrip()[:1]
    if first == b"<":
        return "html"
    if first and first in b"{[":
        return "json"
    return "binary" if b"\0" in start else "text"
