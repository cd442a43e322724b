"""From a message and its answer to a Visit, as an archive tells of them.

Decides which header lines went over the wire. Must not know the wire or the archive's format. Invariant: a visit
names every header that was sent, those of the client itself included, so that the request can be sent again from it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

from crawler.model import Body, Message, Visit

LARGEST_CONTENT = 1024 * 1024  # bytes of a request's body that are kept
_BODILESS = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
_TYPED = frozenset({"PATCH", "POST", "PUT"})
_NAMING = frozenset({"user-agent", "accept", "accept-encoding"})


class Reply(NamedTuple):
    """An answer: its status line, header lines in order, and what is kept of its body (see Visit)."""

    status: int
    phrase: str
    headers: Sequence[tuple[str, str]]
    body: Body
    decoded: bool = False
    address: str | None = None
    truncated: str | None = None


def visit_of(message: Message, own: Mapping[str, str], reply: Reply, at: float) -> Visit:
    """The visit; `own` are the session's headers, `at` the wall second when the message was sent.

    Of a body that was sent, at most a MiB is kept, and nothing where it came from files: Content-Length tells then
    that it is not whole.
    """
    body = message.body
    content = body[:LARGEST_CONTENT] if isinstance(body, bytes) else None
    sent = tuple(_sent(message, own))
    status, phrase, headers, kept, decoded, address, truncated = reply
    lines = tuple(headers)
    return Visit(
        message.url, message.method, sent, content, status, phrase, lines, at, kept, decoded, address, truncated
    )


def _sent(message: Message, own: Mapping[str, str]) -> Iterable[tuple[str, str]]:
    """Host, the session's headers, those of the message in the place of the session's or behind them, the length."""
    lines = {name.lower(): (name, value) for name, value in own.items()}
    if message.bare:
        lines = {key: line for key, line in lines.items() if key in _NAMING}
    for name, value in message.headers.items():
        lines[name.lower()] = (name, value)
    if "host" not in lines:
        yield "Host", _host(message.url)
    elif (host := lines.pop("host", None)) is not None:
        yield host
    yield from lines.values()
    yield from _added(message, lines.keys())


def _added(message: Message, said: Collection[str]) -> Iterable[tuple[str, str]]:
    """What the client says of the body by itself; a test holds that it is what aiohttp does."""
    body, method = message.body, message.method
    length = 0 if body is None else len(body) if isinstance(body, bytes) else body.length
    if "content-length" not in said and (body is not None or method not in _BODILESS):
        yield "Content-Length", str(length)
    if "content-type" not in said and (body is not None or method in _TYPED):
        yield "Content-Type", "application/octet-stream"


def _host(url: str) -> str:
    """The Host of a canonical URL (RFC 9110 7.2)."""
    return url.partition("://")[2].partition("/")[0].rpartition("@")[2]
