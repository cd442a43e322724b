"""Where a 3xx leads, and what of the request goes along.

Decides the next hop by RFC 9110 15.4 and the Fetch standard. Must not know the frontier, auth or scope: the hop comes
back as a Request of its own, and each of those looks at it anew. Invariant: no header that could be a credential and
no body leaves for another origin.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from crawler.errors import Reason
from crawler.model import Request
from crawler.urls import BadURL, BlockedScheme, Url, join, origin, printable

_FOLLOWED = frozenset({301, 302, 303, 307, 308})
# Any other header a user sets may be a key of his (X-Api-Key, PRIVATE-TOKEN): it stays with the origin it was for.
_HARMLESS = frozenset(
    {
        "accept",
        "accept-charset",
        "accept-encoding",
        "accept-language",
        "cache-control",
        "content-type",
        "if-modified-since",
        "if-none-match",
        "pragma",
        "range",
        "user-agent",
    }
)


class Hop(NamedTuple):
    """The next request of the chain."""

    url: Url
    method: str
    body: bytes | None
    headers: Mapping[str, str] | None
    foreign: bool  # stands at another origin than the input did


class Refusal(NamedTuple):
    """The chain ends here."""

    reason: Reason
    error: str


def follow(request: Request, status: int, location: str | None, max_redirects: int) -> Hop | Refusal | None:
    """The hop that a response asks for; None where it asks for none (then the status is the answer)."""
    if status not in _FOLLOWED or location is None:
        return None
    try:
        url = join(request.url, location)
    except BlockedScheme as error:
        return Refusal(Reason.BLOCKED_SCHEME, f"redirect refused: {error}")
    except BadURL as error:
        return Refusal(Reason.BAD_REDIRECT, f"the Location is no URL: {printable(location)!r}: {error}")
    method, body = _method(request, status)
    if method == request.method and (url.href == request.url or url.href in request.hops):
        return Refusal(Reason.REDIRECT_LOOP, f"redirects in a circle: {printable(url.href)} was asked before")
    if len(request.hops) >= max_redirects:
        return Refusal(Reason.TOO_MANY_REDIRECTS, f"more than {max_redirects} redirects (limits.max_redirects)")
    if body is not None and origin(url.href) != origin(request.url):
        return Refusal(Reason.CANNOT_REPLAY, f"the body is not sent on to another origin: {printable(url.href)}")
    headers = request.headers
    if method != request.method and headers:  # then the body is dropped, and what describes it with it
        headers = {name: value for name, value in headers.items() if not name.lower().startswith("content-")}
    return Hop(url, method, body, headers, origin(url.href) != origin(request.seed))


def harmless(headers: Mapping[str, str]) -> dict[str, str]:
    """Those headers that may go to an origin they were not meant for."""
    return {name: value for name, value in headers.items() if name.lower() in _HARMLESS}


def _method(request: Request, status: int) -> tuple[str, bytes | None]:
    if (status == 303 and request.method not in ("GET", "HEAD")) or (status in (301, 302) and request.method == "POST"):
        return "GET", None
    return request.method, request.body
