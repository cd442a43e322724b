"""Where a 3xx leads, and what of the request goes along.

Decides the next hop by RFC 9110 15.4 and the Fetch standard. Must not know the frontier, auth or scope: the hop comes
back as a Request of its own, and each of those looks at it anew. Invariant: no header that could be a credential and
no body leaves for another origin.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import NamedTuple
from urllib.parse import quote, unquote_plus

from crawler.errors import Reason
from crawler.model import Content, Request
from crawler.urls import BadURL, BlockedScheme, Url, has_userinfo, hostname, join, netloc, origin, over_http, printable

_FOLLOWED = frozenset({301, 302, 303, 307, 308})
_SIGNATURE = 32  # characters, of the shortest signature
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
    body: Content | None  # from its start: a file is read anew
    headers: Mapping[str, str] | None
    foreign: bool  # stands at another origin than the input did
    warning: str | None = None


class Refusal(NamedTuple):
    """The chain ends here."""

    reason: Reason
    error: str


def follow(
    request: Request, status: int, location: str | None, max_redirects: int, *, anew: bool = False
) -> Hop | Refusal | None:
    """The hop that a response asks for; None where it asks for none (then the status is the answer). `anew`: what goes
    along is other than before (it set a cookie), so that a URL that was asked before may answer otherwise now.
    """
    if status not in _FOLLOWED or location is None:
        return None
    try:
        url = join(request.url, over_http(location) or location)
    except BlockedScheme as error:
        return Refusal(Reason.BLOCKED_SCHEME, f"redirect refused: {error}")
    except BadURL as error:
        return Refusal(Reason.BAD_REDIRECT, f"the Location is no URL: {printable(location)!r}: {error}")
    method, body = _method(request, status)
    if not anew and method == request.method and (url.href == request.url or url.href in request.hops):
        return Refusal(Reason.REDIRECT_LOOP, f"redirects in a circle: {printable(url.href)} was asked before")
    if len(request.hops) >= max_redirects:
        return Refusal(Reason.TOO_MANY_REDIRECTS, f"more than {max_redirects} redirects (limits.max_redirects)")
    if body is not None and origin(url.href) != origin(request.url):
        return Refusal(Reason.CANNOT_REPLAY, f"the body is not sent on to another origin: {printable(url.href)}")
    headers = request.headers
    if method != request.method and headers:  # then the body is dropped, and what describes it with it
        headers = {name: value for name, value in headers.items() if not name.lower().startswith("content-")}
    warning = "a redirect named a user, who was left out" if has_userinfo(location) else None
    return Hop(url, method, body, headers, origin(url.href) != origin(request.seed), warning)


def exposed(url: str, seed: str) -> bool:
    """Is what may go to the host of `url` in worse hands there than at `seed`, an input's URL: in the open, where that
    was https, or at another port of the same host. Up from http to https it is not, whatever the ports.
    """
    if seed.startswith("https:") and url.startswith("http:"):
        return True
    upwards = seed.startswith("http:") and url.startswith("https:")
    return not upwards and hostname(url) == hostname(seed) and netloc(url) != netloc(seed)


def unsigned(url: str, lent: Collection[str]) -> str:
    """A URL that a server gave, without what a credential had added to the query of ours: `lent`, as decoded
    "name=value". Who sends its query back gets it anew where it is bound to the host, and nobody else does.

    A URL of the server's own signing has some of it by chance (X-Amz-Algorithm), and is left as it is.
    """
    forms = _unguessable(lent)
    text = url.lower()
    if not forms or not all(any(form in text for form in each) for each in forms):
        return url
    head, mark, query = url.partition("?")
    kept = [pair for pair in query.split("&") if unquote_plus(pair) not in lent and not _holds(pair, forms)]
    return f"{head}{mark if kept else ''}{'&'.join(kept)}"


def _unguessable(lent: Collection[str]) -> list[tuple[str, ...]]:
    """The signature among what was lent, and whatever else is as long: plain, encoded once, and once more."""
    values = (pair.partition("=")[2] for pair in lent)
    encoded = ((value, quote(value, safe="")) for value in values if len(value) >= _SIGNATURE)
    return [(plain.lower(), once.lower(), quote(once, safe="").lower()) for plain, once in encoded]


def _holds(text: str, forms: Iterable[tuple[str, ...]]) -> bool:
    return any(form in text.lower() for each in forms for form in each)


def harmless(headers: Mapping[str, str]) -> dict[str, str]:
    """Those headers that may go to an origin they were not meant for."""
    return {name: value for name, value in headers.items() if name.lower() in _HARMLESS}


def _method(request: Request, status: int) -> tuple[str, Content | None]:
    if request.method == "WEBSOCKET":  # its handshake is a GET
        return request.method, request.body
    if (status == 303 and request.method not in ("GET", "HEAD")) or (status in (301, 302) and request.method == "POST"):
        return "GET", None
    return request.method, request.body
