"""A request as a row of the store, and back.

Decides which of its parts a row keeps. Must not know SQLite. Invariant: a request read back asks for the same thing
as the one that was written, before its first hop.
"""

from __future__ import annotations

from typing import Any

import orjson

from crawler.model import Place, Request


class NewRow:
    """A request to remember as it is now (a redirect moves it on before the row is written), and its fingerprint."""

    __slots__ = ("fingerprint", "home", "id", "more", "url")

    def __init__(self, request: Request, fingerprint: int) -> None:
        self.id = request.id
        self.home = request.home
        self.url = request.url
        self.more = more_of(request)
        self.fingerprint = fingerprint  # below 2**63, as SQLite's integers are


def more_of(request: Request) -> str | None:
    """What a request says beyond its URL, as JSON; None for the plain GET that most are."""
    more: dict[str, Any] = {}
    if request.method != "GET":
        more["m"] = request.method
    if request.body is not None:
        more["b"] = request.body.decode("latin-1")
    for key, value in (("h", request.headers), ("f", request.filename), ("s", request.sha256), ("i", request.input)):
        if value is not None:
            more[key] = value
    if request.error is not None:
        more["e"] = request.error
    if request.place is not None:
        more["p"] = tuple(request.place)  # orjson knows no named tuples
    return orjson.dumps(more).decode() if more else None


def request_from(home: str, number: int, attempt: int, url: str, more: str | None) -> Request:
    """The request of a row."""
    if more is None:
        return Request(number, url, home, attempt=attempt)
    said = orjson.loads(more)
    body = said.get("b")
    return Request(
        number,
        url,
        home,
        method=said.get("m", "GET"),
        headers=said.get("h"),
        body=body.encode("latin-1") if body is not None else None,
        filename=said.get("f"),
        sha256=said.get("s"),
        input=said.get("i"),
        place=Place(*said["p"]) if "p" in said else None,
        attempt=attempt,
        error=said.get("e"),
    )
