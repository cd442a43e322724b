"""A request as a row of the store, and back.

Decides which of its parts a row keeps. Must not know SQLite. Invariant: a request read back asks for the same thing
as the one that was written, before its first hop.
"""

from __future__ import annotations

from typing import Any

import orjson

from crawler.model import Content, Field, FileBody, Messages, Multipart, Page, Place, Promised, Request


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
        key, more[key] = _written(request.body)
    for key, value in (("h", request.headers), ("f", request.filename), ("i", request.input)):
        if value is not None:
            more[key] = value
    if request.promised is not None:
        more["v"] = tuple(request.promised)
    if request.mirrors:
        more["mi"] = request.mirrors
    if request.error is not None:
        more["e"] = request.error
    if request.page is not None:
        more["g"] = tuple(request.page)
    if request.referrer is not None:
        more["r"] = request.referrer
    if request.depth:
        more["d"] = request.depth
    if request.requisite:
        more["q"] = 1
    if request.place is not None:
        more["p"] = tuple(request.place)  # orjson knows no named tuples
    return orjson.dumps(more).decode() if more else None


def request_from(home: str, number: int, attempt: int, url: str, more: str | None) -> Request:
    """The request of a row."""
    if more is None:
        return Request(number, url, home, attempt=attempt)
    said = orjson.loads(more)
    return Request(
        number,
        url,
        home,
        method=said.get("m", "GET"),
        headers=said.get("h"),
        body=_read(said),
        filename=said.get("f"),
        promised=_promised(said),
        mirrors=tuple(said.get("mi", ())),
        input=said.get("i"),
        place=Place(*said["p"]) if "p" in said else None,
        page=Page(*said["g"]) if "g" in said else None,
        referrer=said.get("r"),
        depth=said.get("d", 0),
        requisite="q" in said,
        attempt=attempt,
        error=said.get("e"),
    )


def _promised(said: dict[str, Any]) -> Promised | None:
    if "s" in said:  # all that rows of older versions could say
        return Promised(sha256=said["s"])
    return Promised(*said["v"]) if "v" in said else None


def _written(body: Content) -> tuple[str, Any]:
    """The key of a body's kind, and what is kept of it."""
    match body:
        case bytes():
            return "b", body.decode("latin-1")
        case FileBody(path):
            return "bf", path
        case Multipart(fields):
            return "bm", [tuple(field) for field in fields]
        case Messages(parts):
            return "bw", [part if isinstance(part, str) else [part.decode("latin-1")] for part in parts]


def _read(said: dict[str, Any]) -> Content | None:
    if "b" in said:
        text: str = said["b"]
        return text.encode("latin-1")
    if "bf" in said:
        return FileBody(said["bf"])
    if "bw" in said:
        return Messages(tuple(part if isinstance(part, str) else part[0].encode("latin-1") for part in said["bw"]))
    return Multipart(tuple(Field(*field) for field in said["bm"])) if "bm" in said else None
