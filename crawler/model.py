"""The words that flow through the pipeline: Request, Outcome (Fetched | Failed | Skipped), Record.

Decides nothing. Must not know aiohttp, SQLite, the job or the clock. Invariant: a value is built in
one place and read everywhere else; the user's own columns travel as `input` and are never read by us.

Hot types are plain slots classes: at 10^4 a second a frozen dataclass costs six to ten times as much to build.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from crawler.errors import Reason


class Place(NamedTuple):
    """Where an input stood: a file (or `input.urls`) and its line, counted from 1."""

    source: str
    line: int

    def __str__(self) -> str:
        return f"{self.source}:{self.line}"


class Row(NamedTuple):
    """One input as its source gave it: nothing is resolved, canonicalised or checked yet."""

    place: Place
    url: str
    method: str | None = None
    headers: Mapping[str, str] | None = None
    params: Mapping[str, str | list[str]] | None = None
    json: Any = None
    body: str | None = None
    filename: str | None = None
    sha256: str | None = None
    input: Mapping[str, Any] | None = None


class BadRow(NamedTuple):
    """One input that cannot be a request: `error` says why in a sentence, `text` is its (cut, escaped) content."""

    place: Place
    text: str
    error: str


class Request:
    """One thing to fetch, now standing at `url`; each redirect hop moves `url` and `host` and grows `hops`.

    An input that cannot be sent flows as a Request with `error` set: it ends as `bad-input` at its turn, once.
    `id` is stable for the job. `host` is the politeness key of the URL's host; `home` the one under which the
    checkpoint keeps the row: it stays when a hop leads to another `host`. `attempt` counts from 1 and is the attempt
    that comes next (or runs now).
    """

    __slots__ = (
        "attempt",
        "body",
        "error",
        "filename",
        "foreign",
        "headers",
        "home",
        "hops",
        "host",
        "id",
        "input",
        "method",
        "place",
        "robots",
        "seed",
        "sha256",
        "url",
    )

    def __init__(
        self,
        id: int,
        url: str,
        host: str,
        *,
        method: str = "GET",
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        filename: str | None = None,
        sha256: str | None = None,
        input: Mapping[str, Any] | None = None,
        place: Place | None = None,
        attempt: int = 1,
        error: str | None = None,
    ) -> None:
        self.id = id
        self.url = url
        self.host = host
        self.home = host
        self.seed = url
        self.method = method
        self.headers = headers
        self.body = body
        self.filename = filename
        self.sha256 = sha256
        self.input = input
        self.place = place
        self.attempt = attempt
        self.error = error
        self.hops: tuple[str, ...] = ()
        self.foreign = False  # a hop led to another origin than the seed's
        self.robots: str | None = None  # the origin whose robots.txt this asks for: no input, and never recorded

    def __repr__(self) -> str:
        return f"<Request {self.id} {self.method} {self.url} attempt={self.attempt} hops={len(self.hops)}>"


class Message(NamedTuple):
    """What goes onto the wire for one hop; `url` is canonical.

    `trusted`: the job's own input names this host, so its address may be private. `bare`: of the session's own headers
    only those go along that say who asks and what can be read (User-Agent, Accept, Accept-Encoding).
    """

    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes | None = None
    trusted: bool = False
    bare: bool = False


class Body(NamedTuple):
    """A whole body, decoded: in memory (`data`), in a file not yet renamed (`part`), or counted only (neither)."""

    size: int
    sha256: str
    data: bytes | None = None
    part: str | None = None


class Timing:
    """Milliseconds of one attempt; None where a phase did not happen (a pooled connection has no dns or connect)."""

    __slots__ = ("connect", "dns", "started_at", "total", "ttfb")

    def __init__(self, started_at: float) -> None:
        self.started_at = started_at  # wall clock, seconds since the epoch
        self.dns: float | None = None
        self.connect: float | None = None
        self.ttfb: float | None = None
        self.total: float = 0.0


def milliseconds(seconds: float) -> float:
    """As they stand in a Timing, to a hundredth."""
    return round(seconds * 1000, 2)


class Fetched:
    """The server answered and the body arrived whole; whether the status is a success is for `settle` to say."""

    __slots__ = ("body", "headers", "length_checked", "request", "request_id", "status", "timing", "warning")

    def __init__(
        self,
        request: Request,
        request_id: str,
        status: int,
        headers: Mapping[str, str],
        body: Body,
        timing: Timing,
        *,
        length_checked: bool = True,
        warning: str | None = None,
    ) -> None:
        self.request = request
        self.request_id = request_id
        self.status = status
        self.headers = headers  # names compare without case
        self.body = body
        self.timing = timing
        self.length_checked = length_checked  # False: ended by the close of the connection, so nobody can tell
        self.warning = warning


class Failed:
    """No usable answer: `reason` names the class of fault, `error` is a sentence for people.

    `timing` is None where nothing was sent.
    """

    __slots__ = ("error", "reason", "request", "request_id", "status", "timing")

    def __init__(
        self,
        request: Request,
        request_id: str,
        reason: Reason,
        error: str,
        timing: Timing | None,
        status: int | None = None,
    ) -> None:
        self.request = request
        self.request_id = request_id
        self.reason = reason
        self.error = error
        self.timing = timing
        self.status = status


class Skipped:
    """Not asked for at all, on purpose (robots, scope, a row that left the list)."""

    __slots__ = ("error", "reason", "request")

    def __init__(self, request: Request, reason: Reason, error: str) -> None:
        self.request = request
        self.reason = reason
        self.error = error


Outcome = Fetched | Failed | Skipped


@dataclass
class Elapsed:
    """Milliseconds, rounded to 0.01, as they stand in a record."""

    dns: float | None
    connect: float | None
    ttfb: float | None
    total: float


@dataclass  # without slots: orjson reads an instance's dict in half the time
class Record:
    """One line of the records: the end of one input. Field order here is the order in the file.

    `change`, `referrer` and `fields` are for runs that compare, crawl and extract; a list has depth 0 and no referrer.
    `body` is a path relative to the run's folder; `reason` a stable slug, None when the outcome is `fetched`;
    `started_at` ISO 8601 UTC of the last attempt; `bytes` after decoding.
    """

    id: int
    run: str
    url: str
    final_url: str
    method: str
    outcome: str
    reason: str | None
    status: int | None
    attempts: int
    started_at: str | None
    elapsed_ms: Elapsed | None
    bytes: int | None
    sha256: str | None
    content_type: str | None
    headers: Mapping[str, str] | None
    etag: str | None
    last_modified: str | None
    change: str | None
    depth: int
    referrer: str | None
    length_checked: bool | None
    request_id: str | None
    input: Mapping[str, Any] | None
    fields: Mapping[str, Any] | None
    place: str | None
    warning: str | None
    error: str | None
    body: str | None  # stands last, since its name is known last (see sinks.jsonl)
