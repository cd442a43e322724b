"""The words that flow through the pipeline: Request, Outcome (Fetched | Failed | Skipped), Record.

Decides nothing. Must not know aiohttp, SQLite, the job or the clock. Invariant: a value is built in
one place and read everywhere else; the user's own columns travel as `input` and are never read by us.

Hot types are plain slots classes: at 10^4 a second a frozen dataclass costs six to ten times as much to build.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from crawler.errors import Reason
from crawler.known import Known
from crawler.links import Leads
from crawler.partial import Partial
from crawler.routes import DIRECT, Route


class Place(NamedTuple):
    """Where an input stood: a file (or `input.urls`) and its line, counted from 1."""

    source: str
    line: int

    def __str__(self) -> str:
        return f"{self.source}:{self.line}"


class Promised(NamedTuple):
    """What a row says of its body, decoded: digests in lower-case hex, `size` in bytes."""

    sha256: str | None = None
    sha512: str | None = None
    md5: str | None = None
    size: int | None = None


class Miss(NamedTuple):
    """Where a request with mirrors was in vain: its URL then, why as a slug, how many attempts were sent, and whether
    it failed (or was not asked, on purpose).
    """

    url: str
    slug: str
    attempts: int
    failed: bool = True


class Row(NamedTuple):
    """One input as its source gave it: nothing is resolved, canonicalised or checked yet.

    At most one of json, form, multipart, body and body_file is given; their paths are as they were written.
    """

    place: Place
    url: str
    method: str | None = None
    headers: Mapping[str, str] | None = None
    params: Mapping[str, str | list[str]] | None = None
    json: Any = None
    form: Mapping[str, str | list[str]] | None = None
    multipart: tuple[Field, ...] | None = None
    body: str | None = None
    body_file: str | None = None
    cookies: Mapping[str, str] | None = None
    filename: str | None = None
    promised: Promised | None = None
    mirrors: tuple[str, ...] = ()
    send: tuple[str | bytes, ...] | None = None
    input: Mapping[str, Any] | None = None


class BadRow(NamedTuple):
    """One input that cannot be a request: `error` says why in a sentence, `text` is its (cut, escaped) content."""

    place: Place
    text: str
    error: str


class FileBody(NamedTuple):
    """A body that stands in a file, read anew with each attempt."""

    path: str


class Field(NamedTuple):
    """One part of a multipart body (RFC 7578): a text `value`, or the content of the file at `path`."""

    name: str
    value: str | None = None
    path: str | None = None
    filename: str | None = None
    content_type: str | None = None


class Multipart(NamedTuple):
    """A multipart/form-data body; its boundary is chosen anew with each attempt."""

    fields: tuple[Field, ...]


class Messages(NamedTuple):
    """What is sent over a WebSocket, as texts and binary messages, each time it is connected."""

    parts: tuple[str | bytes, ...]


Content = bytes | FileBody | Multipart | Messages


class Page(NamedTuple):
    """Which page of a series: its number from 1, the sha256 of the page before it."""

    number: int
    before: str | None = None


class Captured(NamedTuple):
    """What came of a capture so far, over all its connections: frames, bytes of their payload, seconds connected.

    `over`: no more is wanted.
    """

    frames: int = 0
    bytes: int = 0
    seconds: float = 0.0
    over: bool = False


class Request:
    """One thing to fetch, now standing at `url`; each redirect hop moves `url` and `host` and grows `hops`.

    An input that cannot be sent flows as a Request with `error` set: it ends as `bad-input` at its turn, once.
    `id` is stable for the job. `host` is the politeness key of the URL's host; `home` the one under which the
    checkpoint keeps the row: it stays when a hop leads to another `host`. `attempt` counts from 1 and is the attempt
    that comes next (or runs now). `mirrors` are canonical URLs of the same body; each of `missed` leads to the next of
    them, and `seed` stays the input's own URL.
    """

    __slots__ = (
        "anew",
        "attempt",
        "body",
        "captured",
        "depth",
        "error",
        "filename",
        "fingerprint",
        "foreign",
        "headers",
        "home",
        "hops",
        "host",
        "id",
        "input",
        "known",
        "method",
        "mirrors",
        "missed",
        "page",
        "partial",
        "place",
        "promised",
        "ranges",
        "recalled",
        "referrer",
        "requisite",
        "resting",
        "robots",
        "rounds",
        "seed",
        "trail",
        "urgent",
        "url",
        "warning",
    )

    def __init__(
        self,
        id: int,
        url: str,
        host: str,
        *,
        method: str = "GET",
        headers: Mapping[str, str] | None = None,
        body: Content | None = None,
        filename: str | None = None,
        promised: Promised | None = None,
        mirrors: tuple[str, ...] = (),
        input: Mapping[str, Any] | None = None,
        place: Place | None = None,
        attempt: int = 1,
        error: str | None = None,
        page: Page | None = None,
        referrer: str | None = None,
        depth: int = 0,
        requisite: bool = False,
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
        self.promised = promised
        self.mirrors = mirrors
        self.input = input
        self.place = place
        self.attempt = attempt
        self.error = error
        self.page = page
        self.referrer = referrer  # the URL that led to this one
        self.depth = depth  # links from a seed: 0 is what the job's own input names
        self.fingerprint = 0  # of what it asks for, where that is known already
        self.urgent = False  # goes before what its host has waiting
        self.requisite = requisite  # a page needs it to be shown; it is no page itself
        self.partial: Partial | None = None  # what is kept of an attempt that broke off, to be gone on with
        self.ranges = True  # its body may be asked for in parts: no server answered that wrongly
        self.missed: tuple[Miss, ...] = ()
        self.hops: tuple[str, ...] = ()  # from the URL, its own or a mirror's, that it began at
        self.trail: tuple[Visit, ...] = ()  # what led here, where visits are archived
        self.foreign = False  # a hop led to another origin than the seed's, or a page to one that no input names
        self.warning: str | None = None  # what its record should tell whatever its end
        self.rounds = 0  # how often the request at this URL was sent back for credentials
        self.captured: Captured | None = None  # of a WebSocket (method WEBSOCKET)
        self.recalled = False  # what is known of it was looked up
        self.known: Known | None = None  # from earlier runs
        self.anew = False  # it must not be asked for only if it changed: what is known of it cannot be given
        self.resting: str | None = None  # why it is not to be asked for now
        self.robots: str | None = None  # the origin whose robots.txt this asks for: no input, and never recorded

    @property
    def sha256(self) -> str | None:
        """The digest that its row promises."""
        return self.promised.sha256 if self.promised is not None else None

    def __repr__(self) -> str:
        return f"<Request {self.id} {self.method} {self.url} attempt={self.attempt} hops={len(self.hops)}>"


class Sending(Protocol):
    """A body that is sent in pieces; `length` in bytes is known before."""

    length: int

    def pieces(self) -> AsyncIterator[bytes]:
        """The body from its start; may be asked for once more. Raises OSError where a file cannot be read."""


class Message(NamedTuple):
    """What goes onto the wire for one hop; `url` is canonical.

    `trusted`: the job's own input names this host, so its address may be private. `bare`: of the session's own headers
    only those go along that say who asks and what can be read (User-Agent, Accept, Accept-Encoding).
    """

    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes | Sending | None = None
    trusted: bool = False
    bare: bool = False
    route: Route = DIRECT

    def __repr__(self) -> str:
        return f"<Message {self.method} headers={sorted(self.headers)}>"


class Body(NamedTuple):
    """A whole body, decoded: in memory (`data`), in a file not yet renamed (`part`), or counted only (neither)."""

    size: int
    sha256: str
    data: bytes | None = None
    part: str | None = None


class Heading(Protocol):
    """What is looked at of an answer beside its body; names compare without case."""

    @property
    def status(self) -> int: ...
    @property
    def headers(self) -> Mapping[str, str]: ...
    def all(self, name: str) -> list[str]:
        """The values of every header of that name, in their order."""


class Visit(NamedTuple):
    """One request and its answer as an archive tells of them; a redirect is a visit of its own.

    `sent` and `headers` are header lines in their order, those of the session included; `content` is the body sent, as
    far as it was in memory; `at` the wall second when it was sent, `address` the peer's "ip" where it is known. `body`
    is what is kept of the answer's: decoded where `decoded`, else as it came; `truncated` as in WARC 1.1 ("length",
    "time", "disconnect"), None where it is whole.
    """

    url: str
    method: str
    sent: Sequence[tuple[str, str]]
    content: bytes | None
    status: int
    phrase: str
    headers: Sequence[tuple[str, str]]
    at: float
    body: Body
    decoded: bool = False
    address: str | None = None
    truncated: str | None = None


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
    """The server answered and the body arrived whole; whether the status is a success is for `settle` to say.

    `again`: the request is to be sent once more with another credential. `next_url`: where the next page is.
    `lent`: the query parameters ("name=value", decoded) that a credential had added to the URL. `cookies_changed`: the
    jar is another one since. `leads`: what it leads to, in a crawl; `fields`: what was extracted; `likeness` tells
    pages alike from others; `found` are the requests that it led to, which are committed with its end.
    """

    __slots__ = (
        "again",
        "body",
        "challenges",
        "charset",
        "cookies_changed",
        "fields",
        "follows",
        "found",
        "headers",
        "items",
        "leads",
        "length_checked",
        "lent",
        "likeness",
        "next_url",
        "request",
        "request_id",
        "sitemap",
        "status",
        "timing",
        "unchanged",
        "visit",
        "warning",
    )

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
        self.again = False
        self.cookies_changed = False
        self.lent: Collection[str] = ()
        self.challenges: Sequence[str] = ()  # the WWW-Authenticate lines of a 401
        self.charset: str | None = None
        self.next_url: str | None = None
        self.leads: Leads | None = None
        self.sitemap: Iterator[Leads] | None = None  # reads the body, piece by piece, in a thread
        self.fields: Mapping[str, Any] | None = None
        self.likeness: int | None = None
        self.items: Sequence[bytes] = ()  # that a function of the user's gave, as JSON objects
        self.follows: Sequence[Row] = ()  # requests that it asked for
        self.found: Sequence[Request] = ()
        self.visit: Visit | None = None  # where visits are archived
        self.unchanged = False  # it is what earlier runs know: by a 304, or since nobody asked


class Failed:
    """No usable answer: `reason` names the class of fault, `error` is a sentence for people.

    `timing` is None where nothing was sent; `final`: another attempt is of no use, whatever else says so. `frames`
    came in this attempt, and are kept; `gained`: so many bytes of its body are kept beyond those there were before.
    `wait`: seconds before which another attempt can only fail, where that is known.
    """

    __slots__ = ("error", "final", "frames", "gained", "reason", "request", "request_id", "status", "timing", "wait")

    def __init__(
        self,
        request: Request,
        request_id: str,
        reason: Reason,
        error: str,
        timing: Timing | None,
        status: int | None = None,
        *,
        final: bool = False,
        frames: int = 0,
        wait: float | None = None,
    ) -> None:
        self.final = final
        self.frames = frames
        self.gained = 0
        self.wait = wait
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

    What the input names has depth 0; `page` counts from 1 where pages are followed, `referrer` is the page before, or
    the one that links here. `body` is a path relative to the run's folder; `reason` a stable slug, None when the
    outcome is `fetched`; `started_at` ISO 8601 UTC of the last attempt; `bytes` after decoding, of a WebSocket those of
    all its `frames`.

    At most 29 fields: beyond, CPython gives each instance a dict of five times the size (a test holds it).
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
    frames: int | None
    sha256: str | None
    content_type: str | None
    charset: str | None
    headers: Mapping[str, str] | None
    etag: str | None
    last_modified: str | None
    depth: int
    page: int | None
    referrer: str | None
    length_checked: bool | None
    request_id: str | None
    input: Mapping[str, Any] | None
    place: str | None
    warning: str | None
    error: str | None
    body: str | None  # stands last, since its name is known last (see sinks.jsonl)

    @property
    def fields(self) -> Mapping[str, Any] | None:
        """What was extracted, in a record that was read: it stands in the line alone, since a 30th field would cost as
        much as told.
        """
        extracted: Mapping[str, Any] | None = self.__dict__.get("_fields")
        return extracted

    @fields.setter
    def fields(self, extracted: Mapping[str, Any] | None) -> None:
        self.__dict__["_fields"] = extracted
