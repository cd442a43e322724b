"""[paging]: which page comes after this one, by its Link header, by what its JSON says, or by counting.

Decides the next URL, or that this was the last page. Must not know how pages are fetched or kept; the hosts it is for
are matched by the reader. Invariant: a page never leads to itself, nor to one that it is known to come from; with
`max_pages` every chain of pages ends. What stands in a page never raises: it ends as a Fault with a sentence.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from difflib import get_close_matches
from typing import Annotated, Any, NamedTuple
from urllib.parse import quote_plus, unquote_plus

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from crawler.charsets import parsed_json
from crawler.jmespaths import PREFIX, Expression, Unfit, checked, evaluate
from crawler.linkheader import next_target
from crawler.patterns import Pattern
from crawler.units import render_size
from crawler.urls import BadURL, join, parse, printable, with_params

LARGEST = 16 * 1024**2  # bytes of a page whose JSON is read

_NUMBER = re.compile(r"[0-9]{1,15}\Z")
_BLANK = re.compile(rb"\s*+(?:\[\s*+\]|\{\s*+\}|null)?\s*+\Z")  # what an API answers behind its last page
_EXACT = 2**53  # a number in JSON beyond it may have lost digits, where it came as a float


def _way(value: str) -> str:
    if value == "link" or value.startswith(PREFIX):
        return value if value == "link" else checked(value)
    if get_close_matches(value.lower(), ("link", "links", "link header", "rel=next", "link: rel=next"), 1, 0.7):
        raise ValueError(f"'{printable(value)}' is no way to the next page; did you mean 'link'?")
    told = f"write 'link' (the Link header), or '{PREFIX}{printable(value)}' (what the page says there)"
    raise ValueError(f"'{printable(value)}' is no way to the next page; {told}")


def _parameter(value: str) -> str:
    bare = re.sub(r"\A[?&]+|=.*\Z", "", value, flags=re.DOTALL)
    if bare != value or not value.strip() or not value.isprintable():
        raise ValueError("is the name of a query parameter" + (f"; write '{printable(bare)}'" if bare.strip() else ""))
    return value


class Paging(BaseModel):
    """How pages follow each other. `items`, `total_pages` and `max_pages` bound each way. `start` is the value of
    `param` that the first request is taken to have where its URL does not name it; the request is sent as it is.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    next: Annotated[str, AfterValidator(_way)] | None = None
    param: Annotated[str, AfterValidator(_parameter), Field(max_length=200)] | None = None
    start: int = Field(1, ge=0, le=10**12)
    step: int = Field(1, ge=1, le=10**9)
    items: Expression | None = None
    total_pages: Expression | None = None
    max_pages: int = Field(1000, ge=1, le=10_000_000)
    hosts: list[Pattern] = []

    @model_validator(mode="after")
    def _one_way(self) -> Paging:
        if self.next is None and self.param is None:
            raise ValueError("says no way to the next page; give next = 'link', next = 'jmespath:…', or param = 'page'")
        if self.next == "link" and self.param is not None:
            raise ValueError("has both next = 'link' and param; a Link header gives the whole URL")
        if self.next is not None and (self.start, self.step) != (1, 1):
            raise ValueError("start and step count pages, but next says where the next one is; leave one of them out")
        return self

    @property
    def needs_body(self) -> bool:
        """Must a page be in memory, up to LARGEST bytes of it, for `next_page`."""
        return self.next != "link" or self.reads_json

    @property
    def reads_json(self) -> bool:
        """Must a page be JSON of at most LARGEST bytes."""
        return self.next not in (None, "link") or self.items is not None or self.total_pages is not None

    def ends_by_status(self, status: int, number: int) -> bool:
        """Is this status of page `number` (from 1) no fault, but what a server answers behind the last page? So it is
        where pages are counted; a page that another one named should be there.
        """
        return self.next is None and number > 1 and status in (204, 404)


class PageSeen(NamedTuple):
    """A page that was fetched. `url` is its canonical final URL, `number` counts from 1, `link_lines` are the values of
    its Link headers; `body` is None where it is too large for memory, b"" where it is empty. `seen`: URLs of the pages
    before, as many as are known.
    """

    url: str
    number: int
    link_lines: Sequence[str]
    body: bytes | None
    content_type: str | None
    sha256: str
    previous_sha256: str | None = None
    seen: Collection[str] = ()


class Next(NamedTuple):
    """The canonical URL of the next page; it may be of another origin."""

    url: str


class End(NamedTuple):
    """There is no further page, or none is asked for; `warning`: somebody should be told."""

    why: str
    warning: bool = False


class Fault(NamedTuple):
    """Whether there is a next page cannot be found out."""

    error: str


class _BadPage(ValueError):
    """The text is the sentence of a Fault."""


def next_page(paging: Paging, page: PageSeen) -> Next | End | Fault:
    """What comes after this page."""
    try:
        step = _step(paging, page)
    except (_BadPage, Unfit) as error:
        return Fault(str(error))
    except BadURL as error:
        return Fault(f"the URL of the next page {error}")
    return step if isinstance(step, End) else _bounded(paging, page, step)


def set_param(href: str, name: str, value: str) -> str:
    """The URL with one query parameter set, where it stood first or at the end; all others stay as they are spelled."""
    head, _, query = href.partition("?")
    pairs = query.split("&")
    places = [at for at, pair in enumerate(pairs) if _named(pair) == name]
    if not places:
        return with_params(href, {name: value})
    pairs[places[0]] = f"{pairs[places[0]].partition('=')[0]}={quote_plus(value)}"
    return f"{head}?{'&'.join(pair for at, pair in enumerate(pairs) if at not in places[1:])}"


def _step(paging: Paging, page: PageSeen) -> Next | End:
    """Where the page leads, by itself."""
    data = None
    if paging.reads_json:
        if page.body is None or len(page.body) > LARGEST:
            raise _BadPage(f"the page is larger than {render_size(LARGEST)}, so it was not read for the next one")
        if not page.body or page.body.isspace():
            return End("the page is empty")
        try:
            data = parsed_json(page.body, page.content_type)
        except ValueError as error:
            raise _BadPage(f"the page is not JSON: {printable(str(error))}") from None
    if paging.items is not None and not evaluate(paging.items, data):
        return End("the page has no items")
    if paging.total_pages is not None:
        total = _total(evaluate(paging.total_pages, data))
        if total is not None and _position(paging, page) >= total:
            return End(f"it was the last of {total} pages")
    if paging.next is None:
        return _counted(paging, page)
    if paging.next == "link":
        target = next_target(page.link_lines)
        return End("no Link leads to a next page") if target is None else Next(join(page.url, target).href)
    return _told(evaluate(paging.next, data), paging.param, page)


def _bounded(paging: Paging, page: PageSeen, step: Next) -> Next | End:
    """The step, unless it leads in a circle or too far."""
    if step.url == page.url:
        return End(f"page {page.number} names itself as the next one", warning=True)
    if paging.param is not None and page.sha256 == page.previous_sha256:
        return End(f"page {page.number} has the same content as the one before", warning=True)
    if step.url in page.seen:
        return End(f"page {page.number} leads back to {printable(step.url)}", warning=True)
    if page.number >= paging.max_pages:
        return End(f"there are more than {paging.max_pages:,} pages (paging.max_pages)", warning=True)
    return step


def _counted(paging: Paging, page: PageSeen) -> Next | End:
    assert paging.param is not None
    if paging.items is None and page.body is not None and _BLANK.match(page.body):
        return End("the page is empty")
    value = _count(paging, page) + paging.step
    return Next(parse(set_param(page.url, paging.param, str(value))).href)


def _count(paging: Paging, page: PageSeen) -> int:
    """The value of the parameter that this page has."""
    query = page.url.partition("?")[2]
    said = next((pair.partition("=")[2] for pair in query.split("&") if _named(pair) == paging.param), "")
    if not said:
        return paging.start + (page.number - 1) * paging.step
    if not _NUMBER.match(said):
        raise _BadPage(f"the parameter {paging.param} of this page is '{printable(said, 40)}', which is no number")
    return int(said)


def _position(paging: Paging, page: PageSeen) -> int:
    """Which of all pages it is, from 1."""
    return page.number if paging.next is not None else (_count(paging, page) - paging.start) // paging.step + 1


def _told(value: Any, param: str | None, page: PageSeen) -> Next | End:
    if isinstance(value, list) and len(value) < 2:  # what a filter of JMESPath finds is a list
        value = value[0] if value else None
    if value is None or value is False or (isinstance(value, str) and not value.strip()):
        return End("the page names no next one")
    if param is not None:
        return Next(parse(set_param(page.url, param, _cursor(value))).href)
    if not isinstance(value, str):
        raise _BadPage(f"paging.next gives {_kind(value)}, which is no URL; a cursor needs paging.param as well")
    return Next(join(page.url, value).href)


def _cursor(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise _BadPage(f"paging.next gives {_kind(value)}, which is no cursor")
    if isinstance(value, float) and abs(value) >= _EXACT:
        raise _BadPage("paging.next gives a number too long to be read exactly, which is no cursor")
    return str(value)


def _total(value: Any) -> int | None:
    if value is None:
        return None
    if type(value) in (int, float, str) and _NUMBER.match(str(value).removesuffix(".0")):
        return int(float(value))
    raise _BadPage(f"paging.total_pages gives {_kind(value)}, which is no number")


def _named(pair: str) -> str:
    return unquote_plus(pair.partition("=")[0])


def _kind(value: object) -> str:
    names = {dict: "an object", list: "a list", str: "a text", bool: "true", int: "a number", float: "a number"}
    return names.get(type(value), "something else")
